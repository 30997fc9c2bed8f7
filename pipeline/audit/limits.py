"""What is allowed: the dataset's own settings where its manifest names them, else the defaults."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from types import NoneType
from typing import Any, TypeVar, get_args

from pipeline.audit.dataset import Dataset
from pipeline.engines.identity.spaces import Space, spaces_of
from pipeline.engines.interfaces import SimilarityWindows
from pipeline.engines.registry import REGISTRY, load_engine, needs_of
from pipeline.engines.weights import registry
from pipeline.observing.quality import QualityConfig
from pipeline.observing.scores import ScoresConfig
from pipeline.observing.tracks import PeopleConfig
from pipeline.pairing.kinds import KindConfig, KindsConfig, resolve
from pipeline.pairing.people import GroupsConfig
from pipeline.pairing.reference_gates import ReferencesConfig
from pipeline.pairing.splits import SplitsConfig
from schemas.old_settings import current_settings
from schemas.thresholds import THRESHOLDS, Threshold

_Config = TypeVar(
    "_Config",
    QualityConfig,
    ScoresConfig,
    PeopleConfig,
    GroupsConfig,
    ReferencesConfig,
    KindConfig,
    SplitsConfig,
)


@dataclass(frozen=True)
class Limits:
    """Every number against which something is measured.

    Attributes:
        quality, scores: of clips. people: of tracks. references: of pairs. splits: what is a copy.
        windows: cosines of the dataset's recogniser; None where they are not known.
        why_no_windows: said in the report when `windows` is None.
    """

    quality: QualityConfig = field(default_factory=QualityConfig)
    scores: ScoresConfig = field(default_factory=ScoresConfig)
    people: PeopleConfig = field(default_factory=PeopleConfig)
    references: ReferencesConfig = field(default_factory=ReferencesConfig)
    splits: SplitsConfig = field(default_factory=SplitsConfig)
    windows: SimilarityWindows | None = None
    spaces: tuple[Space, ...] = ()
    recogniser: str = ""
    licences: tuple[str, ...] = ()
    why_no_windows: str = ""

    def bound(self, threshold: Threshold) -> float | None:
        """Return the number that a threshold has; None where it is switched off."""
        return getattr(getattr(self, threshold.section), threshold.field)

    def variables(self) -> dict[str, Any]:
        """Return what queries ask for by name; `variable` names the one of a threshold."""
        kinds = self.references.kinds
        floor = ceiling = cross = None
        if self.windows:
            floor, ceiling, cross = (
                resolve(kinds.same_video_other_shot.floor, self.windows),
                resolve(kinds.same_video_other_shot.ceiling, self.windows),
                resolve(kinds.cross_video.floor, self.windows),
            )
        named = {"floor": floor, "ceiling": ceiling, "cross_floor": cross}
        named |= {"min_gap_s": kinds.same_shot_other_clip.min_gap_s}
        named |= {"min_quality": self.references.min_quality}
        named |= {"min_mask_quality": self.references.min_mask_quality}
        named |= {"licences": list(self.licences)}
        return named | {variable(threshold): self.bound(threshold) for threshold in THRESHOLDS}


def variable(threshold: Threshold) -> str:
    """Return the name under which queries ask for a threshold's number."""
    return threshold.setting.replace(".", "_")


def limits_of(dataset: Dataset, windows: SimilarityWindows | None = None) -> Limits:
    """Read the thresholds that the dataset was made with; `windows` overrules the recogniser's."""
    settings = current_settings(dataset.manifest.config if dataset.manifest else {})
    observe, pair = _mapping(settings, "observe"), _mapping(settings, "pair")
    recogniser = _recogniser(dataset)
    limits = Limits(
        quality=_read(QualityConfig, _mapping(pair, "quality")),
        scores=_read(ScoresConfig, _mapping(pair, "scores")),
        people=_people(pair),
        references=_references(_mapping(pair, "references")),
        splits=_read(SplitsConfig, _mapping(pair, "splits")),
        recogniser=recogniser,
        licences=tuple(map(str, _mapping(pair, "licences").get("allowed") or ())),
    )
    if windows:
        return replace(limits, windows=windows, spaces=(Space.whole(windows),))
    engines = _mapping(observe, "engines")
    known, spaces = known_windows(str(engines.get("recogniser", "")), recogniser)
    if known is None:
        why = (
            f"the similarity windows of recogniser {recogniser or 'unknown'!r} are not known here; "
            "give them with --windows"
        )
        return replace(limits, why_no_windows=why)
    return replace(limits, windows=known, spaces=spaces)


def _people(pair: Mapping[str, Any]) -> PeopleConfig:
    """Return the bounds on people, with the wider one of groups where the dataset allows them."""
    people = _read(PeopleConfig, _mapping(pair, "people"))
    if "groups" not in pair:
        return people
    groups = _read(GroupsConfig, _mapping(pair, "groups"))
    return replace(people, max_people=max(people.max_people, groups.max_people))


def _mapping(settings: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = settings.get(name)
    return value if isinstance(value, Mapping) else {}


def _references(settings: Mapping[str, Any]) -> ReferencesConfig:
    rules = _mapping(settings, "kinds")
    named = {
        kind.name: _read(KindConfig, _mapping(rules, kind.name))
        for kind in fields(KindsConfig)
        if rules
    }
    return replace(_read(ReferencesConfig, settings), kinds=KindsConfig(**named))


def _read(kind: type[_Config], settings: Mapping[str, Any]) -> _Config:
    """Build a config from the manifest's numbers and words; anything odd leaves the default."""
    config = kind()
    for field_ in fields(kind):
        value, default = settings.get(field_.name), getattr(config, field_.name)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        off = field_.name in settings and value is None and NoneType in get_args(field_.type)
        if number or off or (isinstance(value, str) and isinstance(default, str)):
            with contextlib.suppress(ValueError, TypeError):
                config = replace(config, **{field_.name: value})
    return config


def _recogniser(dataset: Dataset) -> str:
    engines = dataset.manifest.engines if dataset.manifest else []
    ids = [str(e.get("id", "")) for e in engines if e.get("task") == "recognition"]
    return ids[0] if ids else ""


def known_windows(name: str, recogniser: str) -> tuple[SimilarityWindows | None, tuple[Space, ...]]:
    """Return a recogniser's windows; only engines of our own registry are ever imported.

    Where its weights are not here, the registry of weights still knows them.
    """
    names = [name] if name in REGISTRY["recogniser"] else []
    if recogniser == "opencv-appearance/1":
        names = ["appearance"]
    for known in names:
        with contextlib.suppress(ValueError):
            engine = load_engine("recogniser", known)
            if not recogniser or engine.info.id == recogniser:
                return engine.windows, spaces_of(engine)
        if len(needs_of("recogniser", known).weights) == 1:
            for weights in registry().values():
                if weights.windows and f"-{weights.name}/" in recogniser:
                    windows = SimilarityWindows(**weights.windows)
                    return windows, (Space.whole(windows),)
    return None, ()
