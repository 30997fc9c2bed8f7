"""The web application: a few JSON routes, media with ranges, and the page itself.

It answers on this machine alone, and there only who has the token (`pipeline.browse.access`): other
hosts are refused by name (against DNS rebinding), changes need a header that no other site can
send, and the page may load nothing from anywhere else.
"""

import contextlib
import json
import re
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from importlib.resources import files
from typing import Any

import duckdb
import numpy as np
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from pipeline.browse import queries, reject_list, review_queue
from pipeline.browse.access import Access
from pipeline.browse.light_tables import LightTables
from pipeline.browse.likeness import TrackMap, Vectors
from pipeline.browse.loss_list import loss_list
from pipeline.browse.media_cache import Media
from pipeline.browse.mending import Acts, Author, impossible, lay_over
from pipeline.browse.ranges import respond
from pipeline.dataset.commit import read_manifest
from pipeline.dataset.correction_states import standings
from pipeline.dataset.corrections import CORRECTIONS, read_corrections, write_corrections
from pipeline.dataset.losses import losses_of
from pipeline.dataset.store import Store
from pipeline.dataset.tags import TAGS, Tag, read_tags, write_tags
from schemas.corrections import Correction
from schemas.manifest import POINTER, Manifest

HOSTS = ["127.0.0.1", "localhost"]
CHANGE_HEADER = "x-browse"  # a form or an image of another site cannot set it
VERSION_HEADER = "x-dataset-version"  # another one makes an open page begin anew
_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,119}")
_MAX_BODY = 16_384
_PATIENCE_S = 1.5  # that the first page waits for a small dataset to be read
_SECURITY = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "media-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",  # nobody's face stays in the browser's cache
}


def make_app(manifest: Manifest, store: Store, token: str) -> Starlette:
    """Return the application for one version of a dataset; requests must bring the token."""
    server = _Server(manifest, store)
    page = StaticFiles(directory=str(files("pipeline.browse") / "static"), html=True)
    get = {
        "/api/version": server.version,
        "/api/summary": server.summary,
        "/api/samples": server.samples,
        "/api/samples/{id}": server.sample,
        "/api/characters": server.characters,
        "/api/characters/{id}": server.character,
        "/api/rejects": server.rejects,
        "/api/gates": server.gates,
        "/api/losses": server.losses,
        "/api/gates/{id}": server.what_if,
        "/api/tags": server.tags,
        "/api/corrections": server.corrections,
        "/api/review": server.review,
        "/api/likeness": server.likeness,
        "/api/similar/{id}": server.similar,
        "/api/map": server.track_map,
        "/api/tracks": server.some_tracks,
        "/tags.jsonl": server.export_tags,
        "/corrections.jsonl": server.export_corrections,
        "/media/clip/{id}": server.clip,
        "/media/poster/{id}": server.poster,
        "/media/{kind:str}/{id}/{place:int}": server.picture,
        "/media/unit-clip/{id}": server.unit_clip,
        "/media/unit-poster/{id}": server.unit_poster,
    }
    routes: list[Any] = [Route(path, server.answer(handler)) for path, handler in get.items()]
    post = {"/api/tags": server.change_tags, "/api/corrections": server.correct}
    routes += [Route(path, server.answer(act), methods=["POST"]) for path, act in post.items()]
    app = Starlette(
        routes=[*routes, Mount("/", page)],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS, www_redirect=False)],
        exception_handlers={HTTPException: _refused, ValueError: _wrong, duckdb.Error: _wrong},
    )
    app.add_middleware(Access, token=token)
    app.add_middleware(_Headers)
    app.state.close = server.close
    return app


