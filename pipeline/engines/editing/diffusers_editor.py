"""Edit references with an instruction-following image model through diffusers."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pipeline.engines.editing.editor import Edited, EditRequest
from pipeline.engines.interfaces import EngineInfo, EngineNeeds, Picture
from pipeline.engines.model_folders import find_model_folder, folder_digest
from pipeline.execution.device import choose_device

PREFIX = "CONTEXTANYONE_EDIT_"
SIDE_STEP = 32  # pixels; sides that both families take without resizing
# What each pipeline is called with, as its authors show it. Kontext's guidance is distilled into
# the model; Qwen's is true guidance and needs a negative prompt, which may be blank.
PIPELINES: dict[str, dict[str, Any]] = {
    "FluxKontextPipeline": {"guidance_scale": 2.5, "_auto_resize": False},
    "QwenImageEditPipeline": {"true_cfg_scale": 4.0, "negative_prompt": " "},
    "QwenImageEditPlusPipeline": {"true_cfg_scale": 4.0, "negative_prompt": " "},
}
_INSTEAD = "Or use the relight editor, which needs no weights."


@dataclass(frozen=True)
class EditSettings:
    """Settings of the editor; each has an environment variable CONTEXTANYONE_EDIT_*.

    Attributes:
        folder: of the pipeline on this machine, a name below CONTEXTANYONE_MODELS, or a hub's
            name that is in the hub's cache.
        licence: of the weights. FLUX.1-Kontext-dev's forbids commercial use, Qwen-Image-Edit's
            (Apache-2.0) does not.
        commercial: whether that licence allows commercial use.
        steps: of denoising.
        area_px: pixels that are worked on; both families were trained near a million.
        offload: keep only the part at work on the GPU, for one of less than about 40 GB.
    """

    folder: str = ""
    licence: str = "not stated"
    commercial: bool = False
    steps: int = 28
    area_px: int = 1024 * 1024
    offload: bool = False

    def __post_init__(self) -> None:
        if self.steps < 1 or self.area_px < SIDE_STEP**2:
            raise ValueError(
                f"edit.steps must be >= 1 and edit.area_px >= {SIDE_STEP**2}, "
                f"got {self.steps} and {self.area_px}"
            )


def edit_settings_from_env(environment: Mapping[str, str] | None = None) -> EditSettings:
    """Return the settings with those of CONTEXTANYONE_EDIT_* in place."""
    environment = os.environ if environment is None else environment
    given: dict[str, Any] = {}
    for each in fields(EditSettings):
        name = f"{PREFIX}{each.name.upper()}"
        if name in environment:
            text, kind = environment[name], type(each.default)
            try:
                given[each.name] = _BOOLEANS[text.lower()] if kind is bool else kind(text)
            except (KeyError, ValueError):
                raise ValueError(f"{name} must be {kind.__name__}, got {text!r}") from None
    return EditSettings(**given)


_BOOLEANS = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


@dataclass
class DiffusersEditor:
    """FLUX Kontext and Qwen-Image-Edit pipelines: one picture at a time, seeded by ids alone.

    One at a time because a megapixel fills a GPU, and so that no edit depends on its neighbours.
    """

    needs = EngineNeeds(packages=("diffusers", "transformers", "torch"), gpu=True)

    settings: EditSettings = field(default_factory=edit_settings_from_env)
    device: str = ""  # cuda, cpu, or '' to choose
    info: EngineInfo = field(init=False, repr=False)
    _pipeline: Any = field(init=False, repr=False)
    _options: dict[str, Any] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        folder, kind = _find(self.settings)
        self._options = PIPELINES[kind]
        self.device = self.device or choose_device()
        self._pipeline = self._load(folder, kind)
        self.info = _info(folder, kind, self.settings)

    @classmethod
    def describe(cls) -> EngineInfo:
        """Return who would edit, without loading what fills a GPU."""
        settings = edit_settings_from_env()
        return _info(*_find(settings), settings)

    def _load(self, folder: Path, kind: str) -> Any:
        os.environ.setdefault("DIFFUSERS_DISABLE_REMOTE_CODE", "1")
        os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
        import diffusers
        import torch

        dtype = torch.bfloat16 if self.device.startswith("cuda") else torch.float32
        pipeline = getattr(diffusers, kind).from_pretrained(
            folder, dtype=dtype, use_safetensors=True, local_files_only=True
        )
        pipeline.set_progress_bar_config(disable=True)
        if self.settings.offload:
            pipeline.enable_model_cpu_offload(device=self.device)
            return pipeline
        return pipeline.to(self.device)

    def edit(self, requests: Sequence[EditRequest]) -> list[Edited]:
        """Return one edit per request, in order."""
        return [self._edit_one(request) for request in requests]

    def _edit_one(self, request: EditRequest) -> Edited:
        import torch
        from PIL import Image

        source = request.person.picture
        canvas, (width, height) = fit_canvas(source, self.settings.area_px)
        made = self._pipeline(
            image=Image.fromarray(canvas),
            prompt=request.prompt.text,
            height=canvas.shape[0],
            width=canvas.shape[1],
            num_inference_steps=self.settings.steps,
            generator=torch.Generator("cpu").manual_seed(request.seed),
            output_type="np",
            **self._options,
            **self._area(canvas),
        ).images[0]
        picture = np.round(np.clip(np.nan_to_num(made), 0, 1) * 255).astype(np.uint8)
        return Edited(
            reference_id=request.reference_id,
            picture=_resized(picture[:height, :width], source.shape[1], source.shape[0]),
            prompt_id=request.prompt.id,
            prompt=request.prompt.text,
            seed=request.seed,
            engine=self.info.id,
        )

    def _area(self, canvas: Picture) -> dict[str, int]:
        """Return the area for pipelines that would else scale our canvas to their own."""
        takes = "_auto_resize" in self._options
        return {"max_area": canvas.shape[0] * canvas.shape[1]} if takes else {}


def _find(settings: EditSettings) -> tuple[Path, str]:
    if not settings.folder:
        raise ValueError(
            "edit.folder names no pipeline, e.g. Qwen/Qwen-Image-Edit (Apache-2.0) or "
            "black-forest-labs/FLUX.1-Kontext-dev (no commercial use); set "
            f"{PREFIX}FOLDER. {_INSTEAD}"
        )
    folder = find_model_folder(settings.folder, _INSTEAD)
    return folder, pipeline_kind(folder)


def _info(folder: Path, kind: str, settings: EditSettings) -> EngineInfo:
    return EngineInfo(
        id=f"diffusers-edit/1:{kind}:{folder.name}:{settings.steps}",
        task="reference_editing",
        licence=settings.licence,
        commercial=settings.commercial,
        weights_digest=folder_digest(folder),
        gpu=True,
    )


def pipeline_kind(folder: Path) -> str:
    """Return the pipeline's class, one of PIPELINES, all of whose parts come from known libraries.

    Raises ValueError else.
    """
    path = folder / "model_index.json"
    try:
        index = json.loads(path.read_text("utf-8"))
        kind = index["_class_name"]
        parts = {name: value for name, value in index.items() if isinstance(value, list)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{folder} is no diffusers pipeline: {path.name}: {error!r}") from error
    if not isinstance(kind, str) or kind not in PIPELINES:
        raise ValueError(f"{folder} is a {kind}; editors are {', '.join(PIPELINES)}")
    for name, part in parts.items():
        if not part or part[0] not in ("diffusers", "transformers", None):
            raise ValueError(f"{folder}: {name} comes from {part[:1]}, which would be foreign code")
    return kind


def fit_canvas(picture: Picture, area_px: int) -> tuple[Picture, tuple[int, int]]:
    """Return the picture scaled to about this area on a fitting canvas, and its size there.

    What the canvas has more mirrors the picture, so that nothing is stretched and nothing is cut.
    """
    height, width = picture.shape[:2]
    scale = math.sqrt(area_px / (width * height))
    sizes = [max(SIDE_STEP, round(side * scale)) for side in (width, height)]
    scaled = _resized(picture, *sizes)
    more = [-side % SIDE_STEP for side in sizes]
    canvas = cv2.copyMakeBorder(scaled, 0, more[1], 0, more[0], cv2.BORDER_REFLECT_101)
    return canvas, (sizes[0], sizes[1])


def _resized(picture: Picture, width: int, height: int) -> Picture:
    if picture.shape[:2] == (height, width):
        return np.ascontiguousarray(picture)
    kind = cv2.INTER_AREA if width < picture.shape[1] else cv2.INTER_CUBIC
    return cv2.resize(picture, (width, height), interpolation=kind)
