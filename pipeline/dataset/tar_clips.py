"""Read the clips and captions of a WebDataset shard, without unpacking it.

Members of one sample share what stands before the first dot of their name. A clip is named
`tar://a.mp4::file:///shards/00000.tar`, and is fetched from there like a video that lies elsewhere.
"""

import json
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from pipeline.dataset.input_manifests import decode_text
from pipeline.dataset.inputs import VIDEO_SUFFIXES, InputVideo

SHARD_SUFFIX = ".tar"
_TEXTS = (".txt", ".caption")
_MAX_TEXT_BYTES = 1 << 20  # of a member that is read for its caption


@dataclass
class _Sample:
    videos: list[tarfile.TarInfo] = field(default_factory=list)
    captions: list[tuple[str, str]] = field(default_factory=list)  # text, where it stands


def read_shard(path: Path, keys: Sequence[str]) -> Iterator[tuple[InputVideo, str, str]]:
    """Yield (clip, caption or '', where the caption stands) of every sample of a shard.

    keys: of the caption in a sample's JSON. Raises ValueError naming the shard and the sample.
    """
    changed = str(path.stat().st_mtime)
    try:
        with tarfile.open(path, "r:") as shard:
            samples = _samples(shard, path, keys)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise ValueError(f"{path} is no tar file that can be read: {error}") from None
    if not any(sample.videos for sample in samples.values()):
        raise ValueError(f"{path}: the shard holds no video")
    for key, sample in samples.items():
        if len(sample.videos) > 1:
            names = " and ".join(video.name for video in sample.videos)
            raise ValueError(f"{path}: sample {key} has more than one video: {names}")
        texts = {text for text, _ in sample.captions}
        if len(texts) > 1:
            places = " and ".join(where for _, where in sample.captions)
            raise ValueError(f"{path}: sample {key} has two captions: in {places}")
        text, where = sample.captions[0] if sample.captions else ("", "")
        for video in sample.videos:
            uri = f"tar://{video.name}::file://{path.absolute()}"
            clip = InputVideo(uri, size_bytes=video.size, changed=changed)
            yield clip, text, where


def _samples(shard: tarfile.TarFile, path: Path, keys: Sequence[str]) -> dict[str, _Sample]:
    samples: dict[str, _Sample] = {}
    for member in shard:
        if not member.isfile():
            continue
        folder, _, name = member.name.rpartition("/")
        key = f"{folder}/{name.partition('.')[0]}".lstrip("/")
        sample = samples.setdefault(key, _Sample())
        suffix = PurePosixPath(name).suffix.lower()
        if suffix in VIDEO_SUFFIXES:
            sample.videos.append(member)
        elif suffix in (*_TEXTS, ".json") and member.size <= _MAX_TEXT_BYTES:
            file = shard.extractfile(member)
            assert file is not None, "a regular member has content"
            where = f"{path.absolute()}, {member.name}"
            text = decode_text(file.read(), where)
            caption = _of_json(text, where, keys) if suffix == ".json" else text
            if caption.strip():
                sample.captions.append((" ".join(caption.split()), where))
    return samples


def _of_json(text: str, where: str, keys: Sequence[str]) -> str:
    try:
        content = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{where}: not JSON: {error}") from None
    if not isinstance(content, dict):
        return ""
    there = [content[key] for key in keys if isinstance(content.get(key), str)]
    if len(set(there)) > 1:
        raise ValueError(f"{where}: more than one of {', '.join(keys)} is there")
    return there[0] if there else ""