class _Headers:
    """Adds the security headers to every answer."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def send_with(message: Any) -> None:
            if message["type"] == "http.response.start":
                extra = [(k.lower().encode(), v.encode()) for k, v in _SECURITY.items()]
                message["headers"] = [*message.get("headers", []), *extra]
            await send(message)

        await self._app(scope, receive, send_with if scope["type"] == "http" else send)


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code)


async def _wrong(_: Request, error: Exception) -> Response:
    """Answer what cannot be answered with the reason; bytes that are no text are replaced."""
    reason = str(error).encode(errors="replace").decode()
    return JSONResponse({"error": reason.splitlines()[0][:500] if reason else "wrong"}, 400)


Handler = Callable[[Request], Response | dict | list]


class _Server:
    def __init__(self, manifest: Manifest, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._following = threading.Lock()
        self._reading = threading.Lock()
        self._pointer = store.read(POINTER) if store.exists(POINTER) else b""
        self._author = Author.of_account()
        self._load(manifest)

    def _load(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._tables = LightTables(manifest, self._store)
        whole = self._tables.wait_for_first(_PATIENCE_S) == 1
        self._laid = self._tables if whole else None
        self.media = Media(manifest, self._store)
        self._tags = read_tags(self._store)
        self._vectors: Vectors | None = None  # read when they are asked for
        self._map: TrackMap | None = None
        self._lay_over(read_corrections(self._store))

    def _lay_over(self, corrections: Sequence[Correction]) -> None:
        self._corrections = tuple(corrections)
        self._decided = lay_over(self._cursor(), corrections)

    def _all_vectors(self) -> Vectors:
        with self._reading:
            if self._vectors is None:
                self._vectors = Vectors(self._manifest, self._store)
                self._map = TrackMap(self._vectors)
            return self._vectors

    def _follow(self) -> None:
        """Serve the newest version: what was forgotten since is not shown to an open page."""
        with self._following:
            pointer = self._store.read(POINTER) if self._store.exists(POINTER) else b""
            if pointer == self._pointer:
                return
            found = read_manifest(self._store)
            if found is None:
                raise HTTPException(410, "the dataset is gone")
            before = self.media, self._tables
            self._load(found[0])
            self._pointer = pointer
            for each in before:
                each.close()

    def close(self) -> None:
        self.media.close()
        self._tables.close()

    def answer(self, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        """Run a handler in a thread; dicts and lists become JSON."""

        async def answered(request: Request) -> Response:
            if request.method == "POST":
                request.state.body = await _small_body(request)
            await run_in_threadpool(self._follow)
            result = await run_in_threadpool(handler, request)
            answer = result if isinstance(result, Response) else JSONResponse(result)
            answer.headers[VERSION_HEADER] = str(self._manifest.version)
            return answer

        return answered

    def _cursor(self) -> Any:
        return self._tables.db.cursor()  # one per request: a connection serves one thread at a time

    def _by_tag(self) -> dict[str, list[str]]:
        named: dict[str, list[str]] = {}
        for tag in self._tags:
            named.setdefault(tag.tag, []).append(tag.sample_id)
        return named

    def version(self, _: Request) -> dict:
        return {"version": self._manifest.version, "reading": self._reading_share()}

    def _reading_share(self) -> float:
        """Return how much of the tables was read; lay corrections over when all is."""
        tables = self._tables  # those of another version may take their place at any moment
        share = tables.share
        if share == 1 and self._laid is not tables:
            with self._lock:
                self._lay_over(self._corrections)
                self._laid = tables
        return round(share, 3)

    def summary(self, _: Request) -> dict:
        manifest = self._manifest
        return queries.summary(self._cursor()) | {
            "name": self._store.url.rstrip("/").rsplit("/", 1)[-1],
            "version": manifest.version,
            "splits": manifest.splits,
            "reading": self._reading_share(),
            "funnel": [vars(row) for row in manifest.funnel],
            "engines": [{k: e.get(k) for k in ("id", "task", "licence")} for e in manifest.engines],
            "reasons": reject_list.reasons(self._cursor()),
            "tags": {name: len(ids) for name, ids in self._by_tag().items()},
            "corrections": len(self._corrections),
            "review": len(review_queue.open_suspects(self._cursor(), self._decided)),
        }

    def samples(self, request: Request) -> dict:
        question = queries.SampleQuery.from_json(request.query_params.get("filter", ""))
        return queries.samples(self._cursor(), question, self._by_tag(), *_page(request))

    def sample(self, request: Request) -> dict:
        row = self._sample(request)
        hidden = ("file_path", "row_group", "row_index", "position")
        shown = {name: value for name, value in row.items() if name not in hidden}
        return shown | {"boxes": queries.plain(self.media.boxes(row))}

    def _sample(self, request: Request) -> dict:
        row = queries.sample(self._cursor(), _id(request))
        if row is None:
            raise HTTPException(404, "no such sample")
        return row

    def characters(self, request: Request) -> dict:
        return queries.characters(self._cursor(), *_page(request))

    def character(self, request: Request) -> dict:
        found = queries.character(self._cursor(), _id(request))
        if found is None:
            raise HTTPException(404, "no such character")
        tracks = found["tracks"][:60] or found["samples"][:60]
        order = [row["track_id"] for row in tracks]
        vectors = self.media.vectors(set(order))
        return found | {"similarity": _similarity(order, vectors)}

    def rejects(self, request: Request) -> dict:
        stage, reason = (request.query_params.get(name, "")[:60] for name in ("stage", "reason"))
        return reject_list.page(self._cursor(), stage, reason, *_page(request))

    def losses(self, _: Request) -> dict:
        return loss_list(losses_of(self._manifest, self._store))

    def gates(self, _: Request) -> list:
        return reject_list.gates(self._cursor(), self._manifest.config)

    def what_if(self, request: Request) -> dict:
        return reject_list.what_if(self._cursor(), _id(request))

    def tags(self, _: Request) -> list:
        return [vars(tag) for tag in self._tags]

    def export_tags(self, _: Request) -> Response:
        return self._download(TAGS)

    def change_tags(self, request: Request) -> Response | dict:
        """Add a tag, or with `remove` take it away; the file is written before the answer."""
        if CHANGE_HEADER not in request.headers:
            raise HTTPException(403, f"changes need the header {CHANGE_HEADER}")
        body = request.state.body
        tag = Tag(body.get("sample_id", ""), body.get("tag", ""), body.get("note", ""))
        same = (tag.sample_id, tag.tag)
        with self._lock, self._held():
            self._follow()  # a version that was published while we waited may lack the sample
            if queries.sample(self._cursor(), tag.sample_id) is None:
                raise HTTPException(404, "no such sample")
            left = [t for t in read_tags(self._store) if (t.sample_id, t.tag) != same]
            changed = left if body.get("remove") else sorted([*left, tag])
            write_tags(changed, self._store)
            self._tags = changed
        return {"tags": [vars(t) for t in changed if t.sample_id == tag.sample_id]}

    def corrections(self, _: Request) -> dict:
        """Return every correction with its state, the latest first."""
        found = standings(self._corrections, self._manifest, self._store)
        rows = [
            each.correction.to_json()
            | {"id": each.correction.id, "state": str(each.state), "detail": each.detail}
            for each in reversed(found)
        ]
        return {"rows": rows, "total": len(rows)}

    def export_corrections(self, _: Request) -> Response:
        return self._download(CORRECTIONS)

    def _download(self, name: str) -> Response:
        content = self._store.read(name) if self._store.exists(name) else b""
        disposition = {"Content-Disposition": f'attachment; filename="{name}"'}
        return Response(content, media_type="application/x-ndjson", headers=disposition)

    def correct(self, request: Request) -> dict:
        """Write a correction down, or with `undo` take one back; shown when this is answered."""
        if CHANGE_HEADER not in request.headers:
            raise HTTPException(403, f"changes need the header {CHANGE_HEADER}")
        if self._reading_share() < 1:
            raise HTTPException(503, "the dataset is still being read; correct it in a moment")
        body = request.state.body
        with self._lock, self._held():
            self._follow()  # a version that was published while we waited may lack the people
            before = read_corrections(self._store)
            if "undo" in body:
                left = [each for each in before if each.id != body["undo"]]
                if len(left) == len(before):
                    raise HTTPException(404, "there is no such correction")
                self._write(left)
                return {"id": body["undo"], "total": len(left)}
            line = Acts(self._cursor(), self._author).correction(body)
            clash = impossible(line, self._cursor(), self._manifest, self._store)
            if clash:
                raise ValueError(clash)
            self._write([*before, line])
        now = [queries.character_of(self._cursor(), tracks[0]) for tracks in line.people]
        return {"id": line.id, "total": len(before) + 1, "characters": now}

    def _write(self, corrections: Sequence[Correction]) -> None:
        write_corrections(corrections, self._store)
        self._lay_over(read_corrections(self._store))

    def review(self, _: Request) -> dict:
        rows = review_queue.open_suspects(self._cursor(), self._decided)
        return {"rows": rows, "total": len(rows)}

    def likeness(self, request: Request) -> dict:
        """Return how alike people are inside and between each other: `a` and `b` are characters.

        With `track`, the second one is that track, and the first all others of `a`.
        """
        names = {name: request.query_params.get(name, "")[:200] for name in ("a", "b", "track")}
        acts = Acts(self._cursor(), self._author)
        first = acts.tracks_of(names["a"])
        second = [names["track"]] if names["track"] else acts.tracks_of(names["b"])
        first = [id for id in first if id not in second]
        return self._all_vectors().purity([first, second])

    def similar(self, request: Request) -> dict:
        """Return the tracks that are most like a character, or like one track."""
        id = _id(request)
        _, limit = _page(request)
        own = queries.tracks_of(self._cursor(), id)
        others = own or queries.tracks_of(self._cursor(), queries.character_of(self._cursor(), id))
        found = self._all_vectors().nearest(own or [id], others, limit)
        rows = queries.tracks(self._cursor(), [track_id for track_id, _ in found])
        cosines = dict(found)
        rows = [row | {"cosine": cosines[row["track_id"]]} for row in rows]
        rows.sort(key=lambda row: -row["cosine"])
        return {"rows": rows, "total": len(rows)}

    def some_tracks(self, request: Request) -> dict:
        """Return tracks by their ids, separated by commas."""
        ids = [id for id in request.query_params.get("ids", "").split(",") if id]
        if not 0 < len(ids) <= queries.MAX_PAGE:
            raise ValueError(f"ids must be 1 to {queries.MAX_PAGE} ids of tracks, got {len(ids)}")
        rows = queries.tracks(self._cursor(), ids)
        return {"rows": rows, "total": len(rows)}

    def track_map(self, _: Request) -> dict:
        """Return the map of all tracks, with who is who now."""
        vectors = self._all_vectors()
        people = queries.people(self._cursor(), vectors.ids)
        assert self._map is not None, "vectors come with their map"
        drawn = self._map.draw(people)
        return drawn | {"characters": [people.get(id, "") for id in drawn["ids"]]}

    @contextlib.contextmanager
    def _held(self) -> Iterator[None]:
        """Hold the dataset's lock, so that no tag is written while somebody is forgotten."""
        try:
            with self._store.lock():
                yield
        except BlockingIOError as error:
            raise HTTPException(503, f"{error}; then do it again") from error
        except OSError as error:
            raise HTTPException(507, f"this cannot be written: {error}") from error

    def clip(self, request: Request) -> Response:
        return respond(request, self.media.of_sample(self._sample(request), "clip"), "video/mp4")

    def picture(self, request: Request) -> Response:
        kind, place = request.path_params["kind"], request.path_params["place"]
        types = {"image": "image/jpeg", "mask": "image/png"}
        if kind not in types:
            raise HTTPException(404, "no such picture")
        return respond(
            request, self.media.of_sample(self._sample(request), kind, place), types[kind]
        )

    def poster(self, request: Request) -> Response:
        row = self._sample(request)
        made = self.media.poster(row["sample_id"], lambda: self.media.of_sample(row, "clip"))
        return respond(request, made, "image/jpeg")

    def _unit_clip(self, request: Request) -> bytes | None:
        clip_id = _id(request)
        found = self._cursor().execute("SELECT video_id FROM clips WHERE clip_id = ?", [clip_id])
        row = found.fetchone()
        return self.media.of_clip(clip_id, row[0]) if row else None

    def unit_clip(self, request: Request) -> Response:
        return respond(request, self._unit_clip(request), "video/mp4")

    def unit_poster(self, request: Request) -> Response:
        made = self.media.poster(f"unit {_id(request)}", lambda: self._unit_clip(request))
        return respond(request, made, "image/jpeg")


