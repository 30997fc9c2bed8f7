"""Ask a model for captions, check the answers, ask once more, else say what was measured."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from pipeline.engines.captions.attributes import AttributeCaptioner
from pipeline.engines.captions.caption_checks import answer_problem
from pipeline.engines.captions.caption_prompts import (
    prompt_for,
    read_answer,
    read_parts,
    shown_frames,
)
from pipeline.engines.captions.caption_settings import VlmConfig
from pipeline.engines.interfaces import CaptionFacts, CaptionParts, CheckedAnswer, Picture
from schemas.ids import content_id

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CaptionRequest:
    """One request to a model."""

    clip_id: str
    prompt: str = field(repr=False)
    frames: tuple[Picture, ...] = field(repr=False)
    attempt: int = 0

    @property
    def seed(self) -> int:
        """Return the seed of this request, for engines that draw."""
        return int(content_id("caption", self.clip_id, self.attempt)[:8], 16) >> 1


@dataclass(frozen=True)
class Reply:
    """A model's raw words, or why there are none."""

    text: str = field(default="", repr=False)
    problem: str = ""


Ask = Callable[[Sequence[CaptionRequest]], list[Reply]]


def ask_for_captions(
    facts: Sequence[CaptionFacts], ask: Ask, settings: VlmConfig, engine: str
) -> list[CheckedAnswer]:
    """Return one outcome per clip. `ask` gets many questions at once and answers all, in order."""
    outcomes: dict[int, CheckedAnswer] = {}
    problems: dict[int, str] = {}
    for index, row in enumerate(facts):
        if not row.frames:
            outcomes[index] = _fallback(row, "no frames to look at")
    for attempt in (0, 1):
        left = [index for index in range(len(facts)) if index not in outcomes]
        questions = [_question(facts[k], settings, attempt, problems.get(k, "")) for k in left]
        replies = ask(questions) if questions else []
        assert len(replies) == len(questions), f"{len(replies)} replies to {len(questions)}"
        for index, reply in zip(left, replies, strict=True):
            found = _judge(reply, facts[index])
            if isinstance(found, str):
                problems[index] = f"{problems[index]}; again: {found}" if attempt else found
            else:
                text, look, parts = found
                problem = problems.get(index, "")
                outcomes[index] = CheckedAnswer(text, look, engine, problem, parts)
    for index, problem in problems.items():
        if index not in outcomes:
            outcomes[index] = _fallback(facts[index], problem)
    return [outcomes[index] for index in range(len(facts))]


def _question(
    facts: CaptionFacts, settings: VlmConfig, attempt: int, problem: str
) -> CaptionRequest:
    frames = shown_frames(facts.frames, settings.frames, settings.frame_px)
    prompt = prompt_for(facts, len(frames), problem)
    return CaptionRequest(facts.clip.clip_id, prompt, tuple(frames), attempt)


def _judge(reply: Reply, facts: CaptionFacts) -> tuple[str, str, CaptionParts] | str:
    """Return both texts and the caption's parts, or what is wrong."""
    if reply.problem:
        return reply.problem
    texts = read_answer(reply.text)
    if texts is None:
        return "empty" if not reply.text.strip() else "no JSON object with the keys"
    return answer_problem(*texts, facts) or (*texts, read_parts(reply.text))


def _fallback(facts: CaptionFacts, problem: str) -> CheckedAnswer:
    log.warning("clip %s: the model's caption is not used: %s", facts.clip.clip_id, problem)
    return replace(AttributeCaptioner().outcomes([facts])[0], problem=problem)


def texts_of(outcomes: Sequence[CheckedAnswer], engine: str) -> list[tuple[str, str]]:
    """Return the engine's own texts, ('', '') where it has none.

    So a caller that knows pairs only puts the embedded captioner's id to what that one wrote.
    """
    return [
        (each.text, each.description) if each.engine == engine else ("", "") for each in outcomes
    ]
