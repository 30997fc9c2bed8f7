"""Edit chosen references, and check every edit: the phase between choosing and pairing.

Without an editor nothing happens here. What was edited once is kept in `edits/` and judged again
by whatever thresholds the next run has.
"""

import functools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

import numpy as np

from pipeline.dataset.edited import as_candidate, read_edits, write_edits
from pipeline.dataset.parquet import read_rows_by_key
from pipeline.dataset.row_sets import ByKey
from pipeline.dataset.store import Store, open_store
from pipeline.dataset.units import unit_folder
from pipeline.engines.editing.edit_gate import (
    EditGateConfig,
    EditVerdict,
    EditVerifier,
    first_failure,
)
from pipeline.engines.editing.editor import Edited, EditRequest, ReferenceEditor
from pipeline.engines.engines_config import EngineSet
from pipeline.engines.faces.landmarks import complete, yaw_of
from pipeline.engines.interfaces import EngineInfo, PersonImage, SimilarityWindows
from pipeline.engines.masks.neighbours import cut_people
from pipeline.engines.registry import (
    NO_EDITOR,
    LoadedEngines,
    load_engine,
    load_engines,
)
from pipeline.execution.budget import ClusterConfig
from pipeline.execution.cluster import num_gpus
from pipeline.execution.progress import Progress
from pipeline.execution.run import run
from pipeline.execution.stage import Ledger, Rejected
from pipeline.execution.worker import Pool
from pipeline.media.images import decode_image, encode_jpeg, encode_png_mask
from pipeline.observing.candidates import hash_of, other_faces
from pipeline.observing.traits import traits_of
from pipeline.pairing.edit_choice import EditsConfig, EditTask, choose_edits
from pipeline.pairing.samples import Plans
from pipeline.pictures.image_measures import (
    Measured,
    combined_quality,
    exposure_of,
    sharpness_of,
)
from pipeline.pictures.looks import look_of
from pipeline.pictures.mask_measures import measure_mask
from schemas.reasons import Reason
from schemas.tables import Candidate, Edit, Embedding

EDITS = "edits"  # stage of the ledger
BATCH = 8  # edits that a worker makes before it writes them down
JPEG_QUALITY = 95
# Measures everything that can be measured: thresholds are for `judge`, and may change later.
MEASURE_ALL = EditGateConfig(
    min_similarity=-1.0,
    min_change=0.0,
    max_tint=math.inf,
    max_warmth=math.inf,
    max_garment=math.inf,
    min_signature=-1.0,
)


@dataclass(frozen=True)
class EditedReferences:
    """Edits that passed, as candidates, and the ledger of all."""

    candidates: list[Candidate] = field(default_factory=list)
    embeddings: list[Embedding] = field(default_factory=list)
    paths: Mapping[str, str] = field(default_factory=dict)  # by reference_id
    ledger: Ledger = field(default_factory=Ledger)


@dataclass(frozen=True)
class Batch:
    """Edits that are made and written together, and the units that hold their sources."""

    tasks: tuple[EditTask, ...]
    units: Mapping[str, str]  # clip_id -> unit_id


def edit_references(
    plans: Plans,
    candidates: Sequence[Candidate],
    unit_of_clip: Mapping[str, str],
    windows: Mapping[str, SimilarityWindows],
    store: Store,
    engines: EngineSet,
    config: EditsConfig,
    cluster: ClusterConfig,
    workers: int,
) -> EditedReferences:
    """Edit the references that were chosen most; `windows` of the recogniser are by track_id."""
    if engines.pairing.editor == NO_EDITOR:
        return EditedReferences()
    editor, checkers = _infos(engines)
    chosen = (
        (member.character_id, row.reference_id)
        for plan in plans.samples
        for member in plan.members
        for row in member.references
    )
    tasks = choose_edits(
        chosen,
        ByKey(candidates, "reference_id"),
        [f"{info.id} {info.weights_digest}" for info in (editor, *checkers)],
        editor.id,
        config,
    )
    done = read_edits(store)
    missing = [task for task in tasks if task.edit_id not in done]
    if missing:
        _make(missing, unit_of_clip, store.location, engines, config.gate, cluster, editor, workers)
        done = read_edits(store)
    return sort_out(tasks, done, windows, config.gate)


