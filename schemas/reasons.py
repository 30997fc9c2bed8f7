"""The closed list of reasons for which something is dropped.

`Reason` says what the data is (a reject: final, the same on every rerun).
`Failure` says what happened to the process that handled it (may be retried).
"""

from enum import StrEnum


class Reason(StrEnum):
    """Why a video, clip, track or sample was rejected."""

    # probe and shots: the file
    UNREADABLE = "unreadable"  # missing, empty, not a regular file, no permission
    NOT_A_VIDEO = "not_a_video"  # no known container or no video stream
    UNSUPPORTED_CONTAINER = "unsupported_container"
    UNSUPPORTED_CODEC = "unsupported_codec"
    UNSUPPORTED_TRANSFER = "unsupported_transfer"  # HDR, where it is not to be tone-mapped
    UNSUPPORTED_COLOURS = "unsupported_colours"  # Dolby Vision alone, or a matrix without a rule
    FILE_TOO_LARGE = "file_too_large"
    PICTURE_TOO_LARGE = "picture_too_large"
    PICTURE_TOO_SMALL = "picture_too_small"
    VIDEO_TOO_SHORT = "video_too_short"
    VIDEO_TOO_LONG = "video_too_long"
    FRAME_RATE_OUT_OF_RANGE = "frame_rate_out_of_range"
    DECOMPRESSION_BOMB = "decompression_bomb"
    SIZE_CHANGES = "size_changes"  # the picture size changes in mid-stream
    TRUNCATED = "truncated"
    DAMAGED = "damaged"
    INCOMPLETE_VIDEO = "incomplete_video"  # a part of a long video was refused or failed
    DUPLICATE_VIDEO = "duplicate_video"
    LICENCE_REFUSED = "licence_refused"
    FORGOTTEN = "forgotten"  # its tombstone is in the dataset: somebody asked for its removal
    # clips
    CLIP_TOO_SHORT = "clip_too_short"
    UPSCALED_TOO_MUCH = "upscaled_too_much"
    # quality
    BLURRY = "blurry"
    TOO_DARK = "too_dark"
    TOO_BRIGHT = "too_bright"
    LOW_CONTRAST = "low_contrast"
    BLACK_BORDERS = "black_borders"
    TOO_STILL = "too_still"
    TOO_FAST = "too_fast"
    BURNED_IN_TEXT = "burned_in_text"
    DUPLICATE_CLIP = "duplicate_clip"
    # scores
    UNPLEASING = "unpleasing"  # aesthetic score too low
    NOT_SAFE = "not_safe"  # for work
    WATERMARK = "watermark"
    OWN_GATE = "own_gate"  # a gate or stage of the user's own; detail says more
    # tracks and faces
    NO_PERSON = "no_person"
    TOO_MANY_PEOPLE = "too_many_people"
    TRACK_TOO_SHORT = "track_too_short"
    PERSON_TOO_SMALL = "person_too_small"
    STILL_PICTURE = "still_picture"  # a portrait, not a person: nothing moves
    IMPURE_TRACK = "impure_track"
    UNCONFIRMED_PERSON = "unconfirmed_person"
    # pairing
    NO_REFERENCE = "no_reference"
    LOW_SIMILARITY = "low_similarity"
    LOW_QUALITY_REFERENCE = "low_quality_reference"
    NEAR_DUPLICATE_REFERENCE = "near_duplicate_reference"
    IDENTITY_AMBIGUOUS = "identity_ambiguous"
    BODY_PART = "body_part"  # neither a face nor a whole body
    OTHER_FACE = "other_face"  # the mask holds somebody else's face
    COLOUR_DIFFERS = "colour_differs"  # black and white beside colour
    # edited references (pipeline.engines.editing.edit_gate)
    WRONG_SIZE = "wrong_size"
    NEAR_COPY = "near_copy"  # the editor changed too little
    NO_FACE = "no_face"
    OTHER_PEOPLE = "other_people"
    SKIN_CHANGED = "skin_changed"
    CLOTHES_CHANGED = "clothes_changed"
    # audit
    AUDIT_ERROR = "audit_error"  # detail names the check
    VETOED = "vetoed"  # by a person


class Failure(StrEnum):
    """How the process that handled a row died."""

    CRASH = "crash"
    TIMEOUT = "timeout"
    MEMORY = "memory"
    ERROR = "error"
    IO = "io"


class PairKind(StrEnum):
    """Where a reference comes from, seen from the clip that it is paired with."""

    CROSS_VIDEO = "cross_video"
    SAME_VIDEO_OTHER_SHOT = "same_video_other_shot"
    SAME_SHOT_OTHER_CLIP = "same_shot_other_clip"
    EDITED = "edited"
    IN_CLIP_AUGMENTED = "in_clip_augmented"


class Split(StrEnum):
    """Which part of the dataset a sample belongs to."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"
