"""Say what the camera does, what is behind the people, and how light it is."""

import numpy as np

from schemas.tables import Clip

# Thresholds of words. Ours; flow is in pixels a frame at 256 px short side and 16 to 30 frames a
# second, so 0.5 crosses such a picture in about half a minute. Between two thresholds nothing is
# said: what a caption claims has to be true.
STATIC_CAMERA = 0.12  # px/frame of the ground's flow; below, only noise of the measurement
STATIC_ZOOM = 0.015  # relative growth per second
MOVING_CAMERA = 0.6  # px/frame; above, it moves, if not one way all the time
TRAVEL = 0.5  # px/frame of net flow of the ground
GROWTH = 0.06  # relative growth of the ground per second
STEADY = 0.75  # net over total flow: one way all the time
DARK, BRIGHT = 0.18, 0.75  # mean luma
PLAIN_EVENNESS, PLAIN_DETAIL = 0.9, 0.02  # from, and up to which a background is a plain one
DETAILED = 0.17  # share of a background's places on edges
DARK_BEHIND = 0.15  # mean luma of the background
COLOURLESS = 2.0  # mean chroma of black and white film, compressed
WARM = 16.0  # mean of Lab's a and b


def camera_motion(clip: Clip) -> str:
    """Say what the camera does, from the flow of the ground; '' where that is unknown or not sure.

    `camera_pan` is how the picture moves: when it moves to the right, the camera goes left. Flow
    does not tell a turn of the camera from a journey, a zoom from a walk or a hand from a crane, so
    none of them is named.
    """
    pan = np.asarray(clip.camera_pan, dtype=float)
    if not np.isfinite([clip.camera_motion, clip.camera_zoom, *pan]).all():
        return ""
    if clip.camera_motion < STATIC_CAMERA and abs(clip.camera_zoom) < STATIC_ZOOM:
        return "the camera is static"
    if abs(clip.camera_zoom) >= GROWTH:
        return "the view closes in" if clip.camera_zoom > 0 else "the view widens"
    net = float(np.hypot(*pan))
    if net >= TRAVEL and net >= STEADY * clip.camera_motion:
        x, y = pan
        if abs(x) >= abs(y):
            return f"the camera moves {'left' if x > 0 else 'right'}"
        return f"the camera moves {'up' if y > 0 else 'down'}"
    return "the camera moves" if clip.camera_motion >= MOVING_CAMERA else ""


def background(clip: Clip) -> str:
    """Return what is behind the people, for example "a plain grey background"; '' if not sure."""
    if not np.isfinite(clip.background_detail):
        return ""
    colour = "dark" if clip.background_colour == "black" else clip.background_colour
    if colour == "dark" or clip.background_brightness <= DARK_BEHIND:
        return "a dark background"
    if clip.background_detail <= PLAIN_DETAIL and clip.background_evenness >= PLAIN_EVENNESS:
        return f"a plain {colour} background" if colour else "a plain background"
    if colour:
        return f"{'an' if colour[0] in 'aeiou' else 'a'} {colour} background"
    return "a detailed background" if clip.background_detail >= DETAILED else ""


def light(clip: Clip) -> str:
    """Say that the picture is dark or bright; ordinary light is not mentioned."""
    if clip.brightness <= DARK:
        return "the scene is dark"
    return "the scene is bright" if clip.brightness >= BRIGHT else ""


def tones(clip: Clip) -> str:
    """Say that the picture is black and white, or warm; ordinary colours are not mentioned."""
    if clip.chroma <= COLOURLESS:
        return "the film is black and white"
    return "the colours are warm" if clip.warmth >= WARM else ""
