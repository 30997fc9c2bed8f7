"""Find out which tracks show the same person: inside each video first, then across videos."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from pipeline.dataset.corrections import name_of
from pipeline.dataset.decided import Decided
from pipeline.dataset.row_sets import (
    OneOfFew,
    Places,
    encoded,
    grouped,
    ids_of,
    in_order,
    spread,
    values,
    where,
    with_columns,
    without,
)
from pipeline.engines.identity.spaces import Space, Worn, deciding, turned_of, worn_of
from pipeline.engines.interfaces import SimilarityWindows
from pipeline.execution.stage import Rejected
from pipeline.pairing.cohesion import Cohesion, Membership, Memberships
from pipeline.pairing.faceless import Alike, join_faceless
from pipeline.pairing.overlaps import Constraints, constraints, returns
from pipeline.pairing.track_groups import TrackGroups, group_tracks
from pipeline.pairing.vectors import IdentityVectors, identity_vectors
from schemas.reasons import Reason
from schemas.settings import check_settings, setting
from schemas.tables import Character, Clip, Embedding, Suspect, Track

_ABOVE_ANY = 1.1  # cosine


@dataclass(frozen=True)
class CharactersConfig:
    """Cluster tracks into characters.

    Reads    track boxes and times, one identity vector per track
    Adds     track.character_id
    Rejects  unconfirmed_person   no usable identity vector
             identity_ambiguous   another character fits nearly as well as its own

    Attributes:
        same_video: mean cosine at which tracks of one video are linked; null: the recogniser's.
        cross_video: cosine at which characters of two videos are linked; null: the recogniser's.
        min_margin: cosine to the own character above that to the next best one; less is ambiguous.
        one_person: overlap of the boxes at the same moments of two clips that proves one person.
        two_people: overlap at or below which the same moments prove two people.
        suspect_band: characters this close below the window are listed for the audit.
        near_s: who is seen without a face may be told by what is worn from people of the same video
            who are seen within this time; 0: never.
    """

    same_video: float | None = setting(None, low=-1, high=1)
    cross_video: float | None = setting(None, low=-1, high=1)
    min_margin: float = setting(0.03, low=0, high=2)
    one_person: float = setting(0.6, low=0, high=1)
    two_people: float = setting(0.1, low=0, high=1)
    suspect_band: float = setting(0.05, low=0, high=2)
    near_s: float = setting(10.0, low=0, high=3600, unit="s")

    def __post_init__(self) -> None:
        check_settings(self, "pair.characters")
        if self.two_people >= self.one_person:
            raise ValueError(
                "pair.characters.two_people must be below pair.characters.one_person, "
                f"got {self.two_people:g} and {self.one_person:g}"
            )

    def windows(self, recogniser: SimilarityWindows) -> SimilarityWindows:
        """Return the recogniser's windows with those set here in their place."""
        own = {"same_video": self.same_video, "cross_video": self.cross_video}
        return replace(recogniser, **{name: own[name] for name in own if own[name] is not None})


@dataclass(frozen=True)
class CharacterResult:
    """Every track that came in is in `tracks` or in `rejected`, never in both."""

    tracks: Sequence[Track]  # with character_id, sorted by track_id
    rejected: Mapping[str, Rejected]  # by track_id
    memberships: Memberships
    suspects: tuple[Suspect, ...]
    spaces: Mapping[str, str] = field(default_factory=dict)  # by character_id: what decided it
    names: Mapping[str, str] = field(default_factory=dict)  # by track_id: what a person called it

    def members(self) -> Iterator[tuple[str, list[Track]]]:
        """Yield the characters with their tracks, both in the order of their ids.

        Their boxes are not read.
        """
        return grouped(without(self.tracks, "boxes", "detected"), "character_id")


@dataclass(frozen=True)
class _Linked:
    """The tracks of one space, put into groups that may be one person each."""

    known: Sequence[Track]  # sorted by id
    unknown: list[str]  # tracks without a vector
    groups: TrackGroups
    vectors: IdentityVectors
    windows: SimilarityWindows


