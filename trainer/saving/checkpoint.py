"""Saves and resumes training so that a checkpoint is either complete or not there.

Every process must save and load at once. The folder must be on a file
system that all processes see. Formats: DeepSpeed's own .pt files, one safetensors of random
states per process, state.json, the shards of the EMA, and COMPLETE.json, see complete.py.
"""

import itertools
import json
import logging
import platform
import random
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.distributed as dist
from safetensors import safe_open
from safetensors.torch import save_file

from trainer.distributed.together import from_first, together
from trainer.distributed.zero import load_deepspeed, schedule_of
from trainer.saving.complete import (
    boundary,
    check_hashes,
    checkpoints,
    find_newest,
    folder_of,
    has_checkpoints,
    listed_files,
    problem_of,
    publish,
    purge,
    read_json,
    write_json,
)
from trainer.saving.ema import Ema
from trainer.saving.files import Files
from trainer.saving.safe_load import check_pickle, plain_path, restricted_reader
from trainer.saving.universal import load_universal

if TYPE_CHECKING:
    from deepspeed import DeepSpeedEngine

STATE = "state.json"
_logger = logging.getLogger(__name__)


class Saving:
    """The checkpoint after `step` updates, on its way to the disk; `finish` publishes it.

    state: what the caller needs to go on, JSON; `load_checkpoint` returns it. keep: how many of the
    newest are left. frozen: write also what is not trained, else whoever loads it must have built
    the same model. in_background: training may go on before `finish`, as what is saved was copied
    to the host's memory, and a thread writes it.

    When the disk fails any process, all raise OSError, here or in `finish`, and the earlier
    checkpoints are as before.
    """

    def __init__(
        self,
        engine: "DeepSpeedEngine",
        run: Path,
        step: int,
        state: Mapping[str, Any],
        ema: Ema | None = None,
        keep: int = 3,
        frozen: bool = True,
        in_background: bool = False,
    ) -> None:
        self._run, self._step, self._keep = run, step, keep
        self._partial = checkpoints(run) / f".step-{step:08d}.partial"
        self._files = Files(in_background)
        first = dist.get_rank() == 0
        with self._cleaned_up():
            together(lambda: _prepare(self._partial) if first else None, OSError)
            together(
                lambda: _write(engine, self._partial, step, state, ema, frozen, self._files),
                OSError,
            )

    @property
    def written(self) -> bool:
        """Whether this process has written its files, or failed to: `finish` waits no longer."""
        return self._files.written

    def finish(self) -> Path:
        """Wait until all is written, publish it, and delete all but the newest."""
        run, step, first = self._run, self._step, dist.get_rank() == 0
        with self._cleaned_up():
            described = together(self._files.result, OSError)
            gathered: list[dict[str, Any]] = [{} for _ in range(dist.get_world_size())]
            dist.all_gather_object(gathered, described)
            files = {name: entry for part in gathered for name, entry in part.items()}
            boundary("hashed")
            together(lambda: publish(run, step, self._partial, files) if first else None, OSError)
        if first:
            purge(run, self._keep)
        dist.barrier()
        return folder_of(run, step)

    @contextmanager
    def _cleaned_up(self) -> Iterator[None]:
        """Leave nothing half written, and say what became of the checkpoint."""
        try:
            yield
        except OSError as error:
            if dist.get_rank() == 0:
                shutil.rmtree(self._partial, ignore_errors=True)
            raise OSError(
                f"the checkpoint of step {self._step} was not saved, the earlier ones are "
                f"untouched: {error}"
            ) from error


def _prepare(partial: Path) -> None:
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    boundary("partial made")


def _write(
    engine: "DeepSpeedEngine",
    partial: Path,
    step: int,
    state: Mapping[str, Any],
    ema: Ema | None,
    frozen: bool,
    files: Files,
) -> None:
    """Hand this process's files over, to be written at once or in the background."""
    problems: list[Exception] = []
    with _recording(engine, files, problems):
        engine.save_checkpoint(
            *(str(partial.parent), partial.name),
            save_latest=False,
            exclude_frozen_parameters=not frozen,
        )
    if problems:  # only now: DeepSpeed's barriers need every process
        raise problems[0]
    _write_ours(engine, partial, step, state, ema, files)
    files.end()


def _write_ours(
    engine: "DeepSpeedEngine",
    partial: Path,
    step: int,
    state: Mapping[str, Any],
    ema: Ema | None,
    files: Files,
) -> None:
    """Write what DeepSpeed knows nothing of."""
    rank = dist.get_rank()
    path = partial / f"rng-{rank:05d}.safetensors"
    files.save(path, _random_state(), _write_random_state, "random state written")
    if ema is not None:
        ema.save(partial, files)
    if rank == 0:
        content = {**state, "step": step, "engine": _describe_engine(engine)}
        files.save(partial / STATE, content, _write_state, "state written")


