"""An audit check of your own: captions that speak of a hat."""

from collections.abc import Iterator

from pipeline.audit.findings import Finding, found, warning
from pipeline.audit.index import AuditIndex


class NoHats:
    """Find samples whose caption speaks of a hat, which hides hair and eyes."""

    check = warning(
        "own.hat", "A caption speaks of a hat", "The character's hair is not learned.",
        "Look at the clip; drop it where the hat hides the face.",
    )  # fmt: skip
    needs = ("samples.caption",)

    def find(self, index: AuditIndex) -> Iterator[Finding]:
        for sample_id, caption in index.rows("SELECT sample_id, caption FROM samples"):
            if "hat" in (caption or "").lower().split():
                yield found(self.check, "sample", sample_id, caption[:80])
