"""Where an engine computes: on the GPU that its worker was given, else on the CPU."""

import os

# "cpu" in workers without a GPU, and while engines are built only to say who they are
DEVICE = "CONTEXTANYONE_DEVICE"


def choose_device() -> str:
    """Return "cuda" when this process may use a GPU and torch sees one, else "cpu"."""
    if os.environ.get(DEVICE) == "cpu":
        return "cpu"
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
