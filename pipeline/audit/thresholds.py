"""What is allowed: the dataset's own settings where its manifest names them, else the defaults."""

import contextlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, TypeVar

from pipeline.audit.dataset import Dataset
from pipeline.engines.identity.spaces import Space, spaces_of
from pipeline.engines.interfaces import SimilarityWindows
from pipeline.engines.registry import READS, REGISTRY, load_engine
from pipeline.engines.weights import registry
from pipeline.observing.quality import QualityConfig
from pipeline.observing.tracks import PeopleConfig
from pipeline.pairing.kinds import KindConfig, KindsConfig, resolve
from pipeline.pairing.reference_gates import ReferencesConfig
from pipeline.pairing.splits import SplitsConfig

_Gate = TypeVar("_Gate", QualityConfig, PeopleConfig, ReferencesConfig, KindConfig, SplitsConfig)


@dataclass(frozen=True)
class Thresholds:
    """Every number against which something is measured.

    Attributes:
        quality: of clips. tracks: of tracks. references: of pairs. splits: what is a copy.
        windows: cosines of the dataset's recogniser; None where they are not known.
        why_no_windows: said in the report when `windows` is None.
    """

    quality: QualityConfig = field(default_factory=QualityConfig)
    tracks: PeopleConfig = field(default_factory=PeopleConfig)
    references: ReferencesConfig = field(default_factory=ReferencesConfig)
    splits: SplitsConfig = field(default_factory=SplitsConfig)
    windows: SimilarityWindows | None = None
    spaces: tuple[Space, ...] = ()
    recogniser: str = ""
    licences: tuple[str, ...] = ()
    why_no_windows: str = ""

    def variables(self) -> dict[str, Any]:
        """Return what queries ask for by name."""
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
        named |= {"min_purity": self.tracks.min_purity, "min_coverage": self.tracks.min_coverage}
        named |= {"min_area": self.tracks.min_area, "max_people": self.tracks.max_people}
        named |= {"licences": list(self.licences)}
        return named | asdict(self.quality)


def thresholds_of(dataset: Dataset, windows: SimilarityWindows | None = None) -> Thresholds:
    """Read the thresholds that the dataset was made with; `windows` overrules the recogniser's."""
    config: Mapping[str, Any] = dataset.manifest.config if dataset.manifest else {}
    pairing = _mapping(config, "pairing")
    recogniser = _recogniser(dataset)
    limits = Thresholds(
        quality=_gate(QualityConfig, _mapping(config, "quality")),
        tracks=_gate(PeopleConfig, _mapping(config, "people")),
        references=_references(_mapping(pairing, "references")),
        splits=_gate(SplitsConfig, _mapping(pairing, "splits")),
        recogniser=recogniser,
        licences=tuple(map(str, _mapping(config, "licences").get("allowed") or ())),
    )
    if windows:
        return replace(limits, windows=windows, spaces=(Space.whole(windows),))
    known, spaces = known_windows(
        str(_mapping(config, "engines").get("recogniser", "")), recogniser
    )
    if known is None:
        why = (
            f"the similarity windows of recogniser {recogniser or 'unknown'!r} are not known here; "
            "give them with --windows"
        )
        return replace(limits, why_no_windows=why)
    return replace(limits, windows=known, spaces=spaces)


def _mapping(settings: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = settings.get(name)
    return value if isinstance(value, Mapping) else {}


def _references(settings: Mapping[str, Any]) -> ReferencesConfig:
    rules = _mapping(settings, "kinds")
    named = {
        one.name: _gate(KindConfig, _mapping(rules, one.name))
        for one in fields(KindsConfig)
        if rules
    }
    return replace(_gate(ReferencesConfig, settings), kinds=KindsConfig(**named))


def _gate(kind: type[_Gate], settings: Mapping[str, Any]) -> _Gate:
    """Build a gate from the manifest's numbers and words; anything odd leaves the default."""
    gate = kind()
    for one in fields(kind):
        value = settings.get(one.name)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if number or (isinstance(value, str) and isinstance(getattr(gate, one.name), str)):
            with contextlib.suppress(ValueError, TypeError):
                gate = replace(gate, **{one.name: value})
    return gate


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
    for each in names:
        with contextlib.suppress(ValueError):
            engine = load_engine("recogniser", each)
            if not recogniser or engine.info.id == recogniser:
                return engine.windows, spaces_of(engine)
        if len(READS.get(("recogniser", each), ())) == 1:
            for weights in registry().values():
                if weights.windows and f"-{weights.name}/" in recogniser:
                    windows = SimilarityWindows(**weights.windows)
                    return windows, (Space.whole(windows),)
    return None, ()
