"""Pieces of HTML that all sections use."""

import base64
from collections.abc import Sequence
from html import escape

from pipeline.audit.report.thumbnails import Strip


def amount(count: int, noun: str) -> str:
    """Return "1 error", "2 errors", "No errors"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def badge(kind: str) -> str:
    return f'<span class="badge {kind}">{kind}</span>'


def strip(one: Strip | None, what: str, caption: str = "") -> str:
    """Draw the pictures of one thing side by side."""
    if one is None:
        return ""
    parts = [
        _images(one.references, "reference", what),
        _images(one.cutouts, "by its mask", what),
        _images(one.frames, "clip", what),
    ]
    if not any(parts):
        return f'<p class="soft">No picture: {escape(one.problem)}</p>' if one.problem else ""
    told = f'<div class="soft">{caption}</div>' if caption else ""
    return f'<div class="example"><div class="strip">{"".join(parts)}</div>{told}</div>'


def _images(pictures: Sequence[bytes], label: str, what: str) -> str:
    if not pictures:
        return ""
    drawn = "".join(
        f'<img alt="{escape(label)} of {escape(what)}" '
        f'src="data:image/jpeg;base64,{base64.b64encode(one).decode()}">'
        for one in pictures
    )
    return (
        f'<figure><div class="part">{drawn}</div><figcaption>{escape(label)}</figcaption></figure>'
    )