def find_characters(
    tracks: Sequence[Track],
    clips: Mapping[str, Clip],
    embeddings: Iterable[Embedding],
    windows: SimilarityWindows,
    config: CharactersConfig | None = None,
    decided: Decided | None = None,
) -> CharacterResult:
    """Give every track a character_id or a reason why not.

    The answer does not depend on the order of the input: rows are sorted by id and ties go to the
    smaller id. Two tracks that cannot be one person (`pipeline.pairing.overlaps`) never share a
    character. Vectors that prove nobody join only who is seen again in the same place of a shot, or
    whom time and place join alone; others that look alike are suspects. What a person decided goes
    before what vectors say, and after what time and place say. Raises ValueError when recognisers
    are mixed.
    """
    config, decided = config or CharactersConfig(), decided or Decided()
    rows, vectors = in_order(tracks, "track_id"), identity_vectors(embeddings)
    bound = _bound(rows, clips, vectors, config)
    linked = _link(rows, clips, vectors, windows, bound, config, decided)
    groups = _regrouped(linked.groups, rows, clips, config, decided)
    return _judge(linked, groups, config, decided)


def _bound(
    tracks: Sequence[Track],
    clips: Mapping[str, Clip],
    vectors: IdentityVectors,
    config: CharactersConfig,
) -> Constraints:
    """Return what time and place say of the tracks with a vector."""
    known = _with_vector(tracks, vectors)
    return constraints(known, clips, config.one_person, config.two_people)


def _with_vector(tracks: Sequence[Track], vectors: IdentityVectors) -> Sequence[Track]:
    return where(tracks, np.isin(values(tracks, "track_id"), vectors.tracks.ids))


def _link(
    tracks: Sequence[Track],
    clips: Mapping[str, Clip],
    vectors: IdentityVectors,
    windows: SimilarityWindows,
    bound: Constraints,
    config: CharactersConfig,
    decided: Decided,
) -> _Linked:
    """Link tracks that are sorted by id."""
    windows = config.windows(windows)
    linking = windows if windows.prove else _never(windows)
    has_vector = np.isin(values(tracks, "track_id"), vectors.tracks.ids)
    known = where(tracks, has_vector)
    unknown = ids_of(where(tracks, ~has_vector), "track_id")
    if not windows.prove:
        alike = _alike_in_place(known, clips, vectors, windows, config)
        bound = replace(bound, together=bound.together | alike)
    same, two = decided.constraints(ids_of(known, "track_id") if decided else ())
    bound = Constraints(bound.apart | two, bound.together | same)
    return _Linked(known, unknown, group_tracks(known, vectors, bound, linking), vectors, windows)


def _regrouped(
    groups: TrackGroups,
    tracks: Sequence[Track],
    clips: Mapping[str, Clip],
    config: CharactersConfig,
    decided: Decided,
) -> TrackGroups:
    """Return the groups as people decided, but for what time and place tell apart."""
    if not decided:
        return groups
    impossible = constraints(tracks, clips, config.one_person, config.two_people).apart
    return TrackGroups.of(decided.regroup(groups.members(), impossible))


def _judge(
    linked: _Linked,
    groups: TrackGroups,
    config: CharactersConfig,
    decided: Decided,
) -> CharacterResult:
    """Say how well every track fits its character; refuse those that fit another as well.

    `groups` are of all tracks.
    """
    ids = values(linked.known, "track_id")
    characters = spread(ids, groups.ids, groups.characters(), missing=b"")
    named = with_columns(linked.known, {"character_id": characters})
    rejected = {
        track_id: Rejected(Reason.UNCONFIRMED_PERSON, detail="no identity vector")
        for track_id in linked.unknown
    }
    cohesion = Cohesion(named, linked.vectors)
    memberships = cohesion.memberships(linked.windows)
    for track_id, fit in memberships.items():
        sure = not linked.windows.prove or track_id in decided.confirmed
        if not sure and fit.confusable and fit.margin < config.min_margin:
            rejected[track_id] = _ambiguous(fit, config.min_margin)
    return CharacterResult(
        tracks=where(named, ~np.isin(ids, encoded(rejected))),
        rejected=rejected,
        memberships=memberships,
        suspects=cohesion.suspects(memberships, linked.windows, config.suspect_band, decided),
    )


