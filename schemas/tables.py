"""One dataclass per table of the dataset. Field order is column order.

Ids are content hashes (`schemas.ids`). Frame indices of a clip count its own frames, at its
own rate; boxes are xyxy in pixels of the clip's picture. Names mean the same everywhere.
"""

import math
import re
from dataclasses import dataclass

import pyarrow as pa

from schemas.columns import column, rows_column

# Raised when a reader of before would misread a row. Columns with a default come without: readers
# fill those that are missing and pass over those that they do not know.
SCHEMA_VERSION = 1

_TEXT, _BYTES, _FLAG = pa.string(), pa.binary(), pa.bool_()
_INT, _LONG, _FLOAT, _DOUBLE = pa.int32(), pa.int64(), pa.float32(), pa.float64()
BOX = pa.list_(_FLOAT, 4)
_TAG = re.compile(r"[a-z0-9][a-z0-9._-]{0,39}")
_MAX_NOTE, _MAX_ID = 2000, 200
MEDIA = pa.struct([("bytes", _BYTES), ("path", _TEXT)])  # what `datasets` reads as Image, Video


@dataclass(frozen=True)
class Input:
    """What is known of an input without reading it again; not part of the published dataset."""

    uri: str = column(_TEXT, "where it was read from")
    size_bytes: int = column(_LONG, "size when it was read", unit="byte")
    changed: str = column(_TEXT, "modification time or etag when it was read")
    video_id: str = column(_TEXT, "hash of its bytes")
    num_parts: int = column(_INT, "units that it was cut into")


@dataclass(frozen=True)
class InputOutcome:
    """An input of a run and what became of it: the published table `inputs/`."""

    uri: str = column(
        _TEXT,
        "where it was read from, without user, password and signature; a name that is not UTF-8 or "
        "not printable as a file URL; a hash when it was forgotten",
    )
    video_id: str = column(_TEXT, "hash of its bytes; of its uri when no bytes were read")
    size_bytes: int = column(_LONG, "size when it was listed, -1 unknown", unit="byte")
    outcome: str = column(
        _TEXT, "kept | refused | failed | duplicate | forgotten | not_read (the next run tries)"
    )
    stage: str = column(_TEXT, "stage that decided, '' when kept", default="")
    reason: str = column(_TEXT, "schemas.reasons.Reason or Failure, '' when kept", default="")
    value: float | None = column(_DOUBLE, "what was measured", default=None)
    threshold: float | None = column(_DOUBLE, "what was allowed", default=None)
    detail: str = column(_TEXT, "one line for a person", default="")
    caption_from: str = column(
        _TEXT, "file and column of the caption that came with an imported clip, or ''", default=""
    )


@dataclass(frozen=True)
class Shot:
    """A stretch of a video between two cuts, half-open, in source frames."""

    shot_id: str = column(_TEXT, "hash of video_id and start_pts")
    start_frame: int = column(_LONG, "first frame")
    end_frame: int = column(
        _LONG, "first frame after the shot; dark and blended frames belong to no shot"
    )
    start_s: float = column(_DOUBLE, "time of the first frame", unit="s")
    end_s: float = column(_DOUBLE, "time of the first frame after the shot", unit="s")
    opened_by: str = column(
        _TEXT, "start | cut | fade | part (continues the previous shot) | gap (in time) | size"
    )


