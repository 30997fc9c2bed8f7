"""A published model makes videos: through its pipeline, and by the script."""

import inspect
import json
import resource
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from patience import HANG_S
from PIL import Image
from tiny_model import tiny_pipeline

from trainer import generate
from trainer.encoders import EncoderConfig
from trainer.sampling.model_folder import VideoSize, read_published
from trainer.sampling.pipeline import ContextAnyonePipeline
from trainer.sampling.references import fit_reference
from trainer.sampling.sampler import SamplingConfig
from trainer.sampling.video_file import picture_strip, write_video

SCRIPT = Path(generate.__file__)
ENCODERS = EncoderConfig(text_dim=32, image_grid=2)
SIZE = VideoSize(height=48, width=80, frames=9, fps=8)
QUICK = {"num_inference_steps": 2, "text_guidance": 3.0, "reference_guidance": 2.0}


@pytest.fixture(scope="module")
def pipeline():
    return tiny_pipeline(steps=50)


def test_the_example_of_the_class_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny_pipeline().save_pretrained("model")
    picture().save("her.jpg")
    example = textwrap.dedent((inspect.getdoc(ContextAnyonePipeline) or "").partition("\n\n")[2])
    assert len(example.splitlines()) <= 10
    exec(example, {})
    with av.open("her.mp4") as video:
        assert video.streams.video[0].frames == 9


def test_a_picture_may_be_a_path_and_latents_are_no_video(pipeline, tmp_path):
    picture().save(tmp_path / "her.png")
    size = {"height": 32, "width": 32, "num_frames": 5, "output_type": "latent"}
    opened = pipeline("a", picture(), **size, **QUICK)
    by_path = pipeline("a", [str(tmp_path / "her.png")], **size, **QUICK)
    assert torch.equal(opened.frames, by_path.frames)
    with pytest.raises(ValueError, match="output_type"):
        opened.save(tmp_path / "her.mp4")