def _alike_in_place(
    tracks: Sequence[Track],
    clips: Mapping[str, Clip],
    vectors: IdentityVectors,
    windows: SimilarityWindows,
    config: CharactersConfig,
) -> set[tuple[str, str]]:
    """Return pairs that look alike and of which one begins where the other has ended."""
    return {
        (min(pair), max(pair))
        for pair in returns(tracks, clips, config.one_person)
        if float(vectors.tracks[pair[0]] @ vectors.tracks[pair[1]]) >= windows.same_video
    }


def _never(windows: SimilarityWindows) -> SimilarityWindows:
    """Return windows that no cosine reaches."""
    return replace(windows, same_video=_ABOVE_ANY, cross_video=_ABOVE_ANY)


def find_in_spaces(
    tracks: Sequence[Track],
    clips: Mapping[str, Clip],
    embeddings: Iterable[Embedding],
    spaces: Sequence[Space],
    config: CharactersConfig | None = None,
    decided: Decided | None = None,
) -> tuple[CharacterResult, Mapping[str, SimilarityWindows]]:
    """Find characters in each space of a recogniser apart; also say whose windows hold for whom.

    A track that shows a face and one that shows only a body share a character where time and place
    prove it, or what is worn tells them apart from everybody else (`pipeline.pairing.faceless`), or
    a person decided it. Returns the windows by track_id.
    """
    config, decided = config or CharactersConfig(), decided or Decided()
    rows, vectors = in_order(tracks, "track_id"), identity_vectors(embeddings)
    ids = values(rows, "track_id")
    place = np.zeros(len(rows), np.int8)
    known = np.isin(ids, vectors.tracks.ids)
    if known.any():
        place[known] = deciding(vectors.tracks.of(ids[known]), spaces)
    bound = _bound(rows, clips, vectors, config)
    linked = [
        _link(where(rows, place == index), clips, vectors, space.windows, bound, config, decided)
        for index, space in enumerate(spaces)
    ]
    groups, alike = _with_faceless(linked, rows, clips, vectors, bound, spaces, config)
    groups = _regrouped(groups, rows, clips, config, decided)
    results = [_judge(part, groups, config, decided) for part in linked]
    windows = OneOfFew(ids, place, [space.windows for space in spaces])
    found = _together(rows, results, spaces)
    doubts = _doubts(alike, found, worn_of(spaces), decided)
    return replace(found, suspects=_sorted_suspects([*found.suspects, *doubts])), windows


def _with_faceless(
    linked: Sequence[_Linked],
    tracks: Sequence[Track],
    clips: Mapping[str, Clip],
    vectors: IdentityVectors,
    bound: Constraints,
    spaces: Sequence[Space],
    config: CharactersConfig,
) -> tuple[TrackGroups, list[Alike]]:
    """Return the groups of all spaces, those without a face joined to others where that is sure.

    Also returns the pairs of which that is not sure.
    """
    groups = TrackGroups.together([part.groups for part in linked])
    worn = worn_of(spaces)
    if worn is None or not config.near_s:
        return groups, []
    known = _with_vector(tracks, vectors)
    faces = set(ids_of(linked[0].known, "track_id"))
    joined = join_faceless(
        groups.members(),
        known,
        clips,
        vectors.tracks,
        faces,
        bound,
        worn,
        config.near_s,
        turned_of(spaces),
    )
    return TrackGroups.of(joined.groups), joined.doubts


def _doubts(
    pairs: Sequence[Alike], found: CharacterResult, worn: Worn | None, decided: Decided
) -> Iterator[Suspect]:
    """Yield characters that wear the same, of which nothing proves that they are one."""
    places, names = Places(values(found.tracks, "track_id")), values(found.tracks, "character_id")
    detail = "they wear the same, and nothing else proves one person"
    for pair in pairs:
        if pair.track_id not in places or pair.other_id not in places:
            continue
        mine, other = (names[places[id]].decode() for id in (pair.track_id, pair.other_id))
        if mine != other and not decided.differ([pair.track_id], [pair.other_id]):
            assert worn is not None, "doubts are about what is worn"
            yield Suspect("split", mine, other, "", pair.likeness, worn.least, detail)