@dataclass(frozen=True)
class Video:
    """A source file, as probed and as decoded."""

    video_id: str = column(_TEXT, "hash of the file's bytes")
    uri: str = column(_TEXT, "where it was read from, as given")
    licence: str = column(_TEXT, "licence as given in the manifest, or 'unknown'")
    source: str = column(_TEXT, "origin as given in the manifest")
    given_caption: str = column(_TEXT, "caption as given in the manifest")
    size_bytes: int = column(_LONG, "size of the file", unit="byte")
    container: str = column(_TEXT, "container format")
    codec: str = column(_TEXT, "video codec")
    pixel_format: str = column(_TEXT, "pixel format of the decoded stream")
    bit_depth: int = column(_INT, "bits per component")
    coded_width: int = column(_INT, "stored width, before rotation and pixel aspect", unit="px")
    coded_height: int = column(_INT, "stored height", unit="px")
    rotation: int = column(_INT, "degrees clockwise that turn the picture upright", unit="degree")
    pixel_aspect: float = column(_DOUBLE, "width of a pixel over its height")
    width: int = column(_INT, "upright width in square pixels", unit="px")
    height: int = column(_INT, "upright height in square pixels", unit="px")
    fps: float = column(_DOUBLE, "mean frame rate between gaps", unit="1/s")
    constant_fps: bool = column(_FLAG, "whether frame times are evenly spaced")
    num_frames: int = column(_LONG, "frames that decoded")
    num_frames_declared: int = column(_LONG, "frames that the container declares, 0 if it does not")
    duration_s: float = column(_DOUBLE, "decoded duration", unit="s")
    num_video_streams: int = column(_INT, "video streams; the default one is used, or the largest")
    sound_codec: str = column(_TEXT, "codec of the first sound stream, '' without sound")
    decode_errors: int = column(_INT, "packets refused and frames patched by the decoder")
    truncated: bool = column(_FLAG, "fewer frames decoded than the container declares")
    shots: list[Shot] = rows_column(Shot, "shots in time order")
    mirrored: bool = column(
        _FLAG, "whether left and right change places after turning upright", default=False
    )


@dataclass(frozen=True)
class Scorer:
    """Who gave a clip one of its scores."""

    score: str = column(_TEXT, "column of the clip: aesthetic | nsfw | watermark | text | speech")
    engine: str = column(_TEXT, "id of the engine")
    weights_digest: str = column(_TEXT, "SHA-256 of its weights, 'none' without weights")


@dataclass(frozen=True)
class Clip:
    """A trimmed, re-encoded piece of one shot, with its measured quality."""

    clip_id: str = column(_TEXT, "hash of video_id, start, end and encode settings")
    video_id: str = column(_TEXT, "the source video")
    shot_id: str = column(_TEXT, "the shot that it was cut from")
    start_pts: int = column(_LONG, "pts of the first source frame used")
    end_pts: int = column(_LONG, "pts of the first source frame not used")
    timebase_num: int = column(_INT, "numerator of the source timebase")
    timebase_den: int = column(_INT, "denominator of the source timebase")
    start_s: float = column(_DOUBLE, "start in the source", unit="s")
    end_s: float = column(_DOUBLE, "end in the source", unit="s")
    start_frame: int = column(_LONG, "first source frame")
    end_frame: int = column(_LONG, "first source frame after the clip")
    width: int = column(_INT, "width", unit="px")
    height: int = column(_INT, "height", unit="px")
    size_class: int = column(_INT, "short side of the bucket class (480 for 480x832)", unit="px")
    fps: float = column(_DOUBLE, "constant frame rate", unit="1/s")
    num_frames: int = column(_INT, "frames")
    scale: float = column(_FLOAT, "clip pixels per source pixel; above 1 is upscaled")
    cropped: float = column(_FLOAT, "share of the source picture that the bucket's aspect cut off")
    size_bytes: int = column(_LONG, "size of the encoded clip", unit="byte")
    sha256: str = column(_TEXT, "SHA-256 of the encoded clip")
    sharpness: float = column(_FLOAT, "median variance of the Laplacian at 256 px short side")
    brightness: float = column(_FLOAT, "mean luma, 0 black to 1 white")
    contrast: float = column(_FLOAT, "standard deviation of luma, 0 to 0.5")
    dark: float = column(_FLOAT, "share of pixels below 5 % luma")
    bright: float = column(_FLOAT, "share of pixels above 95 % luma")
    black_border: float = column(_FLOAT, "share of the picture covered by black bars")
    motion: float = column(_FLOAT, "mean optical flow at 256 px short side", unit="px/frame")
    camera_motion: float = column(
        _FLOAT,
        "length of the global part of it, where no person is; NaN: nothing to tell it by",
        unit="px/frame",
    )
    camera_pan: list[float] = column(pa.list_(_FLOAT, 2), "global flow, x and y", unit="px/frame")
    camera_zoom: float = column(_FLOAT, "relative growth of the picture per second", unit="1/s")
    text_area: float = column(_FLOAT, "share of the picture that looks like burned-in text")
    perceptual_hash: str = column(_TEXT, "hex difference hashes of first, middle and last frame")
    num_people: int = column(_INT, "median number of people in a frame", default=0)
    person_dark: float = column(
        _FLOAT, "dark, of the people's boxes alone; NaN without people", default=math.nan
    )
    person_bright: float = column(
        _FLOAT, "bright, of the people's boxes alone; NaN without people", default=math.nan
    )
    background_colour: str = column(
        _TEXT, "of nearly all that is seen beside people, '' for several", default=""
    )
    background_evenness: float = column(
        _FLOAT, "share of it near its median colour; NaN: hardly seen", default=math.nan
    )
    background_detail: float = column(_FLOAT, "share of it on edges, as above", default=math.nan)
    background_brightness: float = column(
        _FLOAT, "its mean luma, 0 to 1, as above", default=math.nan
    )
    warmth: float = column(
        _FLOAT, "mean of Lab's a and b, people included; NaN unmeasured", default=math.nan
    )
    chroma: float = column(
        _FLOAT, "mean distance of its colours from grey in Lab; NaN unmeasured", default=math.nan
    )
    reference_only: bool = column(
        _FLAG, "too short to train on: its people are only references of others", default=False
    )
    caption: str = column(_TEXT, "what the clip shows", default="")
    caption_engine: str = column(_TEXT, "engine that wrote the caption", default="")
    caption_digest: str = column(_TEXT, "SHA-256 of its weights, or 'none'", default="")
    aesthetic: float | None = column(_FLOAT, "how pleasing, 1 to 10; null unasked", default=None)
    nsfw: float | None = column(_FLOAT, "probability of not safe for work", default=None)
    watermark: float | None = column(_FLOAT, "probability of a watermark", default=None)
    text: float | None = column(_FLOAT, "share of the picture that is text", default=None)
    scorers: list[Scorer] = rows_column(Scorer, "who gave those four, and speech", default=())
    loudness: float = column(
        _FLOAT,
        "integrated, ITU-R BS.1770-4; -70 silent; NaN: no sound is kept",
        unit="LUFS",
        default=math.nan,
    )
    silence: float = column(
        _FLOAT, "share of the time below -50 dBFS; NaN: no sound is kept", default=math.nan
    )
    speech: float | None = column(
        _FLOAT, "share of the time in which somebody speaks or sings; null unasked", default=None
    )


