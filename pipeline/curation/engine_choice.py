"""Name the engines of a run: those that its output was begun with, or the best at hand."""

import json
from collections.abc import Mapping
from dataclasses import replace

from pipeline.curation.curation_config import CurationConfig
from pipeline.curation.plan import SETTINGS
from pipeline.dataset.store import Store
from pipeline.engines.auto import settle
from schemas.old_settings import current_settings


def engines_of(store: Store) -> dict[str, str]:
    """Return the engines by task that an output was observed with, none where it is empty."""
    if not store.exists(SETTINGS):
        return {}
    observe = current_settings(json.loads(store.read(SETTINGS))).get("observe", {})
    engines = observe.get("engines", {})
    return {task: name for task, name in engines.items() if isinstance(name, str)}


def with_engines(
    config: CurationConfig, begun: Mapping[str, str], offline: bool = False
) -> CurationConfig:
    """Return the settings with a name in place of every `auto`."""
    engines = settle(config.observe.engines, begun, offline)
    return replace(config, observe=replace(config.observe, engines=engines))
