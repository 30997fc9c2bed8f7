"""What all processes of a training do or refuse as one."""

from collections.abc import Callable
from typing import TypeVar

import torch.distributed as dist

_Result = TypeVar("_Result")


def together(action: Callable[[], _Result], error: type[Exception]) -> _Result:
    """Do something on every process; when it fails on one, raise `error` on all."""
    problem, result = "", None
    try:
        result = action()
    except Exception as caught:  # whatever it is: the others wait for it
        problem = str(caught) or type(caught).__name__
    problems = [""] * dist.get_world_size()
    dist.all_gather_object(problems, problem)
    failed = [f"process {rank}: {text}" for rank, text in enumerate(problems) if text]
    if failed:
        raise error(failed[0] if dist.get_world_size() > 1 else problem)
    return result  # pyright: ignore[reportReturnType]


def from_first(action: Callable[[], _Result], error: type[Exception]) -> _Result:
    """Do something on the first process alone; return what it returned on all."""
    first = dist.get_rank() == 0
    result = [together(lambda: action() if first else None, error)]
    dist.broadcast_object_list(result, src=0)
    return result[0]  # pyright: ignore[reportReturnType]
