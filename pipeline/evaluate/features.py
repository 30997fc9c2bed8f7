"""Extract from a video or a picture, in one pass, the features that every metric needs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from pipeline.engines.identity.appearance import appearance_regions
from pipeline.engines.interfaces import PersonImage, Picture
from pipeline.evaluate.copying import head_and_shoulders
from pipeline.evaluate.evaluation_engines import EvaluationEngines
from pipeline.evaluate.motion import Motion, MotionMeter
from pipeline.evaluate.protocols import Protocol
from pipeline.evaluate.shots import ShotStarts
from pipeline.media.limits import ProbeConfig, Refused
from pipeline.media.pixels import Scaler
from pipeline.media.reader import VideoReader
from pipeline.pictures.looks import place_of, places_array

LIMITS = ProbeConfig(
    max_size_bytes=2 * 2**30, min_side=16, max_duration_s=600, max_frames=20_000, max_fps=240
)
_RIM, _GREY = 0.25, 128  # of the border inside which a frame is searched again
_BODY = (1.9, 0.5, 1.9, 7.6)  # of the face's width: left and right of its middle, above, below
_AT_ONCE = 64  # pictures held before the engines see them
_STRIP_FRAMES, _STRIP_HEIGHT = 6, 150  # pictures that a report shows


@dataclass(frozen=True)
class FaceFeatures:
    """One face of a picture."""

    box: np.ndarray  # (4,)
    landmarks: np.ndarray  # (5, 2), NaN where unknown
    yaw: float
    vector: np.ndarray  # (D,) unit length, or zeros where the recogniser finds nobody
    regions: dict[str, np.ndarray]  # colours of hair, top, bottom, where seen
    head: np.ndarray  # grey crop, see copying

    @property
    def size(self) -> float:
        """The area of its box."""
        return float((self.box[2] - self.box[0]) * (self.box[3] - self.box[1]))

    @property
    def known(self) -> bool:
        return bool(self.vector.any())


@dataclass(frozen=True)
class FrameFeatures:
    """What was extracted from one picture."""

    index: int
    time_s: float
    faces: tuple[FaceFeatures, ...]  # the largest first
    dino: np.ndarray | None = None  # of the person, or of all where no face is found
    clip: np.ndarray | None = None  # of the whole picture
    gme: np.ndarray | None = None  # the same
    place: np.ndarray | None = None  # colours of what is behind the person, unit length


@dataclass(frozen=True)
class VideoFeatures:
    """What was extracted from one video, at the frames that a protocol samples."""

    width: int
    height: int
    fps: float
    num_frames: int
    frames: tuple[FrameFeatures, ...]  # as the protocol samples them
    motion: Motion
    strip: tuple[Picture, ...] = field(default=(), repr=False)
    shots: tuple[int, ...] = (0,)  # first frames


def extract_video(
    path: str, protocols: Sequence[Protocol], engines: EvaluationEngines
) -> list[VideoFeatures]:
    """Decode a file once for all protocols; return the features that each of them samples.

    Raises ValueError naming the file when it is not a video.
    """
    try:
        num_frames, fps = _count_frames(path)
        sampled = [protocol.frames.indices(num_frames) for protocol in protocols]
        wanted = {index for indices in sampled for index in indices}
        shown = np.linspace(0, num_frames - 1, _STRIP_FRAMES).round().astype(int).tolist()
        meter, shots, held, features, strip = MotionMeter(), ShotStarts(fps), {}, {}, {}
        width = height = 0
        for index, picture in _pictures(path):
            meter.add(picture)
            shots.add(index, picture)
            height, width = picture.shape[:2]
            if index in wanted:
                held[index] = picture
            if index in shown:
                strip[index] = _strip_picture(picture)
            if len(held) == _AT_ONCE or index == num_frames - 1:
                extracted = _extract_pictures([*held.values()], protocols, engines)
                features |= dict(zip(held, extracted, strict=True))
                held = {}
    except Refused as error:
        raise ValueError(f"{path} cannot be measured: {error}") from error
    motion, pictures = meter.finish(), tuple(strip[index] for index in sorted(strip))
    starts = shots.finish()
    videos = []
    for protocol, indices in zip(protocols, sampled, strict=True):
        frames = tuple(
            features[index].for_protocol(protocol, index, index / fps) for index in indices
        )
        videos.append(
            VideoFeatures(width, height, fps, num_frames, frames, motion, pictures, starts)
        )
    return videos


def still_video(
    picture: Picture, frame_features: FrameFeatures, like: VideoFeatures
) -> VideoFeatures:
    """Return the features of a picture as those of a video that never moves."""
    frames = [
        replace(frame_features, index=frame.index, time_s=frame.time_s) for frame in like.frames
    ]
    height, width = picture.shape[:2]
    strip = (_strip_picture(picture),) * min(_STRIP_FRAMES, like.num_frames)
    return VideoFeatures(
        width, height, like.fps, like.num_frames, tuple(frames), Motion(0.0, 0.0), strip
    )


def _count_frames(path: str) -> tuple[int, float]:
    """Return the number of frames that decode, and frames per second by their timestamps."""
    with VideoReader(path, LIMITS) as reader:
        times = [frame.pts for frame in reader.frames()]
        timebase, nominal = reader.timebase, reader.stream.average_rate
    if not times:
        raise ValueError(f"{path} cannot be measured: no frame of it decodes")
    if len(times) > 1:
        return len(times), float((len(times) - 1) / ((times[-1] - times[0]) * timebase))
    return 1, float(nominal or 16)


def _pictures(path: str) -> Iterator[tuple[int, Picture]]:
    with VideoReader(path, LIMITS) as reader:
        scaler = None
        for index, frame in enumerate(reader.frames()):
            picture = frame.picture
            scaler = scaler or Scaler(picture.width, picture.height, "rgb24")
            yield index, scaler(picture).to_ndarray()


def _strip_picture(picture: Picture) -> Picture:
    width = max(1, round(picture.shape[1] * _STRIP_HEIGHT / picture.shape[0]))
    return cv2.resize(picture, (width, _STRIP_HEIGHT), interpolation=cv2.INTER_AREA)


def extract_picture(
    picture: Picture, protocols: Sequence[Protocol], engines: EvaluationEngines
) -> list[FrameFeatures]:
    """Return the features of a picture for each protocol."""
    [features] = _extract_pictures([picture], protocols, engines)
    return [features.for_protocol(protocol, 0, 0.0) for protocol in protocols]


@dataclass(frozen=True)
class _PictureFeatures:
    """The features of a picture that any of the protocols may need."""

    faces: tuple[FaceFeatures, ...]
    retried: tuple[FaceFeatures, ...]  # found inside a rim; the same where a face was found without
    person: np.ndarray | None  # by DINO
    whole: np.ndarray | None  # by DINO
    clip: np.ndarray | None
    gme: np.ndarray | None
    place: np.ndarray | None

    def for_protocol(self, protocol: Protocol, index: int, time_s: float) -> FrameFeatures:
        faces = self.retried if protocol.padded_retry else self.faces
        dino = self.whole if protocol.value == "self" else self.person  # VBench sees whole frames
        return FrameFeatures(index, time_s, faces, dino, self.clip, self.gme, self.place)


def _extract_pictures(
    pictures: Sequence[Picture], protocols: Sequence[Protocol], engines: EvaluationEngines
) -> list[_PictureFeatures]:
    if not pictures:
        return []
    retry = any(protocol.padded_retry for protocol in protocols)
    faces = [_extract_faces(picture, engines) for picture in pictures]
    retried = [
        found or (_extract_faces_in_rim(picture, engines) if retry else ())
        for picture, found in zip(pictures, faces, strict=True)
    ]
    nothing: list[np.ndarray | None] = [None] * len(pictures)
    person, whole, clip, gme = nothing, nothing, nothing, nothing
    if engines.dino is not None:
        person = [
            *engines.dino.embed(
                [_person_on_white(p, f) for p, f in zip(pictures, faces, strict=True)]
            )
        ]
        if any(protocol.value == "self" for protocol in protocols):
            whole = [*engines.dino.embed(pictures)]
    if engines.clip is not None:
        clip = [*engines.clip.embed(pictures)]
    if engines.gme is not None:
        gme = [*engines.gme.embed(pictures)]
    places = [
        _background_colours(picture, found)
        for picture, found in zip(pictures, retried, strict=True)
    ]
    columns = (faces, retried, person, whole, clip, gme, places)
    return [_PictureFeatures(*values) for values in zip(*columns, strict=True)]


def _extract_faces_in_rim(picture: Picture, engines: EvaluationEngines) -> tuple[FaceFeatures, ...]:
    """Detect faces that fill the picture, by adding the border that a detector needs."""
    top, left = int(picture.shape[0] * _RIM), int(picture.shape[1] * _RIM)
    border = (top, top, left, left)
    rimmed = cv2.copyMakeBorder(picture, *border, cv2.BORDER_CONSTANT, value=(_GREY,) * 3)
    return _extract_faces(picture, engines, rimmed, np.array([left, top], np.float32))


def _extract_faces(
    picture: Picture,
    engines: EvaluationEngines,
    searched: Picture | None = None,
    corner: np.ndarray | None = None,
) -> tuple[FaceFeatures, ...]:
    """Return the faces of a picture; `searched` has it at `corner`."""
    [detected] = engines.faces.detect([picture if searched is None else searched])
    if not len(detected.boxes):
        return ()
    corner = np.zeros(2, np.float32) if corner is None else corner
    people = [
        PersonImage(picture, body_box(box, picture), box, points)
        for box, points in zip(
            detected.boxes - np.tile(corner, 2), detected.landmarks - corner, strict=True
        )
    ]
    vectors = engines.recogniser.embed(people)
    faces = [
        FaceFeatures(
            np.asarray(person.face),
            np.asarray(person.landmarks),
            float(yaw),
            vector,
            appearance_regions(person),
            head_and_shoulders(picture, np.asarray(person.face)),
        )
        for person, vector, yaw in zip(people, vectors, detected.yaw, strict=True)
    ]
    return tuple(sorted(faces, key=lambda face: -face.size))


def body_box(face: np.ndarray, picture: Picture) -> np.ndarray:
    """Return the box in which the body of this face can be, inside the picture."""
    side = float(face[2] - face[0])
    middle = float(face[0] + face[2]) / 2
    left, above, right, below = (part * side for part in _BODY)
    limits = np.array([picture.shape[1], picture.shape[0]] * 2, np.float32)
    box = np.array([middle - left, face[1] - above, middle + right, face[1] + below], np.float32)
    return np.clip(box, 0, limits)


def _background_colours(picture: Picture, faces: Sequence[FaceFeatures]) -> np.ndarray | None:
    """Return the colours outside all people with a face; None where nothing else is seen."""
    people = np.zeros(picture.shape[:2], np.uint8)
    for face in faces:
        x0, y0, x1, y1 = (round(float(side)) for side in body_box(face.box, picture))
        people[y0:y1, x0:x1] = 255
    place = place_of(picture, people) if faces else b""
    return places_array([place])[0] if place else None


def _person_on_white(picture: Picture, faces: Sequence[FaceFeatures]) -> Picture:
    """Return the person with the largest face on a white square, or the whole picture on one."""
    height, width = picture.shape[:2]
    box = body_box(faces[0].box, picture) if faces else np.array([0, 0, width, height], np.float32)
    x0, y0, x1, y1 = (round(float(side)) for side in box)
    crop = picture[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)]
    side = max(crop.shape[:2])
    square = np.full((side, side, 3), 255, np.uint8)
    top, left = (side - crop.shape[0]) // 2, (side - crop.shape[1]) // 2
    square[top : top + crop.shape[0], left : left + crop.shape[1]] = crop
    return square
