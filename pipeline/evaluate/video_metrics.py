"""All metrics of one video against one item, as pure functions of extracted features."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.evaluate.characters import match_cast
from pipeline.evaluate.copying import copy_paste, correlation, pose_change
from pipeline.evaluate.features import FaceFeatures, FrameFeatures, VideoFeatures
from pipeline.evaluate.identity import cosine, self_consistency, summarise
from pipeline.evaluate.protocols import Protocol
from pipeline.evaluate.shots import over_distance

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
    "num_shots": "shots that our detector finds in the video",
    "shots_next": "cosine of the mean faces of neighbouring shots",
    "shots_two_apart": "the same of shots with one between them",
    "shots_far": "the same of shots that are three and more apart",
    "face_across_videos": "cosine of the mean face to those of the system's videos of the person",
    "face_colour": "colours of the face, likeness to the reference, 0 to 1",
    "hair": "colours of the hair, likeness to the reference, 0 to 1",
    "top": "colours of the upper garment, likeness to the reference, 0 to 1",
    "bottom": "colours of the lower garment, likeness to the reference, 0 to 1",
    "dino_reference": "DINO of the person on white, cosine to the reference",
    "dino_self_consistency": "DINO, each frame to the one before and to the first (VBench)",
    "clip_reference": "CLIP of the frame, cosine to the reference",
    "clip_text": "CLIP of the frame, cosine to the prompt",
    "gme_score": "GME of the frame, cosine to the prompt (OpenS2V-Eval's GmeScore)",
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
class Target:
    """What a video is measured against."""

    reference: FrameFeatures
    others: tuple[FrameFeatures, ...] = ()  # references of further characters
    truth: VideoFeatures | None = None
    text: np.ndarray | None = None  # CLIP's vector of the prompt
    gme_text: np.ndarray | None = None  # GME's


def reference_face(frame: FrameFeatures) -> FaceFeatures | None:
    """Return the largest face that the recogniser accepts."""
    return next((face for face in frame.faces if face.known), None)


def select_faces(
    video: VideoFeatures, reference: FaceFeatures, protocol: Protocol
) -> list[FaceFeatures | None]:
    """Return the face of each frame that the protocol counts, None where there is none."""
    return [_select_face(frame.faces, reference, protocol) for frame in video.frames]


def _select_face(
    faces: Sequence[FaceFeatures], reference: FaceFeatures, protocol: Protocol
) -> FaceFeatures | None:
    known = [face for face in faces if face.known]
    if not known or protocol.face == "largest":
        return known[0] if known else None
    return max(known, key=lambda face: float(face.vector @ reference.vector))


def frame_cosines(video: VideoFeatures, target: Target, protocol: Protocol) -> list[float | None]:
    """Return the cosine of every frame to the reference, None where no face is found."""
    face = reference_face(target.reference)
    if face is None:
        return [None] * len(video.frames)
    return [
        None if selected is None else cosine(selected.vector, face.vector)
        for selected in select_faces(video, face, protocol)
    ]


def measure_video(video: VideoFeatures, target: Target, protocol: Protocol) -> Measures:
    """Return every metric of METRICS; None where it cannot be computed."""
    measures: Measures = dict.fromkeys(METRICS)
    measures["motion_length"] = video.motion.length
    measures["motion_drift"] = video.motion.drift
    measures |= _embedding_metrics(video, target)
    measures["place_likeness"] = _place_likeness(video, target.reference)
    face = reference_face(target.reference)
    if face is not None:
        measures |= _face_metrics(video, face, target, protocol)
        measures |= _cast_metrics(video, face, target)
        measures |= _shot_metrics(video, face, protocol)
    measures["num_shots"] = float(len(video.shots))
    if protocol.value == "self":
        measures["protocol_value"] = measures["dino_self_consistency"]
    return measures


def _face_metrics(
    video: VideoFeatures, face: FaceFeatures, target: Target, protocol: Protocol
) -> Measures:
    selected = select_faces(video, face, protocol)
    cosines = frame_cosines(video, target, protocol)
    identity = summarise(cosines, [frame.time_s for frame in video.frames])
    matched = [
        (match, likeness)
        for match, likeness in zip(selected, cosines, strict=True)
        if match and likeness is not None
    ]
    faces = [match for match, _ in matched]
    return {
        "protocol_value": protocol.score(cosines) if protocol.value == "face" else None,
        "face_mean_detected": identity.mean_detected,
        "face_mean_zero_if_missing": identity.mean_zero_if_missing,
        "face_detection_rate": identity.detection_rate,
        "face_least": identity.least,
        "face_p10": identity.p10,
        "face_drift_per_s": identity.drift_per_s,
        "face_late_minus_early": identity.late_minus_early,
        "face_to_first": _mean([cosine(f.vector, faces[0].vector) for f in faces[1:]]),
        "face_frontal": _mean([c for f, c in matched if abs(f.yaw) < _TURNED]),
        "face_turned": _mean([c for f, c in matched if _TURNED <= abs(f.yaw) < _PROFILE]),
        "face_profile": _mean([c for f, c in matched if abs(f.yaw) >= _PROFILE]),
        **_region_metrics(faces, face),
        **_copying_metrics(faces, face, target, protocol),
    }


def _shot_metrics(video: VideoFeatures, face: FaceFeatures, protocol: Protocol) -> Measures:
    selected = select_faces(video, face, protocol)
    vectors = [None if match is None else match.vector for match in selected]
    alike = over_distance([frame.index for frame in video.frames], vectors, video.shots)
    names = ("shots_next", "shots_two_apart", "shots_far")
    measures: Measures = {name: alike.get(apart) for apart, name in enumerate(names, start=1)}
    if protocol.value == "shots":
        measures["protocol_value"] = _mean(list(alike.values()))
    return measures


def mean_face(video: VideoFeatures, target: Target, protocol: Protocol) -> np.ndarray | None:
    """Return the mean vector of a video's faces, None without any."""
    face = reference_face(target.reference)
    found = [] if face is None else [f for f in select_faces(video, face, protocol) if f]
    return np.mean([each.vector for each in found], axis=0) if found else None


