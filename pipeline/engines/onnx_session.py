"""Open an ONNX file with onnxruntime: on the GPU when there is one, quietly, with few threads."""

import os
from pathlib import Path
from typing import Any


def providers() -> list[str]:
    """Return onnxruntime's execution providers in order of preference."""
    import onnxruntime

    available = onnxruntime.get_available_providers()
    return [name for name in ("CUDAExecutionProvider",) if name in available] + [
        "CPUExecutionProvider"
    ]


def session_options() -> Any:
    """Return options: as many threads as OMP_NUM_THREADS says (Ray sets it), else all."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS") or 0)
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return options


def open_session(path: Path) -> Any:
    """Return an InferenceSession."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    return onnxruntime.InferenceSession(str(path), session_options(), providers=providers())


def on_gpu(session: Any) -> bool:
    """Say whether a session really runs on a GPU."""
    return session.get_providers()[0] != "CPUExecutionProvider"
