"""Light a picture anew: exposure, colour temperature and a soft light from one side."""

import numpy as np

NEUTRAL_K = 6500.0  # white point of sRGB
GAMMA = 2.2  # stands for the sRGB curve, to and from linear light
KNEE = 0.8  # linear light above which highlights roll off instead of clipping
RAMP, ROUNDNESS = 0.6, 0.2  # parts of the side light; together they reach about half a unit


def relight(
    picture: np.ndarray,
    mask: np.ndarray,
    exposure_ev: float,
    temperature_k: float,
    light_ev: float,
    light_degrees: float,
) -> np.ndarray:
    """Multiply linear light; picture and result are float RGB (H, W, 3), 0 to 1.

    The side light comes from `light_degrees` (0 right, 90 above); the lit side of the person is
    about `light_ev` stops brighter than the far side.
    """
    if (exposure_ev, temperature_k, light_ev) == (0, NEUTRAL_K, 0):
        return picture
    stops = np.full(mask.shape, exposure_ev, dtype=np.float32)
    if light_ev:
        stops += light_ev * _light_field(mask, light_degrees)
    gains = np.exp2(stops)[..., None] * temperature_gains(temperature_k)
    linear = np.power(np.clip(picture, 0, 1), GAMMA) * gains
    return np.power(_shoulder(linear), 1 / GAMMA).astype(np.float32)


def _shoulder(linear: np.ndarray) -> np.ndarray:
    """Roll highlights off above the knee, so that brightening does not clip faces to white."""
    over = np.maximum(linear - KNEE, 0) / (1 - KNEE)
    rolled = KNEE + (1 - KNEE) * (1 - np.exp(-over))
    return np.where(linear > KNEE, rolled, linear)


def _light_field(mask: np.ndarray, degrees: float) -> np.ndarray:
    """Return where the light falls, -0.5 to 0.5: a ramp across the person plus its roundness.

    Roundness: the person is taken for a cushion whose height is the blurred distance to the
    outline; its normals turn towards or away from the light.
    """
    import cv2

    height, width = mask.shape
    towards = np.array([np.cos(np.radians(degrees)), -np.sin(np.radians(degrees))])
    left, top, wide, high = cv2.boundingRect(mask)
    if not wide:
        left, top, wide, high = 0, 0, width, height
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    across = ((x - left) / wide - 0.5) * towards[0] + ((y - top) / high - 0.5) * towards[1]
    ramp = np.clip(across, -0.5, 0.5)
    depth = cv2.distanceTransform((mask > 127).astype(np.uint8), cv2.DIST_L2, 3)
    if depth.max() <= 0:
        return ramp.astype(np.float32)
    cushion = np.sqrt(depth / depth.max())
    cushion = cv2.GaussianBlur(cushion, (0, 0), 0.06 * min(height, width))
    slope_x, slope_y = cv2.Sobel(cushion, cv2.CV_32F, 1, 0), cv2.Sobel(cushion, cv2.CV_32F, 0, 1)
    facing = -(slope_x * towards[0] + slope_y * towards[1])
    facing /= max(float(np.percentile(np.abs(facing), 99)), 1e-6)
    round_ = cv2.GaussianBlur(np.clip(facing, -1, 1), (0, 0), 0.03 * min(height, width))
    return (RAMP * ramp + ROUNDNESS * round_).astype(np.float32)


def temperature_gains(kelvin: float) -> np.ndarray:
    """Return linear RGB gains (3,) of a light of this temperature; luma stays, 6500 K is 1, 1, 1.

    Source: the Planckian locus as fitted by Tanner Helland (2012), relative to its own 6500 K.
    """
    gains = _planck(kelvin) / _planck(NEUTRAL_K)
    return (gains / (gains @ np.array([0.2126, 0.7152, 0.0722]))).astype(np.float32)


def _planck(kelvin: float) -> np.ndarray:
    t = kelvin / 100
    if t <= 66:
        red, green = 255.0, 99.4708025861 * np.log(t) - 161.1195681661
        blue = 138.5177312231 * np.log(max(t - 10, 1e-3)) - 305.0447927307
    else:
        red = 329.698727446 * (t - 60) ** -0.1332047592
        green, blue = 288.1221695283 * (t - 60) ** -0.0755148492, 255.0
    return (np.clip([red, green, blue], 1, 255) / 255) ** 2.2
