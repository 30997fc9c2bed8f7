"""The script that makes videos with a published model."""

import json
import resource
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from patience import HANG_S
from PIL import Image
from tiny_model import tiny_picture, tiny_pipeline

from trainer import generate
from trainer.sampling.sampler import SamplingConfig
from trainer.sampling.video_file import write_video

SCRIPT = Path(generate.__file__)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "tiny"
    tiny_pipeline(steps=50).save_pretrained(path)
    return path


def arguments(folder: Path, tmp_path: Path, **changed: object) -> list[str]:
    """Return the words of a command that works, with some flags changed; None leaves one out."""
    image = tmp_path / "her.png"
    tiny_picture().save(image)
    flags = {
        "--model": folder,
        "--reference": image,
        "--prompt": "walks along the shore",
        "--output": tmp_path / "out.mp4",
        "--steps": 2,
        **{f"--{name.replace('_', '-')}": value for name, value in changed.items()},
    }
    return [
        str(word) for flag, value in flags.items() if value is not None for word in (flag, value)
    ]


def call(words: list[str], monkeypatch, capsys) -> tuple[int, str]:
    """Run the script's main in this process."""
    monkeypatch.setattr(sys, "argv", ["generate.py", *words])
    try:
        code = generate.main()
    except SystemExit as error:
        code = int(error.code or 0)
    return code, capsys.readouterr().err


@pytest.mark.slow
def test_the_script_writes_video_strip_and_settings(folder, tmp_path):
    words = arguments(folder, tmp_path, seed=7, size="32x48", frames=5)
    command = [sys.executable, str(SCRIPT), *words, "--strip"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=HANG_S)
    assert done.returncode == 0, done.stderr
    assert "out.mp4" in done.stdout
    assert "s a step" in done.stdout
    with av.open(str(tmp_path / "out.mp4")) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert [frame.shape for frame in frames] == [(32, 48, 3)] * 5
    told = json.loads((tmp_path / "out.json").read_text())
    assert told["prompt"] == "walks along the shore"
    assert told["seed"] == 7
    assert told["model_step"] == 120
    assert told["sampling"] == {
        "steps": 2,
        "guidance": SamplingConfig.guidance,
        "text_guidance": 3.5,
        "reference_guidance": 5.0,
        "shift": 5.0,
        "step_cache": 0.0,
    }
    assert told["video"] == {"height": 32, "width": 48, "frames": 5, "fps": 8}
    with Image.open(tmp_path / "out.jpg") as strip:
        assert strip.format == "JPEG"


def test_parts_that_wait_make_the_same_video(folder, tmp_path, monkeypatch, capsys):
    made = []
    for number, flags in enumerate([{}, {"device": "cpu:0", "offload": "part"}]):
        output = tmp_path / f"{number}.mp4"
        code, told = call(arguments(folder, tmp_path, output=output, **flags), monkeypatch, capsys)
        assert code == 0, told
        made.append(output.read_bytes())
    assert made[0] == made[1]


def test_the_script_makes_a_video_for_every_prompt(folder, tmp_path, monkeypatch, capsys):
    (tmp_path / "prompts.txt").write_text("walks\n\n  runs fast \n", encoding="utf-8")
    words = arguments(
        folder, tmp_path, prompt=None, prompts=tmp_path / "prompts.txt", output=tmp_path / "made"
    )
    code, told = call(words, monkeypatch, capsys)
    assert code == 0, told
    names = sorted(path.name for path in (tmp_path / "made").iterdir())
    assert names == ["0001.json", "0001.mp4", "0002.json", "0002.mp4"]
    assert json.loads((tmp_path / "made/0002.json").read_text())["prompt"] == "runs fast"
    code, told = call(words, monkeypatch, capsys)
    assert (code, "exists; pass --force" in told) == (2, True)
    code, told = call([*words, "--force"], monkeypatch, capsys)
    assert code == 0, told


