"""Processes that share the tokens of a sample train what one process trains."""

import re

import pytest
import torch
import torch.distributed as dist
from distributed import Team
from kept_memory import TINY, bytes_kept, sizes_of
from tiny_dataset import write_dataset
from tiny_engine import Training, newest
from tiny_model import tiny_inputs, tiny_model
from training_command import arguments, metrics, run_main

from trainer.distributed.parallel import ParallelConfig
from trainer.distributed.zero import ZeroConfig
from trainer.measures.activations import Activations
from trainer.model import Character, Marks
from trainer.model.spread import TokenSpread
from trainer.train import _ended
from trainer.train_config import ModelConfig, TrainConfig

STAGES = [ZeroConfig(stage, precision="fp32", persist_elements=100) for stage in (0, 1, 2, 3)]
CLOSE = {"rtol": 0, "atol": 1e-5}
METHODS = [
    {"emphasize": "few_heads"},
    {"emphasize": "low_rank", "reference_text": "prompt"},
    {"emphasize": "full", "emphasize_rope": "gap", "spatial_offset": "diagonal"},
    {"emphasize": True, "information_flow": "symmetric"},
    {"emphasize": "none", "checkpoint": True},
    {"emphasize": "few_heads", "timesteps": "of tokens"},
    {"emphasize": "few_heads", "marks": 2},
]


def all_processes():
    group = dist.group.WORLD
    assert group is not None
    return group


def losses_and_weights(zero, sequence=1, steps=3):
    training = Training(zero, sequence=sequence)
    return training.train(steps), training.weights()


def gradients(fields, sequence):
    """Return outputs and the gradients' mean over processes, of tokens that do not divide."""
    fields = dict(fields)
    checkpoint, timesteps = fields.pop("checkpoint", False), fields.pop("timesteps", "")
    model = tiny_model(num_attention_heads=4, attention_head_dim=12, **fields).train()
    model.enable_checkpointing(int(checkpoint))
    if sequence > 1:
        model.spread_tokens(TokenSpread.among(all_processes()))
    inputs = tiny_inputs(3)
    inputs["hidden_states"] = torch.randn(3, 16, 3, 6, 10)  # 45 tokens
    inputs["reference"] = torch.randn(3, 16, 1, 6, 10)  # 15
    if timesteps:
        inputs["timestep"] = 1000 * torch.rand(3, 45)
    else:
        inputs["rebuilt"] = torch.randn(3, 16, 1, 6, 10)
    if "marks" in fields:
        mentions, boxes = torch.zeros(3, 2, 10), torch.rand(3, 2, 3, 6, 10)
        mentions[:, 0, :4] = mentions[:, 1, 4:] = 1
        boxes[:2] = 0  # there the prompt says it
        inputs["marks"] = Marks((True, True, True), mentions, boxes)
        inputs["others"] = [Character(torch.randn(3, 16, 1, 6, 10), inputs["image_embeds"])]
    output = model(**inputs, keep_reference=(True, False, True), keep_image=(False, True, True))
    made = [part for part in output.to_tuple() if part is not None]
    torch.stack([part.square().mean() for part in made]).sum().backward()
    grads = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    for grad in grads.values():
        dist.all_reduce(grad)
        grad /= dist.get_world_size()
    return [part.detach() for part in made], grads


@pytest.mark.deepspeed
@pytest.mark.parametrize("fields", METHODS, ids=lambda fields: ",".join(map(str, fields.values())))
def test_every_form_of_the_method_has_the_same_outputs_and_gradients(one, two, fields):
    [(outputs, grads)] = one.run(gradients, fields, 1)
    for ours, shared in two.run(gradients, fields, 2):
        for mine, whole in zip(ours, outputs, strict=True):
            torch.testing.assert_close(mine, whole, **CLOSE)
        assert shared.keys() == grads.keys()
        for name, grad in grads.items():
            assert (shared[name] - grad).abs().max() < 1e-5 * grad.abs().max(), name


@pytest.fixture(scope="module")
def four():
    """Four training processes: two pairs that share samples."""
    team = Team(4)
    yield team
    team.stop()


