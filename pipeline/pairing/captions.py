"""Ask a captioner what clips show, and check its answers before they become training text."""

import html
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, dataclass, field, replace

from pipeline.dataset.spilled import Spilled
from pipeline.engines.captions.attributes import AttributeCaptioner
from pipeline.engines.captions.people_count import counted_people
from pipeline.engines.interfaces import (
    Captioner,
    CaptionFacts,
    CaptionOutcome,
    CaptionParts,
    CheckedAnswer,
    CheckedCaptioner,
)
from schemas.settings import check_settings, setting

GIVEN = "given"  # caption_engine of captions that came with the user's manifest
CORRECTED = "corrected"  # of captions that a person corrected in the page
_TAG = re.compile(r"</?[a-zA-Z!][^<>]*>")
_SPACE = re.compile(r"\s+")
# What a language model writes instead of an answer.
_REFUSAL = re.compile(r"\b(i'?m sorry|i (cannot|can't|am unable)|as an ai)\b", re.IGNORECASE)


@dataclass(frozen=True)
class CaptionsConfig:
    """What a caption may be. One that is not is replaced by the measured attributes' caption.

    Attributes:
        prefer_given: use the input manifest's caption where there is one.
        max_length: characters of a caption.
        max_description_length: characters of a character's description.
        batch_size: clips handed to the captioner at once.
        check_count: refuse a caption that counts more people than were measured.
    """

    prefer_given: bool = True
    max_length: int = setting(600, low=1, high=100_000, unit="characters")
    max_description_length: int = setting(300, low=1, high=100_000, unit="characters")
    batch_size: int = setting(16, low=1, high=100_000, unit="clips")
    check_count: bool = True

    def __post_init__(self) -> None:
        check_settings(self, "pair.captions")


@dataclass(frozen=True)
class Caption:
    """The text of one sample, and who wrote it."""

    text: str
    description: str
    engine: str
    digest: str = ""  # of the engine's weights, 'none' without weights, '' when given
    problem: str = ""  # why the captioner's own answer was not used
    parts: CaptionParts = field(
        default_factory=CaptionParts
    )  # empty where the captioner, or the user, gave one text


def write_captions(
    facts: Sequence[CaptionFacts],
    given: Sequence[str],
    captioner: Captioner,
    config: CaptionsConfig | None = None,
    look: Callable[[CaptionFacts], CaptionFacts] | None = None,
) -> Sequence[Caption]:
    """Return one caption per input. `given` holds the manifest's captions, '' where none.

    A given caption replaces the clip's text only: the description stays the captioner's. A
    captioner that looks gets its facts through `look`, which adds frames, batch by batch.
    """
    config = config or CaptionsConfig()
    if len(facts) != len(given):
        raise ValueError(f"facts of {len(facts)} clips came with {len(given)} given captions")
    size = config.batch_size
    batches = (list(facts[top : top + size]) for top in range(0, len(facts), size))
    written = (caption for batch in batches for caption in ask(captioner, batch, config, look))
    return chosen_texts(written, given, config)


def chosen_texts(
    written: Iterable[Caption], given: Iterable[str], config: CaptionsConfig
) -> Sequence[Caption]:
    """Return the captions to be used: those that were given go before those that were written."""
    if not config.prefer_given:
        return Spilled(written)
    texts = (clean(text, config.max_length) for text in given)
    return Spilled(
        replace(caption, text=text, engine=GIVEN, digest="", parts=CaptionParts())
        if text
        else caption
        for text, caption in zip(texts, written, strict=True)
    )


def ask(
    captioner: Captioner,
    batch: Sequence[CaptionFacts],
    config: CaptionsConfig,
    look: Callable[[CaptionFacts], CaptionFacts] | None = None,
) -> list[Caption]:
    """Ask for a batch. One that checks its own answers says who wrote each, and what was wrong."""
    if look is not None and getattr(captioner, "looks", False):
        batch = [look(row) for row in batch]
    if isinstance(captioner, CheckedCaptioner):
        outcomes = captioner.outcomes(batch)
    else:
        texts = captioner.caption(batch)
        outcomes = [CheckedAnswer(*pair, captioner.info.id) for pair in texts]
    if len(outcomes) != len(batch):
        raise ValueError(
            f"captioner {captioner.info.id} returned {len(outcomes)} captions for "
            f"{len(batch)} clips; it must return one per clip"
        )
    captions = []
    for row, outcome in zip(batch, outcomes, strict=True):
        caption = _checked(row, outcome, config)
        mine = caption.engine == captioner.info.id
        digest = captioner.info.weights_digest if mine else "none"
        caption = replace(caption, digest=digest)
        captions.append(replace(caption, problem=caption.problem or outcome.problem))
    return captions


def _checked(facts: CaptionFacts, outcome: CaptionOutcome, config: CaptionsConfig) -> Caption:
    text = clean(outcome.text, config.max_length)
    description = clean(outcome.description, config.max_description_length)
    problem = caption_problem(text, facts, config)
    if not problem:
        parts = CaptionParts(*(clean(part, config.max_length) for part in astuple(outcome.parts)))
        return Caption(text, description, outcome.engine, parts=parts)
    measured = AttributeCaptioner().outcomes([facts])[0]
    return Caption(
        measured.text, measured.description, measured.engine, problem=problem, parts=measured.parts
    )


def caption_problem(text: str, facts: CaptionFacts, config: CaptionsConfig) -> str:
    """Return what is wrong with a captioner's cleaned answer, '' when nothing is."""
    if not text:
        return "empty"
    if _REFUSAL.search(text):
        return "refusal"
    measured = facts.clip.num_people
    counted = counted_people(text)
    if config.check_count and measured and counted is not None and counted > measured:
        return f"says {counted} people, {measured} measured"
    return ""


def clean(text: str, max_length: int) -> str:
    """Return one line of plain text: no markup, no control or invisible signs, bounded length.

    A caption that is too long ends at its last whole sentence, else at its last whole word.
    """
    text = _TAG.sub(" ", html.unescape(text))
    if not text.isprintable():
        text = "".join(" " if sign.isspace() else sign for sign in text if _visible(sign))
    text = _SPACE.sub(" ", text).strip()
    if len(text) <= max_length:
        return text
    head = text[:max_length]
    sentence = max(head.rfind(mark) for mark in (". ", "! ", "? "))
    if sentence > max_length // 2:
        return head[: sentence + 1]
    word = head.rfind(" ")
    return (head[:word] if word > 0 else head).rstrip()


def _visible(sign: str) -> bool:
    """Keep whitespace and printable signs; drop control, format (bidi), surrogate, private."""
    return sign.isspace() or unicodedata.category(sign)[0] != "C"
