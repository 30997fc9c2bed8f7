"""What is cut off or changed by chance gets into no clip where FFmpeg notices it."""

from pathlib import Path

import pytest

from benchmarks.damaged_files import measure


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "avi", "webm"])
@pytest.mark.slow
def test_no_damage_that_the_decoder_reports_gets_into_clips(tmp_path: Path, suffix: str) -> None:
    """The whole count, of 200 truncations and 1,000 mutations, is benchmarks/damaged_files.py."""
    counts = measure(suffix, tmp_path, truncations=5, mutations=15)
    assert [count["files"] for count in counts.values()] == [5, 15]
    assert [count["reported"] for count in counts.values()] == [0, 0]
    assert [count["died"] for count in counts.values()] == [0, 0]
