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


def strip_html(strip: Strip | None, what: str, caption: str = "") -> str:
    """Draw the pictures of one thing side by side."""
    if strip is None:
        return ""
    parts = [
        _images(strip.references, "reference", what),
        _images(strip.cutouts, "by its mask", what),
        _images(strip.frames, "clip", what),
    ]
    if not any(parts):
        return f'<p class="soft">No picture: {escape(strip.problem)}</p>' if strip.problem else ""
    caption_html = f'<div class="soft">{caption}</div>' if caption else ""
    return f'<div class="example"><div class="strip">{"".join(parts)}</div>{caption_html}</div>'


def pair_html(strip: Strip, what: str) -> str:
    """Draw a frame of a clip above one reference."""
    pictures = (*strip.frames[:1], *(strip.cutouts or strip.references)[:1])
    return "".join(
        f'<img alt="{escape(what)}" src="data:image/jpeg;base64,'
        f'{base64.b64encode(picture).decode()}">'
        for picture in pictures
    )


def _images(pictures: Sequence[bytes], label: str, what: str) -> str:
    if not pictures:
        return ""
    drawn = "".join(
        f'<img alt="{escape(label)} of {escape(what)}" '
        f'src="data:image/jpeg;base64,{base64.b64encode(picture).decode()}">'
        for picture in pictures
    )
    return (
        f'<figure><div class="part">{drawn}</div><figcaption>{escape(label)}</figcaption></figure>'
    )
