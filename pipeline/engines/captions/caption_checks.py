"""Tell a description of a clip from what language models write instead of one."""

import functools
import re
import unicodedata
from collections.abc import Sequence

from pipeline.engines.captions.caption_prompts import INSTRUCTION
from pipeline.engines.captions.people_count import counted_people
from pipeline.engines.captions.scene_words import MOVING_CAMERA, camera_motion
from pipeline.engines.interfaces import CaptionFacts

# Signs and words that a text may have. Twice what the prompt asks for is no slip any more.
MAX_CAPTION, MAX_CHARACTER = 800, 500
MIN_CAPTION_WORDS, MIN_CHARACTER_WORDS = 4, 3
ECHO_WORDS = 7  # so many words in a row as in the prompt are not chance
LOOP_TIMES = 3  # the same words so often in a row are a loop
LOOP_SHARE = 0.5  # of all groups of three words are different ones, at least, in a long text
LONG = 24  # words from which on that share means something
MIN_LETTERS = 0.7  # of all signs that are not spaces

_REFUSAL = re.compile(
    r"\b(i'?m (?:very |so |really )?sorry|my apologies|i apologi[sz]e|as an ai|language model"
    r"|(?:i|we) (?:cannot|can'?t|can not|am unable|'?m unable|am not able|'?m not able|won'?t"
    r"|do not|don'?t|could not|couldn'?t|must decline)|unable to (?:describe|identify|assist"
    r"|provide|determine|see|view)|cannot (?:be determined|be described|describe|identify|assist"
    r"|provide)|no (?:image|video|picture|frame)s? (?:was|were|is|are|has|have))\b",
    re.IGNORECASE,
)
_MARKUP = re.compile(
    r"</?[a-zA-Z!][^<>]*>|<\|[^|]*\|>|&(?:[a-z]+|#\d+);|```|\*\*|__|^#+ |^\s*[-*] |https?://"
    r"|www\.|\\[nrtu]|[{}\[\]|]",
    re.MULTILINE,
)
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_CAPITAL = r"[A-Z][a-zà-öø-ÿ]+(?:[-'’][A-Z][a-zà-öø-ÿ]+)*"
_NAMING = re.compile(
    rf"\b(?:[Nn]amed|[Cc]alled|[Kk]nown as|[Ii]dentified as|[Nn]ame is|[Pp]layed by|[Aa]ctor"
    rf"|[Aa]ctress|[Ss]inger|[Pp]resident)\s+{_CAPITAL}\b"
)
_HONORIFIC = re.compile(rf"\b(?:Mr|Mrs|Ms|Miss|Dr|Sir|Lady|Lord|Prof)\.?\s+{_CAPITAL}\b")
_CAPITALS = re.compile(rf"{_CAPITAL}(?:\s+{_CAPITAL})+")
# Words that begin a sentence, and words after which two capitals are a person and not a place.
_OPENERS = (
    "a an the this that these those two three four five six seven eight nine ten one several many "
    "some both each another in at on near inside outside behind through with while as when under "
    "over he she they it his her their its there here"
)
_BEFORE_NAMES = "like as is by with for to both man woman person girl boy resembles resembling"


_MOVES = re.compile(
    r"\bcamera\b[^.]{0,40}\b(?:pans?|panning|zooms?|zooming|tracks|tracking|shakes?|shaky|handheld"
    r"|dolly|dollies|tilts?|moves|moving)\b|\bhandheld camera\b",
    re.IGNORECASE,
)
_STANDS = re.compile(
    r"\bcamera\b[^.]{0,40}\b(?:static|stationary|fixed|stands still|does not move|stays still)\b"
    r"|\b(?:static|stationary|fixed) camera\b",
    re.IGNORECASE,
)
_COLOURS = (
    "black white grey gray red orange yellow green teal blue navy purple violet pink beige brown "
    "cream tan maroon turquoise gold"
)
_TOP = re.compile(
    rf"\b({_COLOURS.replace(' ', '|')})\s+(?:[\w-]+\s+)?"
    r"(?:shirt|t-shirt|top|sweater|hoodie|jumper|blouse|jacket|coat|pullover|cardigan|tunic)\b",
    re.IGNORECASE,
)
_LIKE = {  # colours that people call by another name, in other light
    "black": {"grey", "navy", "brown"},
    "white": {"cream", "grey", "beige"},
    "grey": {"black", "white", "blue", "beige"},
    "red": {"maroon", "orange", "pink"},
    "orange": {"red", "yellow", "brown", "gold"},
    "yellow": {"gold", "orange", "beige"},
    "green": {"teal", "turquoise"},
    "teal": {"green", "blue", "turquoise"},
    "blue": {"navy", "teal", "purple", "turquoise", "grey"},
    "purple": {"violet", "blue", "pink"},
    "pink": {"red", "purple", "beige"},
    "beige": {"cream", "tan", "brown", "white", "grey", "pink", "yellow"},
    "brown": {"tan", "beige", "orange", "maroon", "red"},
}


