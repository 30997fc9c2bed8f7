"""What our code finds around it in the process of a worker, on whatever node."""

import os
import pickle
import sys
from collections.abc import Callable
from typing import Any, TypeVar

from pipeline.execution.device import DEVICE

_SETTINGS = "CONTEXTANYONE_"  # begins the names of all our environment variables
Carried = TypeVar("Carried")


def carried(something: Carried) -> Callable[[], Carried]:
    """Return a function that unpacks something in a worker, amid our modules and settings there.

    It is unpickled only when our modules are sure to be those of this checkout, of which others may
    lie where Ray looks first. Ray carries the function itself by value: it needs no module of ours.
    """
    from ray.cloudpickle.cloudpickle import dumps

    settings, path, packed = _settings_for_workers(), _module_path(), dumps(something)

    def unpack() -> Any:  # Carried would be looked up in this module, there
        sys.path[:0] = path
        for name, value in settings.items():
            os.environ.setdefault(name, value)  # what the node itself says goes first
        return pickle.loads(packed)

    return unpack


def _module_path() -> list[str]:
    """Return the module path of workers; a cluster that was joined has its own."""
    return [] if os.environ.get("RAY_ADDRESS") else [place for place in sys.path if place]


def _settings_for_workers() -> dict[str, str]:
    """Return the driver's settings for its workers; no key is among them."""
    return {
        name: value
        for name, value in os.environ.items()
        if name.startswith(_SETTINGS) and not name.endswith("_KEY") and name != DEVICE
    }
