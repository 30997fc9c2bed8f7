"""What a person chooses for an export to a trainer."""

import re
from dataclasses import dataclass

BACKGROUNDS = ("keep", "white")
BLURRED = ("", "faces", "bodies")
_MOST_REFERENCES = 12
_TRIGGER = re.compile(r"[^\s]+( [^\s]+)*")


@dataclass(frozen=True)
class ExportOptions:
    """Raises ValueError for a choice that no trainer could follow.

    Attributes:
        trigger: a word in front of every caption, by which the trained LoRA is called; '' for none
        background: `keep` the one around a reference's person, or `white` by the stored mask
        references: at most so many a clip, best first; 0 for as many as the trainer takes
        blur_others: faces or bodies of everybody but the sample's character; '' of nobody
    """

    trigger: str = ""
    background: str = "keep"
    references: int = 0
    blur_others: str = ""

    def __post_init__(self) -> None:
        if self.trigger and not (len(self.trigger) <= 100 and _TRIGGER.fullmatch(self.trigger)):
            raise ValueError(
                "--trigger must be up to 100 characters without line breaks or spaces around, "
                f"got {self.trigger[:120]!r}"
            )
        if self.background not in BACKGROUNDS:
            raise ValueError(
                f"--background must be one of {', '.join(BACKGROUNDS)}, got {self.background!r}"
            )
        if self.blur_others not in BLURRED:
            raise ValueError(
                f"--blur-others must be one of {', '.join(BLURRED[1:])}, got {self.blur_others!r}"
            )
        if not 0 <= self.references <= _MOST_REFERENCES:
            raise ValueError(f"--references must be 0 to {_MOST_REFERENCES}, got {self.references}")


NO_OPTIONS = ExportOptions()
