"""Masks as COCO's compressed run lengths, which OpenS2V and others store in JSON.

Source: the format of cocoapi's common/maskApi.h: runs down the columns, beginning with zeros; from
the fourth on as the difference to the run two before; five bits a sign, the sixth says go on.
"""

import numpy as np

_FIRST = 48  # the sign of the value 0
_BITS, _GO_ON, _NEGATIVE = 5, 32, 16


def mask_runs(mask: np.ndarray) -> str:
    """Return the run lengths of a mask (height, width) of 0 and others."""
    flat = (mask > 0).T.reshape(-1)
    borders = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    runs = np.diff(borders, prepend=0, append=flat.size).tolist()
    if flat[0]:
        runs.insert(0, 0)
    differences = [run - runs[place - 2] if place > 2 else run for place, run in enumerate(runs)]
    return "".join(map(_signs, differences))


def _signs(value: int) -> str:
    signs = []
    while True:
        low, value = value & (_GO_ON - 1), value >> _BITS
        if value == (-1 if low & _NEGATIVE else 0):
            return "".join([*signs, chr(low + _FIRST)])
        signs.append(chr((low | _GO_ON) + _FIRST))
