"""Faults of pairs, identity vectors and characters."""

import numpy as np
from planted import Copy, fault, has_ground


@fault("pair.inside-clip")
def reference_inside_its_clip(copy: Copy) -> None:
    sample = copy.sample(lambda row: row["references"][0]["kind"] != "in_clip_augmented")
    middle = (sample["start_s"] + sample["end_s"]) / 2
    own = {name: sample[name] for name in ("clip_id", "video_id", "track_id")}
    sample["references"][0] |= own | {"time_s": middle, "time_gap_s": 0.0}


def _same_video(sample: dict, reference: dict) -> bool:
    return reference["video_id"] == sample["video_id"]


@fault("pair.kind")
def kind_contradicts_the_ids(copy: Copy) -> None:
    copy.pair(_same_video)[1]["kind"] = "cross_video"


@fault("pair.unaugmented")
def own_picture_unchanged(copy: Copy) -> None:
    sample = copy.sample()
    middle = (sample["start_s"] + sample["end_s"]) / 2
    own = {name: sample[name] for name in ("clip_id", "video_id", "track_id")}
    own |= {"kind": "in_clip_augmented", "augmentation": "", "time_s": middle, "time_gap_s": 0.0}
    sample["references"][0] |= own


@fault("pair.time")
def gap_wrong(copy: Copy) -> None:
    copy.pair(_same_video)[1]["time_gap_s"] = 61.0


@fault("pair.time")
def time_outside_the_source_clip(copy: Copy) -> None:
    copy.sample()["references"][0]["time_s"] += 500.0


@fault("pair.other-character")
def reference_of_somebody_else(copy: Copy) -> None:
    sample = copy.sample()
    other = copy.sample(lambda row: row["character_id"] != sample["character_id"])
    taken = dict(other["references"][0])
    taken["kind"] = "cross_video" if taken["video_id"] != sample["video_id"] else taken["kind"]
    sample["references"] = [taken, *sample["references"][1:]]


@fault("pair.low-similarity")
def similarity_below_the_floor(copy: Copy) -> None:
    copy.sample()["references"][0]["similarity"] = 0.31


@fault("pair.similarity-differs")
def similarity_of_another_pair(copy: Copy) -> None:
    reference = copy.sample()["references"][0]
    near = reference["similarity"] - 0.05
    reference["similarity"] = near if near > 0.905 else reference["similarity"] + 0.04


@fault("pair.wrong-identity")
def vector_of_somebody_else(copy: Copy) -> None:
    sample = copy.sample()
    other = copy.sample(lambda row: row["character_id"] != sample["character_id"])
    reference = sample["references"][0]
    mine = copy.vector_of(reference["track_id"], reference["reference_id"])
    mine["vector"] = copy.vector_of(other["track_id"])["vector"]


@fault("pair.no-reference")
def no_reference(copy: Copy) -> None:
    copy.sample()["references"] = []


@fault("pair.reference-twice")
def reference_listed_twice(copy: Copy) -> None:
    sample = copy.sample()
    sample["references"] = [sample["references"][0], *sample["references"]]


@fault("pair.low-quality")
def reference_of_low_quality(copy: Copy) -> None:
    copy.sample()["references"][0]["quality"] = 0.05


@fault("pair.mirrored")
def reference_mirrored(copy: Copy) -> None:
    copy.sample()["references"][0]["augmentation"] = '{"flip": true, "scale": 1.0}'


@fault("pair.edit-drift")
def edit_drifted(copy: Copy) -> None:
    reference = copy.sample()["references"][0]
    reference |= {"augmentation": '{"prompt_id": "older", "seed": 4}', "similarity": 0.55}


@fault("pair.too-near")
def neighbour_of_the_same_shot(copy: Copy) -> None:
    sample = copy.sample()
    own = {"video_id": sample["video_id"], "kind": "same_shot_other_clip", "augmentation": ""}
    sample["references"][0] |= own | {"time_s": sample["end_s"] + 0.4, "time_gap_s": 0.4}


@fault("pair.copy-vector")
def vector_is_the_clip_s_own(copy: Copy) -> None:
    reference_of = copy.sample()
    reference = reference_of["references"][0] | {"augmentation": ""}
    reference_of["references"][0] = reference
    mine = copy.vector_of(reference["track_id"], reference["reference_id"])
    mine["vector"] = copy.vector_of(reference_of["track_id"])["vector"]
    reference["similarity"] = 1.0


@fault("vector.not-finite")
def vector_not_a_number(copy: Copy) -> None:
    row = copy.draw(copy.rows("embeddings"))
    row["vector"] = [float("nan"), *row["vector"][1:]]


@fault("vector.not-finite")
def vector_of_zeros(copy: Copy) -> None:
    row = copy.draw(copy.rows("embeddings"))
    row["vector"] = [0.0] * len(row["vector"])


