"""Turn a training run into a model that makes videos: a diffusers folder of safetensors.

    python trainer/export.py runs/first exported/ --ema --dtype bf16
    python trainer/export.py runs/lora her.safetensors --adapter      # or --adapter comfyui, kohya
    python trainer/export.py runs/high both/ --low runs/low           # two experts in one folder

Takes the newest complete checkpoint of a run, or the checkpoint that is given. Needs no GPU and no
other process. Exit codes: 0 done, 2 wrong arguments or files that cannot be used, 130
interrupted.
"""

import argparse
import contextlib
import io
import json
import logging
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if __name__ == "__main__":  # this checkout before any other, and its folder's names before none
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from schemas.start import start

    start("trainer.export")

from schemas.files import local_path
from schemas.start import code_of
from trainer.adapter_names import NAMINGS, Naming

if TYPE_CHECKING:
    import torch

    from trainer.model import ContextAnyoneTransformer3DModel
    from trainer.sampling.model_folder import Published

_STAGE_0 = "mp_rank_00_model_states.pt"  # also of stages 1 and 2, which hold the rest apart


@dataclass(frozen=True)
class Exported:
    """What was written."""

    step: int
    checkpoint: Path
    num_parameters: int
    size_bytes: int


def export(
    source: Path,
    folder: Path,
    dtype: str = "fp32",
    ema: bool = False,
    force: bool = False,
    low: Path | None = None,
) -> Exported:
    """Write the folder, whole or not at all. Raises ValueError for what cannot be exported.

    low: the run of the expert for low noise levels, where `source` is that for high ones.
    """
    from trainer.sampling.model_folder import (
        MADE_BY,
        TRANSFORMER,
        TRANSFORMER_2,
        write_published,
    )
    from trainer.saving.output_folder import whole_folder, write_record

    sources = [path for path in (source, low) if path is not None]
    with whole_folder(folder, MADE_BY, force, sources=sources) as partial:
        checkpoint = find_checkpoint(source)
        state = read_state(checkpoint)
        published, record = published_of(state), origin_of(state, checkpoint, dtype, ema)
        count = _write_transformer(partial / TRANSFORMER, checkpoint, state, dtype, ema)
        if low is not None:
            checkpoint_2 = find_checkpoint(low)
            state_2 = read_state(checkpoint_2)
            published = published.with_low(published_of(state_2))
            record["low"] = origin_of(state_2, checkpoint_2, dtype, ema)
            count += _write_transformer(partial / TRANSFORMER_2, checkpoint_2, state_2, dtype, ema)
        write_published(partial, published)
        write_record(partial, MADE_BY, record)
        size = sum(path.stat().st_size for path in partial.rglob("*") if path.is_file())
    return Exported(state["step"], checkpoint, count, size)


def _write_transformer(
    folder: Path, checkpoint: Path, state: dict[str, Any], dtype: str, ema: bool
) -> int:
    """Write the weights of a checkpoint; return the number of parameters."""
    weights = read_weights(checkpoint, state)
    model = build(state, weights, dtype, read_average(checkpoint, ema))
    model.save_pretrained(folder, max_shard_size="5GB")
    return sum(parameter.numel() for parameter in model.parameters())


def export_adapter(
    source: Path, file: Path, naming: Naming, ema: bool, force: bool, words: Mapping[str, str]
) -> tuple[Path, Path]:
    """Write adapters of a run as one file, and its new modules as another; return both.

    words: what else the files are to say of themselves: trigger, licence.
    """
    from trainer.adapters import is_ours, new_modules_file, write_adapter
    from trainer.lora import LoraConfig

    if file.suffix != ".safetensors":
        raise ValueError(f"an adapter is a .safetensors file, got {file}: change its name")
    beside = new_modules_file(file)
    for path in (file, beside):
        if path.exists() and not (force and is_ours(path)):
            raise ValueError(
                f"{path} exists: choose another name, or --force to replace an adapter of ours"
            )
    checkpoint = find_checkpoint(source)
    state = read_state(checkpoint)
    lora = LoraConfig(**state["settings"]["model"]["lora"])
    if not lora.rank:
        raise ValueError(f"{source} was trained without adapters (model.lora.rank=0): leave out "
                         "--adapter to export the whole model")  # fmt: skip
    average = read_average(checkpoint, ema)
    weights = {n: average.get(n, w) for n, w in read_weights(checkpoint, state).items()}
    model = state["settings"]["model"]
    base = {"base_model": model["pretrained"], "expert": model.get("expert", "none")}
    origin = json.dumps(origin_of(state, checkpoint, "fp32", ema))
    write_adapter(file, weights, lora, naming, {**words, **base, "contextanyone": origin})
    return file, beside