async def _small_body(request: Request) -> dict:
    content = b""
    async for part in request.stream():
        content += part
        if len(content) > _MAX_BODY:
            raise HTTPException(413, f"more than {_MAX_BODY} bytes")
    try:
        body = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the body is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise ValueError("the body must be a JSON object")
    return body


def _id(request: Request) -> str:
    """Return the id of the path, refusing what cannot be one."""
    id = request.path_params["id"]
    if not _ID.fullmatch(id) or ".." in id:
        raise HTTPException(404, "no such id")
    return id


def _page(request: Request) -> tuple[int, int]:
    try:
        offset = int(request.query_params.get("offset", "0"))
        limit = int(request.query_params.get("limit", "60"))
    except ValueError:
        raise ValueError("offset and limit must be whole numbers") from None
    if not 0 <= offset < 1 << 40 or not 1 <= limit <= queries.MAX_PAGE:
        raise ValueError(f"offset must be >= 0 and limit 1 to {queries.MAX_PAGE}")
    return offset, limit


def _similarity(order: list[str], vectors: dict[str, list[float]]) -> dict | None:
    """Return the cosines of tracks with each other; None without vectors."""
    present = [track_id for track_id in order if track_id in vectors]
    if len({len(vectors[track_id]) for track_id in present}) != 1:
        return None
    rows = np.asarray([vectors[track_id] for track_id in present], np.float64)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
    cosines = np.nan_to_num(rows @ rows.T).round(3)
    return {"tracks": present, "cosines": cosines.tolist()}
