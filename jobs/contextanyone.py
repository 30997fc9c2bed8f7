"""All commands under one name.

contextanyone curate --input videos/ --output dataset/
contextanyone NAME --help
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

if __name__ == "__main__":  # this checkout before any other, and its folder's names before none
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from schemas.settings import meant
from schemas.start import UNUSABLE, print_version, start


@dataclass(frozen=True)
class Command:
    """Where a command is, and its exit code where it cannot be used."""

    text: str
    module: str
    unusable: int = UNUSABLE


TASKS: dict[str, dict[str, Command]] = {
    "make a dataset": {
        "doctor": Command("what would run on this machine and what not", "jobs.doctor"),
        "models": Command("list, fetch and check weights of engines", "jobs.models"),
        "curate": Command("turn raw videos into samples", "jobs.curate"),
        "import": Command("find people in clips that are cut", "jobs.import_clips"),
        "calibrate": Command("find the windows of a recogniser", "jobs.calibrate"),
        "caption": Command("write its captions anew, with a model", "jobs.caption"),
        "demo-videos": Command("write two small sample videos", "jobs.demo_videos"),
    },
    "look at it": {
        "audit": Command("what is in it, what is wrong, what to do", "jobs.audit", 3),
        "browse": Command("look through it on a page of this machine", "jobs.browse"),
        "contact-sheet": Command("draw a picture of samples", "jobs.contact_sheet"),
        "bystanders": Command("list who else is seen in its clips", "jobs.bystanders"),
        "forget": Command("remove a person or a video, and prove it", "jobs.forget"),
        "export-dataset": Command("write it as other tools read it", "jobs.export"),
        "vacuum": Command("remove the files of its older versions", "jobs.vacuum"),
    },
    "train a model": {
        "encode": Command("encode samples once, so that training is cheaper", "jobs.encode"),
        "train": Command("train on a dataset", "trainer.train"),
        "export": Command("turn a run into a model folder", "trainer.export"),
        "generate": Command("make videos of a character", "trainer.generate"),
    },
    "measure a model": {
        "benchmark": Command("make an evaluation set of held-out people", "jobs.benchmark"),
        "evaluate": Command("measure videos against it, with controls", "jobs.evaluate"),
        "study": Command("ask people which of two systems is better", "jobs.study"),
    },
}
COMMANDS = {name: command for group in TASKS.values() for name, command in group.items()}


def begin(name: str) -> NoReturn:
    """Run a command on the arguments of this process, and end with its exit code."""
    command = COMMANDS[name]
    start(command.module, command.unusable)


def page() -> str:
    """Return what --help prints."""
    lines = ["usage: contextanyone COMMAND …", ""]
    for task, group in TASKS.items():
        lines += [f"{task}:", *(f"  {name:16}{one.text}" for name, one in group.items()), ""]
    lines.append("contextanyone COMMAND --help explains it; --version says which this is.")
    return "\n".join(lines)


def main() -> NoReturn:
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in ("-h", "--help", "help"):
        print(page())
        sys.exit(0)
    if name == "--version":
        print_version()
        sys.exit(0)
    if name not in COMMANDS:
        problem = f"there is no {name}{meant(name, COMMANDS)}; --help lists all"
        print(f"contextanyone: {problem}", file=sys.stderr)
        sys.exit(UNUSABLE)
    sys.argv[:2] = [f"contextanyone {name}"]  # what help and usage call it
    begin(name)


if __name__ == "__main__":
    main()
