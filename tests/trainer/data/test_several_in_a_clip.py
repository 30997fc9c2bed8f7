"""Characters of one clip are trained together: each has its references, its name, its place."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from encoding import encode
from tiny_dataset import pair_sample, tiny_sample, write_samples
from train_batches import batches, config, held_out

from schemas.latents import LATENTS_INDEX, OF_SEVERAL
from trainer.data.augment import ReferenceAugmentConfig
from trainer.data.batch import PixelBatch
from trainer.data.cast import NAMES, Member, members_of, prompt_of, sides
from trainer.data.data_config import DataConfig
from trainer.data.open_source import open_source
from trainer.encoders import EncoderConfig, encode_batch, load_encoders

STILL: dict[str, Any] = {"augment": ReferenceAugmentConfig(0, 0, 0, 0, 0, 0, 0)}
TOGETHER = {**STILL, "characters": 2, "random_start": False}
COLOURS = {"red": (200, 40, 40), "blue": (40, 60, 200), "green": (40, 160, 60)}
COLOURS |= {"yellow": (220, 200, 40)}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    """Four samples of two characters, and two of one."""
    made = [*(pair_sample(number) for number in range(4)), tiny_sample(4), tiny_sample(5)]
    return write_samples(tmp_path_factory.mktemp("pairs") / "dataset", made)


def shows(picture: torch.Tensor) -> str:
    """Return the colour of which there is most above the hips."""
    picture = picture[: len(picture) // 2]
    near = {
        name: float(((picture.float() - torch.tensor(colour).float()).abs().amax(-1) < 40).sum())
        for name, colour in COLOURS.items()
    }
    return max(near, key=lambda name: near[name])


def tops(caption: str, names: list[str]) -> dict[str, str]:
    """Return the top's colour that a prompt gives to each name, '' where it names it not."""
    found = {}
    for name in names:
        about = caption[caption.find(f"{name} is") :].split(". ")[0]
        found[name] = about.split(" in a ")[1].split()[0] if " in a " in about else ""
    return found


def test_each_character_comes_with_its_own_pictures_and_name(dataset):
    seen = 0
    for batch in batches(dataset, config(**TOGETHER), steps=(0, 6)):
        [second] = batch.characters
        for row, caption in enumerate(batch.captions):
            names = [batch.names[row], second.names[row]]
            if names == ["", ""]:
                assert not second.references[row].any()
                continue
            seen += 1
            assert set(names) < set(NAMES)
            assert all(name in caption for name in names)
            pictures = [batch.references[row, 0], second.references[row, 0]]
            told = tops(caption, names)
            described = [(n, shows(p)) for n, p in zip(names, pictures, strict=True) if told[n]]
            assert all(told[name] == colour for name, colour in described)
            assert len({shows(picture) for picture in pictures}) == 2
            both = batch.subject[row].float().mean((0, 1))  # by column
            assert both[:80].max() > 0
            assert both[80:].max() > 0
    assert seen > 8


def test_who_is_first_changes_and_what_they_are_called_does_not(dataset):
    firsts, captions = {}, {}
    for batch in batches(dataset, config(**TOGETHER), steps=(0, 12)):
        for sample, name, caption in zip(
            batch.sample_ids, batch.names, batch.captions, strict=True
        ):
            firsts.setdefault(sample, set()).add(name)
            captions.setdefault(sample, set()).add(caption)
    pairs = {pair_sample(number).sample_id for number in range(4)}
    assert {len(firsts[sample]) for sample in pairs} == {2}
    assert {len(told) for told in captions.values()} == {1}
    [fixed] = held_out(dataset, config(**TOGETHER), "train", 1)
    [again] = held_out(dataset, config(**TOGETHER), "train", 1)
    assert fixed.names == again.names


def test_one_character_at_a_time_is_what_it_was(dataset):
    for batch in batches(dataset, config(**STILL), steps=(0, 2)):
        assert batch.names == ()
        assert batch.characters == ()
        assert not any(name in caption for name in NAMES for caption in batch.captions)


