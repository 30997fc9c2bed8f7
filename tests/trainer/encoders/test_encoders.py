"""The frozen encoders: one interface, no foreign code, and clear words when weights are missing."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from places import ROOT
from tiny_model import tiny_model
from torch import nn

from trainer.data.batch import PixelBatch
from trainer.encoders import EncoderConfig, encode_batch, load_encoders
from trainer.encoders.folders import digest_of
from trainer.encoders.image import PooledPixels, fit_square
from trainer.encoders.mentions import mentions_of
from trainer.encoders.text import MAX_CHARACTERS, HashedWords, clean_prompt
from trainer.sampling.offload import Offload

WAN = EncoderConfig(codec="wan", text="umt5", image="clip", text_tokens=12, dtype="float32")


@pytest.fixture(scope="module")
def wan_folder(tmp_path_factory) -> Path:
    """A Wan 2.1 I2V repository of a few kilobytes with random weights."""
    from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import (
        CLIPVisionConfig,
        CLIPVisionModel,
        PreTrainedTokenizerFast,
        UMT5Config,
        UMT5EncoderModel,
    )

    torch.manual_seed(0)
    root = tmp_path_factory.mktemp("wan")
    AutoencoderKLWan(base_dim=3, dim_mult=[1, 1, 1, 1], num_res_blocks=1).save_pretrained(
        root / "vae"
    )
    umt5 = UMT5Config(
        vocab_size=16, d_model=24, d_kv=8, d_ff=32, num_layers=2, num_heads=2, pad_token_id=0
    )
    UMT5EncoderModel(umt5).save_pretrained(root / "text_encoder")
    words = ("<pad>", "</s>", "<unk>", "a", "man", "woman", "red", "shirt")
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(root / "tokenizer")
    clip = CLIPVisionConfig(
        hidden_size=20,
        intermediate_size=24,
        num_hidden_layers=3,
        num_attention_heads=2,
        image_size=28,
        patch_size=14,
    )
    CLIPVisionModel(clip).save_pretrained(root / "image_encoder")
    return root


@pytest.fixture(scope="module")
def wan(wan_folder):
    return load_encoders(replace(WAN, path=str(wan_folder)))


@pytest.fixture(scope="module")
def plain():
    return load_encoders(EncoderConfig())


def clip_of(frames: int, height: int = 16, width: int = 24, batch: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(frames)
    return torch.rand(batch, 3, frames, height, width, generator=generator) * 2 - 1


def pixels(batch: int = 2, references: int = 2) -> PixelBatch:
    generator = torch.Generator().manual_seed(0)
    subject = torch.zeros(batch, 5, 32, 48, dtype=torch.uint8)
    subject[:, 1:3, :8, :16] = 1
    return PixelBatch(
        step=7,
        places=tuple(range(batch)),
        sample_ids=tuple(f"sample{place}" for place in range(batch)),
        captions=tuple(f"a man in shirt {place % 2}" for place in range(batch)),
        frames=torch.randint(0, 256, (batch, 5, 32, 48, 3), dtype=torch.uint8, generator=generator),
        references=torch.randint(
            0, 256, (batch, references, 40, 24, 3), dtype=torch.uint8, generator=generator
        ),
        subject=subject,
    )


@pytest.mark.parametrize("kind", ["plain", "wan"])
def test_a_batch_of_pixels_becomes_a_batch_of_latents(kind, request):
    encoders = request.getfixturevalue(kind)
    batch = pixels()
    latents = encode_batch(batch, encoders)
    assert latents.video.shape == (2, 16, 2, 4, 6)
    assert latents.reference.shape == (2, 16, 2, 5, 3)
    assert latents.text.shape == (2, encoders.text.num_tokens, encoders.text.dim)
    assert latents.image.shape == (2, 2 * encoders.image.num_tokens, encoders.image.dim)
    assert latents.subject is not None
    assert latents.subject[0, 0, :, 0].tolist() == [[0] * 6, [0.5, 0.5, 0, 0, 0, 0]]
    assert (latents.step, latents.places, latents.sample_ids) == (7, (0, 1), batch.sample_ids)
    for tensor in (latents.video, latents.reference, latents.text, latents.image):
        assert tensor.dtype == torch.float32
        weight = nn.Parameter(torch.ones(()))
        (weight * tensor).sum().backward()  # frozen, and still usable under autograd
        assert not tensor.requires_grad


def test_each_reference_is_encoded_alone(plain):
    batch = pixels()
    together = encode_batch(batch, plain)
    swapped = encode_batch(replace(batch, references=batch.references.flip(1)), plain)
    torch.testing.assert_close(swapped.reference, together.reference.flip(2))
    tokens = plain.image.num_tokens
    torch.testing.assert_close(swapped.image[:, :tokens], together.image[:, tokens:])


@pytest.mark.parametrize("kind", ["plain", "wan"])
def test_codecs_share_stride_and_the_lone_first_frame(kind, request):
    codec = request.getfixturevalue(kind).codec
    clip = clip_of(9)
    latents = codec.encode(clip)
    assert latents.shape == (1, codec.channels, 3, 2, 3)
    torch.testing.assert_close(codec.encode(clip[:, :, :1]), latents[:, :, :1], atol=1e-5, rtol=0)
    frames = codec.decode(latents)
    assert frames.shape == clip.shape
    assert frames.abs().max() <= 1


def test_wan_latents_are_the_normalised_mode(wan, wan_folder):
    from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan

    vae = AutoencoderKLWan.from_pretrained(wan_folder / "vae")
    mean, std = (
        torch.tensor(vae.config[name])[None, :, None, None, None]
        for name in ("latents_mean", "latents_std")
    )
    clip = clip_of(5, batch=2)
    with torch.no_grad():
        raw = vae.encode(clip, return_dict=False)[0].mode()
        decoded = vae.decode(raw, return_dict=False)[0].clamp(-1, 1)
    latents = wan.codec.encode(clip)
    torch.testing.assert_close(latents * std + mean, raw, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(wan.codec.decode(latents), decoded, atol=1e-5, rtol=1e-5)


def test_wan_codec_works_by_tiles_when_asked(wan, wan_folder):
    tiled = load_encoders(EncoderConfig(codec="wan", path=str(wan_folder), tiling=True)).codec
    clip = clip_of(1, 264, 16)  # one row of cells more than a tile
    assert tiled.encode(clip).shape == wan.codec.encode(clip).shape
    assert tiled.fingerprint != wan.codec.fingerprint


def test_a_real_wan_latent_has_the_statistics_that_are_assumed():
    models = os.environ.get("CONTEXTANYONE_MODELS")
    root = Path(models) if models else ROOT.parent / "shared" / "models"
    file = root / "wan21_test_latents.pth"
    if not file.is_file():
        pytest.skip("real latent absent: set CONTEXTANYONE_MODELS to the folder that holds it")
    latent = torch.load(file, weights_only=True, map_location="cpu").float()
    assert latent.shape[1] == load_encoders(EncoderConfig()).codec.channels
    assert latent.mean().abs() < 0.1
    assert latent.std().item() == pytest.approx(1, abs=0.1)


def test_hashed_words_are_the_same_on_every_machine():
    encoder = HashedWords(num_tokens=4, dim=8)
    features = encoder.encode(["A man", "a woman", "man", ""])
    assert features.shape == (4, 4, 8)
    assert features[0, 0, :3].tolist() == pytest.approx(GOLDEN_A, abs=1e-6)
    torch.testing.assert_close(features[0, 0], features[1, 0])  # one word, one vector
    assert (features[0, 1] - features[1, 1]).norm() > 0.5
    assert (features[0, 1] @ features[2, 0]).item() > 0.8  # also elsewhere in the prompt
    assert not features[0, 2:].any()
    assert not features[3].any()
    assert not encoder.encode(["one two three four five"])[0].isnan().any()


GOLDEN_A = [0.1644331216, -0.4054143429, -0.0697440207]


def test_prompts_are_cleaned_and_bounded():
    assert clean_prompt("  a &amp;amp; b\x00\x07\n\t c\ud800 ") == "a & b c"
    assert len(clean_prompt("word " * 1_000_000)) <= MAX_CHARACTERS


def test_umt5_features_end_with_the_prompt(wan):
    features = wan.text.encode(["a man", "", "red " * 40])
    assert features.shape == (3, 12, 24)
    assert features[0, :3].norm(dim=1).min() > 0
    assert not features[0, 3:].any()
    assert features[1, 0].any()  # the end-of-text token
    assert not features[1, 1:].any()
    assert features[2].norm(dim=1).min() > 0  # cut at 12 tokens
    torch.testing.assert_close(wan.text.encode(["a man"])[0], features[0], atol=1e-5, rtol=1e-5)


def test_tokens_of_umt5_know_the_words_that_they_stand_for(wan):
    prompt = "a  man, red. Bob is a man"
    spans = wan.text.token_spans(prompt)
    assert [clean_prompt(prompt)[start:end] for start, end in spans] == [
        "a", "man", ",", "red", ".", "Bob", "is", "a", "man", "",
    ]  # fmt: skip
    [said] = mentions_of(wan.text, [prompt], [["man"], ["bob"]])
    assert said.nonzero().tolist() == [[0, 1], [0, 2], [0, 3], [0, 8], [1, 5], [1, 6], [1, 7]]


@pytest.mark.parametrize("layer_by_layer", [False, True])
def test_offloaded_encoders_encode_the_same(wan_folder, layer_by_layer):
    encoders = load_encoders(replace(WAN, path=str(wan_folder)))
    before = encode_batch(pixels(), encoders)
    encoders._texts.clear()
    offload = Offload(encoders, [], "cpu", layer_by_layer)
    during = encode_batch(pixels(), encoders)
    shown = encoders.codec.decode(during.video)
    offload.end()
    for part in ("video", "reference", "text", "image"):
        assert torch.equal(getattr(during, part), getattr(before, part))
    assert torch.equal(encoders.codec.decode(before.video), shown)


def test_one_part_at_a_time_is_on_the_device(wan_folder, monkeypatch):
    encoders = load_encoders(replace(WAN, path=str(wan_folder)))
    transformer = tiny_model(image_dim=encoders.image.dim, text_dim=encoders.text.dim)
    offload = Offload(encoders, [transformer], "cpu:0", layer_by_layer=False)
    names = {encoder.weights: name for name, encoder in vars(encoders).items()
             if hasattr(encoder, "weights")}  # fmt: skip
    names[transformer] = "transformer"
    there, seen = set(), []
    move = torch.nn.Module.to

    def note(module, device):
        if module in names:
            (there.add if str(device) == "cpu:0" else there.discard)(names[module])
            seen.append(tuple(there))
        return move(module, device)

    monkeypatch.setattr(torch.nn.Module, "to", note)
    encoded = encode_batch(pixels(), encoders)
    inputs = (torch.zeros(len(encoded.text)), encoded.text)
    for _ in range(2):
        transformer(encoded.video, *inputs, reference=encoded.reference)
    encoders.codec.decode(encoded.video)
    offload.rest()
    assert max(map(len, seen)) == 1
    assert [each[0] for each in seen if each][-2:] == ["transformer", "codec"]
    assert {name for each in seen for name in each} == set(names.values())
    assert not there


def test_a_prompt_is_encoded_once(plain, monkeypatch):
    asked = []
    encode = plain.text.encode
    monkeypatch.setattr(
        plain.text, "encode", lambda prompts: asked.extend(prompts) or encode(prompts)
    )
    first = plain.encode_prompts(["a new prompt", "", "a new prompt"])
    torch.testing.assert_close(plain.encode_prompts(["a new prompt"])[0], first[2])
    assert sorted(asked) in (["", "a new prompt"], ["a new prompt"])


def test_clip_tokens_are_the_last_hidden_layer_but_one(wan, wan_folder):
    from transformers import CLIPVisionModel

    images = clip_of(1, 28, 28)[:, :, 0]
    tokens = wan.image.encode(images)
    assert tokens.shape == (1, 5, 20) == (1, wan.image.num_tokens, wan.image.dim)
    model = CLIPVisionModel.from_pretrained(wan_folder / "image_encoder")
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073])[:, None, None]
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711])[:, None, None]
    with torch.no_grad():
        hidden = model(((images + 1) / 2 - mean) / std, output_hidden_states=True).hidden_states
    torch.testing.assert_close(tokens, hidden[-2], atol=1e-4, rtol=1e-4)


def test_a_plain_clip_folder_serves_as_well(wan, wan_folder):
    alone = EncoderConfig(
        image="clip", dtype="float32", image_path=str(wan_folder / "image_encoder")
    )
    assert load_encoders(alone).image.fingerprint == wan.image.fingerprint


def test_head_and_feet_of_an_upright_picture_are_kept():
    picture = torch.zeros(1, 3, 64, 16)
    picture[..., :8, :], picture[..., -8:, :] = 1, -1
    square = fit_square(picture, 32)
    assert square.shape == (1, 3, 32, 32)
    assert square[0, 0, 1, 16] > 0.9
    assert square[0, 0, -2, 16] < -0.9
    assert not square[..., :12].any()


def test_pooled_pixels_tell_where_a_colour_is():
    encoder = PooledPixels(grid=2)
    picture = torch.zeros(2, 3, 32, 32)
    picture[0, 0, :16, :16] = 1  # red above left
    picture[1, 0, 16:, 16:] = 1  # red below right
    tokens = encoder.encode(picture)
    assert tokens.shape == (2, 4, 32)
    content = tokens[..., :21]
    torch.testing.assert_close(content[0, 0], content[1, 3], atol=0.3, rtol=0)
    assert content[0, 0, 0] > 0.4
    assert content[0, 3, 0].abs() < 0.1
    assert len({tuple(row) for row in tokens[0, :, 24:].round(decimals=3).tolist()}) == 4


def test_fingerprints_follow_the_weights(wan_folder, tmp_path):
    before = digest_of(wan_folder / "vae")
    copy = tmp_path / "vae"
    copy.mkdir()
    for file in (wan_folder / "vae").iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    assert digest_of(copy) == before
    digest_of.cache_clear()
    weights = copy / "diffusion_pytorch_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert digest_of(copy) != before


@pytest.fixture
def copied(wan_folder, tmp_path) -> Path:
    """A copy of the vae that a test may spoil."""
    folder = tmp_path / "wan" / "vae"
    folder.mkdir(parents=True)
    for file in (wan_folder / "vae").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


def load_spoilt(folder: Path) -> None:
    load_encoders(EncoderConfig(codec="wan", path=str(folder.parent)))


def test_a_folder_with_code_is_refused_and_the_code_not_run(copied, tmp_path):
    marker = tmp_path / "marker"
    (copied / "modeling_wan.py").write_text(f"open({str(marker)!r}, 'w').close()")
    with pytest.raises(ValueError, match=r"holds code \(modeling_wan\.py\).*remove"):
        load_spoilt(copied)
    assert not marker.exists()


def test_pickled_weights_are_refused(copied):
    (copied / "diffusion_pytorch_model.safetensors").rename(copied / "diffusion_pytorch_model.bin")
    with pytest.raises(ValueError, match=r"safetensors, it has only diffusion_pytorch_model\.bin"):
        load_spoilt(copied)


def test_damaged_and_incomplete_weights_are_named(copied):
    from safetensors.torch import load_file, save_file

    weights = copied / "diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    name = next(iter(tensors))
    save_file({key: tensors[key] for key in tensors if key != name}, weights)
    with pytest.raises(ValueError, match=f"lack 1 parameters .{name}|cannot be read.*{name}"):
        load_spoilt(copied)
    weights.write_bytes(weights.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"vae cannot be read .*fetch the folder again"):
        load_spoilt(copied)


def test_missing_weights_say_where_and_what(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"encoders\.path is ''.*vae/config\.json"):
        load_encoders(EncoderConfig(codec="wan"))
    (tmp_path / "transformer").mkdir()
    with pytest.raises(ValueError, match=r"text encoder not found in .*saw transformer; set"):
        load_encoders(EncoderConfig(text="umt5", path=str(tmp_path)))
    with pytest.raises(ValueError, match=r"image encoder cannot be had from '/no/where'.*no such"):
        load_encoders(EncoderConfig(image="clip", image_path="/no/where"))
    monkeypatch.setattr("trainer.encoders.folders._silence", lambda path: "ConnectError")
    with pytest.raises(ValueError, match=r"'nobody/nothing-here'.*not fetched \(ConnectError\)"):
        load_encoders(EncoderConfig(codec="wan", path="nobody/nothing-here"))


@pytest.mark.parametrize(
    ("name", "value"), [("codec", "vae"), ("text", "t5"), ("text_tokens", 513), ("dtype", "int8")]
)
def test_settings_out_of_range_are_refused(name, value):
    with pytest.raises(ValueError, match=rf"encoders\.{name} must be .*got {value!r}"):
        EncoderConfig(**{name: value})
