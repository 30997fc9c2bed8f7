"""What Wan's autoencoder takes while it works, beside its weights.

It goes through a video by four frames at a time, so its peak depends on the picture's area and not
on the length. Measured on a CPU in fp32 with random weights, 64x96 to 128x224: 20,370 to 21,490
bytes a pixel to decode, 14,200 to 19,100 to encode.
"""

_DECODE_BYTES, _ENCODE_BYTES = 20_400, 16_000  # of a pixel, in fp32
_TILE_PX = 256 * 256  # diffusers' tile
_FRAME_BYTES = 12  # of a decoded pixel: three numbers in fp32
_COPIES = 2  # of the decoded video, while its parts are joined


def codec_bytes(
    height: int, width: int, frames: int, *, decodes: bool, half: bool = False, tiled: bool = False
) -> int:
    """Return the peak of decoding a video, or of encoding one.

    half: in bf16 or fp16. tiled: a tile of 256x256 px after the other.
    """
    area = height * width
    per_pixel = (_DECODE_BYTES if decodes else _ENCODE_BYTES) // (2 if half else 1)
    work = per_pixel * (min(area, _TILE_PX) if tiled else area)
    return work + _COPIES * _FRAME_BYTES * area * frames
