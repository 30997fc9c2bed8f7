"""What of the videos is in no sample, for the page: minutes by reason, and what would help."""

from typing import Any

from pipeline.dataset.losses import Loss, Losses

_MOST = 12  # reasons that the page lists


def loss_list(losses: Losses) -> dict[str, Any]:
    """Return the losses as JSON can hold them; shares are of all that is lost."""
    return {
        "videos": losses.videos,
        "seconds": losses.seconds,
        "samples": losses.samples,
        "characters": losses.characters,
        "sampled_s": losses.sampled_s,
        "lost_s": losses.lost_s,
        "lost": [_line(loss, losses.lost_s) for loss in losses.lost[:_MOST]],
        "further": max(0, len(losses.lost) - _MOST),
    }


def _line(loss: Loss, lost_s: float) -> dict[str, Any]:
    return {
        "reason": loss.reason,
        "clips": loss.clips,
        "seconds": loss.seconds,
        "share": loss.seconds / lost_s if lost_s else 0.0,
        "change": f"--set {loss.setting}={loss.value:g}" if loss.setting else "",
        "back": loss.back,
        "decodes": loss.setting.startswith("observe."),
    }
