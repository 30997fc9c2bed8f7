"""Faults that only pictures show: of clips, references and masks."""

from collections.abc import Callable

import cv2
import numpy as np
from planted import Copy, encode, fault, has_ground, pictures_of, sha256_of

from pipeline.media.images import decode_image, encode_jpeg, encode_png_mask


@fault("pair.copy-picture", media=True)
def reference_cut_from_its_clip(copy: Copy) -> None:
    sample = copy.sample()
    pictures = pictures_of(sample)
    place = len(sample["boxes"]) // 2
    frame = pictures[sample["first_frame"] + place]
    x0, y0, x1, y1 = (round(side) for side in sample["boxes"][place])
    x0, y0 = max(0, x0), max(0, y0)
    x1, y1 = min(frame.shape[1], x1), min(frame.shape[0], y1)
    crop = frame[y0:y1, x0:x1]
    mask = np.zeros(crop.shape[:2], np.uint8)
    mask[2:-2, 2:-2] = 255
    _set_image(sample, encode_jpeg(crop, 95), encode_png_mask(mask))


def _set_image(sample: dict, image: bytes, mask: bytes | None = None) -> None:
    reference = sample["references"][0]
    reference["image"]["bytes"], reference["sha256"] = image, sha256_of(image)
    if mask is not None:
        reference["mask"]["bytes"] = mask


@fault("pair.background", media=True)
def reference_before_the_clip_s_ground(copy: Copy) -> None:
    """Another pose, cut out and put back before exactly what stands behind the clip's person."""
    sample = copy.sample(lambda row: row["num_frames"] > 12 and has_ground(row))
    pictures, boxes = pictures_of(sample), sample["boxes"]
    place = len(boxes) // 2
    frame = pictures[sample["first_frame"] + place].copy()
    x0, y0, x1, y1 = boxes[place]
    width, height = x1 - x0, y1 - y0
    crop = frame[
        max(0, int(y0 - 0.3 * height)) : int(y1 + 0.3 * height),
        max(0, int(x0 - 0.3 * width)) : int(x1 + 0.3 * width),
    ].copy()
    left, top = int(x0) - max(0, int(x0 - 0.3 * width)), int(y0) - max(0, int(y0 - 0.3 * height))
    body = crop[top : top + int(height), left : left + int(width)]
    body[:] = np.clip(body[:, ::-1].astype(float) * 0.8 + 20, 0, 255).astype(np.uint8)
    mask = np.zeros(crop.shape[:2], np.uint8)
    mask[top : top + int(height), left : left + int(width)] = 255
    sample["references"][0]["augmentation"] = ""
    _set_image(sample, encode_jpeg(crop, 95), encode_png_mask(mask))