def _sorted_suspects(suspects: Iterable[Suspect]) -> tuple[Suspect, ...]:
    return tuple(sorted(suspects, key=lambda row: (row.kind, row.character_id)))


def _together(
    rows: Sequence[Track], results: Sequence[CharacterResult], spaces: Sequence[Space]
) -> CharacterResult:
    """Put what was found in each space together; `rows` are all tracks, sorted by id."""
    ids, names = (
        np.concatenate([values(result.tracks, name) for result in results])
        for name in ("track_id", "character_id")
    )
    kept = where(rows, np.isin(values(rows, "track_id"), ids))
    suspects = [suspect for result in results for suspect in result.suspects]
    return CharacterResult(
        tracks=with_columns(kept, {"character_id": names[np.argsort(ids)]}),
        rejected={key: why for result in results for key, why in result.rejected.items()},
        memberships=Memberships.joined([result.memberships for result in results]),
        suspects=_sorted_suspects(suspects),
        spaces=_spaces_of_characters(results, spaces),
    )


def _spaces_of_characters(
    results: Sequence[CharacterResult], spaces: Sequence[Space]
) -> dict[str, str]:
    """Return what decided each character: one space, or several where a person joined them."""
    found: dict[str, list[str]] = {}
    for result, space in zip(results, spaces, strict=True):
        for character_id in np.unique(values(result.tracks, "character_id")).tolist():
            found.setdefault(character_id.decode(), []).append(space.name)
    return {character_id: " ".join(names) for character_id, names in found.items()}


def describe_characters(found: CharacterResult, recogniser: str, digest: str) -> list[Character]:
    """Return one row per character, sorted by id: how large it is, and how pure.

    `recogniser` and `digest` name who gave the vectors, and the SHA-256 of its weights.
    """
    return [
        _describe(character_id, members, found, (recogniser, digest))
        for character_id, members in found.members()
    ]


def _describe(
    character_id: str,
    members: Sequence[Track],
    found: CharacterResult,
    recogniser: tuple[str, str],
) -> Character:
    fits = [found.memberships[track.track_id] for track in members]
    own = [fit.own for fit in fits if not math.isnan(fit.own)]
    rivals = [fit for fit in fits if not math.isnan(fit.second)]
    rival = max(rivals, key=lambda fit: (fit.second, fit.second_character_id), default=None)
    return Character(
        character_id=character_id,
        num_tracks=len(members),
        num_clips=len({track.clip_id for track in members}),
        num_shots=len({track.shot_id for track in members}),
        num_videos=len({track.video_id for track in members}),
        cohesion=sum(own) / len(own) if own else math.nan,
        weakest=min(own, default=math.nan),
        next_similarity=rival.second if rival else math.nan,
        next_character_id=rival.second_character_id if rival else "",
        recogniser=recogniser[0],
        recogniser_digest=recogniser[1],
        space=found.spaces.get(character_id, ""),
        name=name_of((track.track_id for track in members), found.names),
    )


def with_fit(tracks: Sequence[Track], found: CharacterResult) -> Sequence[Track]:
    """Return the tracks with their characters, and how surely they belong to them."""
    ids, fits = values(tracks, "track_id"), found.memberships
    return with_columns(
        tracks,
        {
            "character_id": spread(
                ids,
                values(found.tracks, "track_id"),
                values(found.tracks, "character_id"),
                missing=b"",
            ),
            "own_similarity": spread(ids, fits.ids, fits.own, missing=math.nan),
            "next_similarity": spread(ids, fits.ids, fits.second, missing=math.nan),
            "next_character_id": spread(ids, fits.ids, fits.second_ids, missing=b""),
        },
    )


def _ambiguous(fit: Membership, min_margin: float) -> Rejected:
    detail = (
        f"cosine {fit.own:.3f} to its own character, {fit.second:.3f} to {fit.second_character_id}"
    )
    return Rejected(Reason.IDENTITY_AMBIGUOUS, round(fit.margin, 6), min_margin, detail)
