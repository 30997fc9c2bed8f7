"""What Wan's autoencoders take while they work, beside their weights.

They go through a video by four frames at a time, so their peak depends on the picture's area and
not on the length. Measured on a CPU in fp32 with random weights. Wan 2.1's, 64x96 to 128x224:
20,370 to 21,490 bytes a pixel to decode, 14,200 to 19,100 to encode. Wan 2.2's, 64x96 and 96x160:
23,840 and 21,680 to decode, 10,230 and 7,380 to encode, of which 22 and 29 MB do not grow.
"""

WORK_BYTES = {"wan": (20_400, 16_000), "wan2.2": (20_400, 5_700)}  # of a pixel: decode, encode
_TILE_PX = 256 * 256  # diffusers' tile
_FRAME_BYTES = 12  # of a decoded pixel: three numbers in fp32
_COPIES = 2  # of the decoded video, while its parts are joined


def codec_bytes(
    height: int,
    width: int,
    frames: int,
    *,
    decodes: bool,
    half: bool = False,
    tiled: bool = False,
    codec: str = "wan",
) -> int:
    """Return the peak of decoding a video, or of encoding one.

    half: in bf16 or fp16. tiled: a tile of 256x256 px after the other.
    """
    area = height * width
    decode, encode = WORK_BYTES[codec]
    per_pixel = (decode if decodes else encode) // (2 if half else 1)
    work = per_pixel * (min(area, _TILE_PX) if tiled else area)
    return work + _COPIES * _FRAME_BYTES * area * frames
