"""Find the clips of a set that somebody else has cut, and the caption of each.

    clips/a.mp4  clips/a.txt                       a text of the same name (also .caption, .json)
    clips/metadata.csv                             a table: file_name, text (Hugging Face), …
    clips/00000.tar                                WebDataset: a.mp4, a.txt, a.json in it

Files lie on this machine. Nothing is guessed: a table with two columns that could be meant, a row
without its file, or a clip with two captions is refused by name.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pipeline.dataset.input_manifests import cell_text, decode_text, table_rows
from pipeline.dataset.inputs import VIDEO_SUFFIXES, InputVideo, describe_file, find_inputs
from pipeline.dataset.tar_clips import SHARD_SUFFIX, read_shard
from schemas.locations import is_url, shown
from schemas.uris import path_of_uri

TABLE_SUFFIXES = (".csv", ".jsonl", ".json", ".parquet")
TABLE_NAMES = tuple(f"{stem}{end}" for stem in ("metadata", "captions") for end in TABLE_SUFFIXES)
PATHS = ("file_name", "video", "video_path", "path", "file_path", "media_path", "uri")
CAPTIONS = ("caption", "text", "prompt")
_BESIDE = (".txt", ".caption", ".json")


@dataclass(frozen=True)
class Written:
    """A caption, and the file and column, or key, that it stands in."""

    text: str
    where: str


@dataclass(frozen=True)
class ClipSet:
    """The clips of a set, by uri, with their captions."""

    clips: tuple[InputVideo, ...]
    passed_over: tuple[str, ...] = ()  # files that are neither clips nor captions

    def describe(self) -> str:
        """Say how many clips there are and where their captions are from."""
        kinds = Counter(_kind(clip.caption_from) for clip in self.clips if clip.caption)
        parts = [f"{number} captions from {kind}" for kind, number in kinds.most_common()]
        without = sum(not clip.caption for clip in self.clips)
        if without:
            parts.append(f"{without} without a caption, which the captioner will write")
        return f"{len(self.clips)} clips: {', '.join(parts)}"


def _kind(where: str) -> str:
    file, _, place = where.partition(", ")
    if file.endswith(SHARD_SUFFIX):
        return "shards"
    name = file.rpartition("/")[2]
    return name if place.startswith("column ") else f"{Path(name).suffix} files"


@dataclass
class _Found:
    """What a search has found so far."""

    clips: dict[str, InputVideo] = field(default_factory=dict)
    captions: dict[str, Written] = field(default_factory=dict)
    passed_over: set[str] = field(default_factory=set)

    def caption(self, uri: str, written: Written) -> None:
        """Note the caption of a clip. Raises ValueError when it has another one already."""
        first = self.captions.setdefault(uri, written)
        if first.text != written.text:
            raise ValueError(
                f"clip {uri} has two captions: in {first.where} and in {written.where}; remove "
                "one, or name the tables that count with --captions"
            )


def find_clip_set(
    places: Iterable[str], tables: Sequence[str] = (), columns: Mapping[str, str] | None = None
) -> ClipSet:
    """Return the clips in folders, files and WebDataset shards, each with its caption.

    tables: the only files that captions are read from; without any, those that lie among the clips.
    columns: the names of the columns `path` and `caption` of tables, where they are not usual ones.
    Raises ValueError naming file and line.
    """
    found = _Found()
    for place in places:
        _search(place, found, search_captions=not tables, columns=columns or {})
    for table in tables:
        _read_table(Path(table), found, columns or {}, adds=False)
    clips = [_captioned(clip, found.captions.get(uri)) for uri, clip in found.clips.items()]
    passed_over = found.passed_over - {str(Path(table).absolute()) for table in tables}
    return ClipSet(tuple(sorted(clips, key=lambda clip: clip.uri)), tuple(sorted(passed_over)))


def _captioned(clip: InputVideo, written: Written | None) -> InputVideo:
    if written is None:
        return clip
    return replace(clip, caption=written.text, caption_from=written.where)


def _search(place: str, found: _Found, search_captions: bool, columns: Mapping[str, str]) -> None:
    path = Path(place).expanduser()
    if is_url(place) and not path.exists():
        raise ValueError(
            f"--input {shown(place)}: clips are imported from this machine; curate reads videos "
            "that lie elsewhere, with a list that has a column caption"
        )
    if not path.exists():
        raise ValueError(f"--input {place}: no such file or folder")
    if path.is_dir():
        _search_folder(path, found, search_captions, columns)
    elif path.suffix.lower() in TABLE_SUFFIXES:
        _read_table(path, found, columns, adds=True)
    elif path.suffix.lower() == SHARD_SUFFIX:
        _add_shard(path, found, search_captions)
    else:
        found.clips.setdefault(describe_file(str(path)).uri, describe_file(str(path)))
        if search_captions:
            _read_beside(found, [describe_file(str(path)).uri])


def _search_folder(
    folder: Path, found: _Found, search_captions: bool, columns: Mapping[str, str]
) -> None:
    shards = sorted(path for path in folder.rglob(f"*{SHARD_SUFFIX}") if path.is_file())
    for shard in shards:
        _add_shard(shard, found, search_captions)
    try:
        inputs = find_inputs([str(folder)])
    except ValueError:
        if shards:
            return
        raise
    uris = [video.uri for video in inputs.videos]
    found.clips |= {video.uri: found.clips.get(video.uri, video) for video in inputs.videos}
    others = {path_of_uri(uri): uri for uri in inputs.passed_over}
    used = {path for path in others if path.lower().endswith(SHARD_SUFFIX)}
    if search_captions:
        for path in sorted(others):
            if Path(path).name.lower() in TABLE_NAMES:
                _read_table(Path(path), found, columns, adds=False)
                used.add(path)
        used |= _read_beside(found, uris)
    found.passed_over |= others.keys() - used


def _add_shard(path: Path, found: _Found, search_captions: bool) -> None:
    for clip, text, where in read_shard(path, CAPTIONS):
        found.clips.setdefault(clip.uri, clip)
        if search_captions and text:
            found.caption(clip.uri, Written(_whole(text, where), where))


def _read_beside(found: _Found, uris: Iterable[str]) -> set[str]:
    """Read the files of the same name beside clips; return their paths."""
    used = set()
    for uri in uris:
        for suffix in _BESIDE:
            path = Path(path_of_uri(uri)).with_suffix(suffix)
            if path.is_file():
                used.add(str(path))
                written = _beside(path)
                if written.text:
                    found.caption(uri, written)
    return used


def _beside(path: Path) -> Written:
    text = decode_text(path.read_bytes(), str(path))
    if path.suffix != ".json":
        return Written(_whole(text, str(path)), str(path))
    content = _json(text, str(path))
    if not isinstance(content, dict):
        return Written("", str(path))
    column = _column(content, CAPTIONS, "", str(path))
    where = f"{path}, {column}"
    return Written(_whole(content.get(column) or "", where), where)


def _whole(text: Any, where: str) -> str:
    """Return a caption on one line. Raises ValueError where it is no text, or far too long."""
    return " ".join(cell_text(text, "caption", where).split())


def _read_table(path: Path, found: _Found, columns: Mapping[str, str], adds: bool) -> None:
    """Read the captions of a table; `adds` the clips that it names, or they must be known."""
    if not path.is_file():
        raise ValueError(f"--captions {path}: no such file")
    if path.suffix.lower() not in TABLE_SUFFIXES:
        raise ValueError(f"{path}: a table of captions ends in {', '.join(TABLE_SUFFIXES)}")
    name = str(path.absolute())
    for where, row in _rows(path, columns):
        path_column = _column(row, PATHS, columns.get("path", ""), where)
        text_column = _column(row, CAPTIONS, columns.get("caption", ""), where)
        if not path_column:
            raise ValueError(
                f"{where}: no column names the clip; name it with --path-column (the columns are "
                f"{', '.join(map(repr, row))})"
            )
        uri = _clip_of(cell_text(row[path_column], path_column, where), path, found, where, adds)
        if text_column and row[text_column]:
            text = _whole(row[text_column], f"{where}, column {text_column!r}")
            found.caption(uri, Written(text, f"{name}, column {text_column}"))


def _rows(path: Path, columns: Mapping[str, str]) -> Iterator[tuple[str, dict[str, Any]]]:
    content = path.read_bytes()
    if path.suffix.lower() == ".parquet":
        yield from table_rows(content, str(path), _parquet_columns(path, columns))
    elif path.suffix.lower() == ".json":
        listed = _json(decode_text(content, str(path)), str(path))
        if not isinstance(listed, list):
            raise ValueError(f"{path}: must be a list of objects, one a clip")
        for number, row in enumerate(listed, start=1):
            if not isinstance(row, dict):
                raise ValueError(f"{path}, entry {number}: must be an object, got {str(row)[:40]}")
            yield f"{path}, entry {number}", row
    else:
        yield from table_rows(content, str(path), ())


def _parquet_columns(path: Path, columns: Mapping[str, str]) -> list[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        there = dict.fromkeys(pq.read_schema(path).names, "")
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} is no Parquet file that can be read: {error}") from None
    named = _column(there, PATHS, columns.get("path", ""), str(path))
    text = _column(there, CAPTIONS, columns.get("caption", ""), str(path))
    return [name for name in (named or "file_name", text) if name]


def _column(row: Mapping[str, Any], usual: Sequence[str], chosen: str, where: str) -> str:
    """Return the column that is meant, '' for none. Raises ValueError where two could be."""
    if chosen:
        if chosen not in row:
            raise ValueError(f"{where}: there is no column {chosen!r}, only {', '.join(row)}")
        return chosen
    there = [name for name in usual if name in row]
    if len(there) > 1:
        flag = "--path-column" if usual is PATHS else "--caption-column"
        raise ValueError(f"{where}: {' and '.join(there)} could be meant; say which with {flag}")
    return there[0] if there else ""


def _clip_of(named: str, table: Path, found: _Found, where: str, adds: bool) -> str:
    """Return the uri of the clip that a row names, relative to the table's folder."""
    path = table.parent / named
    if not named or not path.is_file():
        raise ValueError(f"{where}: there is no file {named!r} beside the table")
    if path.suffix.lower() not in VIDEO_SUFFIXES:
        raise ValueError(f"{where}: {named!r} is no video by its suffix")
    clip = describe_file(str(path))
    if adds:
        found.clips.setdefault(clip.uri, clip)
    elif clip.uri not in found.clips:
        raise ValueError(f"{where}: {named!r} lies outside of what is imported; add it to --input")
    return clip.uri


def _json(text: str, name: str) -> Any:
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{name}: not JSON: {error}") from None