@dataclass(frozen=True)
class FaceBox:
    """A face found in one frame of a clip."""

    frame_index: int = column(_INT, "frame of the clip")
    box: list[float] = column(BOX, "xyxy", unit="px")
    landmarks: list[float] = column(
        pa.list_(_FLOAT), "x,y of eyes, nose, mouth corners; empty if unknown", unit="px"
    )
    score: float = column(_FLOAT, "the detector's own confidence")
    yaw: float = column(_FLOAT, "0 frontal, +-90 profile", unit="degree")


@dataclass(frozen=True)
class Track:
    """One person through one clip."""

    track_id: str = column(_TEXT, "hash of clip_id, detector and position in the clip")
    clip_id: str = column(_TEXT, "the clip")
    video_id: str = column(_TEXT, "the source video")
    shot_id: str = column(_TEXT, "the shot")
    character_id: str = column(_TEXT, "the identity; '' before pairing or when dropped", default="")
    detector: str = column(_TEXT, "id of the engine that found the person", default="")
    detector_digest: str = column(_TEXT, "SHA-256 of its weights, or 'none'", default="")
    first_frame: int = column(_INT, "first frame of the clip with a box", default=0)
    boxes: list[list[float]] = column(
        pa.list_(BOX), "one box per frame from first_frame on", unit="px", default=()
    )
    detected: list[bool] = column(
        pa.list_(_FLAG), "per frame: seen by the detector, not interpolated", default=()
    )
    score: float = column(_FLOAT, "mean confidence of the detections", default=0.0)
    coverage: float = column(_FLOAT, "share of the clip's frames with a box", default=0.0)
    area: float = column(_FLOAT, "median box area over picture area", default=0.0)
    purity: float = column(_FLOAT, "share of neighbouring looks that agree, 1 is pure", default=0.0)
    motion: float = column(
        _FLOAT,
        "median change from look to look, of the person or, if less, of the face; grey levels of "
        "255; NaN unknown",
        default=math.nan,
    )
    shot_size: str = column(_TEXT, "close-up | medium | full | wide", default="")
    faces: list[FaceBox] = rows_column(FaceBox, "faces in time order", default=())
    face_rate: float = column(_FLOAT, "share of examined frames with a face", default=0.0)
    face_detector: str = column(_TEXT, "id of the engine that found the faces", default="")
    face_detector_digest: str = column(_TEXT, "SHA-256 of its weights, or 'none'", default="")
    top_colour: str = column(_TEXT, "named colour of the upper garment, '' if unseen", default="")
    bottom_colour: str = column(_TEXT, "the same for the lower garment", default="")
    hair_colour: str = column(_TEXT, "dark | blond | '' unseen or not sure", default="")
    description: str = column(_TEXT, "what the person looks like, as measured", default="")
    looks: list[bytes] = column(
        pa.list_(_BYTES),
        "per still with a box: pipeline.pictures.looks, to find copies",
        default=(),
    )
    own_similarity: float = column(
        _FLOAT, "mean cosine to the character's other tracks, NaN if alone", default=math.nan
    )
    next_similarity: float = column(
        _FLOAT, "mean cosine to the next best character, NaN without one", default=math.nan
    )
    next_character_id: str = column(_TEXT, "that character", default="")


