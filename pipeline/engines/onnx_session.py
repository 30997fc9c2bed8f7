"""Open an ONNX file with onnxruntime: on the GPU when there is one, quietly, with few threads."""

import os
from pathlib import Path
from typing import Any

from pipeline.execution.device import DEVICE

_CUDA, _CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


def wants_gpu() -> bool:
    """Say whether this onnxruntime could use a GPU: the wheel `onnxruntime-gpu` can."""
    import onnxruntime

    return _CUDA in onnxruntime.get_available_providers()


def providers() -> list[str]:
    """Return onnxruntime's execution providers in order of preference."""
    if os.environ.get(DEVICE) == "cpu" or not wants_gpu():
        return [_CPU]
    return [_CUDA, _CPU]


def session_options() -> Any:
    """Return options: as many threads as OMP_NUM_THREADS says (Ray sets it), else all.

    They do not spin while they wait: small networks, called now and then, would leave them busy
    for most of the time (YOLOX-nano on two threads: 39 ms of CPU a picture instead of 9).
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS") or 0)
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return options


def open_session(model: Path | bytes, gpu: bool = True) -> Any:
    """Return an InferenceSession of a file, or of what it would hold.

    Without `gpu` it stays on the CPU: a small network, picture by picture, gains nothing there.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    source = model if isinstance(model, bytes) else str(model)
    chosen = providers() if gpu else [_CPU]
    return onnxruntime.InferenceSession(source, session_options(), providers=chosen)
