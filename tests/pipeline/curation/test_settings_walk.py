"""No setting of a curation or an audit takes a value that it cannot work with.

Every numeric field and every choice of every config class is tried with what people and scripts
get wrong. Each try is refused by name, or stands in LEGAL with its reason.
"""

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args, get_origin

import pytest

from pipeline.curation.curation_config import CurationConfig
from pipeline.engines.captions.caption_settings import VlmConfig
from pipeline.evaluate.benchmark import ItemsConfig
from pipeline.evaluate.evaluation_config import EvaluationConfig
from pipeline.evaluate.protocols import find_protocol
from pipeline.evaluate.study import StudyConfig
from pipeline.pairing.windows import WindowsConfig
from schemas.settings import walk_settings

NUMBERS = (math.nan, math.inf, -math.inf, -1, 0, 10**30)
_WINDOWS = WindowsConfig("recogniser/1", "digest", 0.5, 0.6, 0.4, 0.9)
CONFIGS = {
    "": CurationConfig(),
    "pair.windows.": _WINDOWS,
    "captions.": VlmConfig(),
    "items.": ItemsConfig(),
    "evaluation.": EvaluationConfig(),
    "protocol.": find_protocol("opens2v-v1"),
    "study.": StudyConfig(),
}
FREE_TEXTS = {  # names of engines (checked elsewhere), files, licences, classes of the user's own
    "observe.stages", "observe.shots.detector",
    "observe.engines.people", "observe.engines.faces", "observe.engines.masks",
    "observe.engines.recogniser", "observe.engines.scorers",
    "pair.engines.captions", "pair.engines.editor", "pair.licences.allowed", "pair.gates",
    "pair.columns", "pair.windows", "pair.people.weak_detectors", "pair.windows.recogniser",
    "pair.windows.weights_digest", "pair.windows.space", "captions.folder", "captions.server",
    "captions.model", "captions.licence", "items.name", "items.splits", "evaluation.protocols",
    "evaluation.dino", "evaluation.clip", "evaluation.gme", "protocol.name", "protocol.source",
    "protocol.detector",
    "protocol.recogniser", "protocol.detectors", "protocol.recognisers", "protocol.also",
}  # fmt: skip
# What of it may be tried all the same: names, values, and why.
_LEGAL = (
    (r"observe\.probe\.min_\w+", (0,), "no lower bound"),
    (r"observe\.probe\.max_missing", (0,), "every declared frame must be there"),
    (r"observe\.shots\.\w+", (0,), "the strictest or loosest test there is"),
    (r"observe\.shots\.fade_likeness", (-1,), "a correlation may be anything from -1 to 1"),
    (r"observe\.shots\.cut_score", (-1,), "a score may be negative"),
    (r"observe\.clips\.guard", (0,), "clips reach up to the cut"),
    (r"observe\.clips\.encoding\.crf", (0,), "nothing is lost in encoding"),
    (r"observe\.(tracks|candidates)\.\w+", (0,), "nothing is left out by this measure"),
    (r"observe\.faces\.part_below", (0,), "no track is parted"),
    (r"pair\.(quality|scores|people)\.min_\w+", (0,), "the gate is open: every value passes"),
    (r"pair\.(quality|scores)\.max_\w+", (0,), "nothing of it is tolerated"),
    (r"pair\.(duplicates|splits\.copies)\.max_distance", (0,), "only equal hashes are copies"),
    (r"pair\.(characters|windows)\.(same|cross)_video", (-1, 0), "a cosine is from -1 to 1"),
    (r"pair\.windows\.(reference_floor|duplicate)", (-1, 0), "a cosine is from -1 to 1"),
    (r"pair\.characters\.\w+", (0,), "no margin is kept"),
    (r"pair\.references\.kinds\.\w+\.(floor|ceiling)", (-1, 0), "a cosine is from -1 to 1"),
    (r"pair\.references\.kinds\.\w+\.max_near_duplicate", (0, math.inf), "all, or none, is a copy"),
    (r"pair\.references\.kinds\.\w+\.(share|min_gap_s)", (0,), "it fills up, or needs no gap"),
    (r"pair\.references\.(max_place|review_near)\w+", (-1, 0), "likeness is from -1 to 1"),
    (r"pair\.references\.\w+", (0,), "the strictest or loosest choice there is"),
    (r"pair\.augment\.\w+", (0,), "this change is never made"),
    (r"pair\.edits\.gate\.(min_similarity|min_signature)", (-1, 0), "a cosine is from -1 to 1"),
    (r"pair\.edits\.gate\.max_\w+", (0, math.inf), "nothing of it is tolerated, or anything"),
    (r"pair\.edits\.gate\.min_\w+", (0,), "the gate is open: every value passes"),
    (r"(pair\.splits|items|evaluation|study)\.seed", (0,), "a seed like any other"),
    (r"run\.cluster\.(workers|gpu_workers)", (0,), "as many as there is room for"),
    (r"run\.cluster\.gpus_per_worker", (0,), "engines stay on the CPUs"),
    (r"run\.cluster\.nodes_s", (0,), "what is there must do"),
    (r"run\.sandbox\.(deadline_per_video_s|address_space_mib)", (0,), "no addition, no limit"),
    (r"run\.remote\.(pause_s|cache_gib)", (0,), "no pause between tries, no copy is kept"),
    (r"run\.max_failed", (0,), "one failed video is too many"),
    (r"captions\.(temperature|retries|max_wait_s)", (0,), "greedy, at once, without waiting"),
    (r"items\.limit", (0,), "all items"),
    (r"study\.(pairs|checks)", (0,), "all items, or no checks"),
    (r"study\.(least_checks|fastest_s)", (0,), "nobody is left out"),
    (r"protocol\.low", (-1, 0), "a cosine is from -1 to 1"),
)


