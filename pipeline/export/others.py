"""List everybody but a sample's character in its clip and references, or make them unrecognisable.

    others.jsonl: a line a sample, who was hidden, with a box for each examined frame

Sound, frames, rate, size and colours stay; a clip in which nobody else is seen keeps its bytes.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa

from pipeline.dataset.commit import require_manifest
from pipeline.dataset.store import Store
from pipeline.dataset.tables import files_of, open_table
from pipeline.engines.auto import settle
from pipeline.engines.engines_config import EnginesConfig
from pipeline.engines.interfaces import PersonImage, Segmenter
from pipeline.engines.masks.neighbours import cut_people
from pipeline.engines.registry import load_engine
from pipeline.execution.progress import Progress
from pipeline.media.change_clip import Planes, change_clip
from pipeline.media.images import decode_image, encode_jpeg
from pipeline.observing.bystanders import (
    Bystander,
    BystanderFinder,
    FollowedPerson,
    PeopleOfClip,
    PeopleOfPicture,
)
from pipeline.pictures.boxes import intersection
from pipeline.pictures.hiding import Kept, Region, grown, head_of, hide
from schemas.manifest import Manifest

OTHERS_FILE = "others.jsonl"
_BODY_ROOM = 0.06  # of a body's sides: the box lags behind hair and hands
_JPEG_QUALITY = 95
_TRACK_COLUMNS = ("track_id", "clip_id", "character_id", "first_frame", "boxes")


@dataclass
class OthersReport:
    """What was found and hidden, counted.

    Attributes:
        people: in clips; one who is in the clips of two samples counts twice
        without_face: of them, those whose face was found in no frame
    """

    samples: int = 0
    clips: int = 0
    frames: int = 0
    people: int = 0
    without_face: int = 0
    references: int = 0
    people_in_references: int = 0
    engines: tuple[str, ...] = ()
    lines: list[dict[str, Any]] = field(default_factory=list, repr=False)

    def summary(self, what: str = "") -> Iterator[str]:
        """Yield the lines that a person reads."""
        done = f"blurred the {what} of everybody" if what else "everybody"
        yield (
            f"{done} but the sample's character: {self.people:,} in {self.clips:,} of "
            f"{self.samples:,} clips ({self.frames:,} frames), {self.people_in_references:,} in "
            f"{self.references:,} references"
        )
        if self.without_face:
            place = "; where the body has its head was blurred" if what == "faces" else ""
            yield (
                f"of {self.without_face:,} of them no face was found in any frame{place}: look at "
                f'them, "face": "not found" in {OTHERS_FILE}'
            )
        yield f"found by {' and '.join(self.engines)}, who miss people, too: look at what you share"

    def write(self, path: Path) -> None:
        """Write one JSON object a sample."""
        lines = (json.dumps(line, ensure_ascii=False) + "\n" for line in self.lines)
        path.write_text("".join(lines), encoding="utf-8")


@dataclass
class OthersOfSamples:
    """Finds who else is in samples, and hides them where `what` is faces or bodies."""

    store: Store
    manifest: Manifest
    finder: BystanderFinder
    masks: Segmenter
    what: str = ""
    report: OthersReport = field(default_factory=OthersReport)
    advance: Callable[[int], None] = lambda _: None  # is called with every sample that is done

    @classmethod
    def of(cls, store: Store, manifest: Manifest, what: str = "") -> "OthersOfSamples":
        """Load the best engines that are here; what is lost by lesser ones is said on stderr."""
        names = settle(EnginesConfig(recogniser="appearance"), before={})
        people, faces = load_engine("people", names.people), load_engine("faces", names.faces)
        masks = load_engine("masks", names.masks)
        made = cls(store, manifest, BystanderFinder(people, faces), masks, what)
        made.report.engines = (people.info.id, faces.info.id)
        return made

    def in_group(self, group: pa.Table) -> pa.Table:
        """Look through a row group of samples; return it with others hidden."""
        tracks = self._tracks_of(set(group["clip_id"].to_pylist()))
        rows = [self._sample(row, tracks.get(row["clip_id"], ())) for row in group.to_pylist()]
        return pa.Table.from_pylist(rows, schema=group.schema) if self.what else group

    def _tracks_of(self, clip_ids: set[str]) -> dict[str, list[dict[str, Any]]]:
        found: dict[str, list[dict[str, Any]]] = {}
        for path in files_of("tracks", self.manifest):
            file = open_table(path, self.store)
            columns = [name for name in _TRACK_COLUMNS if name in file.schema_arrow.names]
            for number in range(file.num_row_groups):
                ids = file.read_row_group(number, ["clip_id"])["clip_id"].to_pylist()
                part = [id in clip_ids for id in ids]
                if any(part):
                    rows = file.read_row_group(number, columns).filter(pa.array(part)).to_pylist()
                    for row in rows:
                        found.setdefault(row["clip_id"], []).append(row)
        return found

    def _sample(self, row: dict[str, Any], tracks: Sequence[dict[str, Any]]) -> dict[str, Any]:
        self.report.samples += 1
        line: dict[str, Any] = {"sample_id": row["sample_id"], "clip": [], "references": []}
        mp4 = (row["video"] or {}).get("bytes")
        if mp4:
            row = row | {"video": row["video"] | {"bytes": self._clip(row, mp4, tracks, line)}}
        own = [self._reference(reference, line) for reference in row["references"] or ()]
        row = row | {"references": own}
        if row.get("others"):
            cast = [
                member | {"references": [self._reference(r, line) for r in member["references"]]}
                for member in row["others"]
            ]
            row |= {"others": cast}
        if line["clip"] or line["references"]:
            self.report.lines.append(line)
        self.advance(1)
        return row

    def _clip(
        self,
        row: dict[str, Any],
        mp4: bytes,
        tracks: Sequence[dict[str, Any]],
        line: dict[str, Any],
    ) -> bytes:
        members = [row, *(row.get("others") or ())]
        own_ids = {member["track_id"] for member in members}
        characters = {member["character_id"] for member in members} - {"", None}
        cast = [_followed(member) for member in members if member["boxes"]]
        others = []
        for track in tracks:
            if track["track_id"] not in own_ids and track["boxes"]:
                same = track["character_id"] in characters
                (cast if same else others).append(_followed(track))
        people = self.finder.in_clip(mp4, cast, others)
        if not people.bystanders:
            return mp4
        line["clip"] = [_listed(bystander) for bystander in people.bystanders]
        report = self.report
        report.clips += 1
        report.people += len(people.bystanders)
        report.without_face += sum(not each.found for each in people.bystanders)
        hidden = _HiddenInClip(people, cast, self.masks, self.what == "bodies")
        report.frames += sum(bool(hidden.regions(frame)) for frame in range(row["num_frames"]))
        return change_clip(mp4, hidden.change) if self.what else mp4

    def _reference(self, reference: dict[str, Any], line: dict[str, Any]) -> dict[str, Any]:
        content = (reference["image"] or {}).get("bytes")
        if not content:
            return reference
        picture = decode_image(content)
        mask = _mask_of(reference, picture)
        people = self.finder.in_picture(picture, mask)
        if not (people.faces or people.bodies):
            return reference
        self.report.references += 1
        number = max(len(people.bodies), len(people.faces))
        self.report.people_in_references += number
        line["references"].append({
            "reference_id": reference["reference_id"],
            "faces": _plain(people.faces), "bodies": _plain(people.bodies),
        })  # fmt: skip
        if not self.what:
            return reference
        _hide_in_picture(picture, mask, people, self.what == "bodies")
        jpeg = encode_jpeg(picture, _JPEG_QUALITY)
        image = reference["image"] | {"bytes": jpeg}
        return reference | {"image": image, "sha256": hashlib.sha256(jpeg).hexdigest()}


@dataclass
class _HiddenInClip:
    """What is hidden in each frame of a clip, and what is kept."""

    people: PeopleOfClip
    cast: Sequence[FollowedPerson]
    masks: Segmenter
    whole_bodies: bool

    def regions(self, frame: int) -> list[Region]:
        """Return what is hidden in a frame."""
        found = []
        for bystander in self.people.bystanders:
            box = bystander.person.box_at(frame)
            if box is None:
                continue
            face = bystander.faces[frame - bystander.person.first_frame]
            found.append(Region(head_of(face), sure=face if bystander.found else None))
            if self.whole_bodies and bystander.body:
                found.append(Region(grown(box, _BODY_ROOM, _BODY_ROOM), oval=False))
        return found

    def change(self, frame: int, planes: Planes) -> None:
        """Hide everybody else in one frame, in place."""
        regions = self.regions(frame)
        if regions:
            mask = self._cast_mask(frame, planes, [region.box for region in regions])
            hide(planes, regions, Kept(mask, self.people.cast_faces.get(frame, ())))

    def _cast_mask(
        self, frame: int, planes: Planes, hidden: Sequence[np.ndarray]
    ) -> np.ndarray | None:
        """Return the pixels of the cast, where anything hidden reaches into their boxes."""
        boxes = [box for member in self.cast if (box := member.box_at(frame)) is not None]
        touched = [b for b in boxes if intersection(b[None], np.stack(hidden)).any()]
        if not touched:
            return None
        picture = _rgb(planes)
        bodies = [each.person.box_at(frame) for each in self.people.bystanders if each.body]
        around = tuple(body for body in bodies if body is not None)
        people = [PersonImage(picture, box, others=around) for box in touched]
        masks = [cut.mask > 127 for cut in cut_people(self.masks, people)]
        return np.logical_or.reduce(masks)


def list_others(store: Store) -> OthersReport:
    """Return who else is seen in the samples of the newest version. ValueError without any."""
    manifest, _ = require_manifest(store)
    others = OthersOfSamples.of(store, manifest)
    with shown(others):
        for path in files_of("samples", manifest):
            file = open_table(path, store)
            for number in range(file.num_row_groups):
                others.in_group(file.read_row_group(number))
    return others.report


@contextmanager
def shown(others: OthersOfSamples | None) -> Iterator[None]:
    """Say on stderr how far the search is; nothing where there is none."""
    if others is None:
        yield
        return
    total = sum(others.manifest.splits.values())
    with Progress("others", total, unit="samples") as progress:
        others.advance = progress.advance
        yield


def _rgb(planes: Planes) -> np.ndarray:
    """Return what a segmenter looks at; its colours need not be exact."""
    stacked = np.concatenate([plane.ravel() for plane in planes])
    height, width = planes[0].shape
    return cv2.cvtColor(stacked.reshape(height * 3 // 2, width), cv2.COLOR_YUV2RGB_I420)


def _hide_in_picture(
    picture: np.ndarray, mask: np.ndarray | None, people: PeopleOfPicture, whole_bodies: bool
) -> None:
    regions = [Region(head_of(face), sure=face) for face in people.faces]
    regions += [Region(head_of(face)) for face in people.heads]
    if whole_bodies:
        bodies = (grown(box, _BODY_ROOM, _BODY_ROOM) for box in people.bodies)
        regions += [Region(box, oval=False) for box in bodies]
    own = () if people.own_face is None else (people.own_face,)
    hide([picture], regions, Kept(None if mask is None else mask > 127, own))


def _mask_of(reference: Mapping[str, Any], picture: np.ndarray) -> np.ndarray | None:
    content = (reference["mask"] or {}).get("bytes")
    mask = decode_image(content)[..., 0] if content else None
    return mask if mask is not None and mask.shape == picture.shape[:2] else None


def _followed(row: Mapping[str, Any]) -> FollowedPerson:
    return FollowedPerson(row["track_id"], row["first_frame"], np.array(row["boxes"], np.float32))


def _listed(bystander: Bystander) -> dict[str, Any]:
    """Return a bystander as a line of the list: boxes of the examined frames."""
    person, faces = bystander.person, set(bystander.face_frames)
    looks = []
    for frame in bystander.seen_frames:
        place = frame - person.first_frame
        look: dict[str, Any] = {"frame": frame}
        if bystander.body:
            look["box"] = _plain([person.boxes[place]])[0]
        if frame in faces:
            look["face"] = _plain([bystander.faces[place]])[0]
        looks.append(look)
    return {
        "who": person.name,
        "face": f"found in {len(faces)} of {len(looks)} looks" if faces else "not found",
        "first_frame": person.first_frame,
        "end_frame": person.first_frame + len(person.boxes),
        "looks": looks,
    }


def _plain(boxes: Iterable[np.ndarray]) -> list[list[float]]:
    return [[round(float(side), 1) for side in box] for box in boxes]
