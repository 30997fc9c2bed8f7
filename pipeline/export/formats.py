"""The formats of an export, by name."""

import importlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.export.options import NO_OPTIONS, ExportOptions

if TYPE_CHECKING:
    from pipeline.export.export_source import ExportSource

FORMATS = {
    "huggingface": "pipeline.export.huggingface:write_huggingface",
    "webdataset": "pipeline.export.webdataset:write_webdataset",
    "croissant": "pipeline.export.croissant:write_croissant",
    "fiftyone": "pipeline.export.fiftyone:write_fiftyone",
    "ai-act": "pipeline.export.ai_act:write_ai_act",
    "datasheet": "pipeline.export.datasheet:write_datasheet",
}
PAPERS = ("ai-act", "datasheet")
TRAINERS = {
    "bernini": "pipeline.export.bernini:write_bernini",
    "diffsynth": "pipeline.export.diffsynth:write_diffsynth",
    "diffusion-pipe": "pipeline.export.diffusion_pipe:write_diffusion_pipe",
    "ltx": "pipeline.export.ltx:write_ltx",
    "musubi": "pipeline.export.musubi:write_musubi",
    "opens2v": "pipeline.export.opens2v:write_opens2v",
    "videox-fun": "pipeline.export.videox_fun:write_videox_fun",
}


def writer_of(name: str) -> Callable[["ExportSource", Path], None]:
    """Return what writes a format. Raises ValueError for one that nobody knows."""
    from pipeline.execution.plugins import load_own

    known = FORMATS | TRAINERS
    if name in known:
        module, _, function = known[name].partition(":")
        return getattr(importlib.import_module(module), function)
    if ":" not in name:
        raise ValueError(
            f"--format must be one of {', '.join(known)}, or module:Class, got {name!r}"
        )
    return load_own("--format", name, ("write",)).write


def check_takes(name: str, options: ExportOptions) -> None:
    """Raise ValueError for options that mean nothing to a format."""
    if options.blur_others and name in PAPERS:
        raise ValueError(f"--format {name} has no pictures for --blur-others to blur")
    if replace(options, blur_others="") != NO_OPTIONS and name in FORMATS:
        raise ValueError(
            "--trigger, --background and --references are for trainers' formats "
            f"({', '.join(TRAINERS)}), got --format {name}"
        )