@pytest.mark.deepspeed
def test_all_stages_train_the_same_weights(one, two, four):
    [(rows, weights)] = one.run(losses_and_weights, STAGES[0])
    for team, zero in (*((two, zero) for zero in STAGES), (four, STAGES[2])):
        for ours, shared in team.run(losses_and_weights, zero, 2):
            for mine, whole in zip(ours, rows, strict=True):
                assert mine == pytest.approx(whole, rel=0, abs=1e-5)
            for name, weight in weights.items():
                torch.testing.assert_close(shared[name], weight, **CLOSE, msg=name)


@pytest.mark.deepspeed
@pytest.mark.filterwarnings("ignore:The use of `x.T`")
@pytest.mark.parametrize("precision", ["fp32", "autocast"])
def test_a_block_keeps_a_share_of_what_was_counted(two, precision):
    for kept in two.run(kept_by_a_block, precision):
        counted = Activations(TINY, sizes_of(True), precision, cuda=False, sequence=2)
        assert counted.block == pytest.approx(kept, rel=0.02)


def kept_by_a_block(precision):
    spread = TokenSpread.among(all_processes())
    two, three = (
        bytes_kept({**TINY, "num_layers": layers}, precision, True, spread) for layers in (2, 3)
    )
    return three - two


@pytest.mark.deepspeed
def test_a_training_goes_on_with_another_degree(one, two, tmp_path):
    [(rows, _)] = one.run(losses_and_weights, STAGES[0])
    two.run(save_shared, STAGES[2], tmp_path)
    for team, sequence in ((two, 2), (two, 1), (one, 1)):
        for ours in team.run(go_on, STAGES[2], tmp_path, sequence):
            assert ours[0] == pytest.approx(rows[2], rel=0, abs=1e-5), (team.world_size, sequence)


def save_shared(zero, run):
    training = Training(zero, sequence=2)
    training.train(2)
    training.save(run)


def go_on(zero, run, sequence):
    training = Training(zero, seed=5, sequence=sequence)
    training.load(newest(run))
    return training.train(1)


@pytest.mark.deepspeed
def test_the_command_shares_samples_and_trains_what_one_process_trains(one, two, tmp_path):
    data = write_dataset(tmp_path / "data", size=(96, 64), frames=9)
    changes = {"train__steps": 3, "checkpoint__every": 2, "validation__every": 2, "log__every": 1}
    for team, degree in ((one, 1), (two, 2)):
        words = arguments(
            data, tmp_path / str(degree), zero__stage=2, parallel__sequence=degree, **changes
        )
        for outcome in team.run(run_main, words):
            assert outcome.code == 0, outcome.errors
    alone, shared = (metrics(tmp_path / str(degree)) for degree in (1, 2))
    for ours, theirs in zip(shared, alone, strict=True):
        assert ours.keys() == theirs.keys()
        for name in (key for key in theirs if "loss" in key or key.endswith("reference")):
            assert ours[name] == pytest.approx(theirs[name], rel=0, abs=1e-5), (ours["step"], name)
    shown = [
        sorted(path.name for path in (tmp_path / degree / "validation").rglob("*.mp4"))
        for degree in "12"
    ]
    assert shown[0] == shown[1] != []


@pytest.mark.parametrize(
    ("heads", "sequence", "words"),
    [(12, 5, "model.heads (12), as 1, 2, 3, 4, 6, 12 do; got 5")],
)
def test_a_degree_that_does_not_divide_the_heads_is_refused(heads, sequence, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        TrainConfig(model=ModelConfig(heads=heads), parallel=ParallelConfig(sequence))


def test_a_degree_that_does_not_divide_the_processes_is_refused_once(tmp_path, capsys):
    words = ["--preset", "tiny", "--data", "d", "--output", str(tmp_path), "--processes", "3"]
    assert _ended([*words, "--set", "parallel.sequence=2"]) == 2
    assert "parallel.sequence must divide the number of processes (3)" in capsys.readouterr().err