def _infos(engines: EngineSet) -> tuple[EngineInfo, list[EngineInfo]]:
    """Return who edits, and who checks: their weights are part of what an edit is."""
    looking = engines.observing
    names = {"faces": looking.faces, "recogniser": looking.recogniser, "masks": looking.masks}
    checkers = [load_engine(task, name).info for task, name in names.items()]
    return load_engine("editor", engines.pairing.editor).info, checkers


def _make(
    missing: Sequence[EditTask],
    unit_of_clip: Mapping[str, str],
    output: str,
    engines: EngineSet,
    gate: EditGateConfig,
    cluster: ClusterConfig,
    editor: EngineInfo,
    workers: int,
) -> None:
    by_unit = sorted(missing, key=lambda task: (unit_of_clip[task.clip_id], task.edit_id))
    batches = [
        Batch(tuple(tasks), {task.clip_id: unit_of_clip[task.clip_id] for task in tasks})
        for tasks in (by_unit[first : first + BATCH] for first in range(0, len(by_unit), BATCH))
    ]
    gpus = num_gpus(cluster) if editor.gpu else 0
    pool = Pool("edit", min(len(batches), gpus or workers), gpus=1.0 if gpus else 0.0)
    make = functools.partial(_make_worker, output, engines, gate)
    with Progress("edit", len(batches), unit="batches") as progress:
        for number in run(batches, [(pool, make)], cluster):
            progress.advance(1, edits=number)


def _make_worker(output: str, engines: EngineSet, gate: EditGateConfig) -> Callable[[Batch], int]:
    editor = load_engine("editor", engines.pairing.editor)
    maker = EditMaker(editor, load_engines(engines.observing), gate.min_face)
    store = open_store(output)

    def work(batch: Batch) -> int:
        write_edits(maker.make(batch.tasks, _sources(batch, store)), store)
        return len(batch.tasks)

    return work


def _sources(batch: Batch, store: Store) -> dict[str, Candidate]:
    wanted: dict[str, set[str]] = {}
    for task in batch.tasks:
        wanted.setdefault(batch.units[task.clip_id], set()).add(task.reference_id)
    found = {}
    for unit_id, ids in wanted.items():
        with store.open(f"{unit_folder(unit_id)}/candidates.parquet") as file:
            for row in read_rows_by_key(file, "reference_id", ids):
                found[row["reference_id"]] = Candidate(**row)
    return found


