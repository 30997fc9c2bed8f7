"""The copies of remote videos that one run holds on a machine, so that each is fetched once.

    <folder for temporary files>/contextanyone-fetched-<run>/
        .used            locked by every process of the run; nobody holds it: sweep the folder
        <video_id>.mp4   a whole video, under the hash of its bytes
        <video_id>.…     who fetches it (.lock), which of its parts are done (.part-N)
        arriving-…       on its way

Bounded: a file that does not fit beside the others is fetched again for each part. A file goes with
the last part of its video; the rest goes at the end of the run or, after a kill, with the next run.
"""

import contextlib
import fcntl
import hashlib
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.dataset.inputs import InputVideo
from pipeline.dataset.remote import fetch
from schemas.ids import bytes_id
from schemas.remote import NotRead, RemoteConfig
from schemas.uris import is_local

_BLOCK = 1 << 20
_PREFIX = "contextanyone-fetched-"
_USED = ".used"
_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,8}")
_held: dict[Path, int] = {}  # descriptors of the folders that this process uses


@dataclass(frozen=True)
class FetchedFiles:
    """A run's folder of fetched files, by the same name on every machine."""

    run: str
    limit_bytes: int

    @property
    def _folder(self) -> Path:
        folder = Path(tempfile.gettempdir()) / f"{_PREFIX}{self.run}"
        if folder not in _held:
            _sweep()
            _held[folder] = _occupy(folder)
        return folder

    @contextlib.contextmanager
    def arriving(self, uri: str) -> Iterator[str]:
        """Yield a path to fetch a file to; what is left there afterwards is removed."""
        path = self._folder / f"arriving-{secrets.token_hex(8)}{_suffix_of(uri)}"
        try:
            yield str(path)
        finally:
            path.unlink(missing_ok=True)

    def keep(self, path: str, video_id: str, uri: str) -> None:
        """Keep a fetched file, if there is room."""
        with self._alone(_USED + ".room"):
            present = sum(f.stat().st_size for f in self._folder.iterdir() if _is_video(f))
            if present + os.path.getsize(path) <= self.limit_bytes:
                os.replace(path, self._place(video_id, uri))

    def held(self, video_id: str, uri: str) -> str | None:
        """Return the path of a video that is here."""
        place = self._place(video_id, uri)
        return str(place) if place.exists() else None

    @contextlib.contextmanager
    def video(self, video_id: str, uri: str, fetch: Callable[[str], None]) -> Iterator[str]:
        """Yield the path of a video; the first caller fetches it, others on this machine wait."""
        with contextlib.ExitStack() as stack:
            with self._alone(f"{video_id}.lock"):
                path = self.held(video_id, uri)
                if path is None:
                    path = stack.enter_context(self.arriving(uri))
                    fetch(path)
                    self.keep(path, video_id, uri)
                    path = self.held(video_id, uri) or path
            yield path

    def part_done(self, video_id: str, uri: str, index: int, count: int) -> None:
        """Remove a video once all of its parts have been observed on this machine."""
        place = self._place(video_id, uri)
        if not place.exists():
            return
        (self._folder / f"{video_id}.part-{index}").touch()
        if len(list(self._folder.glob(f"{video_id}.part-*"))) >= count:
            place.unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove every fetched file of this machine; the run may go on."""
        for path in self._folder.iterdir():
            if path.name != _USED:
                path.unlink(missing_ok=True)

    def close(self) -> None:
        """Remove the folder from this machine."""
        folder = self._folder
        shutil.rmtree(folder, ignore_errors=True)
        os.close(_held.pop(folder))

    def _place(self, video_id: str, uri: str) -> Path:
        return self._folder / f"{video_id}{_suffix_of(uri)}"

    @contextlib.contextmanager
    def _alone(self, name: str) -> Iterator[None]:
        descriptor = os.open(self._folder / name, os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


@dataclass(frozen=True)
class VideoFetcher:
    """Provides every video as a local file: the file itself, or a fetched copy."""

    files: FetchedFiles
    remote: RemoteConfig
    max_size_bytes: int

    @contextlib.contextmanager
    def arriving(self, video: InputVideo) -> Iterator[str]:
        """Yield the path of a video that is not identified yet; `keep` keeps a copy.

        Raises OSError for a fact about the file, TooLarge, NotRead.
        """
        if is_local(video.place):
            yield video.place
            return
        with self.files.arriving(video.uri) as path:
            self._fetch(video, path)
            yield path

    def keep(self, path: str, video_id: str, video: InputVideo) -> None:
        """Keep a fetched copy for those who observe the video later."""
        if not is_local(video.place):
            self.files.keep(path, video_id, video.uri)

    @contextlib.contextmanager
    def identified(self, video_id: str, video: InputVideo) -> Iterator[str]:
        """Yield the path of an identified video. Raises like `arriving`."""
        if is_local(video.place):
            yield video.place
            return

        def fetch_again(path: str) -> None:
            self._fetch(video, path)
            if bytes_id(sha256_of(path)) != video_id:
                raise NotRead("it has other bytes than a moment ago")

        with self.files.video(video_id, video.uri, fetch_again) as path:
            yield path

    def _fetch(self, video: InputVideo, path: str) -> None:
        fetch(video.place, path, video.size_bytes, self.max_size_bytes, self.remote)


@contextlib.contextmanager
def video_fetcher(remote: RemoteConfig, max_size_bytes: int) -> Iterator[VideoFetcher]:
    """Open a folder of fetched files for one run, and remove it at the end."""
    files = FetchedFiles(secrets.token_hex(8), int(remote.cache_gib * 2**30))
    try:
        yield VideoFetcher(files, remote, max_size_bytes)
    finally:
        files.close()


def batches(videos: Sequence[InputVideo], limit_bytes: int) -> Iterator[list[InputVideo]]:
    """Split videos into batches whose remote files fit into the cache together.

    Then none of them is fetched to be identified, thrown away, and fetched again to be observed.
    """
    batch: list[InputVideo] = []
    size_bytes = 0
    for video in videos:
        more = 0 if is_local(video.place) else max(video.size_bytes, 0)
        if batch and 0 < limit_bytes < size_bytes + more:
            yield batch
            batch, size_bytes = [], 0
        batch.append(video)
        size_bytes += more
    if batch:
        yield batch


def sha256_of(path: str) -> str:
    """Return the SHA-256 of a file, in hex, reading it in blocks."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _suffix_of(uri: str) -> str:
    """Return the suffix of a file, a hint of its container."""
    suffix = os.path.splitext(uri.partition("?")[0])[1]
    return suffix.lower() if _SUFFIX.fullmatch(suffix) else ".video"


def _is_video(path: Path) -> bool:
    return not path.name.startswith((".", "arriving-")) and path.suffix != ".lock"


def _occupy(folder: Path) -> int:
    """Create the folder and hold its lock for as long as this process lives."""
    while True:
        folder.mkdir(mode=0o700, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # it was swept in between: again
            descriptor = os.open(folder / _USED, os.O_CREAT | os.O_RDWR, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            if os.path.samestat(os.fstat(descriptor), os.stat(folder / _USED)):
                return descriptor


def _sweep() -> None:
    """Remove the folders of killed runs: those that no living process holds."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        try:
            if folder.stat().st_uid != os.getuid():
                continue
            descriptor = os.open(folder / _USED, os.O_RDWR)
        except OSError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except BlockingIOError:
            pass
        finally:
            os.close(descriptor)
