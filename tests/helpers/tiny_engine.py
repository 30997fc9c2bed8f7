"""Trains the tiny model for a few updates; called in the processes of a Team."""

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from tiny_model import tiny_inputs, tiny_model

from trainer.distributed.parallel import sequence_group
from trainer.distributed.zero import (
    OptimizerConfig,
    Process,
    ZeroConfig,
    backward,
    load_deepspeed,
    load_parameters,
    make_engine,
    micro_steps,
    sharded_init,
)
from trainer.lora import LoraConfig, add_lora
from trainer.model.spread import TokenSpread
from trainer.saving.checkpoint import Saving, find_newest, load_checkpoint
from trainer.saving.ema import Ema
from trainer.train_config import TrainConfig as Config

BATCH = 4
OPTIMIZER = OptimizerConfig(lr=2e-3, warmup_steps=2, schedule="cosine", new_modules_lr_scale=0.5)


class Training:
    """A training whose data depend on the step alone."""

    def __init__(
        self,
        zero: ZeroConfig,
        seed: int = 0,
        decay: float = 0.5,
        lora: int = 0,
        sequence: int = 1,
        batch: int = BATCH,
    ) -> None:
        with sharded_init(zero):
            model = tiny_model(seed, awake=False)
        assert not load_parameters(model, tiny_model(seed).state_dict())
        self.lora = LoraConfig(lora)
        add_lora(model, self.lora)
        self.model = model.train()
        self.dtype = torch.bfloat16 if zero.precision == "bf16" else torch.float32
        here = Process(
            dist.get_rank(), dist.get_world_size(), torch.device("cpu"), sequence=sequence
        )
        self.replica, self.sequence, self.batch = here.replica, sequence, batch
        if sequence > 1:
            model.spread_tokens(TokenSpread.among(sequence_group(here)))
        self.accumulation = micro_steps(batch, 1, here.replicas)
        new = model.new_parameter_names()
        self.engine = make_engine(
            model,
            OPTIMIZER,
            zero,
            micro_batch=1,
            accumulation=self.accumulation,
            steps=10,
            is_new=new.__contains__,
        )
        self.ema = Ema(model, decay) if decay else None
        self.step = 0

    def train(self, steps: int, spoiled: int | None = None) -> list[dict[str, float]]:
        """Return loss over all processes, norm, rate and whether it was applied, per update.

        spoiled: the step at which the last process alone has a loss that is not a number.
        """
        return [self._update(spoiled == self.step) for _ in range(steps)]

    def _update(self, spoil: bool) -> dict[str, float]:
        batch = tiny_inputs(self.batch, seed=self.step)
        total, outcome = torch.zeros(()), None
        first = self.replica * self.accumulation
        for place in range(first, first + self.accumulation):
            loss = self._loss({name: part[place : place + 1] for name, part in batch.items()})
            total += loss.detach() / self.batch / self.sequence
            if spoil and place == self.batch - 1:
                loss = loss + math.nan
            outcome = backward(self.engine, loss)
        dist.all_reduce(total)
        self.step += 1
        assert outcome is not None
        if outcome.applied and self.ema is not None:
            self.ema.update(self.step)
        return {
            "loss": float(total),
            "norm": outcome.grad_norm,
            "lr": outcome.lr,
            "applied": outcome.applied,
        }

    def _loss(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        goal, still = inputs["hidden_states"], inputs["reference"]
        out = self.engine(**self._cast(inputs))
        video = (out.sample.float() + goal).square().mean()
        return video + (out.reference.float() + still).square().mean()

    def _cast(self, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {n: part if n == "timestep" else part.to(self.dtype) for n, part in inputs.items()}

    def loss_of(self, seed: int) -> torch.Tensor:
        """Return the loss of one sample without training on it."""
        self.engine.eval()
        with torch.no_grad():
            loss = self._loss(tiny_inputs(1, seed=seed))
        self.engine.train()
        return loss

    def output(self) -> torch.Tensor:
        """Return what the model makes of one fixed sample."""
        self.engine.eval()
        with torch.no_grad():
            return self.engine(**self._cast(tiny_inputs(1, seed=3))).sample.float()

    def weights(self) -> dict[str, torch.Tensor]:
        """Return all parameters, whole."""
        named = dict(self.model.named_parameters())
        spread = [p for p in named.values() if hasattr(p, "ds_id")]
        with load_deepspeed().zero.GatheredParameters(spread, enabled=bool(spread)):
            return {name: p.detach().float().clone() for name, p in named.items()}

    def save(
        self, run: Path, keep: int = 3, frozen: bool = True, in_background: bool = False
    ) -> Path:
        return self.begin_save(run, keep, frozen, in_background).finish()

    def begin_save(self, run: Path, keep: int, frozen: bool, in_background: bool) -> Saving:
        config = {name: value for name, value in self.model.config.items() if name[0] != "_"}
        settings = asdict(Config())
        settings["model"]["lora"] = asdict(self.lora)
        state = {"model": config, "settings": settings, "note": "mine"}
        where = (self.engine, run, self.step, state, self.ema)
        return Saving(*where, keep, frozen, in_background)

    def load(self, folder: Path, **options: Any) -> dict[str, Any]:
        state = load_checkpoint(self.engine, folder, self.ema, **options)
        self.step = state["step"]
        return json.loads(json.dumps(state))


def save_twice(zero: ZeroConfig, run: Path, lora: int = 0, frozen: bool = True) -> None:
    """Save checkpoints of steps 1 and 2."""
    training = Training(zero, lora=lora)
    for _ in range(2):
        training.train(1)
        training.save(run, frozen=frozen)


def newest(run: Path) -> Path:
    """Return the newest complete checkpoint of a run that has one."""
    found = find_newest(run)
    assert found is not None, f"{run} has a checkpoint"
    return found
