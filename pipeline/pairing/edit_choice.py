"""Which references are worth editing, and into what."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.engines.editing.edit_gate import EditGateConfig
from pipeline.engines.editing.edit_prompts import EditPrompt, draw_prompts
from pipeline.engines.editing.relight_editor import INFO as RELIGHT
from pipeline.engines.editing.relight_editor import RELIGHTS
from schemas.ids import content_id, unit_interval
from schemas.settings import check_settings, setting
from schemas.tables import Candidate


@dataclass(frozen=True)
class EditsConfig:
    """How much is edited, and what an edit must be like.

    Attributes:
        sources: pictures of a character that are edited, the most often chosen first.
        prompts: edits of each; OpenS2V has at most 4 edited references an identity.
        gate: thresholds of the check; another one judges again and never edits again.
    """

    sources: int = setting(2, low=1, high=100)
    prompts: int = setting(2, low=1, high=100)
    gate: EditGateConfig = field(default_factory=EditGateConfig)

    def __post_init__(self) -> None:
        check_settings(self, "pair.edits")


@dataclass(frozen=True)
class EditTask:
    """One edit to be made: of which picture, into what, by whom."""

    edit_id: str
    reference_id: str
    track_id: str
    clip_id: str
    video_id: str
    prompt: EditPrompt


def choose_edits(
    chosen: Iterable[tuple[str, str]],
    candidates: Mapping[str, Candidate],
    made_by: Sequence[str],
    editor: str,
    config: EditsConfig,
) -> list[EditTask]:
    """Return what is to be edited, sorted by id.

    `chosen` are (character_id, reference_id) of all planned references; only pictures with a face
    are edited, for nothing else can be verified. `made_by` names editor and checking engines with
    their weights: others make other edits.
    """
    counts = Counter(chosen)
    by_character: dict[str, list[str]] = {}
    for character_id, reference_id in sorted(counts):
        if len(candidates[reference_id].face):
            by_character.setdefault(character_id, []).append(reference_id)
    tasks = []
    for character_id, ids in by_character.items():
        ids.sort(key=lambda name: (-candidates[name].quality, -counts[character_id, name], name))
        for reference_id in ids[: config.sources]:
            row = candidates[reference_id]
            for prompt in prompts_for(editor, reference_id, config.prompts):
                edit_id = content_id("edit", reference_id, prompt.id, list(made_by))
                place = (row.track_id, row.clip_id, row.video_id)
                tasks.append(EditTask(edit_id, reference_id, *place, prompt))
    return sorted(tasks, key=lambda task: task.edit_id)


def prompts_for(editor: str, reference_id: str, number: int) -> list[EditPrompt]:
    """Return prompts that the editor understands, drawn from the reference's id alone."""
    if editor != RELIGHT.id:
        return draw_prompts(reference_id, number)
    return sorted(RELIGHTS, key=lambda each: unit_interval("edit", reference_id, each.id))[:number]
