"""Find cuts, fades, dissolves and wipes by comparing small pictures, with nothing to install.

A hard cut changes the picture more than the motion around it does. Five measures say so: the
change of the pixels and of the colours, what no motion explains of it, and the same of the frames
around. A logistic regression weighs them; it was fitted to the labelled `tuning` half of
tests/golden/cuts.json. What looks like a cut is none if it is a flash, after which the picture
comes back, or only a change of light. A fade or dissolve is a stretch in which every frame is a
mix of the ends; a wipe is one in which ever more pixels leave the first end for the last.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import cv2
import numpy as np

from pipeline.observing.boundaries import Boundary, ShotsConfig
from pipeline.observing.change import (
    SMALL,
    colours,
    difference,
    grey_picture,
    only_light,
    shape,
    small_picture,
    unexplained,
)

_STILL = 0.3  # of 255: a frame that changes less repeats the one before it
_NEIGHBOURS = 2  # frames on each side with a change of their own
_REACH = 6  # frames on each side among which these are looked for
_LEAST = 4.0  # of 255: less change is never a cut
_PROMINENT = 1.5  # times the change around it, without which a frame needs no second look
_CELL_CHANGE = 8.0  # of 255, in a cell that changes with the shot
_CELL_SHARE = 0.25  # of the cells, below which a caption or an object came, not a shot
# Weights of log(1 + unexplained), log(1 + the most unexplained around), the change of colours over
# that around, log(1 + change), log(1 + change around); and the bias. Above 0 is a cut.
_WEIGHTS = np.array((2.1, -4.43, 3.68, 7.06, -2.91))
_BIAS = -13.5
_LIGHT_SHARE = 0.4  # of a change that gain and offset leave over, where only the light changed
_FLASH_SHARE = 0.4  # of what is unexplained, between the frames before and after a flash
_FLASH_CONTRAST = 0.2  # of the contrast, that is unexplained between these two frames
_FLASH_RETURN = 0.6  # correlation of these two frames, if more is unexplained
_FLASH_ALIKE = 0.4  # correlation of these two frames, without which they are not compared
_FLASH_LIKENESS = 0.4  # correlation of a lit frame with the one before or after
_WHITE = 170.0  # of 255: a frame this bright on the whole may be all flash
_SHARED_SCORE = 3.0  # more than a plain cut, for one over a frame that shows both shots
_MIXED = (0.15, 0.85)  # share of the new shot in such a frame
_MIXED_RESIDUAL = 0.2  # of the change, what in such a frame is no mix
_REST = 4  # frames before and after a blend in which the shots stay what they are
_REST_SHARE = 0.35  # of the change over the blend, the most that changes in these
_MOTION_SHARE = 0.3  # of the change over the blend; if motion leaves less, it is motion
_MIX_TIMES = (1 / 2, 1 / 4, 3 / 4)  # of a blend, where frames are compared; the surest first
_GRACE = 8  # frames, at most, that a blend may reach beyond a window that lies inside it
_MIX_START = 0.1  # share in which a blend has hardly begun
_MIX_LATE = 0.24  # how far a blend may run ahead or behind
_WIPE_TIMES = tuple(k / 6 for k in range(1, 6))
_WIPE_CHANGE = 20.0  # of 255, at a cell that the wipe passed
_WIPE_SHARE = 0.5  # of the cells that must have changed
_WIPE_LIKENESS = 0.6  # correlation of its ends
_WIPE_COLOURS = 0.5  # share of the picture that has other colours
_WIPE_RESIDUAL = 0.16  # of the change, between a cell and the nearer of its ends
_WIPE_RETURNS = 0.05  # of the changed cells that may go back to the first end
_WIPE_LATE = 0.3  # how far a wipe may run ahead or behind
_WIPE_STRIDE = 0.5  # of the changed cells, the most from one time to the next
_WIPE_SPECKS = 0.03  # of all cells that may differ from what is around them


@dataclass(slots=True)
class _Frame:
    """A small picture and how it differs from the one before it."""

    grey: np.ndarray
    flat: np.ndarray  # grey, as one row of float32
    shape: np.ndarray  # the same, less its mean, of length 1
    colours: np.ndarray
    small: np.ndarray
    change: float
    recoloured: float
    unexplained: float | None = field(default=None)


class AdaptiveCuts:
    """The detector that comes with the pipeline."""

    def __init__(self, config: ShotsConfig, fps: float) -> None:
        self._config = config
        self._flash = max(2, round(config.flash_s * fps))
        self._ahead = max(_REACH, self._flash) + 1
        self._spans = sorted({2 * max(2, round(s * fps / 2)) for s in config.fade_windows_s})
        longest = max(self._spans, default=0)
        self.delay = max(self._ahead, longest + _REST + _GRACE) + 1
        self._frames: deque[_Frame] = deque(maxlen=max(longest, 2 * self._ahead) + 2 * _REST + 1)
        self._taken = 0

    def add(self, picture: np.ndarray) -> Iterator[Boundary]:
        self._frames.append(self._measured(picture))
        self._taken += 1
        yield from self._cut_at(self._taken - 1 - self._ahead)
        for span in self._spans:
            if len(self._frames) > span + _REST:
                yield from self._blend_over(span)

    def finish(self) -> Iterator[Boundary]:
        for position in range(self._taken - self._ahead, self._taken):
            yield from self._cut_at(position)

    def _measured(self, picture: np.ndarray) -> _Frame:
        small = small_picture(picture)
        grey, shades = grey_picture(small), colours(small)
        flat = grey.ravel().astype(np.float32)
        change = recoloured = 0.0
        if self._frames:
            before = self._frames[-1]
            change = difference(before.small, small)
            recoloured = _recoloured(before, shades)
        return _Frame(grey, flat, shape(flat), shades, small, change, recoloured)

    def _frame(self, position: int) -> _Frame:
        return self._frames[position - self._taken]

    def _has(self, position: int) -> bool:
        return max(0, self._taken - len(self._frames)) <= position < self._taken

    # --- hard cuts ------------------------------------------------------------------------------

    def _cut_at(self, position: int) -> Iterator[Boundary]:
        """Yield the boundary at a frame, if the frames around it show one."""
        if position < 1 or not self._has(position):
            return
        if self._frame(position).change < _LEAST:
            return
        if self._is_cut(position - 1, position):
            yield Boundary(position, position)
        elif self._shows_both(position) and self._is_cut(position - 1, position + 1):
            yield Boundary(position, position + 1)

    def _is_cut(self, last: int, first: int) -> bool:
        """Whether a shot ends with one frame and the next begins with another."""
        before, after = self._frame(last), self._frame(first)
        change = difference(before.small, after.small)
        if not (self._has(last - 1) or self._has(first + 1)):
            return False  # nothing shows how much the picture moves
        places = self._around(last, first, change)
        around = [self._frame(place) for place in places]
        usual = _mean([frame.change for frame in around])
        if change < max(_LEAST, _PROMINENT * usual) or _is_local(before, after):
            return False
        moved = max((self._motion_left(place) for place in places), default=0.0)
        left = unexplained(before.grey, after.grey)
        colour = _recoloured(before, after.colours) - _mean([each.recoloured for each in around])
        measures = np.log1p((left, moved, 0.0, change, usual))
        measures[2] = colour
        needed = self._config.cut_score + _SHARED_SCORE * (first - last - 1)
        if float(_WEIGHTS @ measures) + _BIAS <= needed:
            return False
        return not (
            only_light(before.flat, after.flat, _LIGHT_SHARE) or self._is_flash(last, first, left)
        )

    def _around(self, last: int, first: int, change: float) -> list[int]:
        """Return the nearest frames on both sides that changed."""
        found: list[int] = []
        for places in (range(last, last - _REACH, -1), range(first + 1, first + 1 + _REACH)):
            moving = [place for place in places if self._moves(place)]
            found += moving[:_NEIGHBOURS]
        return self._without_other_cut(found, change, last, first)

    def _motion_left(self, place: int) -> float:
        """Return what no motion explains of the change to a frame."""
        frame = self._frame(place)
        if frame.unexplained is None:
            frame.unexplained = unexplained(self._frame(place - 1).grey, frame.grey)
        return frame.unexplained

    def _moves(self, place: int) -> bool:
        """Whether a frame is at hand and no repetition of the one before."""
        at_hand = place >= 1 and self._has(place - 1) and self._has(place)
        return at_hand and self._frame(place).change >= _STILL

    def _without_other_cut(
        self, places: list[int], change: float, last: int, first: int
    ) -> list[int]:
        """Leave out a frame that stands out even more, a few frames away: another cut or flash."""
        if len(places) < 3:
            return places
        second, most = sorted(places, key=lambda place: self._frame(place).change)[-2:]
        apart = most not in (last, first + 1)
        lonely = self._frame(most).change > max(change, 2 * self._frame(second).change)
        return [place for place in places if place != most] if apart and lonely else places

    def _shows_both(self, position: int) -> bool:
        """Whether a frame mixes the one before and the one after, as conversions of rate do."""
        if not (self._has(position - 1) and self._has(position + 1)):
            return False
        before, after = self._frame(position - 1), self._frame(position + 1)
        if after.change < _LEAST:
            return False
        share, residual = _mix(before.flat, after.flat, self._frame(position).flat)
        return _MIXED[0] < share < _MIXED[1] and residual < _MIXED_RESIDUAL

    def _is_flash(self, last: int, first: int, left: float) -> bool:
        """Whether the picture from before the change comes back soon after it."""
        for before in range(last, last - self._flash, -1):
            for after in range(max(first, before + 2), before + self._flash + 2):
                if not (self._has(before) and self._has(after)):
                    continue
                ends = self._frame(before), self._frame(after)
                if _likeness(*ends) < _FLASH_ALIKE:
                    continue
                lit = [self._frame(place) for place in range(before + 1, after)]
                if not all(_may_be_flash(each, *ends, short=len(lit) <= 2) for each in lit):
                    continue
                apart = unexplained(ends[0].grey, ends[1].grey)
                if apart < _FLASH_SHARE * left and (
                    apart < _FLASH_CONTRAST * float(ends[0].flat.std())
                    or _likeness(*ends) > _FLASH_RETURN
                ):
                    return True
        return False

    # --- fades, dissolves and wipes -------------------------------------------------------------

    def _at(self, span: int, time: float) -> np.ndarray:
        """Return the frame at a time from 0 to 1 of the `span` frames before the rest."""
        return self._frames[round(time * span) - span - _REST - 1].flat

    def _ends(self, span: int) -> tuple[_Frame, _Frame]:
        """Return the first and last of these frames."""
        return self._frames[-span - _REST - 1], self._frames[-_REST - 1]

    def _blend_over(self, span: int) -> Iterator[Boundary]:
        """Yield the frames before the rest if they lead from one shot to the next."""
        end = self._taken - _REST
        if self._is_wipe(span) and self._parts_shots(span):
            yield Boundary(end - 1 - span, end)
        elif self._is_blend(span) and self._parts_shots(span):
            ends = self._at(span, 0), self._at(span, 1)
            quarters = [_mix(*ends, self._at(span, time))[0] for time in (1 / 4, 3 / 4)]
            late, early = quarters[0] < _MIX_START, quarters[1] > 1 - _MIX_START
            start = end - 1 - span + late * span // 8
            grace = min(_GRACE, span) if span < self._spans[-1] else 0
            yield Boundary(max(0, start - grace), end - early * span // 8 + grace)

    def _looks_alike(self, span: int) -> bool:
        """Whether the ends of the span have the same shapes and colours."""
        first, last = self._ends(span)
        recoloured = _recoloured(first, last.colours)
        return _likeness(first, last) > _WIPE_LIKENESS and recoloured < _WIPE_COLOURS

    def _parts_shots(self, span: int) -> bool:
        """Whether the span changes more than motion does, and the frames around it little.

        A shot stays. What passes close to the camera goes on, and so does a fire that flares up.
        """
        first, last = self._ends(span)
        change = difference(first.grey, last.grey)
        if unexplained(first.grey, last.grey) < _MOTION_SHARE * change:
            return False
        around = [(last, self._frames[-1])]
        if len(self._frames) > span + 2 * _REST:
            around.append((self._frames[-span - 2 * _REST - 1], first))
        allowed = _REST_SHARE * change
        return all(unexplained(one.grey, other.grey) <= allowed for one, other in around)

    def _is_blend(self, span: int) -> bool:
        """Whether the last frames are mixes of their ends, in shares that grow evenly.

        The frames of a moving picture are no mixes of its ends, unless it hardly moves; then the
        ends look alike. So do the ends of a change of light.
        """
        config = self._config
        first, last = self._at(span, 0), self._at(span, 1)
        if difference(first, last) < config.fade_change:
            return False
        for time in _MIX_TIMES:
            share, residual = _mix(first, last, self._at(span, time))
            if residual > config.fade_residual or abs(share - time) > _MIX_LATE:
                return False
        return _likeness(*self._ends(span)) < config.fade_likeness

    def _is_wipe(self, span: int) -> bool:
        """Whether ever more cells of the last frames leave the first end for the last one."""
        first, last = self._at(span, 0), self._at(span, 1)
        if difference(first, last) < _WIPE_SHARE * _WIPE_CHANGE:
            return False
        change = np.abs(last - first)
        changed = change > _WIPE_CHANGE
        cells = int(np.count_nonzero(changed))
        if cells < _WIPE_SHARE * changed.size or self._looks_alike(span):
            return False
        allowed = _WIPE_RESIDUAL * float(change[changed].mean())
        passed, share = np.zeros_like(changed), 0.0
        for time in _WIPE_TIMES:
            frame = self._at(span, time)
            to_first, to_last = np.abs(frame - first), np.abs(frame - last)
            nearer = float(np.minimum(to_first, to_last)[changed].mean())
            now = (to_last < to_first) & changed
            before, share = share, np.count_nonzero(now) / cells
            if (
                abs(share - time) > _WIPE_LATE
                or share - before > _WIPE_STRIDE
                or nearer > allowed
                or np.count_nonzero(passed & ~now) > _WIPE_RETURNS * cells
                or _specks(now, changed) > _WIPE_SPECKS
            ):
                return False
            passed = now
        return True


def _mean(numbers: list[float]) -> float:
    return sum(numbers) / len(numbers) if numbers else 0.0


def _likeness(one: _Frame, other: _Frame) -> float:
    """Return the correlation of two frames."""
    return float(one.shape @ other.shape)


def _recoloured(before: _Frame, colours_after: np.ndarray) -> float:
    """Return how much of a picture has other colours than before, from 0 to 1."""
    return float(np.abs(before.colours - colours_after).sum()) / 2


def _is_local(before: _Frame, after: _Frame) -> bool:
    """Whether only a part of the picture changes, as where a caption comes."""
    cells = cv2.absdiff(before.small, after.small).mean(axis=2)
    return np.count_nonzero(cells > _CELL_CHANGE) < _CELL_SHARE * cells.size


def _mix(first: np.ndarray, last: np.ndarray, frame: np.ndarray) -> tuple[float, float]:
    """Return the last's share in a frame taken as a mix, and what is left of the change, 0 to 1."""
    change = last - first
    energy = float(change @ change)
    if energy <= 0:
        return 0.0, 1.0
    share = float(change @ (frame - first)) / energy
    left = np.abs(frame - first - share * change).mean() / np.abs(change).mean()
    return share, float(left)


def _may_be_flash(lit: _Frame, before: _Frame, after: _Frame, short: bool) -> bool:
    """Whether a frame between two others is one of them in another light, or all light."""
    if short:
        return True
    level = float(lit.flat.mean())
    if level > _WHITE and level > float(before.flat.mean()) + _LEAST:
        return True
    return max(_likeness(lit, end) for end in (before, after)) > _FLASH_LIKENESS


def _specks(cells: np.ndarray, among: np.ndarray) -> float:
    """Return the share of cells that differ from those around them."""
    width, height = SMALL
    picture = cells.reshape(height, width).astype(np.uint8)
    smooth = cv2.medianBlur(picture, 3)
    return float(np.count_nonzero((picture != smooth).ravel() & among)) / cells.size
