"""Train: batches in, updates out; checkpoints, curves and videos on the way."""

import json
import math
import time
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, closing, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from PIL import Image

from trainer.build import base_of, build_model, check_features
from trainer.data.batch import LatentBatch, PixelBatch
from trainer.data.heldout import fixed_batches
from trainer.data.loader import SkipCounter, make_loader
from trainer.data.open_source import training_buckets
from trainer.data.order import Order
from trainer.data.origin import changes
from trainer.data.source import Batch
from trainer.distributed.parallel import sequence_group
from trainer.distributed.together import from_first
from trainer.distributed.zero import Process, Step, backward, make_engine, micro_steps
from trainer.encoders import encode_batch
from trainer.flow import draw, losses
from trainer.inputs import Inputs
from trainer.measures.flops import Sizes, forward_flops
from trainer.measures.metrics import RunLog, held_out_scalars
from trainer.measures.speed import Meter, ProgressBar
from trainer.model.spread import TokenSpread
from trainer.saving.checkpoint import STATE, Saving, check_same, load_checkpoint
from trainer.saving.complete import read_json, set_aside_after
from trainer.saving.ema import Ema
from trainer.saving.run_folder import RunRecord, check_may_resume
from trainer.stopping import Stopped, StopRequest
from trainer.train_config import TrainConfig
from trainer.validation import Show, Validator


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
    tokens: float = 0.0
    flops: float = 0.0
    sample_ids: list[str] = field(default_factory=list)


class Agreed(NamedTuple):
    """What all processes know after an update."""

    losses: dict[str, float]  # means over all samples
    stop: bool  # one was asked to stop
    overdue: bool  # a checkpoint is
    written: bool  # the checkpoint in the background is, by all


