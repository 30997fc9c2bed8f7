"""Measure who has whose colours, in one step from noise and in samples, by words and by boxes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.characters.denoise import SIGMA
from benchmarks.characters.draw import LABELS
from benchmarks.characters.items import through_codec
from benchmarks.characters.measures import Measures, Seen, attributes, colour
from benchmarks.characters.pair_items import Person, Scene, exchanged
from trainer.flow import noised
from trainer.model import Character, Marks
from trainer.sampling.cast import named_characters
from trainer.sampling.pipeline import ContextAnyonePipeline


def measure_people(scene: Scene, frames: np.ndarray, real: np.ndarray) -> list[Measures]:
    """Return, of every person, right colours and their error, and with two of them `swapped`.

    frames, real: (F, H, W, 3) uint8, a video of the scene, and the scene itself through the codec.
    """
    found = []
    for number, person in enumerate(scene.people):
        mine, true = scene.seen(frames, person), scene.seen(real, person)
        measured = attributes(mine, true, person.identity, person.shot)
        others = [other for other in scene.people if other is not person]
        if others:
            is_swapped = swapped(mine, true, scene.seen(real, others[0]))
            if is_swapped is not None:
                measured["swapped"] = float(is_swapped)
        found.append(measured | {"person": float(number)})
    return found


def swapped(made: Seen, own: Seen, other: Seen) -> bool | None:
    """Return whether a figure's hair, top and bottom are nearer to the other's than to its own.

    Own and other's are colours of the real clip, in its light. None where no region can be seen.
    """
    away = np.zeros(2)
    for region in ("hair", "top", "bottom"):
        seen, *both = (colour(one, LABELS[region]) for one in (made, own, other))
        if seen is not None and both[0] is not None and both[1] is not None:
            away += [np.abs(seen - each).sum() for each in both]
    return None if not away.any() else bool(away[1] < away[0])


def controls(scenes: Sequence[Scene]) -> dict[str, list[np.ndarray]]:
    """Return the best that a model can do, and what has every figure swapped."""
    made = {"real": [through_codec(scene.truth) for scene in scenes]}
    if all(len(scene.people) == 2 for scene in scenes):
        made["exchanged"] = [through_codec(exchanged(scene)) for scene in scenes]
    return made


@dataclass(frozen=True)
class Asked:
    """How a model is asked for a video.

    Attributes:
        boxes: tell where everybody is; else the prompt alone says it.
        exchange: give everybody the other's pictures.
        sigma: noise that one step starts from, in which the clip is hidden; 0 samples.
    """

    boxes: bool = False
    exchange: bool = False
    sigma: float = 0.0


WAYS = {
    "step_words": Asked(sigma=SIGMA),
    "step_boxes": Asked(boxes=True, sigma=SIGMA),
    "noise_words": Asked(sigma=1.0),
    "noise_boxes": Asked(boxes=True, sigma=1.0),
    "noise_exchanged": Asked(boxes=True, exchange=True, sigma=1.0),
    "sampled_words": Asked(),
    "sampled_boxes": Asked(boxes=True),
    "sampled_exchanged": Asked(boxes=True, exchange=True),
}


def ask(model: Path, scenes: Sequence[Scene], asked: Asked) -> list[np.ndarray]:
    """Return the video (F, H, W, 3) of every scene; the noise of a scene is always the same."""
    pipeline = ContextAnyonePipeline.from_pretrained(model)
    if asked.sigma:
        return [_one_step(pipeline, scene, at, asked) for at, scene in enumerate(scenes)]
    return [_sampled(pipeline, scene, asked) for scene in scenes]


def _sampled(pipeline: ContextAnyonePipeline, scene: Scene, asked: Asked) -> np.ndarray:
    output = pipeline(scene.prompt, seed=0, output_type="uint8", **_given(scene, asked))
    return np.asarray(output.frames)[0]


@torch.no_grad()
def _one_step(pipeline: ContextAnyonePipeline, scene: Scene, seed: int, asked: Asked) -> np.ndarray:
    codec, size = pipeline.encoders.codec, pipeline.published.size
    given = _given(scene, asked)
    if "reference" in given:
        cast = named_characters({"one": given["reference"]}, {}, {}, size)
        conditions = pipeline.encode([scene.prompt], "", cast[0].pictures[None])
    else:
        cast = named_characters(given["characters"], {}, given.get("character_boxes", {}), size)
        conditions = pipeline.encode_cast([scene.prompt], "", cast, size)
    signed = torch.from_numpy(scene.truth).permute(3, 0, 1, 2)[None].float() / 127.5 - 1
    clean = codec.encode(signed)
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed))
    noisy = noised(clean, noise, torch.full((1,), asked.sigma))
    several = {}
    if conditions.others:
        others = [Character(each.reference, each.image, each.name) for each in conditions.others]
        marks = Marks((True,), conditions.mentions, conditions.boxes)
        several = {"name": conditions.name, "others": others, "marks": marks}
    velocity = pipeline.transformer(
        noisy,
        torch.full((1,), 1000 * asked.sigma),
        conditions.text,
        reference=conditions.reference,
        image_embeds=conditions.image,
        **several,
    ).sample
    decoded = codec.decode(noisy - asked.sigma * velocity)[0].permute(1, 2, 3, 0)
    return ((decoded + 1) * 127.5).round().clamp(0, 255).byte().numpy()


def _given(scene: Scene, asked: Asked) -> dict[str, Any]:
    """Return what the pipeline is called with beside the prompt."""
    people: Sequence[Person] = scene.people
    if len(people) == 1:
        return {"reference": [Image.fromarray(people[0].reference)]}
    shown = people[::-1] if asked.exchange else people
    pictures: Mapping[str, list[Image.Image]] = {
        person.name: [Image.fromarray(other.reference)]
        for person, other in zip(people, shown, strict=True)
    }
    if not asked.boxes:
        return {"characters": pictures}
    return {
        "characters": pictures,
        "character_boxes": {person.name: person.boxes for person in people},
    }
