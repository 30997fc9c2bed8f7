"""The command that forgets: resolves the request, prints what goes, returns the exit code."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.dataset.commit import require_manifest
from pipeline.dataset.forgotten import read_tombstones
from pipeline.dataset.store import Store
from pipeline.forget.doubts import Doubt, find_doubts, portraits, told_apart
from pipeline.forget.face import CharacterMatch, match_face
from pipeline.forget.forget import (
    Forgotten,
    Job,
    begin,
    close,
    finish,
    interrupted,
)
from pipeline.forget.forget_report import write_report
from pipeline.forget.scan import Scan, scan
from pipeline.forget.search_patterns import SearchPatterns
from pipeline.forget.targets import ForgetRequest, Targets, find_targets
from schemas.files import make_folder, read_text

DONE, TRACES, NOT_CONFIRMED = 0, 1, 3
_MAX_LIST_BYTES = 1 << 24


@dataclass(frozen=True)
class ForgetOptions:
    """The command line."""

    characters: Sequence[str]
    videos: Sequence[str]
    face: Path | None
    listed: Path | None
    dry_run: bool
    confirmed: bool  # --yes
    report: Path
    same: Sequence[str] = ()  # who is the person that was named, too
    different: Sequence[str] = ()  # who is somebody else


def run(options: ForgetOptions, store: Store) -> int:
    """Carry out a request under the dataset's lock; return the exit code."""
    require_manifest(store)
    if options.dry_run:
        if interrupted(store):
            print("an earlier removal was interrupted; a run without --dry-run finishes it first")
        _, targets = _resolve(options, store)
        _print_targets(targets)
        _print_doubts(_doubts(targets, store) if targets else [], options, store)
        return DONE
    with store.lock():
        unfinished = interrupted(store)
        if unfinished:
            print("finishing the removal that was interrupted")
            if code := _finish(unfinished, options.report / "interrupted", store):
                return code
        again, targets = _resolve(options, store)
        code = _scan_again(again, store) if again else NOT_CONFIRMED
        return _forget(targets, options, store) if targets else code


def _forget(targets: Targets, options: ForgetOptions, store: Store) -> int:
    _print_targets(targets)
    if mixed := told_apart(targets.named, require_manifest(store)[0], store):
        print(
            f"nothing was removed: a person told people of {', '.join(mixed)} apart, which no "
            "version obeys yet; run jobs/curate.py or jobs/audit.py --fix, and name the right one"
        )
        return NOT_CONFIRMED
    if options.face and not options.confirmed:
        print("nothing was removed: look at these in jobs/browse.py, then run again with --yes")
        return NOT_CONFIRMED
    doubts = _doubts(targets, store)
    if _print_doubts(doubts, options, store):
        print("nothing was removed: decide about each of these, and run again with the flags")
        return NOT_CONFIRMED
    make_folder("--report", options.report)
    different = [each.other_character_id for each in doubts]
    job = begin(targets, store, len(set(options.same) & targets.named), different)
    return _finish(job, options.report, store)


def _doubts(targets: Targets, store: Store) -> list[Doubt]:
    manifest, _ = require_manifest(store)
    return find_doubts(targets.named, targets.characters, manifest, store)


def _print_doubts(doubts: Sequence[Doubt], options: ForgetOptions, store: Store) -> int:
    """Show whom nobody has decided about beside who goes; return how many these are."""
    undecided = [each for each in doubts if each.other_character_id not in options.different]
    ids = {id for each in undecided for id in (each.character_id, each.other_character_id)}
    known = portraits(ids, require_manifest(store)[0], store) if ids else {}
    for each in undecided:
        cosine = "" if math.isnan(each.similarity) else f", cosine {each.similarity:.2f}"
        print(f"may be the same person ({each.why}{cosine}):")
        for word, id in (("goes", each.character_id), ("stays", each.other_character_id)):
            seen = known[id]
            print(
                f"  {word:5} {id}: {seen.samples} samples of {seen.videos} videos, "
                f"{seen.description[:80]!r}"
            )
        print(f"  --same {each.other_character_id}  or  --different {each.other_character_id}")
        print(f"  both: jobs/browse.py, #/compare/{each.character_id}/{each.other_character_id}")
    return len(undecided)


