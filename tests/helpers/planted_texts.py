"""Faults of captions, splits, rights and lists."""

from dataclasses import replace

from planted import FAULTS, Copy, Fault, fault, sha256_of

from schemas.tombstones import TOMBSTONES, Tombstones


def _caption(check: str, name: str, text: str) -> None:
    def set_caption(copy: Copy) -> None:
        copy.sample()["caption"] = text

    FAULTS[name] = Fault(name, check, set_caption, media=False, saves=True)


_caption("caption.refusal", "caption_refuses", "I'm sorry, but I cannot describe this image.")
_caption("caption.empty", "caption_empty", "")
_caption("caption.names", "caption_names_somebody", "A man named John Smith walks along a beach.")
_caption("caption.markup", "caption_with_markup", "<b>A person</b> walks <script>x</script> there.")
_caption("caption.loop", "caption_loops", "a man walks " * 12)
_caption("caption.count", "caption_counts_people_who_are_not_there", "Nine people walk on a beach.")
_caption(
    "caption.length",
    "caption_too_long",
    "A person walks past another shop. " * 2
    + "".join(f"Then shop number {n} comes into view on the {n}th street. " for n in range(40)),
)


@fault("caption.echo")
def caption_repeats_the_prompt(copy: Copy) -> None:
    from pipeline.engines.captions.caption_prompts import INSTRUCTION

    copy.sample()["caption"] = " ".join(INSTRUCTION.split()[:30])


def _two_splits(copy: Copy, key: str) -> None:
    counted: dict[str, list[dict]] = {}
    for row in copy.rows("samples"):
        counted.setdefault(row[key], []).append(row)
    several = [rows for rows in counted.values() if len(rows) > 1]
    rows = several[int(copy.random.integers(len(several)))]
    rows[0]["split"] = "test" if rows[1]["split"] != "test" else "train"


@fault("leak.character")
def character_in_two_splits(copy: Copy) -> None:
    _two_splits(copy, "character_id")


@fault("leak.video")
def video_in_two_splits(copy: Copy) -> None:
    _two_splits(copy, "video_id")


@fault("leak.reference")
def reference_from_another_split(copy: Copy) -> None:
    sample = copy.sample()
    other = copy.sample(lambda row: row["split"] != sample["split"])
    sample["references"][0]["video_id"] = other["video_id"]


def _far(copy: Copy) -> tuple[dict, dict]:
    sample = copy.sample()
    return sample, copy.sample(
        lambda row: row["split"] != sample["split"] and row["video_id"] != sample["video_id"]
    )


@fault("leak.near-duplicate")
def near_duplicate_across_splits(copy: Copy) -> None:
    one, other = (copy.clip_of(sample) for sample in _far(copy))
    bits = int(one["perceptual_hash"], 16) ^ 1 << int(copy.random.integers(192))
    other["perceptual_hash"] = f"{bits:048x}"


@fault("leak.identical")
def same_clip_across_splits(copy: Copy) -> None:
    one, other = (copy.clip_of(sample) for sample in _far(copy))
    other["sha256"] = one["sha256"]


@fault("leak.same-person")
def person_of_two_splits(copy: Copy) -> None:
    one, other = _far(copy)
    for row in copy.rows("embeddings"):
        if row["track_id"] == other["track_id"] and not row["reference_id"]:
            row["vector"] = copy.vector_of(one["track_id"])["vector"]
    for row in copy.rows("samples"):
        if row is not other and row["character_id"] == other["character_id"]:
            row["character_id"] = copy.track_of(row)["character_id"] = "9" * 24


@fault("leak.held-out")
def clip_of_a_held_out_set(copy: Copy) -> None:
    text = copy.clip_of(copy.sample())["perceptual_hash"]
    path = copy.folder / "held_out.txt"
    path.write_text(f"# hashes\n{text[16:32]}\n")
    copy.extra["held_out"] = [str(path)]


@fault("rights.undeclared")
def nobody_said_whose_it_is(copy: Copy) -> None:
    for row in copy.rows("samples"):
        row["licence"], row["source"] = "unknown", ""


@fault("rights.licence")
def licence_unknown(copy: Copy) -> None:
    copy.sample()["licence"] = "unknown"


@fault("rights.source")
def source_missing(copy: Copy) -> None:
    copy.sample()["source"] = ""


@fault("rights.licence-refused")
def licence_refused(copy: Copy) -> None:
    allowed = sorted({row["licence"] for row in copy.rows("samples")})
    copy.sample()["licence"] = "proprietary"
    copy.save()
    config = copy.manifest.config | {"licences": {"allowed": allowed}}
    copy.write_manifest(replace(copy.manifest, config=config))


@fault("rights.restricted")
def licence_non_commercial(copy: Copy) -> None:
    copy.sample()["licence"] = "CC-BY-NC-4.0"


@fault("rights.opt-out")
def video_opted_out(copy: Copy) -> None:
    path = copy.folder / "opt_out.txt"
    path.write_text(f"{copy.sample()['video_id']}\n")
    copy.extra["opt_out"] = [str(path)]


@fault("rights.forgotten")
def forgotten_video_is_back(copy: Copy) -> None:
    tombstones = Tombstones().adding([copy.sample()["video_id"]], [])
    (copy.folder / TOMBSTONES).write_bytes(tombstones.to_json())


@fault("rights.forgotten-doubt")
def somebody_like_a_forgotten_person_stayed(copy: Copy) -> None:
    tombstones = Tombstones().adding([], ["gone"], [copy.sample()["character_id"]])
    (copy.folder / TOMBSTONES).write_bytes(tombstones.to_json())


@fault("safety.known-picture", media=True)
def known_picture(copy: Copy) -> None:
    path = copy.folder / "known.txt"
    path.write_text(f"{sha256_of(copy.sample()['references'][0]['image']['bytes'])}\n")
    copy.extra["known_bad"] = [str(path)]
