"""Make one clip: from frames that are known to belong to it to its row."""

import hashlib
import math
from dataclasses import asdict, astuple, dataclass, field, replace
from fractions import Fraction
from typing import Literal

import av

from pipeline.execution.stage import ClipRow, Rejected, Still
from pipeline.media.bars import NO_BARS, Bars
from pipeline.media.colours import BT709
from pipeline.media.encode import ClipEncoder, EncodingConfig
from pipeline.media.fit import Fit, Fitter, Shown, StillMaker, fit_picture
from pipeline.media.geometry import FrameGeometry
from pipeline.media.images import encode_jpeg
from pipeline.media.pixels import planes_of
from pipeline.observing.quality import Quality, QualityMeter
from schemas.clip_rules import longest_length
from schemas.ids import content_id
from schemas.reasons import Reason
from schemas.settings import check_settings, setting
from schemas.tables import Clip, Video

_FEWEST_STILLS = 2  # of a short shot, so that its people are seen twice


@dataclass(frozen=True)
class ClipsConfig:
    """What clips are cut from a shot.

    Attributes:
        min_s: shortest shot, its guards included, that becomes a clip.
        min_reference_s: shortest shot, its guards included, whose people may be references of
            others; jump cuts of half a second show an outfit or a place that no longer shot does.
        max_s: longest clip.
        frames_from: fewest frames of a clip, whatever min_s lets pass.
        frames_step: a clip has frames_from plus a multiple of so many frames; what is left over at
            its end is cut off. Video autoencoders take 4n + 1, 8n + 1 or 17n + 5 frames.
        stride_s: from one clip's start to the next; null is the longest clip, without overlap.
        fps: frame rate of clips; 16 is what Wan-type video models are trained at.
        guard: source frames left out on both sides of a cut.
        size_classes: short sides that clips may have, largest first that fits is taken.
        side_multiple: sides of clips are multiples of it; 32 is what MiniMax-H3 and LTX-2 ask for.
        max_upscale: how far a smaller video may be enlarged to the next size.
        stills_fps: full source frames kept for references.
        still_side: longest side of a still.
        still_quality: JPEG quality of a still.
        crop_bars: cut off black bars, where none of a few key frames ever shows anything.
        max_hold_s: a frame shown for longer ends the clip.
        encoding: how clips are stored.
        audio: none, or keep: the source's sound, cut to the sample, 48 kHz stereo, without loss.
    """

    min_s: float = setting(2.0, low=0.1, high=600, unit="s")
    min_reference_s: float = setting(0.4, low=0.1, high=600, unit="s")
    max_s: float = setting(10.0, low=0.1, high=600, unit="s")
    frames_from: int = setting(1, low=1, high=10_000, unit="frames")
    frames_step: int = setting(1, low=1, high=1000, unit="frames")
    stride_s: float | None = setting(None, low=0.1, high=600, unit="s")
    fps: int = setting(16, low=1, high=120, unit="frames/s")
    guard: int = setting(2, low=0, high=100, unit="frames")
    size_classes: tuple[int, ...] = setting((480, 320, 240), low=64, high=4320, least=1)
    side_multiple: Literal[16, 32, 64] = 16
    max_upscale: float = setting(1.5, low=1, high=8)
    stills_fps: float = setting(2.0, low=0.1, high=30, unit="stills/s")
    still_side: int = setting(1920, low=64, high=8192, unit="pixels")
    still_quality: int = setting(92, low=1, high=100)
    crop_bars: bool = True
    max_hold_s: float = setting(0.5, above=0, high=600, unit="s")
    encoding: EncodingConfig = field(default_factory=EncodingConfig)
    audio: Literal["none", "keep"] = "none"

    def __post_init__(self) -> None:
        check_settings(self, "observe.clips")
        if self.min_s > self.max_s:
            raise ValueError(
                f"observe.clips.min_s must be at most max_s ({self.max_s:g} s), got {self.min_s:g}"
            )
        if self.frames_from > round(self.max_s * self.fps):
            raise ValueError(
                f"observe.clips.frames_from must be at most max_s x fps "
                f"({round(self.max_s * self.fps)} frames), got {self.frames_from}"
            )
        if self.stills_fps > self.fps:
            raise ValueError(
                f"observe.clips.stills_fps must be at most fps ({self.fps}), "
                f"got {self.stills_fps:g}"
            )

    def frames_between_guards(self, shot_s: float, source_fps: float) -> int:
        """Return how many frames of a clip a shot of this length has left between its guards."""
        left_s = shot_s - 2 * self.guard / max(source_fps, 1e-6)
        return max(1, math.floor(left_s * self.fps + 1e-6))

    def fit(self, shown: Shown, bars: Bars = NO_BARS) -> Fit | Rejected:
        """Return the way from a source's picture to a clip's, or why there is none."""
        return fit_picture(
            shown, self.size_classes, self.max_upscale, bars, multiple=self.side_multiple
        )

    def length_within(self, num_frames: int) -> int:
        """Return the most frames that a clip may have of so many; 0 when there are too few."""
        return longest_length(num_frames, self.frames_from, self.frames_step)

    @property
    def max_frames(self) -> int:
        return self.length_within(round(self.max_s * self.fps))

    @property
    def stride_frames(self) -> int:
        return max(1, round(self.stride_s * self.fps)) if self.stride_s else self.max_frames


