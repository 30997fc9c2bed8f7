"""Uploads in parts that a kill cut off: S3 keeps their parts, which no listing of files shows.

A file of 100 MiB and more goes up in parts. Only whoever holds the dataset's lock may remove what
is left of one: no upload of a living job is under way then.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from pipeline.dataset.store import Store
from schemas.remote import describe, open_filesystem, retry

_S3 = ("s3", "s3a")


@dataclass(frozen=True)
class CutUpload:
    """An upload that nobody ended; S3 may have several for one file."""

    bucket: str
    key: str
    upload_id: str


@dataclass(frozen=True)
class CutUploads:
    """What is left of uploads, or why nobody can tell."""

    found: tuple[CutUpload, ...] = ()
    problem: str = ""

    def describe(self) -> str:
        """Return a line about them, '' where there is nothing to say."""
        if self.problem:
            return f"uploads that a kill cut off cannot be listed: {self.problem}"
        files = len({each.key for each in self.found})
        return f"cut off: {len(self.found)} uploads of {files} files" if self.found else ""


def find_cut_uploads(store: Store) -> CutUploads:
    """Return what is left below the dataset's prefix; nothing on stores other than S3."""
    if store.location.partition("://")[0] not in _S3:
        return CutUploads()
    filesystem, root = open_filesystem(store.location)
    bucket, _, prefix = root.rstrip("/").partition("/")
    try:
        found = [
            CutUpload(bucket, upload["Key"], upload["UploadId"])
            for upload in _uploads(filesystem, bucket, prefix and f"{prefix}/")
        ]
    except OSError as problem:  # not every server knows them, and not everybody may list them
        return CutUploads(problem=describe(problem))
    return CutUploads(tuple(found))


def _uploads(filesystem: Any, bucket: str, prefix: str) -> Iterator[dict[str, Any]]:
    asked = {"Bucket": bucket, "Prefix": prefix}
    while True:
        page = retry(partial(filesystem.call_s3, "list_multipart_uploads", **asked))
        yield from page.get("Uploads", [])
        if not page.get("IsTruncated"):
            return
        asked["KeyMarker"] = page["NextKeyMarker"]
        asked["UploadIdMarker"] = page["NextUploadIdMarker"]


def remove_cut_uploads(uploads: CutUploads, store: Store) -> None:
    """Remove their parts; one that is gone already is none."""
    for each in uploads.found:
        filesystem, _ = open_filesystem(store.location)
        asked = {"Bucket": each.bucket, "Key": each.key, "UploadId": each.upload_id}
        retry(partial(_abort, filesystem, asked))


def _abort(filesystem: Any, asked: dict[str, str]) -> None:
    with contextlib.suppress(FileNotFoundError):  # by an attempt whose answer was lost
        filesystem.call_s3("abort_multipart_upload", **asked)
