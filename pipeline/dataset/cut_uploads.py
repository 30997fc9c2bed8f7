"""Uploads in parts that a kill cut off: S3 keeps their parts, which no listing of files shows.

A file of 100 MiB and more goes up in parts. Whoever holds the dataset's lock may remove what is
left of one, by the name of a file that the dataset makes: no living job is at it then. What others
upload below the same prefix is theirs.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from pipeline.dataset.commit import is_data_file
from pipeline.dataset.store import Store
from schemas.locations import S3_SCHEMES
from schemas.remote import describe, open_filesystem, retry

_FOLDERS = ("units/", "edits/", "latents/")  # of a dataset, beside its data files
_NAMED = 3  # keys


@dataclass(frozen=True)
class CutUpload:
    """An upload that nobody ended; S3 may have several for one file."""

    bucket: str
    key: str
    upload_id: str


@dataclass(frozen=True)
class CutUploads:
    """What is left of uploads, or was until now, and why that is not all."""

    found: tuple[CutUpload, ...] = ()
    problem: str = ""

    def describe(self) -> str:
        """Return a line about them, '' where there is nothing to say."""
        keys = sorted({each.key for each in self.found})
        named = ", ".join(keys[:_NAMED]) + (", …" if keys[_NAMED:] else "")
        cut = f"cut off: {len(self.found)} uploads of {len(keys)} files ({named})" if keys else ""
        left = f"uploads that a kill cut off stay: {self.problem}" if self.problem else ""
        return "; ".join(filter(None, (cut, left)))


def find_cut_uploads(store: Store) -> CutUploads:
    """Return what is left below the dataset's prefix; nothing on stores other than S3."""
    if store.location.partition("://")[0] not in S3_SCHEMES:
        return CutUploads()
    filesystem, root = open_filesystem(store.location)
    bucket, _, prefix = root.rstrip("/").partition("/")
    prefix = prefix and f"{prefix}/"
    try:
        found = [
            CutUpload(bucket, upload["Key"], upload["UploadId"])
            for upload in _uploads(filesystem, bucket, prefix)
            if _is_ours(upload["Key"].removeprefix(prefix))
        ]
    except OSError as problem:  # not every server knows them, and not everybody may list them
        return CutUploads(problem=f"{describe(problem)} (s3:ListBucketMultipartUploads)")
    return CutUploads(tuple(found))


def _is_ours(path: str) -> bool:
    return is_data_file(path) or path.startswith(_FOLDERS)


def _uploads(filesystem: Any, bucket: str, prefix: str) -> Iterator[dict[str, Any]]:
    asked = {"Bucket": bucket, "Prefix": prefix}
    while True:
        page = retry(partial(filesystem.call_s3, "list_multipart_uploads", **asked))
        yield from page.get("Uploads", [])
        if not page.get("IsTruncated"):
            return
        asked["KeyMarker"] = page["NextKeyMarker"]
        asked["UploadIdMarker"] = page["NextUploadIdMarker"]


def remove_cut_uploads(uploads: CutUploads, store: Store) -> CutUploads:
    """Remove their parts; return what is gone, and why the rest is not."""
    gone = list[CutUpload]()
    for each in uploads.found:
        filesystem, _ = open_filesystem(store.location)
        asked = {"Bucket": each.bucket, "Key": each.key, "UploadId": each.upload_id}
        try:
            retry(partial(_abort, filesystem, asked))
        except OSError as problem:
            why = f"{each.key}: {describe(problem)} (s3:AbortMultipartUpload)"
            return CutUploads(tuple(gone), why)
        gone.append(each)
    return replace(uploads, found=tuple(gone))


def _abort(filesystem: Any, asked: dict[str, str]) -> None:
    with contextlib.suppress(FileNotFoundError):  # by an attempt whose answer was lost
        filesystem.call_s3("abort_multipart_upload", **asked)
