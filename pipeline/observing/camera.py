"""Tell what the camera does from how the picture moves, where no person is.

A head that fills the picture moves like a camera. So the flow is measured while a clip is cut, and
what the camera did is decided once it is known where people are; with too little left beside them,
nothing is said.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from pipeline.execution.stage import ClipRow, Movement
from schemas.tables import Track

_STEP = 6  # pixels between places that are kept, at half of 256 px
_DETAIL = 2.0  # grey levels a pixel in the direction in which a place varies least
_WINDOW = 9  # pixels in which that is looked for
_BESIDE = 0.12  # of a box's sides: hair and hands reach out of it
_LEAST_PLACES = 12  # beside people, to tell a pan from a zoom
_LEAST_SPREAD = 0.25  # of the picture's side over which they lie
_FOLLOWS = 0.5  # pixels a frame by which a place may differ from the camera's motion
_LEAST_AGREE = 0.6  # share of the places that follow
_LEAST_KNOWN = 0.5  # share of the examined moments at which the camera could be told


@dataclass(frozen=True)
class Flow:
    """Motion between two frames, per frame of the clip, at 256 px short side."""

    length: float
    camera: float
    pan: tuple[float, float]
    zoom: float


def measure_flow(flow: np.ndarray, fps: int) -> Flow:
    """Split a flow field (height, width, 2), in pixels of twice its size, into camera and all."""
    height, width = flow.shape[:2]
    sparse = flow[4::12, 4::12].reshape(-1, 2)
    y, x = np.mgrid[4:height:12, 4:width:12].reshape(2, -1).astype(np.float64)
    place = np.stack([2 * x - width, 2 * y - height], axis=1)  # from the centre
    pan, zoom = _fit_camera(place, sparse)
    camera = pan + zoom * place
    return Flow(
        length=float(_lengths(flow[::2, ::2]).mean()),
        camera=float(_lengths(camera).mean()),
        pan=(float(pan[0]), float(pan[1])),
        zoom=float(zoom * fps),
    )


def movement_of(
    flow: np.ndarray, grey: np.ndarray, frame_index: int, shape: tuple[int, ...]
) -> Movement:
    """Keep the flow of places with detail; `shape` is the clip's (height, width).

    In plain ground the flow is only carried over from what moves beside it.
    """
    height, width = grey.shape
    least = cv2.cornerMinEigenVal(grey.astype(np.float32) / 8, _WINDOW)  # Sobel sums eight levels
    y, x = np.mgrid[3:height:_STEP, 3:width:_STEP].reshape(2, -1)
    kept = least[y, x] >= _DETAIL**2
    places = np.stack([x, y], axis=1)[kept] * (shape[0] / height)
    return Movement(frame_index, places.astype(np.float32), flow[y, x][kept].astype(np.float32))


def _lengths(vectors: np.ndarray) -> np.ndarray:
    return np.hypot(vectors[..., 0], vectors[..., 1])


def _fit_camera(place: np.ndarray, flow: np.ndarray) -> tuple[np.ndarray, float]:
    """Fit flow = pan + zoom * place robustly: what does not follow is dropped, twice."""
    kept = np.ones(len(place), bool)
    pan, zoom = np.zeros(2), 0.0
    for _ in range(2):
        centre, mean = place[kept].mean(0), flow[kept].mean(0)
        offset = place[kept] - centre
        spread = float((offset**2).sum())
        zoom = float((offset * (flow[kept] - mean)).sum() / spread) if spread else 0.0
        pan = mean - zoom * centre
        error = _lengths(flow - pan - zoom * place)
        kept = error <= max(0.25, float(np.median(error)))
    return pan, zoom


@dataclass(frozen=True)
class MeasureCamera:
    """Measure the camera's motion beside the people of a clip; without people it stays as it is.

    Reads  movements, tracks
    Adds   clip: camera_motion, camera_pan, camera_zoom; NaN where nothing tells them
    """

    name = "camera"

    def process(self, row: ClipRow) -> ClipRow:
        if not row.tracks or not row.movements:
            return replace(row, movements=())
        clip = row.clip
        size = np.array([clip.width, clip.height], float)
        flows = [_camera_beside(each, row.tracks, size, clip.fps) for each in row.movements]
        known = [flow for flow in flows if flow is not None]
        if len(known) < max(1, _LEAST_KNOWN * len(flows)):
            camera, pan, zoom = np.nan, [np.nan, np.nan], np.nan
        else:
            camera = float(np.mean([flow.camera for flow in known]))
            pan = [float(np.mean([flow.pan[axis] for flow in known])) for axis in (0, 1)]
            zoom = float(np.mean([flow.zoom for flow in known]))
        clip = replace(clip, camera_motion=camera, camera_pan=pan, camera_zoom=zoom)
        return replace(row, clip=clip, movements=())


def _camera_beside(
    movement: Movement, tracks: Sequence[Track], size: np.ndarray, fps: float
) -> Flow | None:
    """Return the camera's motion at one moment, None where too little tells it."""
    beside = np.ones(len(movement.places), bool)
    for track in tracks:
        box = _box_near(track, movement.frame_index)
        margin = _BESIDE * (box[2:] - box[:2])
        inside = (movement.places >= box[:2] - margin) & (movement.places <= box[2:] + margin)
        beside &= ~inside.all(axis=1)
    places, flow = movement.places[beside].astype(float), movement.flow[beside].astype(float)
    if len(places) < _LEAST_PLACES or (np.ptp(places, axis=0) / size).max() < _LEAST_SPREAD:
        return None
    from_centre = (places - size / 2) * (256 / size.min())
    pan, zoom = _fit_camera(from_centre, flow)
    error = _lengths(flow - pan - zoom * from_centre)
    if float((error <= _FOLLOWS).mean()) < _LEAST_AGREE:
        return None
    corners = np.array([[-1, -1], [1, -1], [-1, 1], [1, 1], [0, 0]]) * 128 * size / size.min()
    camera = float(_lengths(pan + zoom * corners).mean())
    return Flow(float(_lengths(flow).mean()), camera, (float(pan[0]), float(pan[1])), zoom * fps)


def _box_near(track: Track, frame_index: int) -> np.ndarray:
    """Return the person's box at a frame, or where it was nearest to it in time."""
    place = min(max(frame_index - track.first_frame, 0), len(track.boxes) - 1)
    return np.asarray(track.boxes[place], float)