def origin_of(state: dict[str, Any], checkpoint: Path, dtype: str, ema: bool) -> dict[str, Any]:
    """Return what made a model: run, step, data, base, adapters, versions."""
    settings = state["settings"]
    run = state.get("run", {})
    return {
        "run_id": run.get("run_id", ""),
        "begun_from": run.get("begun_from"),
        "stretches": run.get("stretches", []),
        "step": state["step"],
        "checkpoint": checkpoint.name,
        "weights": "averaged" if ema else "last",
        "dtype": dtype,
        "base": settings["model"]["pretrained"],
        "lora": settings["model"]["lora"],
        "data": state.get("data"),
        "versions": state["engine"]["versions"],
    }


def find_checkpoint(source: Path) -> Path:
    """Return the checkpoint itself, or the newest complete one of a run."""
    from trainer.saving.complete import COMPLETE, find_newest, problem_of

    if (source / COMPLETE).exists():
        problem = problem_of(source)
        if problem is not None:
            raise ValueError(f"{source} is no complete checkpoint: {problem}; export another one")
        return source
    newest = find_newest(source)
    if newest is None:
        raise ValueError(
            f"{source} holds no complete checkpoint: give the folder of a training run (--output "
            "of trainer/train.py) or one of its checkpoints/step-* folders"
        )
    return newest


def read_state(checkpoint: Path) -> dict[str, Any]:
    """Check every file of the checkpoint, and return what the training loop saved."""
    from trainer.saving.complete import check_hashes, listed_files, read_json
    from trainer.saving.safe_load import check_pickle

    names = sorted(listed_files(checkpoint))
    check_hashes(checkpoint, names)
    for name in names:
        if not name.endswith((".json", ".safetensors")):
            check_pickle(checkpoint / name)
    state = read_json(checkpoint / "state.json")
    lacking = [key for key in ("step", "model", "settings", "engine") if key not in state]
    if lacking:
        raise ValueError(f"{checkpoint}/state.json lacks {lacking[0]}: this trainer wrote it not")
    return state


def read_weights(checkpoint: Path, state: dict[str, Any]) -> "dict[str, torch.Tensor]":
    """Return the float32 weights, joined from the shares of all processes."""
    import torch

    from trainer.saving.safe_load import plain_path, restricted_reader

    weights: dict[str, torch.Tensor] = {}
    with restricted_reader(), plain_path(checkpoint) as path:
        whole = path / _STAGE_0
        if whole.exists():  # trained or not; the trained ones of ZeRO follow in full precision
            saved = torch.load(whole, map_location="cpu", mmap=True, weights_only=True)
            weights.update(saved["module"])
        if state["engine"]["zero_stage"]:
            from deepspeed.utils import zero_to_fp32

            silent = io.StringIO()
            with contextlib.redirect_stdout(silent), contextlib.redirect_stderr(silent):
                joined = zero_to_fp32._get_fp32_state_dict_from_zero_checkpoint(str(path), False)
            weights.update(zero_to_fp32.to_torch_tensor(joined))
    return {name: tensor.float() for name, tensor in weights.items()}


def read_average(checkpoint: Path, wanted: bool) -> "dict[str, torch.Tensor]":
    """Return the moving average of the trained weights; nothing when it is not wanted."""
    from trainer.saving.ema import read_ema

    return read_ema(checkpoint) if wanted else {}


def build(
    state: dict[str, Any],
    weights: "dict[str, torch.Tensor]",
    dtype: str,
    average: "dict[str, torch.Tensor]",
) -> "ContextAnyoneTransformer3DModel":
    """Return the model of a run with these weights; adapters are folded into the backbone."""
    import torch

    from trainer.lora import LoraConfig, add_lora, merge_lora
    from trainer.model import ContextAnyoneTransformer3DModel

    with torch.device("meta"):  # it takes the weights as they are, instead of drawing its own
        model = ContextAnyoneTransformer3DModel(**state["model"])
        lora = LoraConfig(**state["settings"]["model"]["lora"])
        add_lora(model, lora)
    known = model.state_dict().keys()
    taken = {name: average.get(name, tensor) for name, tensor in weights.items()}
    if lora.rank and known - taken.keys():
        taken = _frozen(state) | taken
    if known != taken.keys():
        other = sorted(known ^ taken.keys())
        raise ValueError(f"the checkpoint and its model differ in {other[0]} and {len(other)} more")
    model.load_state_dict(taken, assign=True)
    merge_lora(model, lora)
    if dtype == "bf16":
        kept = tuple(model._keep_in_fp32_modules or ())  # diffusers loads these in fp32 anyway
        for name, parameter in model.named_parameters():
            if not any(part in kept for part in name.split(".")):
                parameter.data = parameter.data.to(torch.bfloat16)
    return model


