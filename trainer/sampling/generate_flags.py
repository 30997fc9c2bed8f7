"""The flags of trainer/generate.py, and what they may say."""

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from schemas.files import local_path

if TYPE_CHECKING:
    from trainer.sampling.layout import Box

_SIZE = re.compile(r"(\d{1,5})x(\d{1,5})")
_BOX = re.compile(r"@(\d*\.?\d+(?:,\d*\.?\d+){3})$")


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the flags; wrong ones end the process with exit code 2."""
    parser = argparse.ArgumentParser(
        usage="%(prog)s --model MODEL --reference FILE [FILE ...] --prompt PROMPT --output FILE\n"
        "       %(prog)s --model MODEL --character NAME=FILE --character … --prompt …",
        description="Make videos of a character, or of several, with a trained model.",
        allow_abbrev=False,
    )
    _add_what_to_make(parser)
    _add_sampling(parser)
    _add_machine(parser)
    parsed = parser.parse_args(arguments)
    if parsed.boxes is not None and parsed.reference:
        parser.error("--boxes says where characters are: name them by --character NAME=FILE")
    return parsed


def _add_what_to_make(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--model", type=local_path, required=True, help="folder that trainer/export.py wrote")
    low = "the expert for low noise levels, unless in --model"
    add("--low", type=local_path, metavar="MODEL", help=low)
    shown = parser.add_mutually_exclusive_group(required=True)
    shown.add_argument(
        "--reference", type=Path, nargs="+", metavar="FILE", help="pictures of one character"
    )
    shown.add_argument(
        "--character",
        type=_character,
        action="append",
        metavar="NAME=FILE[,FILE][@BOX]",
        help="one of several, called NAME in prompts; BOX is where it is, "
        "left,top,right,bottom as shares",
    )
    prompts = parser.add_mutually_exclusive_group(required=True)
    prompts.add_argument("--prompt", help="what happens in the video")
    prompts.add_argument("--prompts", type=Path, help="text file, one prompt a line")
    add("--output", type=local_path, required=True, help="an .mp4; with --prompts a folder")
    add("--strip", action="store_true", help="also write a picture: reference | frames")
    add("--force", action="store_true", help="replace videos that this made before")


def _add_sampling(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--negative-prompt", default="", metavar="TEXT", help="what guidance leads away from")
    add("--steps", type=int, help="sampling steps (as in training)")
    add("--guidance", choices=("separate", "joint", "none"), help="3, 2 or 1 passes a step")
    add("--text-guidance", type=float, metavar="SCALE", help="scale of the prompt (as in training)")
    reference = "scale of the reference (as in training)"
    add("--reference-guidance", type=float, metavar="SCALE", help=reference)
    own = "scale of one of several; a pass a step each"
    add("--character-guidance", type=_scale, nargs="+", default=[], metavar="NAME=SCALE", help=own)
    moving = 'JSON of moving boxes, {"anna": [[0, 0, 0.4, 1], …]}'
    add("--boxes", type=Path, metavar="FILE", help=moving)
    add("--shift", type=float, help="of the sigmas (as in training)")
    cache = "skip blocks where the first changes by less: 0.1"
    add("--step-cache", type=float, metavar="SHARE", help=cache)
    adapters = "adapters: ours, of others for Wan, for few steps"
    add("--lora", nargs="+", default=[], metavar="FILE[:SCALE]", help=adapters)
    add("--lora-low", nargs="+", default=[], metavar="FILE[:SCALE]", help="the same for --low")
    add("--seed", type=_seed, default=0, help="of every video (0)")
    add("--size", type=_size, help="HEIGHTxWIDTH, multiples of 16 or 32 (as in training)")
    add("--frames", type=int, help="4k + 1 (as in training)")
    add("--fps", type=float, help="frames a second (as in training)")


def _add_machine(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--device", default="auto", help="cpu, cuda, cuda:1, …")
    add("--dtype", choices=("auto", "float32", "bfloat16", "float16"), default="auto")
    offload = "hold all but one part, or layer, on the CPU"
    add("--offload", choices=("part", "layer"), help=offload)
    add("--encoders", default="", help="where the Wan encoders are on this machine")
    add(
        "--image-encoder",
        default="",
        metavar="FOLDER",
        help="where CLIP's image encoder is, if elsewhere",
    )


def _size(text: str) -> tuple[int, int]:
    found = _SIZE.fullmatch(text)
    if not found:
        raise argparse.ArgumentTypeError(f"must be HEIGHTxWIDTH such as 480x832, got {text!r}")
    return int(found[1]), int(found[2])


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**63:
        raise argparse.ArgumentTypeError(f"must be a whole number from 0 to 2^63 - 1, got {text!r}")
    return int(text)


class NamedFiles(NamedTuple):
    """What --character says of one of several characters."""

    name: str
    files: list[Path]
    box: tuple[float, ...] | None  # left, top, right, bottom


def _character(text: str) -> NamedFiles:
    name, equals, files = text.partition("=")
    if not equals or not name or not files:
        raise argparse.ArgumentTypeError(f"must be NAME=FILE or NAME=FILE,FILE, got {text!r}")
    if Path(files).is_file():  # whose name has commas or an @
        return NamedFiles(name, [Path(files)], None)
    found = _BOX.search(files)
    box = tuple(map(float, found[1].split(","))) if found else None
    files = files[: found.start()] if found else files
    return NamedFiles(name, [Path(file) for file in files.split(",")], box)


def _scale(text: str) -> tuple[str, float]:
    name, _, number = text.partition("=")
    try:
        return name, float(number)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be NAME=SCALE, got {text!r}") from None


def boxes_of(arguments: argparse.Namespace) -> "dict[str, tuple[Box, ...]]":
    """Return where each character is to be, by --boxes or by its own flag; {} is not told."""
    from trainer.sampling.layout import check_boxes, read_boxes

    own = {
        character.name: check_boxes(character.name, [character.box])
        for character in arguments.character
        if character.box
    }
    if arguments.boxes is None:
        return own
    if own:
        raise ValueError("give boxes either behind @ or by --boxes, not both")
    return read_boxes(arguments.boxes)


def scales_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the scales of guidance that flags give."""
    names = ("guidance", "text_guidance", "reference_guidance", "step_cache")
    return without_none({name: getattr(arguments, name) for name in names})


def without_none(values: dict[str, Any]) -> dict[str, Any]:
    """Return what flags give; those that are left out are None."""
    return {name: value for name, value in values.items() if value is not None}