def _finish(job: Job, report: Path, store: Store) -> int:
    done = finish(job, store)
    write_report(done, report)
    _print_outcome(done, report)
    if not done.clean:
        return TRACES
    close(store)
    return DONE


def _resolve(options: ForgetOptions, store: Store) -> tuple[list[str], Targets | None]:
    """Return the ids that are forgotten already, and the targets of the others, if any."""
    manifest, _ = require_manifest(store)
    characters, videos = [*options.characters, *options.same], list(options.videos)
    if options.listed:
        for kind, id in read_list(options.listed):
            (videos if kind == "video" else characters).append(id)
    if options.face:
        matches = match_face(options.face, manifest, store)
        _print_matches(matches)
        characters += [match.character_id for match in matches if match.same]
    tombstones = read_tombstones(store)
    again = [id for id in characters if tombstones.holds_character(id)]
    again += [id for id in videos if tombstones.holds_video(id)]
    request = ForgetRequest(
        tuple(sorted(set(characters) - set(again))), tuple(sorted(set(videos) - set(again)))
    )
    if not request.characters and not request.videos:
        return again, None
    return again, find_targets(request, manifest, store)


def read_list(path: Path) -> Iterable[tuple[str, str]]:
    """Yield (kind, id) of a list: lines of `video ID` or `character ID`, `#` begins a comment."""
    if path.is_file() and path.stat().st_size > _MAX_LIST_BYTES:
        raise ValueError(f"--list {path} is larger than {_MAX_LIST_BYTES >> 20} MiB; split it")
    text = read_text("--list", path, "a text file with lines of `video ID` or `character ID`")
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.partition("#")[0].split()
        if words and (len(words) != 2 or words[0] not in ("video", "character")):
            raise ValueError(
                f"{path}, line {number}: {line[:80]!r}; a line is `video ID` or `character ID`"
            )
        if words:
            yield words[0], words[1]


def _scan_again(ids: Sequence[str], store: Store) -> int:
    """Scan again for ids that have a tombstone: nothing may be left of them."""
    patterns = SearchPatterns()
    patterns.add_ids(ids)
    found = scan(patterns, store)
    print(f"{len(ids)} of these were forgotten before; searched {found.files} files for them again")
    _print_found(found)
    return DONE if found.clean else TRACES


def _print_matches(matches: Sequence[CharacterMatch]) -> None:
    print("characters most like the picture:")
    for match in matches:
        verdict = "the same person" if match.same else "somebody else"
        print(
            f"  {match.character_id}  cosine {match.similarity:.3f} "
            f"(one person from {match.needed:.3f}): {verdict}, {match.tracks} tracks"
        )
    if not any(match.same for match in matches):
        print("no character of this dataset is the person in the picture")


def _print_targets(targets: Targets | None) -> None:
    if targets is None:
        print("nothing would be removed")
        return
    print(f"{len(targets.videos)} videos go, whole:")
    for video_id in sorted(targets.videos):
        copy = ", a copy of another" if video_id in targets.copies else ""
        print(f"  {video_id}{copy}")
    rows = ", ".join(f"{number} {name}" for name, number in targets.rows.items() if number)
    print(f"with them go {rows or 'no rows'}; {len(targets.characters)} characters vanish")
    if targets.shortened:
        print(f"{targets.shortened} samples of others lose references, and get another id")


def _print_outcome(done: Forgotten, report: Path) -> None:
    found = done.scan
    print(f"version {done.version} is without them; tombstones are set")
    print(
        f"searched {found.files} files, {found.size_bytes:,} bytes and {found.values:,} decoded "
        f"values for {found.patterns:,} ids and pieces: {len(found.hits)} found"
    )
    _print_found(found)
    if done.uploads.describe():
        print(done.uploads.describe())
    print(f"report: {report}")


def _print_found(found: Scan) -> None:
    for hit in found.hits:
        print(f"  found in {hit.path} ({hit.where})")
    if found.hits:
        print("these files are not the dataset's own: delete them and run the same command again")
    for file in found.unsearched:
        print(f"  could not be searched: {file.path} ({file.why})")
    if found.unsearched:
        print(
            "make these readable, or delete those that are not the dataset's own, and run the same "
            "command again"
        )