@dataclass(frozen=True)
class Candidate:
    """An image of one person that may become a reference, with its measured quality."""

    reference_id: str = column(_TEXT, "hash of track_id and time")
    track_id: str = column(_TEXT, "the track that it shows")
    clip_id: str = column(_TEXT, "the clip that it was taken from")
    video_id: str = column(_TEXT, "the source video")
    shot_id: str = column(_TEXT, "the shot")
    time_s: float = column(_DOUBLE, "time in the source", unit="s")
    width: int = column(_INT, "width of the crop", unit="px")
    height: int = column(_INT, "height of the crop", unit="px")
    box: list[float] = column(BOX, "the person inside the crop, xyxy", unit="px")
    face: list[float] = column(pa.list_(_FLOAT), "the face inside the crop, or empty", unit="px")
    size_px: float = column(_FLOAT, "square root of the person's box area in the source", unit="px")
    sharpness: float = column(_FLOAT, "variance of the Laplacian of the person at 224 px")
    exposure: float = column(_FLOAT, "1 well exposed, 0 black or blown out")
    frontal: float = column(_FLOAT, "1 frontal, 0 profile or unknown")
    yaw: float = column(_FLOAT, "0 frontal, +-90 profile, NaN unknown", unit="degree")
    occlusion: float = column(_FLOAT, "share of the box covered by other people's boxes")
    truncation: float = column(_FLOAT, "share of the box's outline on the picture's edge")
    whole_body: bool = column(_FLAG, "head and feet both inside the picture")
    mask_area: float = column(_FLOAT, "share of the person's box that the mask covers")
    mask_engine: str = column(_TEXT, "id of the engine that made the mask")
    perceptual_hash: str = column(_TEXT, "hex difference hash of the crop")
    quality: float = column(_FLOAT, "all of the above in one number, 0 to 1, for ranking")
    image: bytes = column(_BYTES, "the crop, JPEG")
    mask: bytes = column(_BYTES, "the person in the crop, 8-bit PNG, 255 is person")
    mask_digest: str = column(_TEXT, "SHA-256 of the mask engine's weights, or 'none'", default="")
    look: bytes = column(_BYTES, "pipeline.pictures.looks of the person's box", default=b"")
    place: bytes = column(_BYTES, "colours of the background (looks.place_of)", default=b"")
    brightness: float = column(_FLOAT, "mean luma of the person, 0 to 1", default=math.nan)
    warmth: float = column(
        _FLOAT, "red against blue light of the person", unit="stop", default=math.nan
    )
    chroma: float = column(
        _FLOAT, "mean distance of the crop's colours from grey, of 128", default=math.nan
    )
    smile: float = column(
        _FLOAT, "width of the mouth over the distance of the eyes, NaN unknown", default=math.nan
    )
    other_face: float = column(
        _FLOAT, "largest share of somebody else's face that the mask covers", default=0.0
    )
    source_reference_id: str = column(_TEXT, "image that it was edited from, or ''", default="")
    edit: str = column(_TEXT, "JSON of the edit: prompt, seed, engine, checks; or ''", default="")
    mask_quality: float = column(
        _FLOAT,
        "the mask alone, 0 to 1: coverage of the box, one piece, face on it, nothing outside, "
        "outline on edges; NaN unmeasured",
        default=math.nan,
    )
    lettering: float = column(
        _FLOAT,
        "share of the person under lettering, as subtitles are; NaN unmeasured",
        default=math.nan,
    )


