"""Classes of your own: a setting names one as module:Class, and it is imported and built."""

import importlib
from collections.abc import Iterable
from typing import Any


def load_own(setting: str, name: str, attributes: Iterable[str]) -> Any:
    """Import module:Class and build it without arguments.

    Raises ValueError that names the setting when there is no such class, when it cannot be built,
    or when it lacks one of the attributes.
    """
    module, colon, attribute = name.partition(":")
    if not (module and colon and attribute):
        raise ValueError(f"{setting} must be module:Class, such as my_gates:Outdoors, got {name!r}")
    try:
        made = getattr(importlib.import_module(module), attribute)()
    except ModuleNotFoundError as error:
        raise ValueError(
            f"{setting}={name} cannot be imported: {error}; put its folder on PYTHONPATH"
        ) from error
    except (ImportError, AttributeError, OSError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"{setting}={name} cannot be built: {error}") from error
    missing = [required for required in attributes if not hasattr(made, required)]
    if missing:
        raise ValueError(f"{setting}={name} has no {', '.join(missing)}")
    return made
