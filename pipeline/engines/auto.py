"""The best permissive engines that are at hand, or that can be fetched: what `auto` stands for."""

import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from importlib.metadata import PackageNotFoundError, distribution

from pipeline.engines.engines_config import AUTO, EnginesConfig
from pipeline.engines.fetch import Opener, fetch, open_https
from pipeline.engines.registry import needs_of, setting_of
from pipeline.engines.weights import WeightsEntry, default_folder, locate, registry
from pipeline.execution.progress import Progress

OFFLINE = "CONTEXTANYONE_OFFLINE"  # environment: 1 forbids every connection
PATIENCE_S = 5.0  # for all hosts together to begin to answer


@dataclass(frozen=True)
class Choice:
    """An engine that may do a task, and what is lost against the one before it."""

    name: str
    lost: str = ""


# By task, the best first; the last one runs everywhere. Faces are chosen before recognisers.
CHOICES: dict[str, tuple[Choice, ...]] = {
    "people": (Choice("yolox"), Choice("opencv", "about half of the people are not found")),
    "faces": (Choice("yunet"), Choice("opencv", "three faces in ten are not found")),
    "recogniser": (
        Choice("dlib_appearance"),
        Choice("sface_appearance"),
        Choice("appearance", "nobody is recognised over videos or shots"),
    ),
    "masks": (
        Choice("selfie_pose"),
        Choice("selfie", "masks take in more of what stands beside a person"),
        Choice("matting", "masks lose limbs before busy ground"),
        Choice("grabcut", "masks lose hair and limbs"),
    ),
}


def settle(
    config: EnginesConfig,
    before: Mapping[str, str],
    offline: bool = False,
    opener: Opener = open_https,
) -> EnginesConfig:
    """Put an engine's name where the settings say `auto`; fetch what is missing.

    `before` names by task the engines that a dataset was begun with: they are taken again. What is
    fetched, and what is done without, is said on stderr. Raises ValueError where an engine of
    before cannot run here.
    """
    tasks = [each.name for each in fields(config) if getattr(config, each.name) == AUTO]
    if not tasks:
        return config
    tasks.sort(key=list(CHOICES).index)
    offline = offline or os.environ.get(OFFLINE, "") not in ("", "0")
    wanted = [_missing(task, before.get(task) or _best(task, config)) for task in tasks]
    why = _fetch([each for files in wanted for each in files], offline, opener)
    for task in tasks:
        name = before.get(task) or _first_that_runs(task, config)
        lacking = _lacking(task, name)
        if lacking:
            raise ValueError(
                f"this dataset was begun with {setting_of(task)}={name}, which lacks "
                f"{', '.join(lacking)} here{why}; bring it, or take another --output"
            )
        config = replace(config, **{task: name})
    _say_what_is_lost(config, [task for task in tasks if task not in before], why)
    return config


def _best(task: str, config: EnginesConfig) -> str:
    """Return the first engine that would run if its weights were here."""
    for choice in CHOICES[task]:
        if _fits(task, choice.name, config) and not _lacking_packages(task, choice.name):
            return choice.name
    raise AssertionError(f"no engine for {task}: the last choice needs nothing")


def _first_that_runs(task: str, config: EnginesConfig) -> str:
    runs = (c.name for c in CHOICES[task] if _fits(task, c.name, config))
    return next(name for name in runs if not _lacking(task, name))


def _fits(task: str, name: str, config: EnginesConfig) -> bool:
    """Say whether the chosen faces have the points that a recogniser needs."""
    return not (needs_of(task, name).landmarks and config.faces == "opencv")


def _lacking(task: str, name: str) -> list[str]:
    files = (each.file for each in _missing(task, name))
    return [*_lacking_packages(task, name), *files]


def _lacking_packages(task: str, name: str) -> list[str]:
    return [package for package in needs_of(task, name).packages if not _installed(package)]


def _installed(package: str) -> bool:
    try:
        distribution(package)
    except PackageNotFoundError:
        return False
    return True


def _missing(task: str, name: str) -> list[WeightsEntry]:
    """Return the weights that an engine reads and that are not here; those to fetch of several."""
    lacking = []
    for reads in needs_of(task, name).weights:
        able = [each for each in registry().values() if (each.engine, each.task) == reads]
        if not any(locate(each) for each in able):
            lacking.append(next((each for each in able if each.url), able[0]))
    return lacking


def _fetch(wanted: list[WeightsEntry], offline: bool, opener: Opener) -> str:
    """Fetch what can be; return why the rest could not, '' if there is none."""
    if not wanted:
        return ""
    if offline:
        return " (offline)"
    folder = default_folder()
    files = ", ".join(f"{w.name} ({w.size / 1e6:.1f} MB, {w.licence})" for w in wanted)
    _say(f"fetching {files} once, into {folder}; --offline forbids it")
    reasons = _unreachable(wanted, opener)
    reached = [each for each in wanted if each.name not in reasons]
    for weights in reached:
        total = weights.size or 1
        with Progress(weights.name, total, unit="blocks") as progress:
            try:
                fetch(weights, folder, opener, received=progress.advance)
            except (ValueError, OSError) as error:
                reasons[weights.name] = str(error)
    return "".join(f" ({reason})" for reason in dict.fromkeys(reasons.values()))


def _unreachable(wanted: Iterable[WeightsEntry], opener: Opener) -> dict[str, str]:
    """Return, by name, why an address does not answer; all are asked at once."""
    answers: dict[str, str] = {}

    def ask(weights: WeightsEntry) -> None:
        try:
            opener(weights.url, 0).close()
            answers[weights.name] = ""
        except (ValueError, OSError) as error:
            answers[weights.name] = f"no answer: {getattr(error, 'reason', error)}"

    threads = [threading.Thread(target=ask, args=[each], daemon=True) for each in wanted]
    ends = time.monotonic() + PATIENCE_S
    for thread in threads:
        thread.start()
    for thread in threads:  # a name that no server resolves blocks longer than any timeout
        thread.join(max(0.0, ends - time.monotonic()))
    silent = f"no answer within {PATIENCE_S:g} s"
    reasons = {weights.name: answers.get(weights.name, silent) for weights in wanted}
    return {name: reason for name, reason in reasons.items() if reason}


def _say_what_is_lost(config: EnginesConfig, tasks: Iterable[str], why: str) -> None:
    losses = list(_losses(config, tasks))
    if losses:
        _say(f"not all of the best engines are here{why}: {'; '.join(losses)}")


def _losses(config: EnginesConfig, tasks: Iterable[str]) -> Iterator[str]:
    for task in tasks:
        name = getattr(config, task)
        lost = next(choice.lost for choice in CHOICES[task] if choice.name == name)
        if lost:
            yield f"{task} by {name}, {lost}"


def _say(text: str) -> None:
    print(f"engines: {text}", file=sys.stderr, flush=True)
