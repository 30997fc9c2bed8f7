"""Train: batches in, updates out; checkpoints, curves and videos on the way."""

import math
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from PIL import Image

from trainer.build import build_model, check_features
from trainer.data.batch import LatentBatch, PixelBatch
from trainer.data.heldout import fixed_batches
from trainer.data.loader import SkipCounter, make_loader
from trainer.data.open_source import training_buckets
from trainer.data.order import Order
from trainer.data.source import Batch
from trainer.distributed.zero import Process, Step, backward, make_engine, micro_steps
from trainer.encoders import encode_batch
from trainer.flow import draw, losses
from trainer.inputs import Inputs
from trainer.measures.flops import Sizes, forward_flops
from trainer.measures.metrics import RunLog, held_out_scalars
from trainer.measures.speed import Meter, ProgressBar
from trainer.saving.checkpoint import discard_after, load_checkpoint, save_checkpoint
from trainer.saving.ema import Ema
from trainer.stopping import StopRequest
from trainer.train_config import TrainConfig
from trainer.validation import HeldOut, Show, Validator


@dataclass
class Counters:
    """What a run has gone through; saved with it."""

    step: int = 0  # finished updates, applied or skipped
    nonfinite: int = 0  # updates that were skipped
    nonfinite_in_a_row: int = 0


@dataclass
class Tally:
    """What one update saw, summed over the samples of this process."""

    diffusion: float | torch.Tensor = 0.0
    reference: float | torch.Tensor = 0.0
    samples: int = 0
    tokens: int = 0
    flops: float = 0.0
    sample_ids: list[str] = field(default_factory=list)