@dataclass(frozen=True)
class Setting:
    """One field, and how to make its owner with another value."""

    name: str
    hint: Any
    default: Any
    make: Callable[[Any], Any]

    @property
    def shown(self) -> str:
        """The name in the error; a rule of one kind of pair does not know which it is."""
        return re.sub(r"references\.kinds\.\w+", "references.kinds.*", self.name)

    @property
    def kinds(self) -> set[Any]:
        """The types that it takes: of a tuple those of its values, without None."""
        inner = get_args(self.hint) if get_origin(self.hint) not in (None, Literal) else ()
        plain = {kind for kind in (inner or (self.hint,)) if kind not in (type(None), Ellipsis)}
        return {deeper for kind in plain for deeper in (get_args(kind) if get_origin(kind) is tuple
                else (kind,)) if deeper is not Ellipsis}  # fmt: skip

    @property
    def is_number(self) -> bool:
        return bool(self.kinds & {int, float})

    @property
    def is_choice(self) -> bool:
        return any(get_origin(kind) is Literal or _is_enum(kind) for kind in self.kinds)


def _is_enum(kind: Any) -> bool:
    return isinstance(kind, type) and hasattr(kind, "__members__")


def _replaced(config: Any, path: list[str], value: Any) -> Any:
    first, *rest = path
    return replace(
        config, **{first: _replaced(getattr(config, first), rest, value) if rest else value}
    )


def _settings() -> Iterator[Setting]:
    for prefix, config in CONFIGS.items():
        for name, default, hint, _ in walk_settings(config):
            yield Setting(
                f"{prefix}{name}", hint, default,
                lambda v, config=config, name=name: _replaced(config, name.split("."), v),
            )  # fmt: skip


SETTINGS = {setting.name: setting for setting in _settings()}
IMPOSSIBLE_ZEROS = (  # that these patterns would allow
    "observe.shots.adaptive_threshold", "observe.shots.adaptive_window",
    "observe.shots.picture_width", "observe.shots.fade_windows_s", "observe.tracks.detect_fps",
    "observe.tracks.follow_fps", "observe.tracks.min_detections", "observe.candidates.per_track",
    "observe.candidates.margin", "observe.candidates.max_side", "observe.candidates.jpeg_quality",
    "observe.probe.min_side", "pair.characters.one_person", "pair.references.max_references",
    "pair.augment.jpeg_quality",
)  # fmt: skip


def _probes(setting: Setting) -> Iterator[Any]:
    if setting.is_choice:
        yield "misspelt"
    elif setting.is_number:
        yield from NUMBERS


def _reason(name: str, probe: Any) -> str:
    """Return why a value is legal, '' where it must be refused."""
    if probe == 0 and name in IMPOSSIBLE_ZEROS:
        return ""
    for pattern, values, reason in _LEGAL:
        if probe in values and re.fullmatch(pattern, name):
            return reason
    return ""


PROBES = [(name, probe) for name, setting in SETTINGS.items() for probe in _probes(setting)]


@pytest.mark.parametrize(("name", "probe"), PROBES)
def test_impossible_value_is_refused_by_name(name: str, probe: Any) -> None:
    setting = SETTINGS[name]
    value = probe
    if get_origin(setting.hint) is tuple:
        nested = bool(setting.default) and isinstance(setting.default[0], tuple)
        value = ((probe,),) if nested else (probe,)
    if _reason(name, probe):
        assert setting.make(value) is not None
        return
    with pytest.raises(ValueError, match=re.escape(setting.shown)) as refused:
        setting.make(value)
    shown = f"{probe:g}" if isinstance(probe, int | float) else str(probe)
    assert any(text in str(refused.value) for text in (shown, repr(probe))), "the value is shown"


def test_no_field_is_left_out() -> None:
    """A new field is a switch, a number, a choice, or a text that stands in the table above."""
    kinds = {
        name: (s.hint is bool, s.is_number, s.is_choice, name in FREE_TEXTS)
        for name, s in SETTINGS.items()
    }
    assert not [name for name, kind in kinds.items() if sum(kind) != 1]
    assert not FREE_TEXTS - set(SETTINGS)
