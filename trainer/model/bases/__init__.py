"""Published transformers that a training may begin with: one file each.

A base is named by the class in its folder's config.json. Its blocks have the parameters of
`WanTransformerBlock`, under the same names; what it has besides, its file takes or refuses.
"""

from collections.abc import Mapping
from typing import Any, Protocol

from trainer.model.bases.skyreels import SkyReels
from trainer.model.bases.wan import Wan

OURS = "ContextAnyoneTransformer3DModel"


class Base(Protocol):
    """A published transformer."""

    class_name: str

    def fields(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return what differs between its config and ours. Raises ValueError for what we lack."""
        ...


BASES: tuple[Base, ...] = (Wan(), SkyReels())


def find_base(config: Mapping[str, Any]) -> Base | None:
    """Return the base that a config.json is of, None for a model of ours.

    Raises ValueError for any other transformer.
    """
    name = config.get("_class_name")
    if name == OURS:
        return None
    for base in BASES:
        if base.class_name == name:
            return base
    known = ", ".join(base.class_name for base in BASES)
    raise ValueError(f"a model can begin with {known} or with one of ours, not with {name}")
