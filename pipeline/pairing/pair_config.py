"""Settings of the second phase: another value makes a new version without decoding a video."""

from dataclasses import dataclass, field
from typing import Literal

from pipeline.engines.engines_config import WritersConfig
from pipeline.observing.quality import QualityConfig
from pipeline.observing.scores import ScoresConfig
from pipeline.observing.tracks import PeopleConfig
from pipeline.pairing.augment import AugmentConfig
from pipeline.pairing.captions import CaptionsConfig
from pipeline.pairing.characters import CharactersConfig
from pipeline.pairing.duplicates import DuplicatesConfig
from pipeline.pairing.edit_choice import EditsConfig
from pipeline.pairing.gates import Gates, LicencesConfig
from pipeline.pairing.people import GroupsConfig
from pipeline.pairing.reference_gates import ReferencesConfig
from pipeline.pairing.splits import SplitsConfig
from pipeline.pairing.windows import WindowsConfig
from schemas.settings import check_settings, setting

Layout = Literal["per_character", "multi_character"]


@dataclass(frozen=True)
class ShardsConfig:
    """How samples are cut into files.

    Attributes:
        size_mib: aimed size of a samples file; 256 to 512 suit training at scale.
    """

    size_mib: int = setting(256, low=1, high=2048, unit="MiB")

    def __post_init__(self) -> None:
        check_settings(self, "pair.shards")


@dataclass(frozen=True)
class PairConfig:
    """What becomes a sample. Another value makes a new version without decoding a video.

    Attributes:
        engines: who writes captions and edits references.
        licences: which owners' terms are accepted.
        quality: thresholds on clips.
        scores: thresholds on what observe.engines.scorers say of clips.
        duplicates: which clips are copies.
        people: thresholds on tracks.
        groups: who of a larger group may be a sample.
        gates: gates of your own, module:Class, on clips, after all others.
        characters: which tracks show the same person.
        windows: cosines that replace the recogniser's own, as jobs/calibrate.py writes them.
        references: which images stand beside a clip.
        augment: how references from the clip's own shot are changed.
        edits: which references are edited, when pair.engines.editor names an editor.
        samples: per_character, or multi_character: one sample a clip, the largest person first.
        captions: what a caption may be.
        splits: what is kept apart for validation and test.
        columns: columns of your own, module:Class, in the samples table.
        shards: size of the samples files.
    """

    engines: WritersConfig = field(default_factory=WritersConfig)
    licences: LicencesConfig = field(default_factory=LicencesConfig)
    quality: QualityConfig = field(default_factory=QualityConfig)
    scores: ScoresConfig = field(default_factory=ScoresConfig)
    duplicates: DuplicatesConfig = field(default_factory=DuplicatesConfig)
    people: PeopleConfig = field(default_factory=PeopleConfig)
    groups: GroupsConfig = field(default_factory=GroupsConfig)
    gates: tuple[str, ...] = setting(())
    characters: CharactersConfig = field(default_factory=CharactersConfig)
    windows: tuple[WindowsConfig, ...] = setting(())
    references: ReferencesConfig = field(default_factory=ReferencesConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    edits: EditsConfig = field(default_factory=EditsConfig)
    samples: Layout = "per_character"
    captions: CaptionsConfig = field(default_factory=CaptionsConfig)
    splits: SplitsConfig = field(default_factory=SplitsConfig)
    columns: tuple[str, ...] = setting(())
    shards: ShardsConfig = field(default_factory=ShardsConfig)

    def __post_init__(self) -> None:
        check_settings(self, "pair")

    @property
    def all_gates(self) -> Gates:
        """The late thresholds."""
        return Gates(
            self.licences, self.quality, self.duplicates, self.people, self.scores, self.gates,
            self.groups,
        )  # fmt: skip