@dataclass(frozen=True)
class Embedding:
    """A biometric vector. Kept apart from all other tables; may be dropped at any time."""

    track_id: str = column(_TEXT, "the person that it describes")
    reference_id: str = column(_TEXT, "the image that it was made from, '' for a track's mean")
    video_id: str = column(_TEXT, "the source video")
    recogniser: str = column(_TEXT, "id of the engine; vectors of two recognisers never mix")
    weights_digest: str = column(_TEXT, "SHA-256 of its weights, or its version without weights")
    num_images: int = column(_INT, "images averaged")
    vector: list[float] = column(pa.list_(_FLOAT), "unit length")


@dataclass(frozen=True)
class ClipMedia:
    """The encoded clip, kept with the unit so that pairing never decodes a video again."""

    clip_id: str = column(_TEXT, "the clip")
    mp4: bytes = column(_BYTES, "H.264 in MP4")


@dataclass(frozen=True)
class Reject:
    """One thing that was dropped or could not be looked at."""

    stage: str = column(_TEXT, "stage that dropped it")
    level: str = column(_TEXT, "video | part | clip | track | candidate | edit | sample")
    id: str = column(_TEXT, "id at that level")
    video_id: str = column(_TEXT, "the source video")
    reason: str = column(_TEXT, "schemas.reasons.Reason, or Failure when failed is true")
    failed: bool = column(_FLAG, "true: the process died; false: the data was refused")
    value: float | None = column(_DOUBLE, "what was measured", default=None)
    threshold: float | None = column(_DOUBLE, "what was allowed", default=None)
    detail: str = column(_TEXT, "one line for a person", default="")
    number: int = column(_LONG, "rows that this line stands for; id is the nearest miss", default=1)


@dataclass(frozen=True)
class Character:
    """One identity: the tracks that show the same person."""

    character_id: str = column(_TEXT, "hash of its smallest track_id")
    num_tracks: int = column(_INT, "tracks, those refused as ambiguous left out")
    num_clips: int = column(_INT, "clips")
    num_shots: int = column(_INT, "shots")
    num_videos: int = column(_INT, "source videos")
    cohesion: float = column(_FLOAT, "mean cosine between its tracks, NaN for one track")
    weakest: float = column(_FLOAT, "least mean cosine of a track to the others, NaN for one track")
    next_similarity: float = column(_FLOAT, "highest mean cosine of a track to another character")
    next_character_id: str = column(_TEXT, "that character, '' without one")
    recogniser: str = column(_TEXT, "id of the engine behind the cosines")
    space: str = column(
        _TEXT,
        "face | body | '' for a recogniser of one space; both where a person joined them",
    )
    recogniser_digest: str = column(
        _TEXT, "SHA-256 of the recogniser's weights, or its version without weights", default=""
    )
    name: str = column(_TEXT, "what a person called it, '' where nobody did", default="")


@dataclass(frozen=True)
class Suspect:
    """A decision about identity that a person should look at."""

    kind: str = column(_TEXT, "merge: may be two people | split: two characters may be one person")
    character_id: str = column(_TEXT, "the character")
    other_character_id: str = column(_TEXT, "of a split suspect, else ''")
    track_id: str = column(_TEXT, "of a merge suspect: the member that fits worst, else ''")
    similarity: float = column(_FLOAT, "cosine")
    threshold: float = column(_FLOAT, "cosine that it was held against")
    detail: str = column(_TEXT, "one line for a person", default="")