@pytest.fixture(scope="module")
def folder(pipeline, tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "tiny"
    pipeline.save_pretrained(path)
    return path


@pytest.fixture
def copied(folder, tmp_path):
    """A copy of the folder that a test may spoil."""
    import shutil

    return Path(shutil.copytree(folder, tmp_path / "copy"))


def picture(seed: int = 0, size: tuple[int, int] = (40, 60)) -> Image.Image:
    """Draw a smooth random picture of (width, height)."""
    small = np.random.default_rng(seed).integers(0, 256, (4, 3, 3), dtype=np.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)


def test_a_saved_model_makes_the_same_video(pipeline, folder):
    loaded = ContextAnyonePipeline.from_pretrained(folder)
    assert loaded.published == pipeline.published
    for output_type in ("latent", "uint8"):
        ours = pipeline("a woman walks", picture(), seed=3, output_type=output_type, **QUICK)
        theirs = loaded("a woman walks", picture(), seed=3, output_type=output_type, **QUICK)
        assert np.array_equal(np.asarray(ours.frames), np.asarray(theirs.frames))


def test_the_folder_is_the_one_that_diffusers_would_expect(folder):
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert files == {
        "model_index.json",
        "encoders.json",
        "scheduler/scheduler_config.json",
        "transformer/config.json",
        "transformer/diffusion_pytorch_model.safetensors",
    }
    scheduler = json.loads((folder / "scheduler/scheduler_config.json").read_text())
    assert scheduler["flow_shift"] == 5.0
    index = json.loads((folder / "model_index.json").read_text())
    assert index["sample_size"] == {"height": 48, "width": 80, "frames": 9, "fps": 8}


def test_output_types_are_the_same_video_in_other_forms(pipeline):
    made = {
        kind: pipeline("walks", picture(), output_type=kind, **QUICK).frames
        for kind in ("np", "pt", "uint8", "pil", "latent")
    }
    assert made["np"].shape == (1, 9, 48, 80, 3)
    assert made["np"].dtype == np.float32
    assert made["np"].min() >= 0
    assert made["np"].max() <= 1
    assert np.abs(made["np"] * 255 - made["uint8"]).max() <= 0.501
    assert np.array_equal(made["pt"].permute(0, 1, 3, 4, 2).numpy(), made["np"])
    assert np.array_equal(np.stack([np.asarray(f) for f in made["pil"][0]]), made["uint8"][0])
    assert made["latent"].shape == (1, 16, 3, 6, 10)


def test_seed_prompt_reference_and_scales_change_the_video(pipeline):
    def run(prompt="walks", reference=None, seed=0, **changed):
        given = {**QUICK, **changed}
        return pipeline(prompt, reference or picture(), seed=seed, **given).frames

    base = run()
    assert np.array_equal(base, run())
    others = [
        run(seed=1),
        run(prompt="runs"),
        run(reference=picture(1)),
        run(reference=[picture(), picture(1)]),
        run(negative_prompt="blurred"),
        run(guidance="joint"),
        run(guidance="none"),
        run(shift=1.0),
        run(num_inference_steps=3),
        pipeline("walks", None, **QUICK).frames,
    ]
    assert all(np.abs(base - other).max() > 1e-5 for other in others)


def test_a_batch_is_the_videos_one_by_one(pipeline):
    prompts, pictures = ["walks", "runs fast"], [[picture(0)], [picture(1)]]
    both = pipeline(prompts, pictures, seed=4, **QUICK).frames
    for row in range(2):
        alone = pipeline(prompts[row], pictures[row], seed=4, **QUICK).frames
        np.testing.assert_allclose(both[row : row + 1], alone, atol=1e-4)
    shared = pipeline(prompts, picture(0), seed=4, **QUICK).frames
    np.testing.assert_allclose(shared[:1], both[:1], atol=1e-4)


def test_a_callback_sees_every_step(pipeline):
    seen = []
    pipeline(
        "walks",
        picture(),
        callback_on_step_end=lambda pipe, step, timestep, tensors: seen.append(
            (pipe is pipeline, step, timestep > 0, tuple(tensors["latents"].shape))
        ),
        **QUICK,
    )
    assert seen == [(True, step, True, (1, 16, 3, 6, 10)) for step in range(2)]


def test_latents_that_a_callback_returns_are_gone_on_with(pipeline):
    def black(_pipe, step, _timestep, tensors):
        return {"latents": torch.zeros_like(tensors["latents"])} if step == 1 else {}

    latents = pipeline(
        "walks", picture(), output_type="latent", callback_on_step_end=black, **QUICK
    )
    assert not latents.frames.any()  # the second step is the last


def test_a_callback_may_end_a_video_as_it_is_and_the_next_is_whole(pipeline):
    seen = []

    def end(pipe, step, _timestep, tensors):
        seen.append((step, tensors["latents"].clone()))
        pipe.interrupt = True

    given = {**QUICK, "output_type": "latent"}
    ended = pipeline("walks", picture(), callback_on_step_end=end, **given).frames
    assert [step for step, _ in seen] == [0]
    assert torch.equal(ended, seen[0][1])
    whole = pipeline("walks", picture(), **given).frames
    assert not torch.equal(whole, ended)


def test_a_tuple_is_returned_where_no_dict_is_wanted(pipeline, tmp_path):
    (frames,) = pipeline("walks", picture(), return_dict=False, **QUICK)
    assert np.array_equal(frames, pipeline("walks", picture(), **QUICK).frames)
    pipeline("walks", picture(), output_type="pt", **QUICK).save(tmp_path / "video.mp4")
    assert (tmp_path / "video.mp4").stat().st_size > 0
    latent = pipeline("walks", picture(), output_type="latent", **QUICK)
    with pytest.raises(ValueError, match="latents cannot be written"):
        latent.save(tmp_path / "latents.mp4")


def test_half_precision_makes_nearly_the_same_video(folder, pipeline):
    half = ContextAnyonePipeline.from_pretrained(folder, torch_dtype=torch.bfloat16)
    assert half.transformer.dtype == torch.bfloat16
    ours = pipeline("walks", picture(), **QUICK).frames
    assert np.abs(half("walks", picture(), **QUICK).frames - ours).mean() < 0.03


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"height": 100}, "height must be a multiple of 16.*got 100; the nearest is 96"),
        ({"width": 8}, "width must be from 16 to 4096 px, got 8"),
        ({"num_frames": 80}, r"frames must be 4k \+ 1.*got 80, the nearest is 81"),
        ({"num_inference_steps": 0}, "steps"),
        ({"output_type": "gif"}, "output_type must be one of np"),
        ({"reference": []}, "empty list"),
        ({"reference": [[picture()], [picture()]]}, "1 prompts came with the references of 2"),
        ({"prompt": ["a", "b"], "reference": [[picture()], [picture()] * 2]}, "same number"),
        ({"prompt": ["a", "b"], "reference": [picture(), picture()]}, "may be one each"),
    ],
)
def test_wrong_arguments_are_refused_with_what_is_allowed(pipeline, wrong, named):
    given = {"prompt": "walks", "reference": picture(), **QUICK, **wrong}
    with pytest.raises(ValueError, match=named):
        pipeline(**given)


@pytest.mark.parametrize(
    ("encoders", "named"),
    [
        (EncoderConfig(text_dim=64), "text_dim 32, this text encoder gives 64"),
        (replace(ENCODERS, text="umt5"), "encoders.path"),
    ],
)
def test_encoders_that_do_not_fit_are_refused(folder, encoders, named):
    with pytest.raises(ValueError, match=named):
        ContextAnyonePipeline.from_pretrained(folder, encoders)


