"""All settings of a curation, in three sections by what another value costs."""

from dataclasses import asdict, dataclass, field
from typing import Any

from pipeline.engines.engines_config import EngineSet, chosen
from pipeline.engines.registry import weights_in_use
from pipeline.execution.budget import ClusterConfig
from pipeline.media.sandbox import SandboxConfig
from pipeline.observing.observe_config import ObserveConfig
from pipeline.pairing.pair_config import PairConfig
from schemas.remote import RemoteConfig
from schemas.settings import check_settings, setting


@dataclass(frozen=True)
class RunConfig:
    """How the work is done. No value changes the result.

    Attributes:
        cluster: workers and patience.
        sandbox: limits of the process that reads untrusted media.
        remote: patience with other machines: object stores, web servers.
        max_failed: share of the videos that may fail before the exit code says so.
    """

    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    sandbox: SandboxConfig = field(default_factory=SandboxConfig)
    remote: RemoteConfig = field(default_factory=RemoteConfig)
    max_failed: float = setting(0.05, low=0, high=1)

    def __post_init__(self) -> None:
        check_settings(self, "run")


@dataclass(frozen=True)
class CurationConfig:
    """All settings of a curation.

    Attributes:
        observe: what is measured of a video; another value means looking at it again.
        pair: what becomes a sample; another value makes a new version without decoding.
        run: how the work is done; no value changes the result.
    """

    observe: ObserveConfig = field(default_factory=ObserveConfig)
    pair: PairConfig = field(default_factory=PairConfig)
    run: RunConfig = field(default_factory=RunConfig)

    @property
    def engines(self) -> EngineSet:
        """Every engine that takes part."""
        return EngineSet(self.observe.engines, self.pair.engines)

    def identity(self) -> dict[str, Any]:
        """Return all that changes the dataset, for the manifest."""
        settings = self.observe.identity() | {"pair": asdict(self.pair)}
        weights = settings.get("weights", {}) | weights_in_use(chosen(self.pair.engines))
        return settings | ({"weights": weights} if weights else {})
