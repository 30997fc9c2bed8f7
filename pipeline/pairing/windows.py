"""Windows that were found for one recogniser by calibration, and are for no other."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pipeline.engines.identity.spaces import Space
from pipeline.engines.interfaces import EngineInfo, SimilarityWindows
from schemas.settings import check_settings, setting


@dataclass(frozen=True)
class WindowsConfig:
    """Cosines of one recogniser, or of one space of it, as `jobs/calibrate.py` writes them.

    Attributes:
        recogniser: id of the engine that the cosines were measured with.
        weights_digest: SHA-256 of its weights.
        space: face | body | '' for a recogniser of one space.
        same_video: tracks of one video at or above are one character.
        cross_video: characters of two videos at or above are one.
        reference_floor: a reference below shows somebody else.
        duplicate: at or above, two pictures are the same picture.
    """

    recogniser: str
    weights_digest: str
    same_video: float = setting(low=-1, high=1.1)
    cross_video: float = setting(low=-1, high=1.1)
    reference_floor: float = setting(low=-1, high=1.1)
    duplicate: float = setting(low=-1, high=1.1)
    space: str = ""

    def __post_init__(self) -> None:
        check_settings(self, "pair.windows")

    def instead_of(self, windows: SimilarityWindows) -> SimilarityWindows:
        """Return windows with these cosines; what such vectors can prove stays as it is."""
        return replace(windows, **{name: getattr(self, name) for name in windows.cosines})


def with_own_windows(
    spaces: Sequence[Space], info: EngineInfo, own: Sequence[WindowsConfig]
) -> tuple[Space, ...]:
    """Return a recogniser's spaces with the windows that were calibrated for them in place.

    Raises ValueError for windows of another recogniser, other weights, or no space of it.
    """
    found = {}
    for each in own:
        if (each.recogniser, each.weights_digest) != (info.id, info.weights_digest):
            raise ValueError(
                f"pair.windows were calibrated for {each.recogniser} (weights "
                f"{each.weights_digest[:12]}), this run uses {info.id} (weights "
                f"{info.weights_digest[:12]}): cosines of two recognisers do not compare. "
                "Calibrate this one (jobs/calibrate.py), or remove pair.windows"
            )
        found[each.space] = each
    names = [space.name for space in spaces]
    unknown = sorted(set(found) - set(names))
    if unknown:
        raise ValueError(
            f"pair.windows names the space {unknown[0]!r}, {info.id} has {', '.join(names)!r}"
        )
    return tuple(
        replace(space, windows=found[space.name].instead_of(space.windows))
        if space.name in found
        else space
        for space in spaces
    )