def spoil(folder: Path, how: str) -> None:
    index = folder / "model_index.json"
    weights = folder / "transformer/diffusion_pytorch_model.safetensors"
    config = folder / "transformer/config.json"
    if how == "code":
        (folder / "transformer/modeling_tiny.py").write_text("raise SystemExit(99)")
    elif how == "auto_map":
        content = {**json.loads(config.read_text()), "auto_map": {"AutoModel": "x.Y"}}
        config.write_text(json.dumps(content))
    elif how == "pickle":
        weights.rename(weights.with_name("diffusion_pytorch_model.bin"))
    elif how == "truncated":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif how == "foreign weights":
        content = {**json.loads(config.read_text()), "num_layers": 3}
        config.write_text(json.dumps(content))
    elif how == "no encoders":
        (folder / "encoders.json").unlink()
    elif how == "another pipeline":
        index.write_text('{"_class_name": "WanPipeline"}')
    elif how == "not json":
        index.write_text("{")
    elif how == "unknown key":
        (folder / "encoders.json").write_text('{"codec": "dct", "colour": 1}')
    elif how == "wrong type":
        (folder / "encoders.json").write_text('{"text_dim": "32"}')
    elif how == "another solver":
        path = folder / "scheduler/scheduler_config.json"
        content = {**json.loads(path.read_text()), "prediction_type": "epsilon"}
        path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("how", "named"),
    [
        ("code", "holds code .modeling_tiny.py"),
        ("auto_map", "'auto_map', which asks to run code"),
        ("pickle", "must hold its weights as .*safetensors"),
        ("truncated", "weights of .* cannot be read"),
        ("foreign weights", "weights of .* do not fit|lacks"),
        ("no encoders", "lacks encoders.json"),
        ("another pipeline", "holds a 'WanPipeline'"),
        ("not json", "cannot be read as JSON"),
        ("unknown key", "unknown key 'colour'"),
        ("wrong type", "text_dim must be a int"),
        ("another solver", "prediction_type must be 'flow_prediction', got 'epsilon'"),
    ],
)
def test_a_spoilt_folder_is_refused(copied, how, named):
    spoil(copied, how)
    with pytest.raises(ValueError, match=named):
        ContextAnyonePipeline.from_pretrained(copied)


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no model at"):
        read_published(tmp_path / "none")


def test_a_reference_stays_whole_on_grey_upright_and_without_holes():
    tall = np.full((60, 20, 3), 200, np.uint8)
    fitted = fit_reference(Image.fromarray(tall), 48, 80)
    assert fitted.shape == (48, 80, 3)
    inside = (fitted == 200).all(-1)
    assert inside.sum() == 48 * 16
    assert (fitted[~inside] == 128).all()
    turned = Image.fromarray(np.rot90(tall))
    turned.getexif()[0x0112] = 6  # to be shown a quarter turned clockwise
    assert np.array_equal(fit_reference(turned, 48, 80), fitted)
    clear = Image.new("RGBA", (80, 48), (255, 0, 0, 0))
    with pytest.raises(ValueError, match="transparent everywhere"):
        fit_reference(clear, 48, 80)
    clear.paste((255, 0, 0, 255), (0, 0, 40, 48))
    holes = fit_reference(clear, 48, 80)
    assert (holes[:, 44:] == 128).all()
    assert (holes[:, :36] == (255, 0, 0)).all()


def test_a_video_file_holds_every_frame_in_its_colours(tmp_path):
    colours = np.array([[200, 40, 40], [40, 180, 60], [50, 60, 200]], np.uint8)
    frames = np.repeat(colours, 4, 0)[:, None, None].repeat(48, 1).repeat(80, 2)
    path = tmp_path / "new" / "a.mp4"
    write_video(path, frames, fps=8)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.average_rate == 8
        assert stream.codec_context.pix_fmt == "yuv420p"
        read = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    assert len(read) == 12
    assert np.abs(np.stack(read).astype(int) - frames).max() <= 6
    assert [file.name for file in path.parent.iterdir()] == ["a.mp4"]


def test_a_video_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"old")
    with pytest.raises(ValueError, match="even size"):
        write_video(path, np.zeros((2, 15, 16, 3), np.uint8))
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space")))
    with pytest.raises(OSError, match="No space"):
        write_video(path, np.zeros((2, 16, 16, 3), np.uint8))
    assert path.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("num_frames", [1, 5, 30])
def test_a_strip_shows_references_and_frames(tmp_path, suffix, num_frames):
    frames = np.full((num_frames, 48, 80, 3), (0, 0, 255), np.uint8)
    path = tmp_path / f"strip{suffix}"
    red = np.full((60, 30, 3), (255, 0, 0), np.uint8)
    picture_strip([red, red], frames, path, count=4, caption="x" * 5000, truth=frames)
    with Image.open(path) as strip:
        assert strip.width <= 2040
        pixels = np.asarray(strip.convert("RGB")).astype(int)
    reds = (np.abs(pixels - (255, 0, 0)).max(-1) < 40).any(0)
    blues = (np.abs(pixels - (0, 0, 255)).max(-1) < 40).any(0)
    assert reds.argmax() < blues.argmax()
    assert (np.diff(reds.astype(int)) == 1).sum() == 2
    assert (np.diff(blues.astype(int)) == 1).sum() == min(4, num_frames)
    with pytest.raises(ValueError, match=r"\.jpg or \.png"):
        picture_strip(red, frames, tmp_path / "strip.gif")


def arguments(folder: Path, tmp_path: Path, **changed: object) -> list[str]:
    """Return the words of a command that works, with some flags changed; None leaves one out."""
    image = tmp_path / "her.png"
    picture().save(image)
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
    picture().save(tmp_path / "her.jpg")
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
    cut_out = picture().convert("RGBA")
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
