"""An S3 server on loopback: the real protocol, for as long as a block runs."""

import contextlib
import os
from collections.abc import Iterator

import fsspec

KEY, SECRET = "AKIACANARYKEY", "canary5ecretAccessKey"


@contextlib.contextmanager
def s3_server(*buckets: str) -> Iterator[str]:
    """Serve S3 with these buckets to this process and those that it starts; yield its URL."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    try:
        with use_endpoint(f"http://{host}:{port}") as url:
            fs = fsspec.filesystem("s3", skip_instance_cache=True)
            for bucket in buckets:
                fs.mkdir(bucket)
            yield url
    finally:
        server.stop()


@contextlib.contextmanager
def use_endpoint(url: str) -> Iterator[str]:
    """Make this S3 server the one of this process, and of those that it starts."""
    settings = {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    try:
        yield url
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})
        fsspec.get_filesystem_class("s3").clear_instance_cache()