def answer_problem(caption: str, character: str, facts: CaptionFacts) -> str:
    """Return what is wrong with an answer, '' when nothing is. Refusals and names in English only.

    The words are ours: nothing of the answer is repeated, for they are logged and asked again.
    """
    limits = (MAX_CAPTION, MIN_CAPTION_WORDS), (MAX_CHARACTER, MIN_CHARACTER_WORDS)
    for name, text, (longest, fewest) in zip(
        ("caption", "character"), (caption, character), limits, strict=True
    ):
        problem = text_problem(text, longest, fewest)
        if problem:
            return f"{name}: {problem}"
    problem = count_problem(f"{caption}", facts)
    if problem:
        return f"caption: {problem}"
    problem = fact_problem(caption, character, facts)
    if problem:
        return problem
    if _words(caption) == _words(character):
        return "character: the same as the caption"
    return ""


def text_problem(text: str, longest: int, fewest_words: int) -> str:
    """Return what is wrong with a text by itself; the first finding wins."""
    words = _words(text)
    if not words:
        return "empty"
    if _REFUSAL.search(text.replace("’", "'")):
        return "refusal"
    if len(text) > longest:
        return f"{len(text)} signs, at most {longest} are allowed"
    if len(words) < fewest_words:
        return f"{len(words)} words, at least {fewest_words} are wanted"
    checks = (_sign_problem(text), _loop_problem(words), _echo_problem(words), _name_problem(text))
    return next((problem for problem in checks if problem), "")


def count_problem(caption: str, facts: CaptionFacts) -> str:
    """Return that more people are counted than were measured; nothing measured, nothing said."""
    measured, counted = facts.clip.num_people, counted_people(caption)
    if measured and counted is not None and counted > measured:
        return f"says {counted} people, {measured} measured"
    return ""


def fact_problem(caption: str, character: str, facts: CaptionFacts) -> str:
    """Return what contradicts a sure measurement: the camera's motion, the upper garment's colour.

    Only English words are understood; what was not measured contradicts nothing.
    """
    clip = facts.clip
    measured = camera_motion(clip)
    if measured == "the camera is static" and _MOVES.search(caption):
        return "caption: a camera that moves, it is measured to stand still"
    if clip.camera_motion >= MOVING_CAMERA and _STANDS.search(caption):
        return "caption: a camera that stands still, it is measured to move"
    colour = facts.character.top_colour if facts.character else ""
    said = {match[1].lower().replace("gray", "grey") for match in _TOP.finditer(character)}
    if colour and said and not said & (_LIKE.get(colour, set()) | {colour}):
        return f"character: another colour of the top, {colour} is measured"
    return ""


def _sign_problem(text: str) -> str:
    if any(unicodedata.category(sign)[0] == "C" and sign not in "\n\r\t" for sign in text):
        return "control or invisible signs"
    if _MARKUP.search(text):
        return "markup"
    signs = [sign for sign in text if not sign.isspace()]
    if sum(sign.isalpha() for sign in signs) < MIN_LETTERS * len(signs):
        return "hardly any letters"
    return "the same sign over and over" if re.search(r"(\S)\1{5,}", text) else ""


def _loop_problem(words: Sequence[str]) -> str:
    for size in range(1, 13):
        run = 0
        for k in range(size, len(words)):
            run = run + 1 if words[k] == words[k - size] else 0
            if run >= size * (LOOP_TIMES - 1):
                return "the same words over and over"
    groups = list(zip(words, words[1:], words[2:], strict=False))
    if len(words) >= LONG and len(set(groups)) < LOOP_SHARE * len(groups):
        return "the same words over and over"
    return ""


def _echo_problem(words: Sequence[str]) -> str:
    return "repeats the request" if _groups(words, ECHO_WORDS) & _asked() else ""


@functools.cache
def _asked() -> set[tuple[str, ...]]:
    return _groups(_words(INSTRUCTION), ECHO_WORDS)


def _name_problem(text: str) -> str:
    if _NAMING.search(text) or _HONORIFIC.search(text):
        return "names somebody"
    for match in _CAPITALS.finditer(text):
        before = text[: match.start()].split()
        opens = not before or before[-1][-1] in ".!?"
        if opens and match[0].split()[0].lower() in _OPENERS.split():
            continue
        if opens or before[-1].lower() in _BEFORE_NAMES.split():
            return "names somebody"
    return ""


def _words(text: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(text)]


def _groups(words: Sequence[str], size: int) -> set[tuple[str, ...]]:
    return {tuple(words[k : k + size]) for k in range(len(words) - size + 1)}
