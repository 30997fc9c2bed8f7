"""What every node of a cluster must see: the output, the videos, the same weights.

A folder of one machine on several would get a part of the dataset on each, and videos that a node
does not see would be rejected as unreadable.
"""

import functools
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.curation.curation_config import CurationConfig
from pipeline.dataset.inputs import InputVideo
from pipeline.dataset.shared_folder import does_not_see, marked
from pipeline.dataset.store import Store
from pipeline.engines.engines_config import chosen
from pipeline.engines.registry import weights_in_use
from pipeline.execution.nodes import on_other_nodes
from schemas.uris import is_local


@dataclass(frozen=True)
class View:
    """What one node sees of that which all must see."""

    output: bool
    hidden_videos: tuple[str, ...]
    weights: dict[str, str] = field(default_factory=dict)  # task -> names and digests
    problem: str = ""  # with the weights


def check_shared(videos: Sequence[InputVideo], store: Store, config: CurationConfig) -> None:
    """Raise ValueError, with the node's address, where a node would work on something else."""
    local = [video.place for video in videos if is_local(video.place) and video.size_bytes >= 0]
    engines = chosen(config.observe.engines)
    with marked(store) as mark:
        look = functools.partial(_look, mark, local[:1] + local[-1:], engines)
        views = on_other_nodes(look, config.run.cluster)
    own = weights_in_use(engines) if views else {}
    for address, view in sorted(views.items()):
        _refuse(address, view, store, own)


def _look(output: str, videos: Sequence[str], engines: Sequence[tuple[str, str]]) -> View:
    """Look at paths that exist on the driver's machine; `output` is '' for an object store."""
    hidden = tuple(path for path in dict.fromkeys(videos) if not os.path.exists(path))
    try:
        weights, problem = weights_in_use(engines), ""
    except ValueError as error:
        weights, problem = {}, str(error)
    return View(not output or Path(output).exists(), hidden, weights, problem)


def _refuse(address: str, view: View, store: Store, weights: dict[str, str]) -> None:
    if not view.output:
        raise does_not_see(address, store)
    if view.hidden_videos:
        raise ValueError(
            f"node {address} does not see {view.hidden_videos[0]}: take videos of a folder that is "
            "mounted on every node, or of an object store"
        )
    if view.problem:
        raise ValueError(f"node {address}: {view.problem}")
    different = [task for task in weights if view.weights.get(task) != weights[task]]
    if different:
        task = different[0]
        raise ValueError(
            f"node {address} has other weights for {task}: {view.weights.get(task, 'none')}, not "
            f"{weights[task]}; give every node the same folder of weights"
        )