def _write_state(content: dict[str, Any], path: Path) -> None:
    write_json(path, content)


@contextmanager
def _recording(
    engine: "DeepSpeedEngine", files: Files, problems: list[Exception]
) -> Iterator[None]:
    """Take DeepSpeed's files, and keep it going when one cannot be written.

    An exception would leave the other processes at its barriers until they time out.
    """
    load_deepspeed()
    from deepspeed.runtime.checkpoint_engine.torch_checkpoint_engine import TorchCheckpointEngine

    numbers = itertools.count(1)

    class Recorder(TorchCheckpointEngine):
        def save(self, state_dict: Any, path: str) -> None:
            try:
                name = f"deepspeed file {next(numbers)}"
                files.save(Path(path), state_dict, torch.save, name)
            except (OSError, RuntimeError) as error:
                problems.append(error)

    before = engine.checkpoint_engine
    engine.checkpoint_engine = Recorder()
    # It would copy two scripts beside the checkpoints, and their failure would not reach us.
    engine._copy_recovery_script = lambda save_path: None
    try:
        yield
    finally:
        engine.checkpoint_engine = before


def _describe_engine(engine: "DeepSpeedEngine") -> dict[str, Any]:
    import deepspeed
    import diffusers

    return {
        "world_size": dist.get_world_size(),
        "zero_stage": int(engine.zero_optimization_stage()),
        "bf16": bool(engine.bfloat16_enabled()),
        "eight_bits": "8bit" in type(engine.basic_optimizer).__name__,
        "versions": {
            "deepspeed": deepspeed.__version__,
            "diffusers": diffusers.__version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
        },
    }


def load_checkpoint(
    engine: "DeepSpeedEngine",
    folder: Path,
    ema: Ema | None = None,
    same: Mapping[str, Mapping[str, Any]] | None = None,
    verify: bool = True,
) -> dict[str, Any]:
    """Continue from a checkpoint: parameters, moments, schedule, EMA and random states.

    Another number of processes is converted to, stages 1 and 2 into each other. Returns what
    `Saving` was given, with `step`. Raises ValueError, before anything is read into the
    engine, when a file is missing, not the one that was saved (verify), or could run code, and
    when a section of the state differs from its counterpart in `same`.
    """
    together(lambda: _check(folder, verify), ValueError)
    state = together(lambda: read_json(folder / STATE), ValueError)
    for section, ours in (same or {}).items():
        check_same(state[section], ours, section)
    saved, ours = state["engine"], _describe_engine(engine)
    saved = {"eight_bits": False, **saved}  # there was no choice in the first version
    layout = ["zero_stage", "bf16", "eight_bits"]
    if ours["zero_stage"]:  # without ZeRO all processes read the same
        layout.append("world_size")
    if all(saved[key] == ours[key] for key in layout):
        with restricted_reader(), plain_path(folder) as path:
            engine.load_checkpoint(str(path.parent), path.name, custom_load_fn=_load_trained)
    else:
        _check_convertible(saved, ours)
        load_universal(engine, folder)
    _settle(engine)
    if ema is not None:
        together(lambda: ema.load(folder), ValueError)
    if saved["world_size"] == ours["world_size"]:
        _load_random_state(folder / f"rng-{dist.get_rank():05d}.safetensors")
    dist.barrier()
    return state


def _load_trained(src: Mapping[str, Any], dst: torch.nn.Module) -> None:
    """Load a module's state, in which what is not trained may be missing."""
    lacking, unknown = dst.load_state_dict(src, strict=False)
    trained = {name for name, parameter in dst.named_parameters() if parameter.requires_grad}
    wrong = [*unknown, *(name for name in lacking if name in trained)]
    if wrong:
        raise ValueError(
            f"the checkpoint and the model differ in {wrong[0]} and {len(wrong) - 1} more"
        )


def intact(folder: Path) -> Path:
    """Return a checkpoint whose every byte is as it was saved, or raise ValueError on all."""
    together(lambda: _check(folder, verify=True), ValueError)
    return folder