def test_force_never_replaces_a_reference_or_what_was_not_made_here(
    folder, tmp_path, monkeypatch, capsys
):
    tiny_picture().save(tmp_path / "her.jpg")
    (tmp_path / "holiday.mp4").write_text("mine")
    (tmp_path / "notes.json").write_text('{"prompt": "mine"}')
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for output, named in (
        ("her.mp4", "her.jpg is read to make the video"),
        ("holiday.mp4", "holiday.mp4 was not made by this program"),
        ("notes.mp4", "notes.json was not made by this program"),
    ):
        words = arguments(folder, tmp_path, output=tmp_path / output)
        words += ["--reference", str(tmp_path / "her.jpg"), "--strip", "--force"]
        code, told = call(words, monkeypatch, capsys)
        assert (code, named in told) == (2, True), told
    (tmp_path / "her.png").unlink()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_it_says_what_the_model_has_not_seen(tmp_path, monkeypatch, capsys):
    pipeline = tiny_pipeline()
    published = replace(
        pipeline.published, sizes=("48x80x9", "32x48x5"), reference_background="grey"
    )
    pipeline.published = published
    pipeline.save_pretrained(tmp_path / "model")
    words = arguments(tmp_path / "model", tmp_path, size="32x32", frames=5)
    code, told = call(words, monkeypatch, capsys)
    assert code == 0
    assert "trained on 48x80x9, 32x48x5, not on 32x32x5" in told
    assert "cut the character out" in told
    cut_out = tiny_picture().convert("RGBA")
    cut_out.putpixel((0, 0), (0, 0, 0, 0))
    cut_out.save(tmp_path / "cut.png")
    words = arguments(tmp_path / "model", tmp_path, size="32x48", frames=5)
    words += ["--reference", str(tmp_path / "cut.png"), "--force"]
    code, told = call(words, monkeypatch, capsys)
    assert (code, "trained on" in told) == (0, False)


def test_a_full_disk_leaves_no_truncated_video(tmp_path, monkeypatch):
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    frames = np.random.default_rng(0).integers(0, 255, (5, 32, 32, 3), dtype=np.uint8)
    write_video(tmp_path / "whole.mp4", frames)
    size = (tmp_path / "whole.mp4").stat().st_size
    try:
        for room in (0, 100, size // 2, size - 1):
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, limit[1]))
            with pytest.raises(OSError, match=r"part\.mp4"):
                write_video(tmp_path / "part.mp4", frames)
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, before)
    assert [path.name for path in tmp_path.iterdir()] == ["whole.mp4"]


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"reference": "none.png"}, "no picture at none.png"),
        ({"reference": SCRIPT}, "cannot be read as a picture"),
        ({"size": "100x100"}, "height must be a multiple of 16"),
        ({"size": "big"}, "must be HEIGHTxWIDTH"),
        ({"frames": 8}, r"frames must be 4k + 1"),
        ({"seed": "-1"}, "must be a whole number"),
        ({"output": "out.avi"}, "--output must end in .mp4"),
        ({"model": "none"}, "no model at none"),
        ({"device": "cuda:99"}, "cannot be used"),
        ({"device": "nothing"}, "cannot be used"),
        ({"device": "cpu", "offload": "part"}, "--offload part keeps on the CPU"),
        ({"steps": 0}, "sampling.steps"),
        ({"prompt": None}, "required"),
        ({"prompt": None, "prompts": "none.txt", "output": "x"}, "--prompts must be a file"),
        ({"text_dim": 5}, "unrecognized arguments"),
    ],
)
def test_wrong_flags_end_with_exit_code_2(folder, tmp_path, monkeypatch, capsys, changed, named):
    monkeypatch.chdir(tmp_path)
    code, told = call(arguments(folder, tmp_path, **changed), monkeypatch, capsys)
    assert code == 2
    assert named in told
    assert "Traceback" not in told
    assert not list(tmp_path.glob("*.mp4"))


def test_an_interruption_ends_with_130(folder, tmp_path, monkeypatch, capsys):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("trainer.generate.run", interrupt)
    code, told = call(arguments(folder, tmp_path), monkeypatch, capsys)
    assert code == 130
    assert "interrupted" in told


def test_help_is_quick_because_nothing_heavy_is_imported():
    code = "import sys, trainer.generate; print(sorted({'torch', 'diffusers'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=HANG_S
    )
    assert done.stdout.strip() == "[]"