class Trainer:
    """A training, in one of its processes."""

    def __init__(self, config: TrainConfig, inputs: Inputs, run: Path, process: Process) -> None:
        """Build the model and its engine. Raises ValueError for what does not fit together."""
        self.config, self.inputs, self.run, self.process = config, inputs, run, process
        train = config.train
        self.accumulation = micro_steps(train.batch_size, train.micro_batch, process.world_size)
        buckets = training_buckets(inputs.source, config.data)
        self.order = Order(buckets, train.batch_size, train.seed)
        self.model = build_model(config.model, config.zero, train.seed)
        check_features(self.model, inputs)
        new = self.model.new_parameter_names()
        if config.zero.stage < 3:
            torch.nn.Module.to(self.model, process.device)
        self.engine: Any = make_engine(
            self.model,
            config.optimizer,
            config.zero,
            micro_batch=train.micro_batch,
            accumulation=self.accumulation,
            steps=train.steps,
            is_new=lambda name: name in new,
        )
        ema = config.ema
        self.ema = Ema(self.model, ema.decay, ema.every) if ema.decay else None
        self.counters, self.skips = Counters(), SkipCounter(config.data)
        self.meter = Meter(process.device, config.log.peak_tflops)
        self.saved_at = -1

    def resume(self, checkpoint: Path) -> None:
        """Go on from a checkpoint. Raises ValueError when it is of another training."""
        same = {"model": self._model_config(), "training": self.config.same_in_every_run()}
        state = load_checkpoint(self.engine, checkpoint, self.ema, same)
        self.counters = Counters(**state["counters"])
        self.skips.reasons = dict(state["unreadable"])
        self.saved_at = self.counters.step
        if self.process.rank == 0:
            discard_after(self.run, self.counters.step)
        dist.barrier()

    def train(self, log: RunLog, stop: StopRequest) -> bool:
        """Train to the last step; return False when asked to stop before. Saves in both cases."""
        config, first = self.config, self.counters.step
        validator = self._validator()
        if first == 0:
            self._validate(validator, log)
        bar = ProgressBar(
            config.train.steps, step=first, every=config.log.every, rank=self.process.rank
        )
        with bar, closing(self._batches()) as batches:
            self.meter.pause()
            while self.counters.step < config.train.steps and not stop.requested:
                outcome, tally = self._update(batches)
                total, stop.requested = self._agree(tally, stop.requested)
                self._account(outcome, tally, total, log)
                bar.advance(total["loss/total"])
                step = self.counters.step
                if step % config.checkpoint.every == 0:
                    self._save()
                if step % config.validation.every == 0 and step < config.train.steps:
                    self._validate(validator, log)
                    bar.pause()
        finished = self.counters.step >= config.train.steps
        if finished and first < config.train.steps:
            self._validate(validator, log)
        self._save()
        return finished

    def _batches(self) -> Generator[Batch, None, None]:
        yield from make_loader(
            self.inputs.source,
            self.order,
            self.config.data,
            rank=self.process.rank,
            world_size=self.process.world_size,
            micro_batch=self.config.train.micro_batch,
            start_step=self.counters.step,
            stop_step=self.config.train.steps,
        )

    def _latents(self, batch: Batch) -> LatentBatch:
        if isinstance(batch, PixelBatch):
            assert self.inputs.encoders is not None, "pixels come with encoders"
            return encode_batch(batch, self.inputs.encoders, self.process.device)
        return batch.to(self.process.device)

    def _update(self, batches: Iterator[Batch]) -> tuple[Step, Tally]:
        """Run the micro-batches of one update."""
        tally, outcome, flow = Tally(), None, self.config.flow
        self.engine.train()
        for _ in range(self.accumulation):
            with self.meter.waiting():
                batch = next(batches)
            self.skips.count(batch.skipped)
            latents = self._latents(batch)
            noising = draw(latents, flow, self.config.train.seed)
            loss = losses(self.engine, latents, noising, self.inputs.null_text, flow)
            outcome = backward(self.engine, loss.total.mean())
            tally.diffusion += loss.diffusion.detach().sum()
            tally.reference += loss.reference.detach().sum()
            sizes = self._sizes(latents)
            tally.samples += sizes.batch
            tally.tokens += sizes.batch * sizes.video
            frozen = self.config.model.lora.rank > 0
            tally.flops += forward_flops(self.model.config, sizes).training(frozen)
            tally.sample_ids += latents.sample_ids
        assert outcome is not None, "the last micro-batch ends the update"
        return outcome, tally

    def _sizes(self, batch: LatentBatch) -> Sizes:
        patch = math.prod(self.model.patch_size)
        latents = (batch.video, batch.reference)
        video, reference = (part.shape[2:].numel() // patch for part in latents)
        return Sizes(video, reference, batch.text.shape[1], batch.image.shape[1], len(batch.places))

    def _agree(self, tally: Tally, stop: bool) -> tuple[dict[str, float], bool]:
        """Return the mean losses over all processes, and whether any was asked to stop."""
        own = [tally.diffusion, tally.reference, tally.samples, tally.tokens, stop]
        sums = torch.stack([torch.as_tensor(value, dtype=torch.float64).cpu() for value in own])
        sums = sums.to(self.process.device)
        dist.all_reduce(sums)
        diffusion, reference, samples, tokens, stopping = sums.tolist()
        weight = self.config.flow.reference_weight
        self.meter.step(int(tokens), tally.flops)
        return {
            "loss/total": (diffusion + weight * reference) / samples,
            "loss/diffusion": diffusion / samples,
            "loss/reference": reference / samples,
        }, stopping > 0

    def _account(self, outcome: Step, tally: Tally, total: dict[str, float], log: RunLog) -> None:
        """Count the update, average the weights, log. Raises ValueError after too many skips."""
        counters = self.counters
        counters.step += 1
        counters.nonfinite += not outcome.applied
        counters.nonfinite_in_a_row = 0 if outcome.applied else counters.nonfinite_in_a_row + 1
        if self.ema is not None and outcome.applied:
            self.ema.update(counters.step)
        scalars = {**total, "lr": outcome.lr, "grad_norm": outcome.grad_norm}
        scalars["skipped/nonfinite"] = counters.nonfinite
        scalars["skipped/unreadable"] = self.skips.times
        if log.is_due(counters.step):
            scalars |= self.meter.read()
        log.scalars(counters.step, scalars)
        if not outcome.applied:
            log.message(f"step {counters.step}: loss or gradient not finite, update skipped")
        if counters.nonfinite_in_a_row > self.config.train.max_nonfinite:
            gathered: list[Any] = [None] * self.process.world_size
            dist.all_gather_object(gathered, tally.sample_ids)
            sample_ids = sorted({name for names in gathered for name in names})
            raise ValueError(
                f"{counters.nonfinite_in_a_row} updates in a row had a loss or gradient that is "
                f"not finite, train.max_nonfinite allows {self.config.train.max_nonfinite}; the "
                f"last saw samples {', '.join(sample_ids)}: look at them, or lower optimizer.lr"
            )

    def _validator(self) -> Validator:
        config, count = self.config, self.config.validation.samples
        batches = fixed_batches(
            self.inputs.source, config.data, config.data.validation_split, count, config.train.seed
        )
        return Validator(
            [self._latents(batch).to(torch.device("cpu")) for batch in batches],
            self.inputs.null_text,
            config.flow,
            config.train.seed,
            self.process.rank,
            self.process.world_size,
        )

    def _precision(self) -> AbstractContextManager:
        enabled = self.config.zero.precision == "autocast"
        return torch.autocast(self.process.device.type, torch.bfloat16, enabled=enabled)

    def _validate(self, validator: Validator, log: RunLog) -> HeldOut:
        """Measure the held-out losses, generate the videos, log both."""
        config, step = self.config, self.counters.step
        self.engine.eval()
        held_out = validator.held_out(self.model, self._precision())
        scalars = held_out_scalars(held_out.diffusion)
        log.scalars(step, {**scalars, "validation/reference": held_out.reference})
        log.message(
            f"step {step}: held-out loss {held_out.mean:.4f} over nine sigmas, "
            f"reference {held_out.reference:.4f}"
        )
        count = min(config.validation.videos, validator.num_samples)
        if count and step:
            folder = self.run / "validation" / f"step-{step:08d}"
            show = Show(count, folder, config.data.fps or 16.0)
            sampling = config.validation.sampling
            strips = validator.videos(
                self.model, self.inputs.codec, sampling, show, self._precision()
            )
            for strip in strips:
                log.picture(step, f"validation/{strip.stem}", np.asarray(Image.open(strip)))
        log.flush()
        self.engine.train()
        self.meter.pause()
        return held_out

    def _model_config(self) -> dict[str, Any]:
        return {key: value for key, value in self.model.config.items() if not key.startswith("_")}

    def _save(self) -> None:
        """Save, unless this very step is saved already."""
        if self.saved_at == self.counters.step:
            return
        state = {
            "model": self._model_config(),
            "training": self.config.same_in_every_run(),
            "settings": asdict(self.config),
            "counters": asdict(self.counters),
            "unreadable": self.skips.reasons,
        }
        step, keep = self.counters.step, self.config.checkpoint.keep
        save_checkpoint(self.engine, self.run, step, state, self.ema, keep)
        self.saved_at = step
        self.meter.pause()