class Trainer:
    """A training, in one of its processes."""

    def __init__(
        self,
        config: TrainConfig,
        inputs: Inputs,
        run: Path,
        process: Process,
        record: RunRecord,
        accept_changes: bool = False,
    ) -> None:
        """Build the model and its engine. Raises ValueError for what does not fit together.

        accept_changes: go on with other data or encoders than before.
        """
        self.config, self.inputs, self.run, self.process = config, inputs, run, process
        train = config.train
        self.accumulation = micro_steps(train.batch_size, train.micro_batch, process.replicas)
        buckets = training_buckets(inputs.source, config.data)
        self.order = Order(buckets, train.batch_size, train.seed)
        self.model = build_model(config.model, config.zero, train.seed, config.data.characters)
        check_features(self.model, inputs)
        new = self.model.new_parameter_names()
        if config.zero.stage < 3:
            torch.nn.Module.to(self.model, process.device)
        if process.sequence > 1:
            self.model.spread_tokens(TokenSpread.among(sequence_group(process)))
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
        self.saving: Saving | None = None  # in the background
        self.saved_at, self.saved_s = -1, time.monotonic()  # the step and the time of the last save
        self.record, self.accept_changes = record, accept_changes
        self.data = inputs.describe(config.data)
        self.base = base_of(config.model, train.seed)

    def resume(self, checkpoint: Path) -> list[str]:
        """Go on from an intact checkpoint; return what its owner should know.

        Raises ValueError when it is of another training.
        """
        state = read_json(checkpoint / STATE)
        run_id = state.get("run", {}).get("run_id", "")
        check_may_resume(self.run, self.record, checkpoint, run_id)
        notes = self._check_data(state.get("data"))
        if self.config.model.lora.rank and "base" in state:
            # What is frozen is not in the checkpoint.
            check_same({"digest": state["base"]["digest"]}, {"digest": self.base["digest"]}, "base")
        same = {"training": self.config.same_in_every_run(), "model": self.model.named_config()}
        load_checkpoint(self.engine, checkpoint, self.ema, same, verify=False)
        self.counters = Counters(**state["counters"])
        self.skips.reasons = dict(state["unreadable"])
        step = self.counters.step
        if run_id and run_id != self.record.run_id:
            self.record = replace(self.record, begun_from={"run_id": run_id, "step": step})
        else:
            self.saved_at = step
        aside = from_first(lambda: set_aside_after(self.run, step), OSError)
        notes += [f"set aside {path}, until a new checkpoint is complete" for path in aside]
        return notes

    def _check_data(self, then: dict[str, Any] | None) -> list[str]:
        """Compare the data with those of a checkpoint, which in the first version said nothing."""
        if then is None:
            return ["the checkpoint does not say on which data it was trained"]
        other = changes(then, json.loads(json.dumps(self.data)))
        if other and not self.accept_changes:
            raise ValueError(
                f"the run was trained on other data ({'; '.join(other)}): set these back, start a "
                "new run, or pass --accept-changes, which is written down in run.json"
            )
        return [f"goes on with other data: {'; '.join(other)}"] if other else []

    def write_record(self) -> None:
        """Write down from which step on which data are trained on. The first process alone does."""
        self.record = self.record.trained_on(self.counters.step, self.data)
        if self.process.rank == 0:
            self.record.write(self.run)

    def train(self, log: RunLog, stop: StopRequest) -> bool:
        """Train to the last step; return False when asked to stop before. Saves in both cases."""
        config, first = self.config, self.counters.step
        validator = self._validator()
        if first == 0:
            self._validate(validator, log, stop)
        bar = ProgressBar(
            config.train.steps, step=first, every=config.log.every, rank=self.process.rank
        )
        with bar, closing(self._batches()) as batches:
            self.meter.pause()
            while self.counters.step < config.train.steps and not stop.agreed:
                outcome, tally = self._update(batches)
                agreed = self._agree(tally, stop.requested)
                stop.agreed = agreed.stop
                if agreed.written:
                    self._finish_saving()
                self._account(outcome, tally, agreed.losses, log)
                bar.advance(agreed.losses["loss/total"])
                step = self.counters.step
                if step % config.checkpoint.every == 0 or agreed.overdue:
                    self._save()
                if step % config.validation.every == 0 and step < config.train.steps:
                    self._validate(validator, log, stop)
                    bar.pause()
        self._save()
        self._finish_saving()
        finished = self.counters.step >= config.train.steps
        if finished and first < config.train.steps:
            self._validate(validator, log, stop)
        return finished

    def _batches(self) -> Generator[Batch, None, None]:
        yield from make_loader(
            self.inputs.source,
            self.order,
            self.config.data,
            rank=self.process.replica,
            world_size=self.process.replicas,
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
            noising = draw(latents, flow, self.config.train.seed, self.config.model.levels)
            loss = losses(self.engine, latents, noising, self.inputs.null_text, flow)
            outcome = backward(self.engine, loss.total.mean())
            tally.diffusion += loss.diffusion.detach().sum()
            tally.reference += loss.reference.detach().sum()
            sizes = self._sizes(latents)
            tally.samples += sizes.batch
            shared_by = self.process.sequence
            tally.tokens += sizes.batch * sizes.video / shared_by
            frozen = self.config.model.lora.rank > 0
            tally.flops += forward_flops(self.model.config, sizes).training(frozen) / shared_by
            tally.sample_ids += latents.sample_ids
        assert outcome is not None, "the last micro-batch ends the update"
        return outcome, tally

    def _sizes(self, batch: LatentBatch) -> Sizes:
        patch = math.prod(self.model.patch_size)
        latents = (batch.video, batch.reference)
        video, reference = (part.shape[2:].numel() // patch for part in latents)
        text, image = batch.text.shape[1], batch.image.shape[1]
        rebuilds = self.model.config["reconstruction"] in ("self", "other")
        rebuilt = reference // batch.reference.shape[2] if rebuilds else 0
        several = 1 + len(batch.characters)
        of_all = (several * reference, text, several * image)
        return Sizes(video, *of_all, len(batch.places), rebuilt, several)

    def _agree(self, tally: Tally, stop: bool) -> Agreed:
        """Put together what all processes saw."""
        minutes = self.config.checkpoint.minutes
        overdue = minutes > 0 and time.monotonic() - self.saved_s > 60 * minutes
        writing = self.saving is not None and not self.saving.written
        own = [tally.diffusion, tally.reference, tally.samples, tally.tokens]
        own += [stop, overdue, writing]
        sums = torch.stack([torch.as_tensor(value, dtype=torch.float64).cpu() for value in own])
        sums = sums.to(self.process.device)
        dist.all_reduce(sums)
        diffusion, reference, samples, tokens, stops, overdues, writers = sums.tolist()
        weight = self.config.flow.reference_weight
        self.meter.step(round(tokens), tally.flops)
        losses = {
            "loss/total": (diffusion + weight * reference) / samples,
            "loss/diffusion": diffusion / samples,
            "loss/reference": reference / samples,
        }
        return Agreed(losses, stops > 0, overdues > 0, self.saving is not None and not writers)

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
            self._finish_saving()
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
            self.process,
            config.model.levels,
        )

    def _precision(self) -> AbstractContextManager:
        enabled = self.config.zero.precision == "autocast"
        return torch.autocast(self.process.device.type, torch.bfloat16, enabled=enabled)

    def _validate(self, validator: Validator, log: RunLog, stop: StopRequest) -> None:
        """Measure the held-out losses, generate the videos, log both; a stop ends it midway.

        Where weights are averaged, the averaged ones are measured and shown too: they are what is
        exported.
        """
        self.engine.eval()
        with suppress(Stopped):
            self._show(validator, log, stop, "")
            if self.ema is not None and self.counters.step:
                with self.ema.swapped():
                    self._show(validator, log, stop, "averaged")
        log.flush()
        self.engine.train()
        self.meter.pause()

    def _show(self, validator: Validator, log: RunLog, stop: StopRequest, weights: str) -> None:
        """Validate the weights that the model has now; `weights` names them, '' the trained."""
        config, step = self.config, self.counters.step
        prefix = f"validation_{weights}" if weights else "validation"

        def pause() -> None:
            self._end_when_stopped(stop)

        held_out = validator.held_out(self.model, self._precision(), pause)
        scalars = held_out_scalars(held_out.diffusion, prefix)
        log.scalars(step, {**scalars, f"{prefix}/reference": held_out.reference})
        log.message(
            f"step {step}: held-out loss {held_out.mean:.4f} over nine sigmas, "
            f"reference {held_out.reference:.4f}{f' ({weights} weights)' if weights else ''}"
        )
        count = min(config.validation.videos, validator.num_samples)
        if count and step:
            folder = self.run / "validation" / f"step-{step:08d}" / weights
            show = Show(count, folder, self.data["fps"])
            sampling = config.validation.sampling
            strips = validator.videos(
                self.model, self.inputs.codec, sampling, show, self._precision(), pause
            )
            for strip in strips:
                log.picture(step, f"{prefix}/{strip.stem}", np.asarray(Image.open(strip)))

    def _end_when_stopped(self, stop: StopRequest) -> None:
        """Raise Stopped on all processes when one was asked to stop. All must call it."""
        asked = torch.tensor(float(stop.requested), device=self.process.device)
        dist.all_reduce(asked)
        if asked > 0:
            stop.agreed = True
            raise Stopped

    def _save(self) -> None:
        """Save, unless this very step is saved already; in the background where that is set."""
        if self.saved_at == self.counters.step:
            return
        self._finish_saving()
        state = {
            "model": self.model.named_config(),
            "training": self.config.same_in_every_run(),
            "settings": asdict(self.config),
            "counters": asdict(self.counters),
            "unreadable": self.skips.reasons,
            "base": self.base,
            "run": asdict(self.record),
            "data": self.data,
        }
        step, checkpoint = self.counters.step, self.config.checkpoint
        where = (self.engine, self.run, step, state, self.ema, checkpoint.keep)
        self.saving = Saving(*where, frozen=False, in_background=checkpoint.background)
        if not checkpoint.background:
            self._finish_saving()
        self.saved_at, self.saved_s = step, time.monotonic()
        self.meter.pause()

    def _finish_saving(self) -> None:
        """Wait for the checkpoint that is being written, if any, and publish it."""
        if self.saving is not None:
            saving, self.saving = self.saving, None
            saving.finish()
