"""Captions by a model behind an OpenAI-compatible server, as vLLM and SGLang are."""

import base64
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from pipeline.engines.captions.asked_captions import (
    CaptionRequest,
    Reply,
    ask_for_captions,
    texts_of,
)
from pipeline.engines.captions.caption_settings import VlmConfig, settings_from_env
from pipeline.engines.captions.chat_client import ChatClient, RequestRefused, ServerUnusable
from pipeline.engines.interfaces import CaptionFacts, CheckedAnswer, EngineInfo
from pipeline.media.images import encode_jpeg

log = logging.getLogger(__name__)
JPEG_QUALITY = 90
MAX_REFUSED = 16  # requests refused in a row: then it is the server, not the clips


@dataclass
class ServerCaptioner:
    """Sends frames as JPEG, many requests at once; the server is asked who it is at construction.

    A request that fails for good leaves its clip to the embedded captioner. A server that cannot
    be used at all ends the run: thousands of clips must not lose their captions in silence.
    """

    settings: VlmConfig = field(default_factory=settings_from_env)
    looks: bool = field(default=True, init=False, repr=False)
    client: ChatClient = field(init=False, repr=False)
    model: str = field(init=False)
    info: EngineInfo = field(init=False, repr=False)
    _refused: int = field(default=0, init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.settings.server:
            raise ValueError(
                "captions.server is not set; set CONTEXTANYONE_CAPTION_SERVER to the root of an "
                "OpenAI-compatible server, e.g. http://localhost:8000/v1, or use "
                "pair.engines.captions=attributes, which needs none"
            )
        self.client = ChatClient(self.settings)
        self.model = self._served_model()
        self.info = EngineInfo(
            id=f"server-vlm/1:{self.model}",
            task="captioning",
            licence=self.settings.licence,
            commercial=self.settings.commercial,
            weights_digest=f"served as {self.model}",  # a server does not tell its weights
            gpu=False,  # of this machine
        )

    @classmethod
    def weights_identity(cls) -> str:
        """Return which settings change the answers; the server's weights are its own affair."""
        return settings_from_env().asked

    def caption(self, facts: Sequence[CaptionFacts]) -> list[tuple[str, str]]:
        """Return (caption, description of the character), ('', '') where no answer was good."""
        return texts_of(self.outcomes(facts), self.info.id)

    def outcomes(self, facts: Sequence[CaptionFacts]) -> list[CheckedAnswer]:
        """Return both texts with their author; measured ones where no answer was good.

        Raises ValueError when the server cannot be used any more.
        """
        try:
            return ask_for_captions(facts, self._ask, self.settings, self.info.id)
        except ServerUnusable as error:
            raise ValueError(str(error)) from error

    def _served_model(self) -> str:
        """Return the model's name, checked against what the server says that it serves."""
        try:
            listed = self.client.get("/models")
        except ServerUnusable as error:
            raise ValueError(str(error)) from error
        names = _model_names(listed)
        wanted = self.settings.model or (names[0] if len(names) == 1 else "")
        if wanted not in names:
            raise ValueError(
                f"captions.model must be one of those that {self.client.address} serves "
                f"({', '.join(names) or 'none'}), got {self.settings.model!r}; set "
                "CONTEXTANYONE_CAPTION_MODEL"
            )
        return wanted

    def _ask(self, questions: Sequence[CaptionRequest]) -> list[Reply]:
        workers = min(self.settings.concurrency, len(questions))
        pool = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="captions")
        try:
            replies = list(pool.map(self._reply, questions))
        finally:
            pool.shutdown(cancel_futures=True)
        for reply in replies:
            self._refused = self._refused + 1 if reply.problem else 0
            if self._refused >= MAX_REFUSED:
                raise ServerUnusable(
                    f"the caption server {self.client.address} refused {self._refused} requests in "
                    f"a row, the last with {reply.problem}"
                )
        return replies

    def _reply(self, question: CaptionRequest) -> Reply:
        name = f"{question.clip_id}/{question.attempt}"
        try:
            answer = self.client.post("/chat/completions", self._body(question), name)
            return Reply(_words(answer))
        except RequestRefused as error:
            log.warning("clip %s: the caption server refused: %s", question.clip_id, error)
            return Reply(problem=f"the server: {error}")

    def _body(self, question: CaptionRequest) -> dict[str, Any]:
        pictures = [
            {"type": "image_url", "image_url": {"url": _data_url(frame)}}
            for frame in question.frames
        ]
        content = [*pictures, {"type": "text", "text": question.prompt}]
        return {
            "model": self.model,
            "messages": [{"role": "user", "content": content}],
            "max_tokens": self.settings.max_tokens,
            "temperature": self.settings.temperature,
            "seed": question.seed,
        }


def _data_url(frame: Any) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(encode_jpeg(frame, JPEG_QUALITY)).decode()


def _model_names(listed: Any) -> list[str]:
    rows = listed.get("data") if isinstance(listed, dict) else None
    rows = rows if isinstance(rows, list) else []
    names = (row.get("id") for row in rows if isinstance(row, dict))
    return sorted(name for name in names if isinstance(name, str))


def _words(answer: Any) -> str:
    """Return the message of a chat completion; raises RequestRefused when it is none."""
    try:
        text = answer["choices"][0]["message"]["content"]
    except (KeyError, IndexError, TypeError):
        raise RequestRefused("the answer is no chat completion") from None
    if not isinstance(text, str):
        raise RequestRefused("the answer holds no text")
    return text
