"""A small dataset with people in it: samples, tracks, vectors and a doubt about two of them."""

from dataclasses import replace
from pathlib import Path

import rows as draw
from present import current_version
from tiny_dataset import tiny_sample, write_samples

from pipeline.dataset.commit import publish, stage_file, table_path
from pipeline.dataset.parquet import encode_rows
from pipeline.dataset.store import open_store
from schemas.ids import content_id
from schemas.tables import Character, Clip, Embedding, Suspect, Track

ANNA, TWIN, BEN = (content_id("cast", who) for who in ("Anna", "twin", "Ben"))
TRACKS = {ANNA: ["track-0", "track-1", "track-2"], TWIN: ["track-3"], BEN: ["track-4", "track-5"]}


def write_cast(folder: Path) -> Path:
    """Publish three characters with six samples; Anna and her twin are a split suspect.

    One track of Anna's strays from her others, which is a merge suspect.
    """
    samples, clips, tracks, vectors = [], [], [], []
    for who, (character_id, names) in enumerate(TRACKS.items()):
        for place, name in enumerate(names):
            number = int(name.removeprefix("track-"))
            sample = replace(
                tiny_sample(number, frames=8, references=2), track_id=name,
                character_id=character_id, description=f"Person {who}.",
            )  # fmt: skip
            clip = draw.clip(sample.clip_id, sample.video_id, shot_id=sample.shot_id)
            samples.append(sample)
            clips.append(clip)
            tracks.append(draw.track(name, clip, character_id=character_id))
            cosine = 0.5 if name == "track-2" else 0.95
            vectors.append(draw.embedding(draw.looks_like(draw.person(who), cosine, place), name))
    write_samples(folder, samples)
    store = open_store(folder)
    manifest, digest = current_version(store)
    characters = [
        Character(id, len(names), len(names), len(names), len(names), 0.9, 0.9, 0.1, "", "r/1", "")
        for id, names in TRACKS.items()
    ]
    suspects = [
        Suspect("split", ANNA, TWIN, "", 0.68, 0.65, "nearly as alike as one"),
        Suspect("merge", ANNA, "", "track-2", 0.35, 0.4, "further than a reference may be"),
    ]
    tables = {
        "clips": (Clip, clips), "tracks": (Track, tracks), "embeddings": (Embedding, vectors),
        "characters": (Character, characters), "suspects": (Suspect, suspects),
    }  # fmt: skip
    files = [
        stage_file(table_path(name, 2, 0), encode_rows(made, kind), len(made), store)
        for name, (kind, made) in tables.items()
    ]
    publish(replace(manifest, version=2, parent=digest, files=[*manifest.files, *files]), store)
    return folder
