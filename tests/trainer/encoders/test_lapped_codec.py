"""The codec of overlapping blocks: exact where it can be, and no grid where it cannot."""

import pytest
import torch
from synthetic import moving_shapes
from test_dct_codec import plausible_latents, psnr, signed

from trainer.encoders.dct import DctCodec
from trainer.encoders.lapped import LappedCodec, edge_matrix


def test_an_edge_turns_orthonormally_and_leaves_a_constant_alone():
    edge = edge_matrix()
    torch.testing.assert_close(edge @ edge.T, torch.eye(8, dtype=torch.float64))
    torch.testing.assert_close(edge @ torch.ones(8).double(), torch.ones(8).double())


def test_what_is_decoded_encodes_to_the_same_latents():
    codec, latents = LappedCodec(), plausible_latents((2, 16, 4, 3, 5))
    frames = codec.decode(latents)
    assert frames.shape == (2, 3, 13, 24, 40)
    assert frames.abs().max() < 1  # nothing was clamped
    torch.testing.assert_close(codec.encode(frames), latents, atol=1e-4, rtol=0)


def test_a_flat_picture_is_exact_and_a_still_one_the_same_in_every_frame():
    codec = LappedCodec()
    flat = torch.full((1, 3, 5, 24, 40), 0.4)
    torch.testing.assert_close(codec.decode(codec.encode(flat)), flat, atol=1e-5, rtol=0)
    picture = torch.rand(2, 3, 1, 24, 40, generator=torch.Generator().manual_seed(1)) * 2 - 1
    latents = codec.encode(picture.expand(-1, -1, 9, -1, -1))
    torch.testing.assert_close(latents, latents[:, :, :1].expand_as(latents), atol=1e-5, rtol=0)


def test_the_first_frame_does_not_see_the_rest():
    clip, codec = torch.rand(1, 3, 9, 16, 16) * 2 - 1, LappedCodec()
    torch.testing.assert_close(codec.encode(clip)[:, :, :1], codec.encode(clip[:, :, :1]))


def test_it_is_told_apart_from_the_codec_of_blocks():
    assert LappedCodec().fingerprint.startswith("lapped-")
    assert DctCodec().fingerprint == "dct-e741dc802102e532"  # latents of version 0.1 name it


def _steps(clip: torch.Tensor) -> float:
    """Return how much larger the steps between neighbours are at edges of blocks than inside."""
    steps = clip.diff(dim=-1).abs()
    columns = torch.arange(1, clip.shape[-1])
    edges = steps[..., columns % 8 == 0].mean() / steps[..., columns % 8 != 0].mean()
    return float(edges)


def test_no_grid_is_left_where_the_blocks_leave_one():
    clip = signed(moving_shapes(17, (160, 96), 3))
    grid = {
        codec: _steps(codec().decode(codec().encode(clip))) for codec in (DctCodec, LappedCodec)
    }
    assert grid[DctCodec] > 1.5
    assert grid[LappedCodec] < 1.15


@pytest.mark.parametrize("seed", [3, 4])
def test_drawn_video_survives_better_than_in_blocks(seed):
    clip = signed(moving_shapes(17, (160, 96), seed))
    kept = {
        codec: psnr(codec().decode(codec().encode(clip)), clip) for codec in (DctCodec, LappedCodec)
    }
    assert kept[LappedCodec] > kept[DctCodec] > 25
