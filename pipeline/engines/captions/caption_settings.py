"""What a captioning model is told, by default from the environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any
from urllib.parse import urlsplit

from schemas.settings import check_settings, setting

PREFIX = "CONTEXTANYONE_CAPTION_"
KEY_ENV = f"{PREFIX}API_KEY"  # the key is read where it is sent, never kept in a setting
_YES, _NO = ("1", "true", "yes"), ("0", "false", "no")


@dataclass(frozen=True)
class VlmConfig:
    """Settings of the model captioners; each has an environment variable of its name.

    Attributes:
        folder: of the model on this machine, a name below CONTEXTANYONE_MODELS, or a hub's name
            that is in the hub's cache.
        server: root of an OpenAI-compatible server, e.g. http://localhost:8000/v1.
        model: the name that the server gives the model; '' when it serves one only.
        licence: of the weights, for the run's list; nobody else knows it.
        commercial: whether that licence allows commercial use.
        frames: shown of each clip, evenly chosen from those at hand.
        frame_px: longest side of a frame; 448 is 16 x 16 tokens in Qwen2.5-VL.
        max_tokens: of an answer; both texts at their longest take about 230.
        temperature: 0 is greedy; else answers are drawn with a seed from the clip's id.
        batch: clips that the local model answers at once.
        concurrency: requests that the server gets at once.
        timeout_s: of one request, from connecting to the last byte.
        retries: of a request that failed by the server's or the network's fault.
        max_wait_s: longest pause between retries, whatever the server asks for.
    """

    folder: str = ""
    server: str = ""
    model: str = ""
    licence: str = "not stated"
    commercial: bool = False
    frames: int = setting(8, low=1, high=1000)
    frame_px: int = setting(448, low=56, high=8192, unit="pixels")
    max_tokens: int = setting(320, low=32, high=100_000)
    temperature: float = setting(0.0, low=0, high=10)
    batch: int = setting(8, low=1, high=10_000, unit="clips")
    concurrency: int = setting(16, low=1, high=10_000)
    timeout_s: float = setting(120.0, low=0.001, high=86_400, unit="s")
    retries: int = setting(4, low=0, high=1000)
    max_wait_s: float = setting(60.0, low=0, high=86_400, unit="s")

    def __post_init__(self) -> None:
        check_settings(self, "captions")
        if self.server:
            check_server_url(self.server)

    @property
    def asked(self) -> str:
        """Return what changes the answers, on one line; not where, nor how fast, they are given."""
        names = ("model", "frames", "frame_px", "max_tokens", "temperature")
        return " ".join(f"{name}={getattr(self, name)}" for name in names)


def check_server_url(url: str) -> None:
    """Refuse what is not a plain http(s) address; the message never repeats a password."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"captions.server is no address: {error}") from error
    if parts.username is not None or parts.password is not None:
        raise ValueError(f"captions.server must hold no user or password; set {KEY_ENV} instead")
    if parts.scheme not in ("http", "https") or not host:
        raise ValueError(
            f"captions.server must be http://host... or https://host..., got scheme "
            f"{parts.scheme!r} and host {host!r}"
        )
    if parts.query or parts.fragment or any(sign <= " " for sign in url):
        raise ValueError("captions.server must have no query, fragment, or spaces")


def settings_from_env(environment: Mapping[str, str] | None = None) -> VlmConfig:
    """Return the settings with those of CONTEXTANYONE_CAPTION_* in place."""
    environment = os.environ if environment is None else environment
    known = {f"{PREFIX}{field.name.upper()}": field for field in fields(VlmConfig)}
    unknown = {name for name in environment if name.startswith(PREFIX)} - known.keys() - {KEY_ENV}
    if unknown:
        raise ValueError(
            f"{sorted(unknown)[0]} is no setting; there are {', '.join(sorted(known))}, {KEY_ENV}"
        )
    given = {
        field.name: _converted(name, environment[name], type(field.default))
        for name, field in known.items()
        if name in environment
    }
    return VlmConfig(**given)


def configured_captioner(settings: VlmConfig | None = None) -> str:
    """Return which captioner the environment names: a server before a folder, else neither."""
    settings = settings or settings_from_env()
    if settings.server:
        return "server"
    return "vlm" if settings.folder else "attributes"


def _converted(name: str, text: str, kind: type) -> Any:
    if kind is bool:
        if text.lower() not in _YES + _NO:
            raise ValueError(f"{name} must be one of {', '.join(_YES + _NO)}, got {text!r}")
        return text.lower() in _YES
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"{name} must be {kind.__name__}, got {text!r}") from None