def newest_intact(run: Path) -> Path | None:
    """Return the newest checkpoint whose every byte is as it was saved, None before the first.

    Every process calls it; each reads a share of the files. Warns of what is damaged. Raises
    ValueError when there are checkpoints and none can be used: a run does not begin anew unasked.
    """
    damaged: set[Path] = set()
    while folder := from_first(lambda: find_newest(run, damaged), OSError):
        try:
            return intact(folder)
        except ValueError as error:
            damaged.add(folder)
            if dist.get_rank() == 0:
                _logger.warning("%s is damaged: %s", folder, error)
    if has_checkpoints(run):
        raise ValueError(
            f"none of the checkpoints in {checkpoints(run)} can be used: restore one, or begin "
            "again with another --output"
        )
    return None


def _check(folder: Path, verify: bool) -> None:
    problem = problem_of(folder)
    if problem is not None:
        raise ValueError(f"{folder} is no complete checkpoint: {problem}")
    names = sorted(listed_files(folder))[dist.get_rank() :: dist.get_world_size()]
    if verify:
        check_hashes(folder, names)
    for name in names:
        if not name.endswith((".json", ".safetensors")):
            check_pickle(folder / name)


def _check_convertible(saved: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    """Raise ValueError when DeepSpeed cannot bring a checkpoint into the layout of this run."""
    if saved["eight_bits"] or ours["eight_bits"]:
        raise ValueError(
            "moments of eight bits cannot be converted: go on with zero.optimizer, zero.stage and "
            f"{saved['world_size']} processes as before, or export the checkpoint and start a new "
            "run from the weights"
        )
    if any(_family(saved)[key] != _family(ours)[key] for key in ("layout", "precision")):
        raise ValueError(
            f"a checkpoint of zero.stage={saved['zero_stage']}, {_family(saved)['precision']} "
            f"cannot continue with zero.stage={ours['zero_stage']}, {_family(ours)['precision']}: "
            "only stages 1 and 2 can replace each other, and fp32 and autocast; set zero.stage and "
            "zero.precision back, or export the checkpoint and start a new run from the weights"
        )


def _family(engine: Mapping[str, Any]) -> dict[str, str]:
    """Return what must be equal for a checkpoint to be converted."""
    stage = engine["zero_stage"]
    return {
        "layout": "stage 1 or 2" if stage in (1, 2) else f"stage {stage}",
        "precision": "bf16" if engine["bf16"] else "fp32 or autocast",
    }


def _settle(engine: "DeepSpeedEngine") -> None:
    """Undo what DeepSpeed's loading leaves behind."""
    engine.micro_steps = 0  # a checkpoint lies between updates
    optimizer = engine.basic_optimizer
    assert optimizer is not None, "the engine trains"
    for moments in optimizer.state.values():
        if torch.is_tensor(moments.get("step")):  # a converted one shares it among parameters
            moments["step"] = moments["step"].clone()
    schedule_of(engine).apply()  # the configuration of this run, not that of the saved one


def check_same(saved: Mapping[str, Any], ours: Mapping[str, Any], what: str = "model") -> None:
    """Raise ValueError naming the keys in which a checkpoint's configuration is another."""
    keys = sorted(saved.keys() | ours.keys())
    plain = [json.loads(json.dumps(dict(config), default=str)) for config in (saved, ours)]
    other = [key for key in keys if plain[0].get(key) != plain[1].get(key)]
    if other:
        pairs = ", ".join(f"{what}.{key}: {saved.get(key)} -> {ours.get(key)}" for key in other)
        raise ValueError(
            f"the checkpoint is of another {what} ({pairs}); set these back, or start a new run"
        )


def _random_state() -> dict[str, Any]:
    numpy = np.random.get_state(legacy=False)
    assert isinstance(numpy, dict), "the legacy form was not asked for"
    keys = torch.from_numpy(numpy["state"].pop("key").astype(np.int64))
    tensors = {"torch": torch.get_rng_state(), "numpy": keys}
    if torch.cuda.is_available():
        tensors["cuda"] = torch.cuda.get_rng_state()
    return {"tensors": tensors, "numpy": numpy, "python": random.getstate()}


def _write_random_state(state: dict[str, Any], path: Path) -> None:
    others = {name: json.dumps(state[name]) for name in ("numpy", "python")}
    save_file(state["tensors"], path, others)


def _load_random_state(path: Path) -> None:
    with safe_open(path, "pt") as file:
        others = {key: json.loads(value) for key, value in file.metadata().items()}
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    others["numpy"]["state"]["key"] = tensors["numpy"].numpy().astype(np.uint32)
    np.random.set_state(others["numpy"])
    version, numbers, gauss = others["python"]
    random.setstate((version, tuple(numbers), gauss))
    torch.set_rng_state(tensors["torch"])
    if "cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["cuda"])