@dataclass(frozen=True)
class Edit:
    """An edited reference as the editor made it and as it was checked; kept in `edits/`.

    It depends on the source, the prompt, the seed and the engines only: other thresholds judge it
    again and never edit again.
    """

    edit_id: str = column(_TEXT, "hash of source, prompt, seed, editor and checking engines")
    source_reference_id: str = column(_TEXT, "image that it was edited from")
    track_id: str = column(_TEXT, "the track that the source shows")
    video_id: str = column(_TEXT, "the source video")
    prompt_id: str = column(_TEXT, "pipeline.engines.editing.edit_prompts")
    prompt: str = column(_TEXT, "what the editor was told, '' for one without words")
    seed: int = column(_LONG, "seed")
    engine: str = column(_TEXT, "id of the editor")
    weights_digest: str = column(_TEXT, "SHA-256 of its weights, 'none' without")
    refusal: str = column(
        _TEXT, "what cannot be measured: wrong_size | no_face | other_people, or ''"
    )
    measured: str = column(_TEXT, "JSON of every check's value: pipeline.engines.editing.edit_gate")
    recogniser: str = column(_TEXT, "id of the engine behind similarity and vector")
    recogniser_digest: str = column(_TEXT, "SHA-256 of its weights")
    vector: list[float] = column(pa.list_(_FLOAT), "identity vector, or empty")
    candidate: list[Candidate] = rows_column(Candidate, "the edit as a candidate, or empty")


@dataclass(frozen=True)
class Reference:
    """A reference of a sample: the pair is this row, never joined again."""

    reference_id: str = column(_TEXT, "the image")
    kind: str = column(_TEXT, "schemas.reasons.PairKind")
    track_id: str = column(_TEXT, "track that it shows")
    clip_id: str = column(_TEXT, "clip that it was taken from")
    video_id: str = column(_TEXT, "video that it was taken from")
    time_s: float = column(_DOUBLE, "time in that video", unit="s")
    time_gap_s: float = column(_DOUBLE, "to the clip in the same video, else NaN", unit="s")
    similarity: float = column(_FLOAT, "cosine to the clip's track; see compared")
    recogniser: str = column(_TEXT, "id of the engine behind similarity")
    quality: float = column(_FLOAT, "0 to 1")
    yaw: float = column(_FLOAT, "0 frontal, NaN unknown", unit="degree")
    whole_body: bool = column(_FLAG, "head and feet both seen")
    augmentation: str = column(_TEXT, "JSON of every parameter, '' when unchanged")
    sha256: str = column(_TEXT, "SHA-256 of the image bytes")
    image: dict = column(MEDIA, "the crop, JPEG")
    mask: dict = column(MEDIA, "the person in it, PNG")
    edit: str = column(
        _TEXT, "JSON of the edit: prompt, seed, engine, checks; '' when not edited", default=""
    )
    source_reference_id: str = column(_TEXT, "image that it was edited from, or ''", default="")
    near_duplicate: float = column(
        _FLOAT,
        "copy risk: cosine of the stored picture's look to the nearest moment of the clip; 1 is a "
        "copy, 0.85 is suspicious, strangers have 0.5 at most; NaN unknown",
        default=math.nan,
    )
    hash_distance: int = column(
        _INT,
        "copy risk: bits of 64 that differ from the clip's nearest candidate, before augmentation; "
        "-1 unknown",
        unit="bit",
        default=-1,
    )
    pose_gap: float = column(
        _FLOAT,
        "copy risk: least difference of yaw to the clip's faces, NaN unknown",
        unit="degree",
        default=math.nan,
    )
    place_similarity: float = column(
        _FLOAT,
        "copy risk: Bhattacharyya coefficient of the background's colours to those of the clip; "
        "1 is one place; NaN when either shows no background, or it was replaced",
        default=math.nan,
    )
    review: str = column(
        _TEXT,
        "why a person should look at the pair: near_duplicate | same_view, or ''",
        default="",
    )
    recogniser_digest: str = column(
        _TEXT, "SHA-256 of the recogniser's weights, or its version without weights", default=""
    )
    mask_quality: float = column(
        _FLOAT,
        "of the mask before augmentation, as in candidates; NaN unmeasured",
        default=math.nan,
    )
    compared: str = column(
        _TEXT,
        "what similarity is of: worn where only one of the two is known by a face, else '', which "
        "is the vectors themselves",
        default="",
    )


