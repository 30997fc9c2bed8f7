"""Propose images of each track that may become references, with everything measured on them."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace

import cv2
import numpy as np

from pipeline.engines.interfaces import (
    CutOut,
    FaceDetector,
    PersonImage,
    Picture,
    Recogniser,
    Segmenter,
)
from pipeline.engines.masks.neighbours import cut_people
from pipeline.execution.stage import ClipRow, Still
from pipeline.media.images import decode_image, encode_jpeg, encode_png_mask
from pipeline.observing.clothes import garment_colour
from pipeline.observing.faces import box_in_still, embedding_row, told_by_faces
from pipeline.observing.hair import hair_colour
from pipeline.observing.moments import EDGE, Crop, Moment, choose
from pipeline.observing.quality import light_of_people
from pipeline.observing.surroundings import PlacedMask, surroundings_of
from pipeline.observing.traits import other_face_share, search_size, traits_of
from pipeline.pictures.hashes import difference_hash
from pipeline.pictures.image_measures import combined_quality
from pipeline.pictures.lettering import lettering_on
from pipeline.pictures.looks import look_of
from pipeline.pictures.mask_measures import measure_mask
from schemas.ids import content_id
from schemas.settings import check_settings, setting
from schemas.tables import Candidate, Clip, Embedding, Track

_LEGS = ("full", "wide")  # shot sizes in which legs are seen
_LIT, _APART = 0.6, 0.1  # exposure, and share under others, for a garment's colour to be named
_LETTERED = 0.03  # of a person under subtitles; as pair.references.max_lettering
_TRUSTED = 0.5  # of its mask
_HASH_PX = 64
_SEARCHED_PX = 128.0  # of a person in the source: who is smaller is hardly ever a reference


@dataclass(frozen=True)
class CandidatesConfig:
    """Which images are kept as possible references.

    Attributes:
        per_track: at most this many; three or four of a clip differ enough to be worth it, and
            characters are seen in several clips (MAGREF and OpenS2V keep 8 to 10 an identity).
        margin: the crop's sides over the person's; Stand-In uses 1.5, the range seen is 1.3-1.6.
        max_side: longest side of a crop, pixels.
        min_px: smaller people (square root of the box's area in the still) are not proposed.
        jpeg_quality: of the crop.
        good_mask: quality of a mask; where it is lower, another moment of the track is cut out
            instead. A network that is lost in one pose is sure in another.
        further_masks: moments beyond `per_track` that are cut out in the search for good masks.
    """

    per_track: int = setting(4, low=1, high=100)
    margin: float = setting(1.4, low=1, high=4)
    max_side: int = setting(1024, low=64, high=8192, unit="pixels")
    min_px: float = setting(64.0, low=0, high=8192, unit="pixels")
    jpeg_quality: int = setting(95, low=1, high=100)
    good_mask: float = setting(0.5, low=0, high=1)
    further_masks: int = setting(8, low=0, high=1000)

    def __post_init__(self) -> None:
        check_settings(self, "observe.candidates")


@dataclass(frozen=True)
class _Cut:
    """A person of one still, cut out."""

    moment: Moment
    person: PersonImage  # the crop
    out: CutOut
    mask_quality: float

    @property
    def mask(self) -> np.ndarray:
        return self.out.mask

    @property
    def inside(self) -> np.ndarray:
        """Return the mask in the person's box, bool."""
        x0, y0, x1, y1 = np.round(self.person.box).astype(int)
        return self.mask[y0:y1, x0:x1] > 127

    @property
    def quality(self) -> float:
        """All that is measured in one number."""
        reach = float(self.inside.any(axis=1).mean())
        measured = self.moment.measured
        return combined_quality(replace(measured, mask_quality=self.mask_quality, mask_reach=reach))


@dataclass(frozen=True)
class ProposeReferences:
    """Choose, crop and cut out the best images of every track.

    Reads  tracks with faces, stills
    Adds   candidates; one embedding each; tracks: hair_colour, top_colour, bottom_colour, looks;
           clip: person_dark, person_bright, background_…, warmth, chroma
    """

    segmenter: Segmenter
    recogniser: Recogniser
    config: CandidatesConfig = field(default_factory=CandidatesConfig)
    faces: FaceDetector | None = None  # looks for other people's faces in the crops
    name = "candidates"

    def process(self, row: ClipRow) -> ClipRow:
        if not row.tracks or not row.stills:
            return row
        pictures = [decode_image(still.jpeg) for still in row.stills]
        tracks, candidates, embeddings = [], [], []
        placed: list[PlacedMask] = []
        for track in row.tracks:
            cuts = self._cut_out(row.clip, self._moments(row, track, pictures))
            track, own, vectors, masks = self._propose(row.clip, track, cuts)
            placed += masks
            tracks.append(replace(track, looks=_looks(track, row.stills, pictures)))
            candidates += own
            embeddings += vectors
        dark, bright = _light(row.tracks, row.stills, pictures)
        around = asdict(surroundings_of(row.tracks, row.stills, pictures, placed))
        return replace(
            row,
            clip=replace(row.clip, person_dark=dark, person_bright=bright, **around),
            tracks=tuple(tracks),
            candidates=(*row.candidates, *candidates),
            embeddings=(*row.embeddings, *embeddings),
        )

    def _moments(self, row: ClipRow, track: Track, pictures: Sequence[Picture]) -> list[Moment]:
        faces = {face.frame_index: face for face in track.faces}
        moments = []
        for still, picture in zip(row.stills, pictures, strict=True):
            box = box_in_still(track, still)
            if box is None or math.sqrt(float(np.prod(box[2:] - box[:2]))) < self.config.min_px:
                continue
            others = [box_in_still(other, still) for other in row.tracks if other is not track]
            moments.append(Moment.of(still, picture, box, faces.get(still.frame_index), others))
        return moments

    def _cut_out(self, clip: Clip, moments: Sequence[Moment]) -> list[_Cut]:
        """Cut a person out at the best moments, and at further ones where a mask is bad.

        Bad masks, and people under subtitles, come last, if there are not enough good ones.
        """
        good: list[_Cut] = []
        bad: list[_Cut] = []
        left, most = list(moments), self.config.per_track
        if any(each.source_size(clip) >= _SEARCHED_PX for each in moments):
            most += self.config.further_masks
        while left and len(good) < self.config.per_track:
            room = most - len(good) - len(bad)
            number = min(self.config.per_track - len(good), room)
            chosen = choose(left, number, [cut.moment for cut in good])
            if not chosen:
                break
            for cut in self._masked(chosen):
                (good if self._is_good(cut) else bad).append(cut)
            left = [each for each in left if not any(each is one for one in chosen)]
        bad.sort(key=lambda cut: -cut.quality)
        return [*good, *bad][: self.config.per_track]

    def _is_good(self, cut: _Cut) -> bool:
        if cut.mask_quality < self.config.good_mask:
            return False
        return lettering_on(cut.person.picture, cut.mask > 127) <= _LETTERED

    def _masked(self, moments: Sequence[Moment]) -> list[_Cut]:
        people = [each.crop(self.config.margin, self.config.max_side) for each in moments]
        cuts = []
        for moment, person, out in zip(
            moments, people, cut_people(self.segmenter, people), strict=True
        ):
            fit = measure_mask(person.picture, out.mask, person.box, person.face)
            cuts.append(_Cut(moment, person, out, round(fit.quality * out.trust, 6)))
        return cuts

    def _propose(
        self, clip: Clip, track: Track, cuts: Sequence[_Cut]
    ) -> tuple[Track, list[Candidate], list[Embedding], list[PlacedMask]]:
        if not cuts:
            return track, [], [], []
        people, masks = [cut.person for cut in cuts], [cut.mask for cut in cuts]
        known = people if told_by_faces(track) else [each.undecided() for each in people]
        vectors = self.recogniser.embed(known)  # in the space that decides the track
        others = other_faces(self.faces, people, masks)
        candidates = [
            self._candidate(clip, track, cut, other)
            for cut, other in zip(cuts, others, strict=True)
        ]
        embeddings = [
            embedding_row(track, candidate.reference_id, self.recogniser, vector, 1)
            for candidate, vector in zip(candidates, vectors, strict=True)
        ]
        placed = [
            PlacedMask(track.track_id, cut.moment.still, self._around(cut.moment), cut.mask)
            for cut in cuts
        ]
        return _with_colours(clip, track, cuts), candidates, embeddings, placed

    def _around(self, moment: Moment) -> tuple[int, int, int, int]:
        return Crop.of(moment, self.config.margin, self.config.max_side).around

    def _candidate(self, clip: Clip, track: Track, cut: _Cut, other_face: float) -> Candidate:
        person, measured = cut.person, cut.moment.measured
        height, width = person.picture.shape[:2]
        return Candidate(
            reference_id=content_id("reference", track.track_id, round(cut.moment.still.time_s, 6)),
            track_id=track.track_id,
            clip_id=track.clip_id,
            video_id=track.video_id,
            shot_id=track.shot_id,
            time_s=cut.moment.still.time_s,
            width=width,
            height=height,
            box=_plain(person.box),
            face=[] if person.face is None else _plain(person.face),
            size_px=cut.moment.source_size(clip),
            sharpness=measured.sharpness,
            exposure=measured.exposure,
            frontal=measured.frontal,
            yaw=cut.moment.face.yaw if cut.moment.face else math.nan,
            occlusion=measured.occlusion,
            truncation=measured.truncation,
            whole_body=cut.moment.whole_body,
            mask_area=float(cut.inside.mean()),
            mask_engine=self.segmenter.info.id,
            mask_digest=self.segmenter.info.weights_digest,
            perceptual_hash=hash_of(person.picture),
            quality=cut.quality,
            image=encode_jpeg(person.picture, self.config.jpeg_quality),
            mask=encode_png_mask(cut.mask),
            other_face=other_face,
            mask_quality=cut.mask_quality,
            **asdict(traits_of(person, cut.mask)),
        )


def _with_colours(clip: Clip, track: Track, cuts: Sequence[_Cut]) -> Track:
    """Name hair and clothes by the pictures that show their colours."""
    clear = [cut for cut in cuts if _shows_colours(cut)]
    people, masks = [cut.person for cut in clear], [cut.mask for cut in clear]
    top = garment_colour("top", people, masks)
    below = garment_colour("bottom", people, masks) if _legs_seen(clip, track) else ""
    bottom = below if below != top else ""  # of a dress, which has no bottoms
    hair = hair_colour(people, masks)
    return replace(track, hair_colour=hair, top_colour=top, bottom_colour=bottom)


def _legs_seen(clip: Clip, track: Track) -> bool:
    """Whether the feet are in the picture: above a cut, a long jacket may hide what is below."""
    bottoms = np.asarray(track.boxes, float)[:, 3]
    return track.shot_size in _LEGS and float(np.median(bottoms)) < (1 - EDGE) * clip.height


def hash_of(picture: Picture) -> str:
    """Return the difference hash of a crop, in hex."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (_HASH_PX, _HASH_PX), interpolation=cv2.INTER_AREA)
    return f"{difference_hash(small):016x}"


def other_faces(
    faces: FaceDetector | None, people: Sequence[PersonImage], masks: Sequence[np.ndarray]
) -> list[float]:
    """Return, per picture, how much of somebody else's face its mask covers; see Candidate."""
    if faces is None:
        return [0.0] * len(people)
    small = [search_size(person.picture) for person in people]
    found = faces.detect([picture for picture, _ in small])
    return [
        other_face_share(each, scale, person, mask)
        for each, (_, scale), person, mask in zip(found, small, people, masks, strict=True)
    ]


def _looks(track: Track, stills: Sequence[Still], pictures: Sequence[Picture]) -> list[bytes]:
    boxes = [box_in_still(track, still) for still in stills]
    return [
        look_of(picture, box)
        for picture, box in zip(pictures, boxes, strict=True)
        if box is not None
    ]


def _light(
    tracks: Sequence[Track], stills: Sequence[Still], pictures: Sequence[Picture]
) -> tuple[float, float]:
    """Return how much of the people is dark, and how much is bright."""
    seen, boxes = [], []
    for track in tracks:
        for picture, still in zip(pictures, stills, strict=True):
            box = box_in_still(track, still)
            if box is not None:
                seen.append(picture)
                boxes.append(box)
    return light_of_people(seen, boxes)


def _shows_colours(cut: _Cut) -> bool:
    """Whether light and mask are good enough for a colour, and nobody else is in the way.

    Who is seen from behind in black is dark himself; there the light around counts.
    """
    measured = cut.moment.measured
    lit = cut.moment.face is None or measured.exposure >= _LIT
    return lit and measured.occlusion <= _APART and cut.out.trust >= _TRUSTED


def _plain(box: np.ndarray) -> list[float]:
    return [round(float(value), 2) for value in box]
