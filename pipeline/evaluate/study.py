"""Make a user study: a folder that raters open without a network, and a key that they do not get.

A rater sees a reference and two videos, A and B, and says for face, hair, clothing and accessories
which of them keeps the character better, from -2 (A, clearly) to +2 (B, clearly). File names reveal
nothing; which system is A is drawn for every pair, and the order of pairs for every rater.
"""

import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.dataset.store import open_store
from pipeline.evaluate.study_page import study_page
from pipeline.evaluate.systems import choose_other_identities
from schemas.benchmark import Benchmark, Item
from schemas.files import read_file
from schemas.ids import content_id, unit_interval
from schemas.settings import check_settings, setting

QUESTIONS = ("face", "hair", "clothing", "accessories")
STUDY_VERSION = 1


@dataclass(frozen=True)
class Pair:
    """One screen of the study. `check` is the side that any attentive rater prefers, or ''."""

    pair_id: str
    item_id: str
    identity: str
    a: str  # system, or truth and stranger of a check
    b: str
    check: str = ""  # a | b | '' when it is no check


@dataclass(frozen=True)
class StudyKey:
    """What the answers mean; whoever has it knows which system is which."""

    study_id: str
    questions: list[str]
    pairs: list[Pair]
    study_version: int = STUDY_VERSION
    least_checks: float = 1.0  # share of the checks that a rater has to pass
    fastest_s: float = 0.0  # a rater whose median pair took less is left out

    def to_json(self) -> bytes:
        return (json.dumps(asdict(self), indent=1, sort_keys=True) + "\n").encode()

    @classmethod
    def from_json(cls, content: bytes) -> "StudyKey":
        """Read a key. Raises ValueError."""
        try:
            raw = json.loads(content)
            version = raw["study_version"]
            pairs = [Pair(**{name: str(value) for name, value in pair.items()})
                     for pair in raw["pairs"]]  # fmt: skip
            questions = [str(question) for question in raw["questions"]]
            bounds = float(raw.get("least_checks", 1.0)), float(raw.get("fastest_s", 0.0))
            key = cls(str(raw["study_id"]), questions, pairs, version, *bounds)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"it is not the key of a study: {error!r}") from error
        if version != STUDY_VERSION:
            raise ValueError(f"its study_version is {version!r}, this code reads {STUDY_VERSION}")
        return key


def read_key(path: Path) -> StudyKey:
    """Read the key that `make_study` wrote. Raises ValueError naming the file."""
    expected = "the file that `study.py make` wrote to its --key"
    content = read_file("--key", path, expected)
    try:
        return StudyKey.from_json(content)
    except ValueError as error:
        raise ValueError(f"--key {path}: {error}; give {expected}") from error


@dataclass(frozen=True)
class StudyConfig:
    """How large a study is.

    Attributes:
        pairs: at most, of every two systems; 0 takes all items.
        checks: attention checks: the real clip against a clip of somebody else.
        seed: of the draws.
        least_checks: share of the checks that a rater has to pass to count.
        fastest_s: a rater whose median pair took less time does not count.
    """

    pairs: int = setting(20, low=0, high=10**6)
    checks: int = setting(3, low=0, high=10**6)
    seed: int = setting(0, low=0, high=2**63 - 1)
    least_checks: float = setting(1.0, low=0, high=1)
    fastest_s: float = setting(0.0, low=0, high=3600, unit="s")

    def __post_init__(self) -> None:
        check_settings(self, "study")


# The design of ContextAnyone's own user study (arXiv 2512.07328): 30 references, every two systems,
# five points, four checks; raters under 80 % of the checks or 3 s a pair are left out.
PAPER = StudyConfig(pairs=30, checks=4, least_checks=0.8, fastest_s=3.0)
DESIGNS = {"short": StudyConfig(), "paper": PAPER}


def make_study(
    folder: Path,
    benchmark: Benchmark,
    systems: Mapping[str, Mapping[str, Path]],
    output: Path,
    key_path: Path,
    config: StudyConfig,
) -> StudyKey:
    """Write index.html and media/ into `output`, and the key beside it, not inside.

    `systems` gives every system's videos by item id. Raises ValueError for fewer than two systems.
    """
    if len(systems) < 2:
        raise ValueError(
            f"a study compares at least two systems, got {', '.join(systems) or 'none'}"
        )
    if key_path.resolve().is_relative_to(output.resolve()):
        raise ValueError(
            f"the key must not lie in {output}, which raters get; choose another --key"
        )
    store, media = open_store(output), {}
    items = {item.item_id: item for item in benchmark.items}
    sources = {name: dict(videos) for name, videos in systems.items()}
    sources["truth"] = {name: folder / item.clip.path for name, item in items.items()}
    strangers = choose_other_identities(benchmark.items, config.seed)
    sources["stranger"] = {name: sources["truth"][item.item_id] for name, item in strangers.items()}
    pairs = [*_comparisons(systems, items, config), *_checks(items, strangers, config)]
    if not any(not pair.check for pair in pairs):
        raise ValueError("the systems have no item in common; give videos of the same items")
    study_id = content_id("study", benchmark.prompts_sha256, [asdict(pair) for pair in pairs])

    def publish(path: Path) -> str:
        if path not in media:
            content = path.read_bytes()
            name = hashlib.sha256(study_id.encode() + content).hexdigest()[:20]
            media[path] = f"media/{name}{path.suffix.lower()}"
            store.write(media[path], content)
        return media[path]

    screens = [
        {
            "pair": pair.pair_id,
            "reference": publish(folder / items[pair.item_id].main.references[0].path),
            "a": publish(sources[pair.a][pair.item_id]),
            "b": publish(sources[pair.b][pair.item_id]),
            "prompt": items[pair.item_id].prompt,
        }
        for pair in sorted(pairs, key=lambda pair: pair.pair_id)
    ]
    key = StudyKey(
        study_id, list(QUESTIONS), pairs, STUDY_VERSION, config.least_checks, config.fastest_s
    )
    store.write("index.html", study_page(study_id, screens, QUESTIONS).encode())
    open_store(key_path.parent).write(key_path.name, key.to_json())
    return key


def _comparisons(
    systems: Mapping[str, Mapping[str, Path]], items: Mapping[str, Item], config: StudyConfig
) -> list[Pair]:
    pairs = []
    for first, second in itertools.combinations(sorted(systems), 2):
        both = sorted(
            (name for name in items if name in systems[first] and name in systems[second]),
            key=lambda name: unit_interval("pair", config.seed, first, second, name),
        )
        for name in both[: config.pairs or None]:
            pairs.append(_pair(items[name], first, second, config.seed))
    return pairs


def _pair(item: Item, first: str, second: str, seed: int, right: str = "") -> Pair:
    swapped = unit_interval("side", seed, item.item_id, first, second) < 0.5
    a, b = (second, first) if swapped else (first, second)
    pair_id = content_id("pair", seed, item.item_id, first, second)
    check = "" if not right else "a" if a == right else "b"
    return Pair(pair_id, item.item_id, item.main.identity, a, b, check)


def _checks(
    items: Mapping[str, Item], strangers: Mapping[str, Item], config: StudyConfig
) -> Sequence[Pair]:
    usable = sorted(strangers, key=lambda name: unit_interval("check", config.seed, name))
    if config.checks and not usable:
        raise ValueError(
            "attention checks need clips of two identities, and the evaluation set shows one; pass "
            "--checks 0, and report that with the results"
        )
    return [
        _pair(items[name], "truth", "stranger", config.seed, right="truth")
        for name in usable[: config.checks]
    ]