def _frozen(state: dict[str, Any]) -> "dict[str, torch.Tensor]":
    """Return what training with adapters left as it was, and did not save: all of the backbone."""
    from trainer.build import base_of, build_model
    from trainer.distributed.zero import ZeroConfig
    from trainer.lora import LoraConfig
    from trainer.saving.checkpoint import check_same
    from trainer.train_config import ModelConfig

    settings = state["settings"]
    saved = settings["model"]
    lora = LoraConfig(**{**saved["lora"], "base": "full"})
    config = ModelConfig(**{**saved, "lora": lora})
    seed = settings["train"]["seed"]
    ours = {"digest": base_of(config, seed)["digest"]}
    check_same({"digest": state["base"]["digest"]}, ours, "base")
    model = build_model(config, ZeroConfig(stage=0, precision="fp32"), seed)
    return {n: p.detach() for n, p in model.named_parameters() if not p.requires_grad}


def published_of(state: dict[str, Any]) -> "Published":
    """Return what the model needs beside its weights: scheduler, encoders, size of its videos."""
    from trainer.data.data_config import parse_bucket
    from trainer.encoders import EncoderConfig
    from trainer.sampling.model_folder import Published, VideoSize
    from trainer.sampling.sampler import SamplingConfig

    settings = state["settings"]
    data, model = settings["data"], settings["model"]
    fps = (state.get("data") or data)["fps"] or VideoSize().fps
    first = parse_bucket(data["buckets"][0])
    return Published(
        encoders=EncoderConfig(**settings["encoders"]),
        sampling=SamplingConfig(**settings["validation"]["sampling"]),
        size=VideoSize(height=first.height, width=first.width, frames=first.frames, fps=fps),
        step=state["step"],
        sizes=tuple(data["buckets"]),
        reference_background=data["reference_background"],
        expert=model.get("expert", "none"),
        boundary=model.get("boundary", Published.boundary),
        characters=data.get("characters", 1),  # which version 0.1 did not write
    )


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the flags; wrong ones end the process with exit code 2."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("\n\n")[0], allow_abbrev=False
    )
    add = parser.add_argument
    add("source", type=local_path, help="a training run, or one of its checkpoints")
    add("folder", type=local_path, help="where the model is written")
    add("--dtype", choices=("fp32", "bf16"), default="fp32", help="of the weights (fp32)")
    add("--ema", action="store_true", help="the moving average instead of the last weights")
    low = "with two experts: the run of the one for low noise levels, source being the other"
    add("--low", type=local_path, help=low)
    naming = "the adapters and new modules alone, named as diffusers, comfyui or kohya expects"
    add("--adapter", choices=NAMINGS, nargs="?", const="diffusers", help=naming)
    add("--trigger", default="", help="with --adapter: the word that calls what it learned")
    add("--licence", default="", help="with --adapter: of the adapter")
    add("--force", action="store_true", help="replace a folder that this wrote before")
    return parser.parse_args(arguments)


def run(arguments: argparse.Namespace) -> int:
    logging.basicConfig(level=logging.WARNING, format="export: %(message)s")
    if arguments.adapter:
        return _write_adapter(arguments)
    flags = (arguments.dtype, arguments.ema, arguments.force)
    done = export(arguments.source, arguments.folder, *flags, low=arguments.low)
    weights = "averaged" if arguments.ema else "last"
    print(
        f"wrote {arguments.folder}: {done.num_parameters:,} {weights} parameters in "
        f"{arguments.dtype}, {done.size_bytes / 2**20:,.1f} MiB, of step {done.step} "
        f"({done.checkpoint})"
    )
    return 0


def _write_adapter(arguments: argparse.Namespace) -> int:
    if arguments.low:
        raise ValueError("--adapter writes one expert's adapters: leave out --low")
    words = {"trigger": arguments.trigger, "licence": arguments.licence}
    where = (arguments.source, arguments.folder, arguments.adapter)
    files = export_adapter(*where, arguments.ema, arguments.force, words)
    print(f"wrote {files[0]} (adapters, {arguments.adapter}) and {files[1]} (new modules)")
    return 0


def main() -> int:
    return code_of("export", lambda: run(parse(sys.argv[1:])))
