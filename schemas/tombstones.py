"""What `tombstones.json` of a dataset holds: keys of what was forgotten and must not come back.

A key is HMAC-SHA256(salt, kind and id). The id of a video is a hash of its bytes, so whoever offers
the same file again makes the same key, and nothing can be read back from it. Of a face there is no
key: a hash of a vector matches only that very vector, never another picture of the person, and
whatever would match is a biometric template, which is what had to go. So a person is kept out by
the videos that showed them; a file with other bytes is a new file to whoever looks only here.
"""

import bisect
import hashlib
import hmac
import json
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from schemas.ids import content_id

TOMBSTONES = "tombstones.json"
TOMBSTONES_VERSION = 1
FORGET = "forget"  # stage of the funnel that has no lines in the reject ledger


@dataclass(frozen=True)
class Tombstones:
    """Salted keys of forgotten videos and characters; only ever grows.

    `doubts` are keys of characters that stayed: they resembled somebody who was forgotten, and a
    person decided that they are somebody else.
    """

    salt: str = ""  # hex; drawn once per dataset
    videos: tuple[str, ...] = ()
    characters: tuple[str, ...] = ()
    tombstones_version: int = TOMBSTONES_VERSION
    doubts: tuple[str, ...] = ()

    def key(self, kind: str, id: str) -> str:
        """Return the salted key of an id."""
        message = f"{kind}\0{id}".encode(errors="surrogatepass")
        return hmac.new(bytes.fromhex(self.salt), message, hashlib.sha256).hexdigest()

    def holds_video(self, video_id: str) -> bool:
        return bool(self.videos) and _is_in(self.key("video", video_id), self.videos)

    def holds_character(self, character_id: str) -> bool:
        return bool(self.characters) and _is_in(
            self.key("character", character_id), self.characters
        )

    def doubts_character(self, character_id: str) -> bool:
        """Return whether somebody who was forgotten was held against this character."""
        return bool(self.doubts) and _is_in(self.key("character", character_id), self.doubts)

    def stand_in(self, uri: str) -> str:
        """Return the id under which a forgotten input is recorded."""
        return content_id("forgotten", self.key("uri", uri))

    def adding(
        self, videos: Iterable[str], characters: Iterable[str], doubts: Iterable[str] = ()
    ) -> "Tombstones":
        """Return these and those of further ids, under a new salt where there was none."""
        salted = self if self.salt else replace(self, salt=secrets.token_hex(32))
        ours = {salted.key("video", id) for id in videos}
        theirs = {salted.key("character", id) for id in characters}
        return replace(
            salted,
            videos=tuple(sorted({*self.videos, *ours})),
            characters=tuple(sorted({*self.characters, *theirs})),
            doubts=tuple(sorted({*self.doubts, *(salted.key("character", id) for id in doubts)})),
        )

    def to_json(self) -> bytes:
        """Return the file's bytes, the same for equal tombstones."""
        return (json.dumps(asdict(self), indent=1, sort_keys=True) + "\n").encode()

    @classmethod
    def from_json(cls, content: bytes) -> "Tombstones":
        """Read them. Raises ValueError when the file is not one of ours."""
        try:
            raw: dict[str, Any] = json.loads(content)
            found = raw.get("tombstones_version")
            if found == TOMBSTONES_VERSION:
                bytes.fromhex(raw["salt"])
                videos, characters = sorted(raw["videos"]), sorted(raw["characters"])
                doubts = tuple(sorted(raw.get("doubts", ())))
                return cls(raw["salt"], tuple(videos), tuple(characters), doubts=doubts)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{TOMBSTONES} cannot be read ({error!r}); restore it from a copy: without it "
                "forgotten videos would come back"
            ) from error
        raise ValueError(
            f"tombstones_version of {TOMBSTONES} is {found}, this code reads {TOMBSTONES_VERSION}; "
            "use the code that wrote it: without tombstones forgotten videos would come back"
        )


def _is_in(key: str, ordered: Sequence[str]) -> bool:
    place = bisect.bisect_left(ordered, key)
    return place < len(ordered) and ordered[place] == key