def test_a_caption_that_describes_nobody_says_who_is_who_before():
    def person(left: float, description: str) -> dict[str, Any]:
        box = [left, 0.0, left + 10, 40.0]
        return {"description": description, "boxes": [box] * 3, "first_frame": 0}

    row = {**person(100, "A tall man."), "caption": "Two people talk."}
    members = [Member("Anna", row), Member("Bob", person(0, ""))]
    told = "Anna is a tall man, on the right. Bob is on the left. Two people talk."
    assert prompt_of(row, members) == told
    assert prompt_of(row, members[:1]) == "Two people talk."


def test_no_side_is_told_of_people_who_pass_each_other_or_never_meet():
    def walks(*lefts: float, first: int = 0) -> Member:
        boxes = [[left, 0.0, left + 10, 40.0] for left in lefts]
        return Member("Anna", {"boxes": boxes, "first_frame": first})

    assert sides([walks(0, 20, 40), walks(50, 30, 20)]) == ["", ""]
    assert sides([walks(0, 0), walks(50, 50, first=2)]) == ["", ""]
    assert sides([walks(60, 60), walks(0, 1), walks(30, 30)]) == [
        "on the right", "on the left", "in the middle",
    ]  # fmt: skip


def test_others_without_references_take_no_part():
    row = {"sample_id": "s", "references": [1], "others": [{"references": []}]}
    assert [member.name for member in members_of(row, 4)] == [""]


@pytest.fixture(scope="module")
def encoded(dataset) -> Path:
    data = DataConfig(buckets=("96x160x17",), num_workers=0, **TOGETHER)
    encode(dataset, data)
    return dataset


def test_latents_of_several_equal_encoding_during_training(encoded):
    encoders = load_encoders(EncoderConfig())
    # As validation reads them: nothing is drawn, so both sources show the same.
    pixels, stored = (
        {batch.sample_ids[0]: batch for batch in held_out(encoded, data, "train", 6)}
        for data in (config(**TOGETHER), config(**TOGETHER, source="latents"))
    )
    assert stored.keys() == pixels.keys()
    for name, ours in stored.items():
        pixel = pixels[name]
        assert isinstance(pixel, PixelBatch)
        theirs = encode_batch(pixel, encoders)
        assert ours.several == theirs.several
        assert torch.allclose(ours.text, theirs.text, rtol=2**-8, atol=1e-6)
        for mine, other in zip(ours.characters, theirs.characters, strict=True):
            assert mine.present == other.present
            for part in ("reference", "image", "name") if mine.present[0] else ():
                one, two = getattr(mine, part), getattr(other, part)
                assert torch.allclose(one, two, rtol=2**-8, atol=1e-6), part
        for part in ("mentions", "boxes"):
            mine, others = getattr(ours, part), getattr(theirs, part)
            assert torch.allclose(mine, others, atol=1e-6), part
            assert mine.any() == ours.several[0]
        assert ours.name is not None
        assert theirs.name is not None
        assert torch.allclose(ours.name, theirs.name, rtol=2**-8, atol=1e-6) or not any(
            ours.several
        )
    assert sum(batch.several[0] for batch in stored.values()) == 4


def test_latents_of_another_number_of_characters_are_refused(encoded):
    with pytest.raises(ValueError, match=r"data\.characters: latents 2, this run 1"):
        open_source(encoded, config(**STILL, source="latents"))


def test_latents_from_before_there_were_several_still_open(tmp_path):
    root = write_samples(tmp_path / "dataset", [tiny_sample(number) for number in range(3)])
    encode(root, DataConfig(buckets=("96x160x17",), num_workers=0))
    path = root / LATENTS_INDEX
    index = json.loads(path.read_text())
    assert "data.characters" not in index["settings"]
    for listed in index["files"]:
        file = root / listed["path"]
        pq.write_table(pq.read_table(file).drop_columns(list(OF_SEVERAL)), file)
        listed["size_bytes"] = file.stat().st_size
    path.write_text(json.dumps(index))
    [batch] = held_out(root, config(**STILL, source="latents"), "train", 1)
    assert batch.characters == ()
    with pytest.raises(ValueError, match=r"data\.characters: latents 1, this run 2"):
        open_source(root, config(**TOGETHER, source="latents"))
