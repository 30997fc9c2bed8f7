"""What benchmarks/gpu.py runs: stages of items, each a name and a function that gives a row."""

import contextlib
import functools
import gc
import io
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from train_variants import Bench, make_bench, make_models

from trainer.distributed.optimizer import adamw_8bit
from trainer.distributed.zero import ZeroConfig
from trainer.lora import LoraConfig, add_lora
from trainer.measures.estimate import MemoryPlan, estimate
from trainer.measures.flops import forward_flops
from trainer.measures.speed import peak_flops
from trainer.model import ContextAnyoneTransformer3DModel
from trainer.model.int8 import round_frozen
from trainer.model.recompute import Keeps
from trainer.sampling.sampler import Conditions, SamplingConfig, sample

Item = tuple[str, Callable[[], dict[str, Any]]]
GIB = 2**30
TINY: dict[str, Any] = {
    "num_attention_heads": 2,
    "attention_head_dim": 24,
    "ffn_dim": 96,
    "num_layers": 2,
    "text_dim": 32,
    "image_dim": 40,
}
BACKENDS = ("flash", "_flash_3", "_native_cudnn", "_native_flash", "sage")
_WARM, _TIMED = 1, 3  # steps


@dataclass(frozen=True)
class Setting:
    """Where it runs, and in which sizes."""

    device: torch.device
    tiny: bool = False

    @cached_property
    def fields(self) -> dict[str, Any]:
        """Fields of the model that is timed: those of 1.3B are the defaults."""
        return TINY if self.tiny else {}

    def grid(self, frames: int) -> tuple[int, int, int]:
        """Return latent frames, rows and columns of 480x832, or of a stamp."""
        rows, columns = (8, 12) if self.tiny else (60, 104)
        return (frames - 1) // 4 + 1, rows, columns

    def bench(self, frames: int) -> Bench:
        return make_bench(make_models(self.fields, self.device), self.grid(frames), self.device)

    @property
    def precision(self) -> Any:
        on = self.device.type == "cuda"
        return torch.autocast("cuda", torch.bfloat16) if on else contextlib.nullcontext()

    def seconds(self, run: Callable[[], object]) -> float:
        """Return the median time of a call, after warming up."""
        times = []
        for _ in range(_WARM + _TIMED):
            started = self._now()
            run()
            times.append(self._now() - started)
        return statistics.median(times[_WARM:])

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()


def the_card(setting: Setting) -> Iterator[Item]:
    """What the card does with a plain product of matrices: the yardstick of all that follows."""

    def product(dtype: torch.dtype) -> dict[str, Any]:
        side = 256 if setting.tiny else 8192
        left, right = (torch.randn(side, side, device=setting.device, dtype=dtype) for _ in "ab")
        rate = 2 * side**3 / setting.seconds(lambda: left @ right)
        peak = peak_flops(setting.device)
        share = {"of the data sheet": rate / peak} if peak and dtype == torch.bfloat16 else {}
        return {"TFLOP/s": rate / 1e12, **share}

    yield "bf16 product", lambda: product(torch.bfloat16)
    yield "fp32 product", lambda: product(torch.float32)


