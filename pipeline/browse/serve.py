"""Serve the page on loopback until Ctrl-C."""

import secrets
import socket
import webbrowser

import uvicorn

from pipeline.browse.access import PARAMETER
from pipeline.browse.app import make_app
from pipeline.dataset.commit import require_manifest
from pipeline.dataset.store import Store

LOOPBACK = "127.0.0.1"


def serve(store: Store, port: int, show: bool) -> None:
    """Load the dataset and answer whoever has the token of the printed address.

    Raises ValueError without a dataset or with a port in use.
    """
    manifest, _ = require_manifest(store)
    listener = _listen(port)
    token = secrets.token_urlsafe(24)
    app = make_app(manifest, store, token)
    url = f"http://{LOOPBACK}:{listener.getsockname()[1]}/?{PARAMETER}={token}"
    print(f"{store.url} at {url}  (Ctrl-C ends)", flush=True)
    if show:
        webbrowser.open(url)
    config = uvicorn.Config(app, log_level="warning", access_log=False, server_header=False)
    try:
        uvicorn.Server(config).run(sockets=[listener])
    finally:
        app.state.close()


def _listen(port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((LOOPBACK, port))
        listener.listen()  # before anybody is told of it
    except (OSError, OverflowError) as error:
        listener.close()
        raise ValueError(f"port {port} cannot be used ({error}); choose another, or 0") from error
    return listener