@fault("media.frame-count", media=True)
def clip_truncated(copy: Copy) -> None:
    sample = copy.sample()
    pictures = pictures_of(sample)
    copy.set_clip(sample, pictures[: len(pictures) * 2 // 3])


@fault("media.undecodable", media=True)
def clip_is_no_video(copy: Copy) -> None:
    copy.set_bytes(copy.sample(), copy.random.bytes(4000))


@fault("media.damaged", media=True)
def clip_with_changed_bytes(copy: Copy) -> None:
    sample = copy.sample()
    content = bytearray(sample["video"]["bytes"])
    start = content.index(b"mdat") + 4
    for place in copy.random.integers(start + 200, len(content) - 2000, 40):
        content[place] ^= 0xFF
    copy.set_bytes(sample, bytes(content))


@fault("media.clip-hash", media=True)
def clip_exchanged(copy: Copy) -> None:
    sample = copy.sample()
    other = copy.sample(lambda row: row["clip_id"] != sample["clip_id"])
    copy.set_bytes(sample, other["video"]["bytes"], columns=False)


@fault("media.measures-differ", media=True)
def scores_of_another_clip(copy: Copy) -> None:
    sample = copy.sample()
    clip = copy.clip_of(sample)
    sample["sharpness"] = clip["sharpness"] = 7 * sample["sharpness"] + 300


@fault("media.picture-size", media=True)
def clip_of_another_size(copy: Copy) -> None:
    sample = copy.sample()
    size = (sample["width"] // 4 * 2, sample["height"] // 4 * 2)
    copy.set_clip(sample, [cv2.resize(p, size) for p in pictures_of(sample)])


@fault("media.frame-rate", media=True)
def clip_of_another_rate(copy: Copy) -> None:
    sample = copy.sample()
    copy.set_bytes(sample, encode(pictures_of(sample), round(sample["fps"]) + 8))


@fault("clip.hidden-cut", media=True)
def clip_with_a_cut(copy: Copy) -> None:
    sample = copy.sample()
    other = copy.sample(lambda row: row["video_id"] != sample["video_id"])
    pictures, others = pictures_of(sample), pictures_of(other)
    size = (sample["width"], sample["height"])
    half = len(pictures) // 2
    tail = [cv2.resize(others[k % len(others)], size) for k in range(len(pictures) - half)]
    copy.set_clip(sample, pictures[:half] + tail)


@fault("clip.second-detector", media=True)
def clip_with_a_flash(copy: Copy) -> None:
    sample = copy.sample()
    pictures = pictures_of(sample)
    pictures[len(pictures) // 2] = np.full_like(pictures[0], 250)
    copy.set_clip(sample, pictures)


@fault("clip.fade", media=True)
def clip_fades_out(copy: Copy) -> None:
    sample = copy.sample()
    pictures = pictures_of(sample)
    length = min(16, len(pictures) - 4)
    faded = [
        (picture * (1 - min(1.0, k / (length - 6)))).astype(np.uint8)
        for k, picture in enumerate(pictures[-length:])
    ]
    copy.set_clip(sample, pictures[:-length] + faded)


@fault("clip.black-and-white", media=True)
def clip_without_colour(copy: Copy) -> None:
    sample = copy.sample()
    grey = [cv2.cvtColor(p, cv2.COLOR_RGB2GRAY) for p in pictures_of(sample)]
    copy.set_clip(sample, [cv2.cvtColor(p, cv2.COLOR_GRAY2RGB) for p in grey])


@fault("clip.watermark", media=True)
def clip_with_a_watermark(copy: Copy) -> None:
    """A logo stands in the corner of a picture that moves; before a plain wall nothing would."""
    sample = copy.sample(_is_textured)
    pictures = pictures_of(sample)
    height, width = pictures[0].shape[:2]
    wide = np.tile(pictures[0], (1, 3, 1))
    made = []
    for k in range(len(pictures)):
        picture = np.roll(wide, -9 * k, axis=1)[:, :width].copy()
        at = (width * 3 // 4, height // 8)
        scale = height / 260
        thick = max(2, height // 120)
        cv2.putText(picture, "LOGO", at, cv2.FONT_HERSHEY_DUPLEX, scale, (255, 255, 255), thick)
        made.append(picture)
    copy.set_clip(sample, made)


def _is_textured(sample: dict) -> bool:
    grey = cv2.cvtColor(pictures_of(sample)[0], cv2.COLOR_RGB2GRAY).astype(float)
    rim = np.concatenate([grey[: len(grey) // 8], grey[-len(grey) // 8 :]])
    return bool((rim.std(axis=1) > 15).mean() > 0.9)


@fault("clip.blurry", media=True)
def clip_blurred(copy: Copy) -> None:
    sample = copy.sample()
    copy.set_clip(sample, [cv2.GaussianBlur(p, (0, 0), 14) for p in pictures_of(sample)])


@fault("clip.dark", media=True)
def clip_dark(copy: Copy) -> None:
    sample = copy.sample()
    copy.set_clip(sample, [(p * 0.06).astype(np.uint8) for p in pictures_of(sample)])


@fault("clip.bright", media=True)
def clip_blown_out(copy: Copy) -> None:
    sample = copy.sample()
    pictures = [np.clip(p.astype(int) * 2 + 215, 0, 255) for p in pictures_of(sample)]
    copy.set_clip(sample, [p.astype(np.uint8) for p in pictures])


@fault("clip.flat", media=True)
def clip_in_fog(copy: Copy) -> None:
    sample = copy.sample()
    copy.set_clip(sample, [(p * 0.05 + 120).astype(np.uint8) for p in pictures_of(sample)])


@fault("clip.border", media=True)
def clip_with_bars(copy: Copy) -> None:
    sample = copy.sample()
    pictures = pictures_of(sample)
    bar = pictures[0].shape[1] // 5
    for picture in pictures:
        picture[:, :bar] = picture[:, -bar:] = 0
    copy.set_clip(sample, pictures)


@fault("clip.still", media=True)
def clip_is_a_photograph(copy: Copy) -> None:
    sample = copy.sample()
    pictures = pictures_of(sample)
    copy.set_clip(sample, [pictures[0]] * len(pictures))


@fault("clip.text", media=True)
def clip_with_subtitles(copy: Copy) -> None:
    sample = copy.sample()
    pictures = pictures_of(sample)
    height = pictures[0].shape[0]
    for picture in pictures:
        for line in range(3):
            cv2.putText(picture, "WHAT THEY SAID TO HIM", (8, height - 12 - line * height // 8),
                        cv2.FONT_HERSHEY_SIMPLEX, height / 330, (255, 255, 255), 2)  # fmt: skip
    copy.set_clip(sample, pictures)


@fault("clip.blurry")
def blur_in_the_column(copy: Copy) -> None:
    sample = copy.sample()
    sample["sharpness"] = copy.clip_of(sample)["sharpness"] = 3.0


def _score(copy: Copy, name: str, value: float, others: float) -> None:
    """Give every clip a score that passes, and one of them another."""
    for clip in copy.rows("clips"):
        clip[name] = others
    copy.clip_of(copy.sample())[name] = value


@fault("safety.nsfw")
def clip_not_safe(copy: Copy) -> None:
    _score(copy, "nsfw", 0.9, 0.01)


@fault("clip.watermarked")
def watermark_in_the_score(copy: Copy) -> None:
    _score(copy, "watermark", 0.8, 0.02)


@fault("clip.lettered")
def text_in_the_score(copy: Copy) -> None:
    _score(copy, "text", 0.1, 0.0)


@fault("clip.unpleasing")
def clip_unpleasing(copy: Copy) -> None:
    _score(copy, "aesthetic", 2.5, 6.0)


@fault("clip.crowded")
def clip_crowded(copy: Copy) -> None:
    sample = copy.sample()
    sample["num_people"] = copy.clip_of(sample)["num_people"] = 9


@fault("clip.small-person")
def person_tiny(copy: Copy) -> None:
    copy.sample()["area"] = 0.004


def _mask(copy: Copy, change: Callable[[np.ndarray], np.ndarray]) -> None:
    reference = copy.sample()["references"][0]
    mask = decode_image(reference["mask"]["bytes"])[..., 0]
    reference["mask"]["bytes"] = encode_png_mask(np.ascontiguousarray(change(mask)))


@fault("media.mask-shifted", media=True)
def mask_shifted(copy: Copy) -> None:
    _mask(copy, lambda mask: np.roll(mask, mask.shape[1] // 7, axis=1))


@fault("media.mask-size", media=True)
def mask_of_another_size(copy: Copy) -> None:
    _mask(copy, lambda mask: mask[::2, ::2])


@fault("media.mask-empty", media=True)
def mask_empty(copy: Copy) -> None:
    _mask(copy, np.zeros_like)


@fault("media.mask-soft", media=True)
def mask_with_a_halo(copy: Copy) -> None:
    _mask(copy, lambda mask: cv2.GaussianBlur(mask, (0, 0), mask.shape[1] / 12))


@fault("media.mirrored-part", media=True)
def reference_padded_by_reflection(copy: Copy) -> None:
    reference = copy.sample()["references"][0]
    height, width = 360, 280
    noise = copy.random.integers(0, 255, (height // 12, width // 12, 3)).astype(np.uint8)
    picture = cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    padded = cv2.copyMakeBorder(picture[:-60], 0, 60, 0, 0, cv2.BORDER_REFLECT_101)
    mask = np.zeros((height, width), np.uint8)
    mask[40:, 40:-40] = 255
    reference["augmentation"] = ""
    reference["image"]["bytes"] = image = encode_jpeg(padded, 90)
    reference["sha256"], reference["mask"]["bytes"] = sha256_of(image), encode_png_mask(mask)


@fault("media.mask-undecodable", media=True)
def mask_is_no_picture(copy: Copy) -> None:
    copy.sample()["references"][0]["mask"]["bytes"] = b"\x89PNG\r\n" + copy.random.bytes(200)


@fault("media.reference-undecodable", media=True)
def reference_is_no_picture(copy: Copy) -> None:
    _set_image(copy.sample(), copy.random.bytes(2000))


@fault("media.reference-hash", media=True)
def reference_exchanged(copy: Copy) -> None:
    sample = copy.sample()
    other = copy.sample(lambda row: row["character_id"] != sample["character_id"])
    one, two = sample["references"][0], other["references"][0]
    one["image"], one["mask"] = dict(two["image"]), dict(two["mask"])