def what_must_hold(setting: Setting) -> Iterator[Item]:
    """The properties of the method, on this device."""
    bench = make_bench(make_models(TINY, setting.device), (3, 8, 12), setting.device)
    model: Any = bench.model.eval()
    plain, video, conditions = bench.plain, bench.video, bench.conditions

    @torch.no_grad()
    def equals_wan(dtype: torch.dtype) -> dict[str, Any]:
        with torch.autocast(setting.device.type, dtype, enabled=dtype != torch.float32):
            ours, theirs = model(**video).sample, plain(**video).sample
        return _compared(ours, theirs, 1e-5 if dtype == torch.float32 else 3e-2)

    @torch.no_grad()
    def one_way() -> dict[str, Any]:
        first = model(**video, **conditions).reference
        other = {**video, "hidden_states": torch.randn_like(video["hidden_states"])}
        return _compared(model(**other, **conditions).reference, first, 0.0)

    @torch.no_grad()
    def cached(dtype: torch.dtype) -> dict[str, Any]:
        with torch.autocast(setting.device.type, dtype, enabled=dtype != torch.float32):
            cache = model.cache_reference(**conditions)
            image = conditions["image_embeds"]
            ours = model(**video, image_embeds=image, reference_cache=cache).sample
            theirs = model(**video, **conditions).sample
        return _compared(ours, theirs, 1e-5 if dtype == torch.float32 else 3e-2)

    def recomputed() -> dict[str, Any]:
        gradients = []
        for every, keeps in ((0, "nothing"), (1, "nothing"), (1, "attention")):
            model.train().enable_checkpointing(every, keeps)
            model.zero_grad(set_to_none=True)
            model(**video, **conditions).sample.square().mean().backward()
            gradients.append(model.blocks[0].attn1.to_q.weight.grad.clone())
        model.eval().enable_checkpointing(0)
        apart = torch.stack([gradient - gradients[0] for gradient in gradients[1:]])
        return _compared(gradients[0] + apart, gradients[0], 1e-5)

    @torch.no_grad()
    def backend(name: str) -> dict[str, Any]:
        half: Any = ContextAnyoneTransformer3DModel(**{**TINY, "attention_head_dim": 64})
        half = half.to(setting.device, torch.bfloat16).eval()
        inputs = {name: value.to(torch.bfloat16) for name, value in {**video, **conditions}.items()}
        native = half(**inputs).sample
        try:
            half.set_attention_backend(name)
            return _compared(half(**inputs).sample, native, 3e-2)
        finally:
            half.set_attention_backend("native")  # diffusers changes its default along with it

    yield "fp32: without a reference it is Wan", lambda: equals_wan(torch.float32)
    yield "bf16: without a reference it is Wan", lambda: equals_wan(torch.bfloat16)
    yield "nothing of the video reaches the reference", one_way
    yield "fp32: a cached reference is the reference", lambda: cached(torch.float32)
    yield "bf16: a cached reference is the reference", lambda: cached(torch.bfloat16)
    yield "recomputed blocks have the same gradients", recomputed
    for name in BACKENDS:
        yield f"{name} attention is native attention", lambda name=name: backend(name)


def _compared(ours: torch.Tensor, theirs: torch.Tensor, tolerance: float) -> dict[str, Any]:
    scale = float(theirs.float().abs().max())
    apart = float((ours.float() - theirs.float()).abs().max()) / max(scale, 1e-12)
    return {"largest difference": apart, "allowed": tolerance, "holds": apart <= tolerance}


def training(setting: Setting) -> Iterator[Item]:
    """A whole update: by checkpointing, compiled or not, with adapters, with 8 bits."""
    ways: dict[str, dict[str, Any]] = {
        "checkpointing all": {},
        "checkpointing half": {"every": 2},
        "checkpointing all, compiled": {"compiled": True},
        "checkpointing all, LoRA 64": {"lora": LoraConfig(64, 64)},
        "checkpointing all, LoRA 64, base in int8": {"lora": LoraConfig(64, 64, base="int8")},
        "checkpointing all, 8-bit AdamW (bitsandbytes)": {"eight_bits": True},
        "checkpointing half, compiled": {"every": 2, "compiled": True},
        "checkpointing all but attention": {"keeps": "attention"},
        "checkpointing all but attention, compiled": {"keeps": "attention", "compiled": True},
        "checkpointing none": {"every": 0},
        "checkpointing none, compiled": {"every": 0, "compiled": True},
    }
    rows = [(81, name) for name in ways if "none" not in name]
    rows += [(49, name) for name in ways if "half" not in name]
    for frames, name in rows:
        run = functools.partial(_train, setting, frames, **ways[name])
        yield f"{frames} frames, {name}", run