@dataclass(frozen=True, slots=True)
class Ticked:
    """A frame on the clip grid, scaled, waiting for its verdict."""

    tick: int
    index: int
    pts: int
    next_pts: int
    picture: av.VideoFrame
    still: bytes | None


@dataclass(frozen=True)
class Dropped:
    """A clip that was not made."""

    clip_id: str
    rejected: Rejected


class ClipMaker:
    """What all clips of a stretch share: the way to their size, and their settings."""

    def __init__(
        self,
        video: Video,
        geometry: FrameGeometry,
        fit: Fit,
        timebase: Fraction,
        clips: ClipsConfig,
    ) -> None:
        self.video_id, self.fit, self.timebase, self.clips = video.video_id, fit, timebase, clips
        self.min_frames = clips.frames_between_guards(clips.min_s, video.fps)
        self.min_reference_frames = clips.frames_between_guards(clips.min_reference_s, video.fps)
        self.fitter = Fitter(fit)
        self.still_maker = StillMaker(geometry, clips.still_side, fit.bars)
        made = (asdict(clips.encoding), clips.fps, fit.width, fit.height)
        cut = astuple(fit.bars) if fit.bars != NO_BARS else ()
        self.digest = content_id(*made, *cut)
        self._still_step = max(1, round(clips.fps / clips.stills_fps))

    def still(self, picture: av.VideoFrame, tick: int) -> bytes | None:
        """Return the full picture as JPEG if the tick is one that has a still."""
        if tick % self._still_step:
            return None
        return encode_jpeg(self.still_maker(picture), self.clips.still_quality)

    def encoder(self) -> ClipEncoder:
        fit = self.fit
        encoding = self.clips.encoding
        return ClipEncoder(fit.width, fit.height, self.clips.fps, encoding, BT709)

    def clip_id(self, first: Ticked, last: Ticked) -> str:
        return content_id("clip", self.video_id, first.pts, last.next_pts, self.digest)

    def small_still(self, ticked: Ticked, frame_index: int) -> Still:
        """Return the clip's own picture as a still."""
        picture = ticked.picture
        return Still(
            frame_index=frame_index,
            time_s=float(ticked.pts * self.timebase),
            width=picture.width,
            height=picture.height,
            scale=1.0,
            left=0.0,
            top=0.0,
            jpeg=encode_jpeg(picture.to_ndarray(format="rgb24"), self.clips.still_quality),
        )

    def place_still(self, jpeg: bytes, frame_index: int, pts: int) -> Still:
        """Return a still with the way from clip pixels to its own."""
        fit, maker = self.fit, self.still_maker
        scale = maker.scale / fit.scale
        return Still(
            frame_index=frame_index,
            time_s=float(pts * self.timebase),
            width=maker.width,
            height=maker.height,
            scale=scale,
            left=fit.left * scale - maker.left,
            top=fit.top * scale - maker.top,
            jpeg=jpeg,
        )


