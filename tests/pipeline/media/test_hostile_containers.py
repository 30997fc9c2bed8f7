"""Containers that point elsewhere open nothing, and those that are mostly header stay small."""

import select
import socket

import av
import pytest
from synthetic import moving_shapes

from pipeline.execution.stage import Rejected
from pipeline.media.limits import ProbeConfig
from pipeline.media.probe import probe
from pipeline.media.sandbox import Child, Died, SandboxConfig
from schemas.reasons import Reason
from schemas.tables import Video

LIMITS = ProbeConfig()
# Each names an address, as a playlist, a description, subtitles or an embedded file does.
POINTING = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{url}/a.ts\n#EXT-X-ENDLIST\n",
    "key": '#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="{url}/k"\n#EXTINF:1,\n{url}/a.ts\n',
    "concat": "ffconcat version 1.0\nfile {url}/a.mp4\n",
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period>'
    "<BaseURL>{url}/</BaseURL></Period></MPD>",
    "subtitles": "1\n00:00:00,000 --> 00:00:02,000\n<img src='{url}/a.png'>\n",
    "styled": "[Script Info]\nScriptType: v4.00+\n[Fonts]\nfontname: {url}/a.ttf\n[Events]\n",
    "webvtt": "WEBVTT\n\nSTYLE\n::cue {{ background: url({url}/a) }}\n\n00:00.000 --> 00:02.000\n",
    "data": "#EXTM3U\n#EXTINF:1,\ndata:video/mp4;base64,AAAAIGZ0eXA=\n#EXTINF:1,\n{url}/b.ts\n",
    "image list": "ffconcat version 1.0\nfile 'tcp:{url}'\n",
}


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".srt", ".m3u8"])
def test_nobody_is_called_by_what_is_in_a_file(tmp_path, suffix):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        for name, text in POINTING.items():
            path = tmp_path / f"{name}{suffix}"
            path.write_text(text.format(url=url))
            rejected = probe(str(path), "x", LIMITS)
            assert isinstance(rejected, Rejected)
            assert rejected.reason in (Reason.NOT_A_VIDEO, Reason.UNSUPPORTED_CONTAINER), name
        called, _, _ = select.select([listener], [], [], 0)
        assert not called


def write_padded(path, streams: int = 0, metadata_mib: int = 0) -> str:
    """Write two seconds of video among many streams, or behind a long comment."""
    with av.open(str(path), "w") as container:
        container.metadata["comment"] = "x" * (metadata_mib << 20)
        video = container.add_stream("libx264", rate=24)
        video.width, video.height, video.pix_fmt = 320, 192, "yuv420p"
        for _ in range(streams):
            container.add_stream("pcm_s16le", rate=8000)
        for picture in moving_shapes(48):
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(video.encode())
    return str(path)


def make_prober():
    """Made in the child: probes a file, and says how large the child has grown."""

    def measured(path: str, announce) -> tuple[object, int]:
        with open("/proc/self/status") as status:
            before = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
        found = probe(path, "x", LIMITS)
        with open("/proc/self/status") as status:
            after = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
        return found, (after - before) >> 10

    return measured


@pytest.mark.parametrize(
    ("name", "padding", "allowed_mib"),
    [
        ("streams.mkv", {"streams": 999}, 64),
        ("metadata.mkv", {"metadata_mib": 20}, 64),
        ("metadata.mp4", {"metadata_mib": 20}, 160),  # FFmpeg keeps such text about five times
    ],
)
def test_a_thousand_streams_and_long_metadata_stay_small(tmp_path, name, padding, allowed_mib):
    path = write_padded(tmp_path / name, **padding)
    with av.open(path) as container:
        assert len(container.streams) > padding.get("streams", 0)
    child = Child(make_prober, SandboxConfig())
    answer = child.call(path)
    child.close()
    assert not isinstance(answer, Died)
    found, grown_mib = answer
    assert isinstance(found, Video)
    assert (found.width, found.height) == (320, 192)
    assert grown_mib < allowed_mib
