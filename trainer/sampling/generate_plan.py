"""Which videos trainer/generate.py makes, and to which files; nothing is replaced unasked."""

import argparse
from pathlib import Path

MAX_PROMPTS, MAX_PROMPTS_BYTES = 10_000, 8 * 2**20


def pictures_of(arguments: argparse.Namespace) -> list[Path]:
    """Return the files of all references."""
    if arguments.reference:
        return arguments.reference
    return [file for character in arguments.character for file in character.files]


def plan(arguments: argparse.Namespace) -> list[tuple[str, Path]]:
    """Return the prompt and the file of every video; refuse files that would be replaced."""
    output: Path = arguments.output
    if arguments.prompts is None:
        if output.suffix.lower() != ".mp4":
            raise ValueError(f"--output must end in .mp4, got {str(output)!r}")
        jobs = [(arguments.prompt, output)]
    else:
        if output.suffix.lower() == ".mp4" or output.is_file():
            raise ValueError(f"with --prompts, --output must be a folder, got {str(output)!r}")
        prompts = _read_prompts(arguments.prompts)
        jobs = [(prompt, output / f"{number:04d}.mp4") for number, prompt in enumerate(prompts, 1)]
    for _, video in jobs:
        _check_files(video, arguments)
    return jobs


def files_of(video: Path, strip: bool) -> list[Path]:
    """Return what is written for a video: itself, its settings, and the picture if wanted."""
    return [video, video.with_suffix(".json"), *([video.with_suffix(".jpg")] if strip else [])]


def _check_files(video: Path, arguments: argparse.Namespace) -> None:
    """Refuse to replace what is read, what this did not make, and without --force anything."""
    read = {path.resolve() for path in (*pictures_of(arguments), arguments.prompts) if path}
    models = {path.resolve() for path in (arguments.model, arguments.low) if path}
    made = _made_before(video)
    for file in files_of(video, arguments.strip):
        if file.resolve() in read or models & set(file.resolve().parents):
            raise ValueError(f"{file} is read to make the video: choose another --output")
        if not file.exists():
            continue
        if not arguments.force:
            raise ValueError(f"{file} exists; pass --force to replace it")
        if file.name not in made:
            raise ValueError(
                f"{file} was not made by this program, or its .json is gone, so --force does not "
                "replace it: choose another --output"
            )


def _made_before(video: Path) -> set[str]:
    """Return the files that the settings beside a video say were written with them."""
    from trainer.saving.complete import read_json

    try:
        record = read_json(video.with_suffix(".json"))
    except ValueError:
        return set()
    if not {"prompt", "seed", "model"} <= record.keys():
        return set()
    return {str(name) for name in record.get("files", [video.name, f"{video.stem}.json"])}


def _read_prompts(path: Path) -> list[str]:
    if not path.is_file() or path.stat().st_size > MAX_PROMPTS_BYTES:
        raise ValueError(f"--prompts must be a file of at most {MAX_PROMPTS_BYTES} bytes: {path}")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} must be text in UTF-8: {error}") from error
    prompts = [line.strip() for line in lines if line.strip()]
    if not 1 <= len(prompts) <= MAX_PROMPTS:
        raise ValueError(f"{path} must hold 1 to {MAX_PROMPTS} prompts, got {len(prompts)}")
    return prompts