def _train(
    setting: Setting,
    frames: int,
    *,
    every: int = 1,
    keeps: Keeps = "nothing",
    compiled: bool = False,
    lora: LoraConfig | None = None,
    eight_bits: bool = False,
) -> dict[str, Any]:
    gc.collect()
    bench = setting.bench(frames)
    del bench.plain  # it would keep the weights that are rounded here
    model: Any = bench.model.train()
    model.enable_checkpointing(every, keeps)
    add_lora(model, lora or LoraConfig())
    rounded = lora is not None and lora.base == "int8"
    if rounded:
        round_frozen(model.blocks)
    if compiled:
        model.compile_blocks()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = _optimizer(trained, eight_bits)
    plan = MemoryPlan(
        bench.sizes,
        ZeroConfig(stage=0, optimizer="adamw8bit" if eight_bits else "adamw"),
        checkpointing=every,
        keeps=keeps,
        lora_rank=lora.rank if lora else None,
        frozen_bytes=1 if rounded else 4,
        cuda=setting.device.type == "cuda",
    )

    def step() -> None:
        with setting.precision:
            output = model(**bench.video, **bench.conditions)
        parts = (output.sample, output.reference)
        torch.stack([part.float().square().mean() for part in parts]).sum().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    if setting.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    seconds = setting.seconds(step)
    flops = forward_flops({**model.config}, bench.sizes).training(lora is not None)
    peak = peak_flops(setting.device)
    row: dict[str, Any] = {"s/step": seconds, "tokens/s": bench.sizes.video / seconds}
    row["TFLOP/s"] = flops / seconds / 1e12
    row["MFU"] = flops / seconds / peak if peak else "-"
    if setting.device.type == "cuda":
        row["peak GiB"] = torch.cuda.max_memory_allocated() / GIB
    return row | {"estimated GiB": estimate({**model.config}, plan).total / GIB}


def _optimizer(parameters: list[torch.nn.Parameter], eight_bits: bool) -> torch.optim.Optimizer:
    if not eight_bits:
        return torch.optim.AdamW(parameters, lr=1e-5, fused=True)
    return adamw_8bit(parameters, None, lr=1e-5)


def sampling(setting: Setting) -> Iterator[Item]:
    """A step of sampling, three passes, with the reference's keys and values kept or not."""
    for frames in (81, 49, 17):
        for cached in (True, False):
            yield (
                f"{frames} frames, reference {'cached' if cached else 'computed at every step'}",
                lambda frames=frames, cached=cached: _sample(
                    setting, frames, cached, compiled=False
                ),
            )
    yield "81 frames, reference cached, compiled", lambda: _sample(setting, 81, True, compiled=True)


def _sample(setting: Setting, frames: int, cached: bool, *, compiled: bool) -> dict[str, Any]:
    bench, config = setting.bench(frames), SamplingConfig(steps=2)
    model: Any = bench.model.eval()
    if setting.device.type == "cuda":
        model.to(torch.bfloat16)
    if compiled:
        model.compile_blocks()
    text = bench.video["encoder_hidden_states"]
    image = bench.conditions["image_embeds"]
    conditions = Conditions(text, text[:1], bench.conditions["reference"], image)
    shape: Any = tuple(bench.video["hidden_states"].shape)

    def run() -> None:
        generator = torch.Generator().manual_seed(0)
        sample(model, conditions, shape, config, generator=generator, use_cache=cached)

    return {"s/step": setting.seconds(run) / config.steps, "passes": 3}


def engines(setting: Setting) -> Iterator[Item]:
    """What curation does with frames where the model is at home: decoded frames a second."""

    def decode() -> dict[str, Any]:
        import av
        import numpy as np

        file, size = io.BytesIO(), (64, 64) if setting.tiny else (1280, 720)
        with av.open(file, "w", format="mp4") as container:
            stream: Any = container.add_stream("libx264", rate=24)
            stream.width, stream.height = size
            stream.pix_fmt = "yuv420p"
            for number in range(48):
                picture = np.full((size[1], size[0], 3), 5 * number, np.uint8)
                picture[: size[1] // 2, number : number + 16] = 255
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode(None))

        def run() -> None:
            file.seek(0)
            opened: Any = av.open(file)
            with opened:
                for frame in opened.decode(video=0):
                    frame.to_ndarray(format="rgb24")

        return {"frames/s": 48 / setting.seconds(run), "size": f"{size[0]}x{size[1]}"}

    yield "decoding H.264 on the CPU (PyAV)", decode


# Name, share of the time, items.
STAGES: list[tuple[str, float, Callable[[Setting], Iterator[Item]]]] = [
    ("the card", 0.04, the_card),
    ("what must hold", 0.1, what_must_hold),
    ("training", 0.56, training),
    ("sampling", 0.25, sampling),
    ("engines", 0.05, engines),
]
