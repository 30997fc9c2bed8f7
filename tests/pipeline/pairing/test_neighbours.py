"""Near neighbours: few rows need no library beyond numpy, many say which one they want."""

import sys

import numpy as np
import pytest

from pipeline.pairing.neighbours import near_pairs


def test_without_faiss_few_rows_are_compared_and_many_name_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)  # as where it is not installed
    rows = np.eye(3, dtype=np.float32)[[0, 1, 0]]
    assert near_pairs(rows, 0.9).tolist() == [[0, 2]]
    with pytest.raises(ValueError, match=r'pip install -e "\.\[scale\]"'):
        near_pairs(rows, 0.9, exact=2)
