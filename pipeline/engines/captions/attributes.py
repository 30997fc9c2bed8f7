"""A captioner without a model: it says in plain English what was measured, and nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pipeline.engines.captions.head_motion import STILL, head_phrases
from pipeline.engines.captions.person_words import (
    MIN_COVERAGE,
    STAYS,
    article,
    clothes,
    person_motion,
    place,
    shot_size,
    worn,
)
from pipeline.engines.captions.scene_words import background, camera_motion, light, tones
from pipeline.engines.interfaces import CaptionFacts, CaptionParts, CheckedAnswer, EngineInfo
from schemas.ids import content_id
from schemas.tables import Track

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
GROUP = 4  # people, from which on it is a group
_OTHERS = ", among others"
_ORDERS = 3  # in which a caption may say the same

INFO = EngineInfo(id="attributes/5", task="captioning", licence="Apache-2.0", commercial=True)


@dataclass(frozen=True)
class AttributeCaptioner:
    """Builds sentences from clip and track columns; what is unknown is left out."""

    info: EngineInfo = INFO

    def caption(self, facts: Sequence[CaptionFacts]) -> list[tuple[str, str]]:
        """Return (caption of the clip, description of the character) per input."""
        return [(each.text, each.description) for each in self.outcomes(facts)]

    def outcomes(self, facts: Sequence[CaptionFacts]) -> list[CheckedAnswer]:
        """Return both texts and the caption's parts per input."""
        return [
            CheckedAnswer(
                clip_caption(row), describe(row.character), self.info.id, "", caption_parts(row)
            )
            for row in facts
        ]


def clip_caption(facts: CaptionFacts) -> str:
    """Return for example "A medium shot of a person wearing a red top. The camera is static."

    In which of a few orders a caption says what it says is drawn from the ids of clip and track,
    so that no model learns one template.
    """
    clip, behind = facts.clip, background(facts.clip)
    first = _with_background(facts, behind, _drawn(facts))
    if not first:
        first, behind = action(facts), _is(behind)
    else:
        behind = ""
    return _text(first, behind, light(clip), tones(clip), camera_motion(clip))


def caption_parts(facts: CaptionFacts) -> CaptionParts:
    """Return the caption by what it speaks of; the action without hair and clothes."""
    bare, clip = facts, facts.clip
    if facts.character is not None:
        look = {"hair_colour": "", "top_colour": "", "bottom_colour": ""}
        bare = replace(facts, character=replace(facts.character, **look))
    scene = _text(_is(background(clip)), light(clip), tones(clip))
    return CaptionParts(_text(action(bare)), scene, _text(camera_motion(clip)))


def action(facts: CaptionFacts) -> str:
    """Return who is seen and what the main person does, '' for nobody."""
    character, does = facts.character, _does(facts)
    number = _counted(facts)
    if not number or character is None:
        return ", ".join(part for part in (_shown(facts, _person(facts)), *does) if part)
    everybody = f"{count_word(number)} people"
    hair = f"has {character.hair_colour} hair" if character.hair_colour else ""
    doing = ", ".join(part for part in (clothes(character), *does) if part)
    about = " and ".join(part for part in (hair, f"is {doing}" if doing else "") if part)
    first = _shown(facts, everybody)
    return f"{first}. One of them {about}" if about else first


def describe(character: Track | None) -> str:
    """Return what hair and clothes look like, '' when nothing is known."""
    look = worn(character) if character is not None else ""
    return f"A person {look}." if look else ""


def count_word(number: int) -> str:
    """Return the number as a word up to ten, as digits above."""
    return NUMBERS[number] if 0 <= number < len(NUMBERS) else str(number)


def _drawn(facts: CaptionFacts) -> int:
    track_id = facts.character.track_id if facts.character is not None else ""
    return int(content_id("order of a caption", facts.clip.clip_id, track_id)[:8], 16) % _ORDERS


def _with_background(facts: CaptionFacts, behind: str, order: int) -> str:
    """Return who is seen in front of what, '' in the order in which the background comes last."""
    does = _does(facts)
    leans_only = bool(does) and does[0].startswith("with")
    if order == 0 or facts.character is None or _counted(facts) or leans_only:
        return ""
    person, doing = _person(facts), ", ".join(does)
    if order == 1 and behind:
        size = shot_size(facts.character, facts.clip)
        seen = [f"seen in {article(size)} {size}" if size else "", doing]
        said = ", ".join(part for part in seen if part) or "seen"
        return f"in front of {behind}, {_closed(person)} is {said}"
    first = _shown(facts, person)
    if behind:
        first = f"{_closed(first)} in front of {behind}"
    if first == person:
        return ""  # "A person. The person is …" would say it twice
    return f"{first}. The person is {doing}" if doing else first


def _does(facts: CaptionFacts) -> list[str]:
    """Return where the main person is and what it does, as phrases after "a person is"."""
    character, clip = facts.character, facts.clip
    if character is None:
        return []
    head, moves = head_phrases(character), person_motion(character, clip)
    if STILL in head and moves == STAYS:
        moves = ""
    leaning = [phrase for phrase in head if phrase.startswith("with")]
    phrases = [place(character, clip), *(each for each in head if each not in leaning), moves]
    return [phrase for phrase in (*phrases, *leaning) if phrase]


def _person(facts: CaptionFacts) -> str:
    look = worn(facts.character) if facts.character is not None else ""
    others = _OTHERS if facts.clip.num_people >= GROUP else ""
    return f"a person {look}".strip() + others


def _closed(person: str) -> str:
    """Return words about a person, with the comma that ends an insertion in a sentence."""
    return f"{person}," if person.endswith(_OTHERS) else person


def _counted(facts: CaptionFacts) -> int:
    """Return how many people there are, where all were followed; else 0."""
    number = facts.clip.num_people
    followed = sum(track.coverage >= MIN_COVERAGE for track in facts.tracks)
    return number if 1 < number < GROUP and followed == number else 0


def _shown(facts: CaptionFacts, people: str) -> str:
    """Return people in the size in which the main one is shown; '' where nobody is."""
    if facts.character is None:
        return people if facts.clip.num_people else ""
    size = shot_size(facts.character, facts.clip)
    return f"{article(size)} {size} of {people}" if size else people


def _is(behind: str) -> str:
    """Return for example "the background is plain grey" for "a plain grey background"."""
    words = behind.split()[1:-1]
    return f"the background is {' '.join(words)}" if words else ""


def _text(*sentences: str) -> str:
    return " ".join(f"{text[0].upper()}{text[1:]}." for text in sentences if text)