@fault("vector.not-unit")
def vector_three_times_as_long(copy: Copy) -> None:
    row = copy.draw(copy.rows("embeddings"))
    row["vector"] = [3 * value for value in row["vector"]]


@fault("vector.dimension")
def vector_of_another_length(copy: Copy) -> None:
    row = copy.draw(copy.rows("embeddings"))
    row["vector"] = row["vector"][:-1]


@fault("vector.mixed")
def recognisers_mixed(copy: Copy) -> None:
    copy.draw(copy.rows("embeddings"))["recogniser"] = "arcface-w600k/1"


@fault("vector.mixed")
def weights_mixed(copy: Copy) -> None:
    copy.draw(copy.rows("embeddings"))["weights_digest"] = "a" * 64


@fault("vector.mixed")
def pair_scored_by_another_recogniser(copy: Copy) -> None:
    copy.sample()["references"][0]["recogniser"] = "sface/1"


@fault("vector.missing")
def vector_missing(copy: Copy) -> None:
    reference = copy.sample()["references"][0]
    rows = copy.rows("embeddings")
    copy.tables["embeddings"] = [
        row for row in rows if row["reference_id"] != reference["reference_id"]
    ]


@fault("identity.impure-track")
def track_impure(copy: Copy) -> None:
    copy.sample()["purity"] = 0.4


@fault("identity.coverage")
def character_hardly_seen(copy: Copy) -> None:
    copy.sample()["coverage"] = 0.2


@fault("identity.jump")
def box_jumps_to_somebody_else(copy: Copy) -> None:
    sample = copy.sample(lambda row: has_ground(row) and len(row["boxes"]) > 8)
    boxes = [list(box) for box in sample["boxes"]]
    width = boxes[0][2] - boxes[0][0]
    height = boxes[0][3] - boxes[0][1]
    step = 1.3 * max(width, height)
    step = step if boxes[-1][2] + step < sample["width"] else -step
    half = len(boxes) // 2
    sample["boxes"] = boxes[:half] + [[b[0] + step, b[1], b[2] + step, b[3]] for b in boxes[half:]]


@fault("identity.twice-in-frame")
def character_twice_in_a_frame(copy: Copy) -> None:
    track = dict(copy.track_of(copy.sample()))
    shifted = [[b[0] + 50, b[1], b[2] + 50, b[3]] for b in track["boxes"]]
    copy.rows("tracks").append(track | {"track_id": "a" * 24, "boxes": shifted})


@fault("identity.double-track")
def person_followed_twice(copy: Copy) -> None:
    track = dict(copy.track_of(copy.sample()))
    copy.rows("tracks").append(track | {"track_id": "b" * 24, "character_id": ""})


@fault("identity.split-suspect")
def one_person_two_characters(copy: Copy) -> None:
    """The tracks of one character are handed to two ids."""
    counted: dict[str, list[dict]] = {}
    for row in copy.rows("samples"):
        counted.setdefault(row["character_id"], []).append(row)
    several = [rows for rows in counted.values() if len(rows) > 1]
    rows = several[int(copy.random.integers(len(several)))]
    for row in rows[: len(rows) // 2]:
        row["character_id"] = copy.track_of(row)["character_id"] = "d" * 24


@fault("identity.merge-suspect")
def two_people_one_character(copy: Copy) -> None:
    sample = copy.sample()
    vector = np.array(copy.vector_of(sample["track_id"])["vector"])

    def other(row: dict) -> bool:
        there = np.array(copy.vector_of(row["track_id"])["vector"])
        return row["character_id"] != sample["character_id"] and float(there @ vector) < 0.7

    stranger = copy.sample(other)
    for row in copy.rows("samples"):
        if row["character_id"] == stranger["character_id"]:
            row["character_id"] = copy.track_of(row)["character_id"] = sample["character_id"]


@fault("identity.dominant")
def one_character_has_most(copy: Copy) -> None:
    samples = copy.rows("samples")
    ids = sorted({row["character_id"] for row in samples})
    for place, row in enumerate(samples):
        row["character_id"] = ids[0] if place > 2 else f"{place}" * 24
        copy.track_of(row)["character_id"] = row["character_id"]


@fault("identity.one-reference")
def same_reference_everywhere(copy: Copy) -> None:
    counted: dict[str, list[dict]] = {}
    for row in copy.rows("samples"):
        counted.setdefault(row["character_id"], []).append(row)
    rows = next(rows for rows in counted.values() if len(rows) > 1)
    for row in rows:
        row["references"] = [dict(rows[0]["references"][0])]


@fault("identity.always-alike")
def character_always_seen_alike(copy: Copy) -> None:
    wanted = copy.sample()["character_id"]
    for row in copy.rows("samples"):
        if row["character_id"] == wanted:
            row["shot_size"], row["brightness"] = "medium", 0.4
            for reference in row["references"]:
                reference["yaw"] = 3.0
