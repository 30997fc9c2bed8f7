"""All measures of one video against one item: pure functions of what was seen."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.evaluate.characters import match_cast
from pipeline.evaluate.copying import copy_paste, correlation, most, pose_change
from pipeline.evaluate.identity import cosine, self_consistency, summarise
from pipeline.evaluate.protocols import Protocol
from pipeline.evaluate.watch import SeenFace, SeenFrame, SeenVideo

# metric -> what it is; higher is more of it, which is not always better
METRICS = {
    "protocol_value": "the protocol's own number, by its own rules",
    "face_mean_detected": "cosine to the reference, mean over frames with a face",
    "face_mean_zero_if_missing": "the same with 0 for every frame without a face",
    "face_detection_rate": "share of frames with a face that the recogniser accepts",
    "face_least": "smallest cosine of a frame",
    "face_p10": "tenth percentile of the frames' cosines",
    "face_drift_per_s": "slope of the cosine over time, 1/s; below 0 the person is lost",
    "face_late_minus_early": "cosine in the last third less that in the first",
    "face_to_first": "cosine to the first frame with a face",
    "face_frontal": "cosine in frames turned by less than 20 degrees",
    "face_turned": "cosine in frames turned by 20 to 45 degrees",
    "face_profile": "cosine in frames turned further",
    "face_colour": "colours of the face, likeness to the reference, 0 to 1",
    "hair": "colours of the hair, likeness to the reference, 0 to 1",
    "top": "colours of the upper garment, likeness to the reference, 0 to 1",
    "bottom": "colours of the lower garment, likeness to the reference, 0 to 1",
    "dino_reference": "DINO of the person on white, cosine to the reference",
    "dino_self_consistency": "DINO, each frame to the one before and to the first (VBench)",
    "clip_reference": "CLIP of the frame, cosine to the reference",
    "clip_text": "CLIP of the frame, cosine to the prompt",
    "copy_paste": "M_CP: above 0 nearer to the reference than to the real clip",
    "copy_correlation": "largest correlation of head and shoulders with the reference; 1 is a copy",
    "place_likeness": "colours behind the person, likeness to the reference's; 1 is one place",
    "pose_change": "how differently the head is held than in the reference; 0 is a copy",
    "motion_length": "mean flow, px a frame at a short side of 256",
    "motion_drift": "OpenS2V-Eval's motion amplitude of the same flow",
    "cast_matched": "several characters: cosine of matched faces",
    "cast_missing": "several characters: share of characters and frames without a face",
    "swap_rate": "several characters: share of faces that are nearer to another of them",
}
_TURNED, _PROFILE = 20.0, 45.0  # degrees
Measures = dict[str, float | None]


@dataclass(frozen=True)
class Case:
    """What a video is measured against."""

    reference: SeenFrame
    others: tuple[SeenFrame, ...] = ()  # references of further characters
    truth: SeenVideo | None = None
    text: np.ndarray | None = None  # CLIP's vector of the prompt


def reference_face(frame: SeenFrame) -> SeenFace | None:
    """Return the largest face that the recogniser knows."""
    return next((face for face in frame.faces if face.known), None)


def chosen_faces(
    video: SeenVideo, reference: SeenFace, protocol: Protocol
) -> list[SeenFace | None]:
    """Return the face of every frame that counts, None where there is none."""
    return [_chosen(frame.faces, reference, protocol) for frame in video.frames]


def _chosen(faces: Sequence[SeenFace], reference: SeenFace, protocol: Protocol) -> SeenFace | None:
    known = [face for face in faces if face.known]
    if not known or protocol.face == "largest":
        return known[0] if known else None
    return max(known, key=lambda face: float(face.vector @ reference.vector))


def frame_cosines(video: SeenVideo, case: Case, protocol: Protocol) -> list[float | None]:
    """Return the cosine of every frame to the reference, None where no face is found."""
    face = reference_face(case.reference)
    if face is None:
        return [None] * len(video.frames)
    return [
        None if one is None else cosine(one.vector, face.vector)
        for one in chosen_faces(video, face, protocol)
    ]


def measure(video: SeenVideo, case: Case, protocol: Protocol) -> Measures:
    """Return every metric of METRICS; None where it cannot be computed."""
    measures: Measures = dict.fromkeys(METRICS)
    measures["motion_length"] = video.motion.length
    measures["motion_drift"] = video.motion.drift
    measures |= _embedded(video, case)
    measures["place_likeness"] = _place_likeness(video, case.reference)
    face = reference_face(case.reference)
    if face is not None:
        measures |= _of_face(video, face, case, protocol)
        measures |= _cast(video, face, case)
    if protocol.value == "self":
        measures["protocol_value"] = measures["dino_self_consistency"]
    return measures


def _of_face(video: SeenVideo, face: SeenFace, case: Case, protocol: Protocol) -> Measures:
    chosen = chosen_faces(video, face, protocol)
    cosines = frame_cosines(video, case, protocol)
    identity = summarise(cosines, [frame.time_s for frame in video.frames])
    found = [(one, c) for one, c in zip(chosen, cosines, strict=True) if one and c is not None]
    return {
        "protocol_value": protocol.number(cosines) if protocol.value == "face" else None,
        "face_mean_detected": identity.mean_detected,
        "face_mean_zero_if_missing": identity.mean_zero_if_missing,
        "face_detection_rate": identity.detection_rate,
        "face_least": identity.least,
        "face_p10": identity.p10,
        "face_drift_per_s": identity.drift_per_s,
        "face_late_minus_early": identity.late_minus_early,
        "face_to_first": _mean([cosine(one.vector, found[0][0].vector) for one, _ in found[1:]]),
        "face_frontal": _mean([c for one, c in found if abs(one.yaw) < _TURNED]),
        "face_turned": _mean([c for one, c in found if _TURNED <= abs(one.yaw) < _PROFILE]),
        "face_profile": _mean([c for one, c in found if abs(one.yaw) >= _PROFILE]),
        **_regions([one for one, _ in found], face),
        **_copying([one for one, _ in found], face, case, protocol),
    }


def _regions(faces: Sequence[SeenFace], reference: SeenFace) -> Measures:
    named = {"face_colour": "face", "hair": "hair", "top": "top", "bottom": "bottom"}
    found: Measures = {}
    for metric, region in named.items():
        theirs = reference.regions.get(region)
        both = [] if theirs is None else [f.regions[region] for f in faces if region in f.regions]
        found[metric] = _mean([float(each @ theirs) for each in both])
    return found


def _copying(
    faces: Sequence[SeenFace], reference: SeenFace, case: Case, protocol: Protocol
) -> Measures:
    poses = [pose_change(face.landmarks, reference.landmarks) for face in faces]
    return {
        "copy_paste": _copy_paste(faces, reference, case.truth, protocol),
        "copy_correlation": most([correlation(face.head, reference.head) for face in faces]),
        "pose_change": _mean([pose for pose in poses if pose is not None]),
    }


def _copy_paste(
    faces: Sequence[SeenFace], reference: SeenFace, truth: SeenVideo | None, protocol: Protocol
) -> float | None:
    if truth is None or not faces:
        return None
    real = [face for face in chosen_faces(truth, reference, protocol) if face is not None]
    if not real:
        return None
    made, true = (np.mean([f.vector for f in each], axis=0) for each in (faces, real))
    three = (cosine(made, true), cosine(made, reference.vector), cosine(true, reference.vector))
    to_truth, to_reference, apart = three
    if to_truth is None or to_reference is None or apart is None:
        return None
    return copy_paste(to_truth, to_reference, apart)


def _embedded(video: SeenVideo, case: Case) -> Measures:
    found: Measures = {}
    dino = [frame.dino for frame in video.frames if frame.dino is not None]
    if dino:
        found["dino_self_consistency"] = self_consistency(np.stack(dino))
        if case.reference.dino is not None:
            found["dino_reference"] = float((np.stack(dino) @ case.reference.dino).mean())
    clip = [frame.clip for frame in video.frames if frame.clip is not None]
    if clip:
        if case.reference.clip is not None:
            found["clip_reference"] = float((np.stack(clip) @ case.reference.clip).mean())
        if case.text is not None:
            found["clip_text"] = float((np.stack(clip) @ case.text).mean())
    return found


def _place_likeness(video: SeenVideo, reference: SeenFrame) -> float | None:
    """Return the mean Bhattacharyya coefficient of the backgrounds' colours."""
    if reference.place is None:
        return None
    return _mean([None if f.place is None else float(f.place @ reference.place)
                  for f in video.frames])  # fmt: skip


def _cast(video: SeenVideo, main: SeenFace, case: Case) -> Measures:
    others = [face for face in map(reference_face, case.others) if face is not None]
    if not others:
        return {}
    wanted = np.stack([main.vector, *(face.vector for face in others)])
    frames = [
        np.array([face.vector for face in frame.faces if face.known]).reshape(-1, wanted.shape[1])
        for frame in video.frames
    ]
    cast = match_cast(wanted, frames)
    return {
        "cast_matched": cast.matched,
        "cast_missing": cast.missing,
        "swap_rate": cast.swap_rate,
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
