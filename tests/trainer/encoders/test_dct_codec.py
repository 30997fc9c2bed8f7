"""The codec without weights: what it keeps, what it loses, and that its latents are normalised."""

import av
import numpy as np
import pytest
import torch
from scipy.fft import dctn
from synthetic import moving_shapes

from trainer.encoders.dct import KEPT, MEAN, STD, DctCodec, colours, group_basis

REAL = ("lp-source-s32.mp4", "sam2-05_default_juggle.mp4", "sam2-bedroom.mp4", "mmaction-demo.mp4")


def signed(frames) -> torch.Tensor:
    """Map F uint8 pictures (H, W, 3) to a clip (1, 3, F, H, W) in [-1, 1]."""
    stack = torch.from_numpy(np.stack(frames)).permute(3, 0, 1, 2)[None]
    return stack.float() / 127.5 - 1


def psnr(one: torch.Tensor, other: torch.Tensor) -> float:
    return (10 * torch.log10(4 / (one - other).square().mean())).item()


def plausible_latents(shape: tuple[int, ...]) -> torch.Tensor:
    """Draw latents that decode without clamping; a lone frame has no motion."""
    latents = 0.05 * torch.randn(shape, generator=torch.Generator().manual_seed(0))
    moving = torch.tensor([t > 0 for _, t, _, _ in KEPT])
    latents[:, moving, 0] = 0
    return latents


@pytest.fixture(scope="module")
def real_clips(media) -> list[torch.Tensor]:
    """17 frames at 12 to 15 fps, 96x160, of four real videos."""
    clips = []
    for name in REAL:
        with av.open(str(media / "videos" / name)) as container:
            frames = [
                frame.to_ndarray(format="rgb24", width=160, height=96)
                for index, frame in zip(range(33), container.decode(video=0), strict=False)
                if index % 2 == 0
            ]
        clips.append(signed(frames))
    return clips


def test_the_kept_basis_is_orthonormal():
    basis = group_basis()
    torch.testing.assert_close(basis @ basis.T, torch.eye(16, dtype=torch.float64))
    assert len(set(KEPT)) == DctCodec.channels == 16


def test_latents_are_scipys_cosine_coefficients():
    frames = torch.rand(1, 3, 5, 16, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    latents = DctCodec().encode(frames)
    opponent = np.einsum("kc,cfhw->kfhw", colours().numpy(), frames[0].double().numpy())
    group = np.asarray(dctn(opponent[:, 1:, 8:], axes=(1, 2, 3), norm="ortho")) / 2
    lone = np.asarray(dctn(opponent[:, 0, 8:], axes=(1, 2), norm="ortho"))
    for channel, (c, t, y, x) in enumerate(KEPT):
        of_group = (group[c, t, y, x] - MEAN[channel]) / STD[channel]
        of_lone = (lone[c, y, x] - MEAN[channel]) / STD[channel] if t == 0 else 0.0
        assert latents[0, channel, 1, 1, 0].item() == pytest.approx(of_group, abs=1e-5)
        assert latents[0, channel, 0, 1, 0].item() == pytest.approx(of_lone, abs=1e-5)


def test_a_still_scene_has_the_same_latents_in_every_frame():
    picture = torch.rand(2, 3, 1, 24, 40, generator=torch.Generator().manual_seed(1)) * 2 - 1
    latents = DctCodec().encode(picture.expand(-1, -1, 9, -1, -1))
    torch.testing.assert_close(latents, latents[:, :, :1].expand_as(latents), atol=1e-5, rtol=0)


def test_what_is_decoded_encodes_to_the_same_latents():
    codec, latents = DctCodec(), plausible_latents((2, 16, 4, 3, 5))
    frames = codec.decode(latents)
    assert frames.shape == (2, 3, 13, 24, 40)
    assert frames.abs().max() < 1  # nothing was clamped
    torch.testing.assert_close(codec.encode(frames), latents, atol=1e-4, rtol=0)


def test_decoded_frames_are_clamped():
    frames = DctCodec().decode(20 * torch.ones(1, 16, 2, 1, 1))
    assert frames.min() >= -1
    assert frames.max() == 1


def test_the_first_frame_does_not_see_the_rest():
    clip = torch.rand(1, 3, 9, 16, 16) * 2 - 1
    codec = DctCodec()
    torch.testing.assert_close(codec.encode(clip)[:, :, :1], codec.encode(clip[:, :, :1]))


def test_drawn_video_survives():
    clip = signed(moving_shapes(17, (160, 96), 3))
    codec = DctCodec()
    assert psnr(codec.decode(codec.encode(clip)), clip) > 25


@pytest.mark.media
def test_real_video_survives(real_clips):
    codec = DctCodec()
    measured = [psnr(codec.decode(codec.encode(clip)), clip) for clip in real_clips]
    assert min(measured) > 21
    assert sum(measured) / len(measured) > 25


@pytest.mark.media
def test_latents_of_real_video_have_zero_mean_and_unit_variance(real_clips):
    latents = torch.cat([DctCodec().encode(clip) for clip in real_clips])
    latents = (
        latents[:, :, 1:].transpose(0, 1).flatten(1)
    )  # four clips, not the 46 of the constants
    assert latents.mean(1).abs().max() < 0.6
    assert latents.std().item() == pytest.approx(1, abs=0.25)
    assert latents.std(1).min() > 0.4
    assert latents.std(1).max() < 2


@pytest.mark.parametrize(
    "shape", [(1, 3, 4, 8, 8), (1, 3, 5, 12, 8), (1, 4, 5, 8, 8), (3, 5, 8, 8)]
)
def test_a_clip_of_another_size_is_refused(shape):
    with pytest.raises(ValueError, match=r"multiples of 8, got \("):
        DctCodec().encode(torch.zeros(shape))


def test_latents_of_another_codec_are_refused():
    with pytest.raises(ValueError, match="another codec"):
        DctCodec().decode(torch.zeros(1, 48, 2, 4, 4))