@dataclass(frozen=True)
class EditMaker:
    """Edits and measures: everything about an edit but the verdict."""

    editor: ReferenceEditor
    engines: LoadedEngines
    min_face: float = EditGateConfig.min_face

    def make(self, tasks: Sequence[EditTask], sources: Mapping[str, Candidate]) -> list[Edit]:
        """Return one edit per task, in order; `sources` have their pixels."""
        requests = []
        for task in tasks:
            source = sources[task.reference_id]
            mask = decode_image(source.mask)[..., 0]
            requests.append(EditRequest(task.reference_id, self._person(source), task.prompt, mask))
        edited = self.editor.edit(requests)
        return [
            self._measured(task, sources[task.reference_id], request.person, made)
            for task, request, made in zip(tasks, requests, edited, strict=True)
        ]

    def _person(self, source: Candidate) -> PersonImage:
        """Return the source as engines see it; its five points are looked for again."""
        picture, face = decode_image(source.image), np.array(source.face, np.float32)
        landmarks = None
        found = self.engines.faces.detect([picture])[0]
        if len(found.boxes):
            apart = np.abs(found.boxes - face).sum(axis=1)
            landmarks = found.landmarks[int(np.argmin(apart))]
        return PersonImage(picture, np.array(source.box, np.float32), face, landmarks)

    def _measured(
        self, task: EditTask, source: Candidate, person: PersonImage, edited: Edited
    ) -> Edit:
        gate = replace(MEASURE_ALL, min_face=self.min_face)
        verifier = EditVerifier(self.engines.faces, self.engines.recogniser, gate)
        verdict = verifier.verify(person, edited.picture)
        candidates, vector = self._candidate(task, source, verdict)
        recogniser = self.engines.recogniser.info
        return Edit(
            edit_id=task.edit_id,
            source_reference_id=task.reference_id,
            track_id=task.track_id,
            video_id=task.video_id,
            prompt_id=edited.prompt_id,
            prompt=edited.prompt,
            seed=edited.seed,
            engine=edited.engine,
            weights_digest=self.editor.info.weights_digest,
            refusal=str(verdict.refusal or ""),
            measured=json.dumps({k: round(v, 6) for k, v in verdict.measured.items()}),
            recogniser=recogniser.id,
            recogniser_digest=recogniser.weights_digest,
            vector=vector,
            candidate=candidates,
        )

    def _candidate(
        self, task: EditTask, source: Candidate, verdict: EditVerdict
    ) -> tuple[list[Candidate], list[float]]:
        """Return the edit as a candidate with its vector, or nothing when nobody was found."""
        person = verdict.person
        if person is None:
            return [], []
        [cut] = cut_people(self.engines.masks, [person])
        mask = cut.mask
        x0, y0, x1, y1 = np.round(person.box).astype(int)
        inside = mask[y0:y1, x0:x1] > 127
        known = complete(person.landmarks)
        yaw = float(yaw_of(np.asarray(person.landmarks)[None])[0]) if known else source.yaw
        frontal = 0.0 if math.isnan(yaw) else max(0.0, 1 - abs(yaw) / 90)
        face = np.asarray(person.face, np.float32)
        # where the source's person was: who has not moved there is a copy, whatever box was found
        source_box = np.asarray(source.box, np.float32)
        fit = measure_mask(person.picture, mask, np.asarray(person.box), face)
        masked = round(fit.quality * cut.trust, 6)
        measured = Measured(
            size_px=source.size_px,
            sharpness=sharpness_of(person.picture, person.box),
            exposure=exposure_of(person.picture, face),
            frontal=frontal,
            face_seen=True,
            occlusion=source.occlusion,
            truncation=source.truncation,
            mask_quality=masked,
            mask_reach=float(inside.any(axis=1).mean()),
        )
        candidate = replace(
            source,
            reference_id=task.edit_id,
            source_reference_id=task.reference_id,
            box=[round(float(value), 2) for value in person.box],
            face=[round(float(value), 2) for value in face],
            sharpness=measured.sharpness,
            exposure=measured.exposure,
            frontal=frontal,
            yaw=yaw,
            mask_area=float(inside.mean()),
            mask_quality=masked,
            mask_engine=self.engines.masks.info.id,
            perceptual_hash=hash_of(person.picture),
            quality=combined_quality(measured),
            image=encode_jpeg(person.picture, JPEG_QUALITY),
            mask=encode_png_mask(mask),
            other_face=other_faces(self.engines.faces, [person], [mask])[0],
            **asdict(traits_of(person, mask)) | {"look": look_of(person.picture, source_box)},
        )
        vector = self.engines.recogniser.embed([person])[0]
        return [candidate], [float(value) for value in vector]


def sort_out(
    tasks: Sequence[EditTask],
    done: Mapping[str, tuple[str, Edit]],
    windows: Mapping[str, SimilarityWindows],
    gate: EditGateConfig,
) -> EditedReferences:
    """Judge every edit: those that pass are candidates, all others are in the ledger."""
    result = EditedReferences(paths={task.edit_id: done[task.edit_id][0] for task in tasks})
    for task in tasks:
        edit = done[task.edit_id][1]
        rejected = judge(edit, gate, windows[edit.track_id].reference_floor)
        if rejected:
            result.ledger.reject(rejected.entry(EDITS, "edit", edit.edit_id, edit.video_id))
            continue
        result.ledger.keep(EDITS, "edit")
        result.candidates.append(as_candidate(edit))
        result.embeddings.append(
            Embedding(
                track_id=edit.track_id,
                reference_id=edit.edit_id,
                video_id=edit.video_id,
                recogniser=edit.recogniser,
                weights_digest=edit.recogniser_digest,
                num_images=1,
                vector=edit.vector,
            )
        )
    result.ledger.check(EDITS, "edit", entered=len(tasks))
    return result


def judge(edit: Edit, gate: EditGateConfig, floor: float) -> Rejected | None:
    """Return why an edit is refused by these thresholds, or None; `floor` is the recogniser's."""
    measured: dict[str, float] = json.loads(edit.measured)
    of = f"{edit.prompt_id} of reference {edit.source_reference_id}"
    failed = first_failure(measured, gate, floor)
    if edit.refusal and (failed is None or failed.key != "change"):
        faces = measured.get("faces")
        return Rejected(Reason(edit.refusal), faces, 1, f"{of}: found faces, wanted one")
    if failed is None:
        return None
    return Rejected(Reason(failed.refusal), failed.value, failed.limit, f"{of}: {failed.key}")