@dataclass(frozen=True)
class CastMember:
    """A further character of a clip, in a sample of several characters."""

    track_id: str = column(_TEXT, "the character's track in the clip")
    character_id: str = column(_TEXT, "the identity")
    description: str = column(_TEXT, "what the character looks like")
    shot_size: str = column(_TEXT, "close-up | medium | full | wide")
    purity: float = column(_FLOAT, "as in tracks")
    coverage: float = column(_FLOAT, "as in tracks")
    area: float = column(_FLOAT, "as in tracks")
    face_rate: float = column(_FLOAT, "as in tracks")
    first_frame: int = column(_INT, "first frame with the character")
    boxes: list[list[float]] = column(pa.list_(BOX), "the character, one box a frame", unit="px")
    references: list[Reference] = rows_column(Reference, "best first")


@dataclass(frozen=True)
class Sample:
    """One training row: clip, character, references, caption.

    With several characters in one sample, the columns speak of the largest; `others` has the rest.
    """

    sample_id: str = column(_TEXT, "hash of clip_id, track_id and references")
    clip_id: str = column(_TEXT, "the clip")
    video_id: str = column(_TEXT, "the source video")
    shot_id: str = column(_TEXT, "the shot")
    track_id: str = column(_TEXT, "the character's track in the clip")
    character_id: str = column(_TEXT, "the identity")
    split: str = column(_TEXT, "train | validation | test")
    caption: str = column(_TEXT, "what the clip shows")
    description: str = column(_TEXT, "what the character looks like")
    caption_engine: str = column(_TEXT, "engine that wrote both")
    width: int = column(_INT, "width", unit="px")
    height: int = column(_INT, "height", unit="px")
    fps: float = column(_DOUBLE, "constant frame rate", unit="1/s")
    num_frames: int = column(_INT, "frames")
    licence: str = column(_TEXT, "licence of the source video")
    source: str = column(_TEXT, "origin of the source video")
    start_s: float = column(_DOUBLE, "start in the source", unit="s")
    end_s: float = column(_DOUBLE, "end in the source", unit="s")
    num_people: int = column(_INT, "median number of people in a frame")
    shot_size: str = column(_TEXT, "close-up | medium | full | wide")
    sharpness: float = column(_FLOAT, "as in clips")
    brightness: float = column(_FLOAT, "as in clips")
    motion: float = column(_FLOAT, "as in clips", unit="px/frame")
    camera_motion: float = column(_FLOAT, "as in clips", unit="px/frame")
    purity: float = column(_FLOAT, "as in tracks")
    coverage: float = column(_FLOAT, "as in tracks")
    area: float = column(_FLOAT, "as in tracks")
    face_rate: float = column(_FLOAT, "as in tracks")
    first_frame: int = column(_INT, "first frame with the character")
    boxes: list[list[float]] = column(pa.list_(BOX), "the character, one box a frame", unit="px")
    references: list[Reference] = rows_column(Reference, "best first")
    video: dict = column(MEDIA, "the clip, H.264 in MP4")
    others: list[CastMember] = rows_column(
        CastMember, "further characters; empty when each has a sample of its own", default=()
    )
    caption_digest: str = column(
        _TEXT, "SHA-256 of the caption engine's weights, 'none' without, '' when given", default=""
    )
    action: str = column(
        _TEXT, "of the caption: what is done, without the character's look; '' unknown", default=""
    )
    scene: str = column(_TEXT, "of the caption: place and light; '' unknown", default="")
    camera: str = column(_TEXT, "of the caption: framing and motion; '' unknown", default="")


@dataclass(frozen=True, order=True)
class Tag:
    """A mark on a sample, by a person or by a check of the audit."""

    sample_id: str = column(_TEXT, "the sample")
    tag: str = column(_TEXT, "id of a check, or a word of the person's own")
    note: str = column(_TEXT, "why", default="")

    def __post_init__(self) -> None:
        if not isinstance(self.tag, str) or not _TAG.fullmatch(self.tag):
            raise ValueError(
                "tag must be 1 to 40 of a-z, 0-9, '.', _ and -, and start with a letter or digit, "
                f"got {str(self.tag)[:60]!r}"
            )
        if not isinstance(self.sample_id, str) or not 0 < len(self.sample_id) <= _MAX_ID:
            raise ValueError(f"sample_id must be text of 1 to {_MAX_ID} characters")
        if not isinstance(self.note, str) or len(self.note) > _MAX_NOTE:
            raise ValueError(f"note must be text of at most {_MAX_NOTE} characters")