class OpenClip:
    """A clip in the making. Nothing is encoded before the clip has a length that it may keep.

    One that opens its shot is kept for references where it is too short for anything else.
    """

    def __init__(self, shot_id: str, maker: ClipMaker, opens_shot: bool) -> None:
        self.num_frames = 0  # that were added; the last of them may not become part of the clip
        self._opens_shot = opens_shot
        self._shot_id = shot_id
        self._maker = maker
        whole = round(maker.clips.min_s * maker.clips.fps)
        self._min_frames = maker.min_frames if opens_shot else max(1, whole)
        self._held: list[Ticked] = []
        self._encoder: ClipEncoder | None = None
        self._meter = QualityMeter(maker.clips.fps)
        self._stills: list[Still] = []
        self._first: Ticked | None = None
        self._last: Ticked | None = None

    def add(self, ticked: Ticked) -> None:
        """Append a frame that is known to belong to the clip."""
        self._first = self._first or ticked
        self.num_frames += 1
        self._held.append(ticked)
        allowed = self._maker.clips.length_within(self.num_frames) == self.num_frames
        if allowed and self.num_frames >= self._min_frames:
            self._encode_held()

    def _encode_held(self) -> None:
        self._encoder = self._encoder or self._maker.encoder()
        for ticked in self._held:
            if ticked.still is not None:
                frame_index = self._encoder.num_frames
                self._stills.append(self._maker.place_still(ticked.still, frame_index, ticked.pts))
            self._meter.add(planes_of(ticked.picture)[0])
            self._encoder.write(ticked.picture)
        self._last = self._held[-1]
        self._held.clear()

    def close(self) -> ClipRow | Dropped:
        """Return the finished clip, or why there is none."""
        assert self._first is not None, "a clip has frames"
        only = self._encoder is None
        if only and self._opens_shot and self.num_frames >= self._maker.min_reference_frames:
            self._stills += self._small_stills()
            self._encode_held()
        if self._encoder is None or self._last is None:
            return self._too_short(self._first, self._held[-1])
        num_frames, mp4 = self._encoder.num_frames, self._encoder.close()
        clip = self._describe(num_frames, mp4, self._first, self._last, self._meter.finish())
        clip = replace(clip, reference_only=only)
        stills = sorted(self._stills, key=lambda still: still.frame_index)
        begins_s = Fraction(self._first.tick, self._maker.clips.fps)
        movements = self._meter.movements
        return ClipRow(clip, mp4, tuple(stills), movements=movements, begins_s=begins_s)

    def _too_short(self, first: Ticked, last: Ticked) -> Dropped:
        clips = self._maker.clips
        seconds = self.num_frames / clips.fps
        least_s = max(clips.min_s, clips.frames_from / clips.fps)
        detail = f"{seconds:.2f} s between the guards of its shot"
        rejected = Rejected(Reason.CLIP_TOO_SHORT, seconds, least_s, detail)
        return Dropped(self._maker.clip_id(first, last), rejected)

    def _small_stills(self) -> list[Still]:
        """Take stills from the clip's own pictures where its short time has too few full ones."""
        if sum(ticked.still is not None for ticked in self._held) >= _FEWEST_STILLS:
            return []
        places = {len(self._held) // 4, 3 * len(self._held) // 4}
        missing = [place for place in sorted(places) if self._held[place].still is None]
        return [self._maker.small_still(self._held[place], place) for place in missing]

    def _describe(
        self, num_frames: int, mp4: bytes, first: Ticked, last: Ticked, quality: Quality
    ) -> Clip:
        maker, fit = self._maker, self._maker.fit
        return Clip(
            clip_id=maker.clip_id(first, last),
            video_id=maker.video_id,
            shot_id=self._shot_id,
            start_pts=first.pts,
            end_pts=last.next_pts,
            timebase_num=maker.timebase.numerator,
            timebase_den=maker.timebase.denominator,
            start_s=float(first.pts * maker.timebase),
            end_s=float(last.next_pts * maker.timebase),
            start_frame=first.index,
            end_frame=last.index + 1,
            width=fit.width,
            height=fit.height,
            size_class=fit.size_class,
            fps=float(maker.clips.fps),
            num_frames=num_frames,
            scale=fit.scale,
            cropped=fit.cropped,
            size_bytes=len(mp4),
            sha256=hashlib.sha256(mp4).hexdigest(),
            **asdict(quality),
        )