def _region_metrics(faces: Sequence[FaceFeatures], reference: FaceFeatures) -> Measures:
    regions = {"face_colour": "face", "hair": "hair", "top": "top", "bottom": "bottom"}
    metrics: Measures = {}
    for metric, region in regions.items():
        colours = reference.regions.get(region)
        metrics[metric] = (
            None
            if colours is None
            else _mean([float(f.regions[region] @ colours) for f in faces if region in f.regions])
        )
    return metrics


def _copying_metrics(
    faces: Sequence[FaceFeatures], reference: FaceFeatures, target: Target, protocol: Protocol
) -> Measures:
    poses = [pose_change(face.landmarks, reference.landmarks) for face in faces]
    return {
        "copy_paste": _copy_paste(faces, reference, target.truth, protocol),
        "copy_correlation": max(
            (correlation(face.head, reference.head) for face in faces), default=None
        ),
        "pose_change": _mean([pose for pose in poses if pose is not None]),
    }


def _copy_paste(
    faces: Sequence[FaceFeatures],
    reference: FaceFeatures,
    truth: VideoFeatures | None,
    protocol: Protocol,
) -> float | None:
    if truth is None or not faces:
        return None
    true_faces = [face for face in select_faces(truth, reference, protocol) if face is not None]
    if not true_faces:
        return None
    generated = np.mean([face.vector for face in faces], axis=0)
    true = np.mean([face.vector for face in true_faces], axis=0)
    to_truth, to_reference = cosine(generated, true), cosine(generated, reference.vector)
    truth_to_reference = cosine(true, reference.vector)
    if to_truth is None or to_reference is None or truth_to_reference is None:
        return None
    return copy_paste(to_truth, to_reference, truth_to_reference)


def _embedding_metrics(video: VideoFeatures, target: Target) -> Measures:
    metrics: Measures = {}
    dino = [frame.dino for frame in video.frames if frame.dino is not None]
    if dino:
        metrics["dino_self_consistency"] = self_consistency(np.stack(dino))
        if target.reference.dino is not None:
            metrics["dino_reference"] = float((np.stack(dino) @ target.reference.dino).mean())
    clip = [frame.clip for frame in video.frames if frame.clip is not None]
    if clip:
        if target.reference.clip is not None:
            metrics["clip_reference"] = float((np.stack(clip) @ target.reference.clip).mean())
        if target.text is not None:
            metrics["clip_text"] = float((np.stack(clip) @ target.text).mean())
    gme = [frame.gme for frame in video.frames if frame.gme is not None]
    if gme and target.gme_text is not None:
        metrics["gme_score"] = float((np.stack(gme) @ target.gme_text).mean())
    return metrics


def _place_likeness(video: VideoFeatures, reference: FrameFeatures) -> float | None:
    """Return the mean Bhattacharyya coefficient of the backgrounds' colours."""
    if reference.place is None:
        return None
    return _mean([None if f.place is None else float(f.place @ reference.place)
                  for f in video.frames])  # fmt: skip


def _cast_metrics(video: VideoFeatures, main: FaceFeatures, target: Target) -> Measures:
    others = [face for face in map(reference_face, target.others) if face is not None]
    if not others:
        return {}
    characters = np.stack([main.vector, *(face.vector for face in others)])
    frames = [
        np.array([face.vector for face in frame.faces if face.known]).reshape(
            -1, characters.shape[1]
        )
        for frame in video.frames
    ]
    cast = match_cast(characters, frames)
    return {
        "cast_matched": cast.matched,
        "cast_missing": cast.missing,
        "swap_rate": cast.swap_rate,
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
