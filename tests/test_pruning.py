"""Pruning: the least blocks go, in good time, for good; nothing else changes, and a run can be gone on with."""

from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
from networks import network

from engine import checkpoint as files
from engine.config import ModelConfig
from engine.generator import score
from engine.model import SampleRNN
from engine.training import again
from engine.training.pruning import COLUMNS, ROWS, Pruning, density, mask, progress
from engine.training.recipes import Training, known_keys, resolve
from engine.training.running import run
from instrument.cli import main

TINY = {
    "sample_rate": "8000", "q_levels": "16", "frame_sizes": "2,4", "dim": "32", "emb_size": "4", "seq_len": "64",
    "batch": "4", "excerpt": "0.1", "epoch_steps": "5", "save_steps": "3", "stretches": "1.0",
    "q_type": "linear", "preemphasis": "0", "average": "0", "steps": "34",
    "warmup": "0", "threads": "1", "clips": "0", "moments": "0", "density_frames": "0.25", "density_sample": "0.5",
}  # fmt: skip


def blocks(matrix):
    """Which blocks of a matrix are not zero."""
    flat = matrix.reshape(-1, matrix.shape[-1])
    rows, columns = flat.shape
    padded = np.pad(np.abs(flat), ((0, -rows % ROWS), (0, -columns % COLUMNS)))
    return padded.reshape(padded.shape[0] // ROWS, ROWS, -1, COLUMNS).max(axis=(1, 3)) > 0


def test_the_largest_blocks_stay():
    matrix = torch.full((40, 10), 0.1)  # neither a whole number of blocks
    matrix[16:32, 4:8] = -3.0
    matrix[:16, 8:] = 2.0
    matrix[32:, :4] = 0.2
    kept = mask(matrix, 1 / 9)  # one of nine, and every sixteen rows keep one
    want = torch.zeros_like(matrix)
    want[16:32, 4:8] = want[:16, 8:] = want[32:, :4] = 1.0
    assert torch.equal(kept, want)
    assert mask(matrix, 1.0).all()


def test_the_diagonal_of_each_gate_stays():
    torch.manual_seed(1)
    gates = torch.randn(3 * 256, 256)
    diagonal = torch.eye(256).repeat(3, 1).bool()
    gates[diagonal] = 1e-3
    kept = mask(gates, 0.2, squares=3)
    assert kept[diagonal].all()
    assert kept.mean() == pytest.approx(0.2, abs=0.005)
    assert not mask(gates, 0.1, squares=3)[diagonal].all()  # too much of what would be left
    assert not mask(gates, 0.2)[diagonal].all()


def test_gates_share_what_is_left_as_they_are_told():
    torch.manual_seed(2)
    learned = {"tier/0/rnn/0/hh/weight": torch.randn(3 * 256, 256), "tier/0/rnn/0/ih/weight": torch.randn(768, 256)}
    t = Training(steps=10, density_frames=0.2, density_gates=(1.0, 1.0, 2.0), prune_from=0.0, prune_to=0.1)
    Pruning(learned, t).apply(9, {})
    for matrix in learned.values():
        shares = [float((gate != 0).float().mean()) for gate in matrix.chunk(3)]
        assert shares == [pytest.approx(left, abs=0.005) for left in (0.15, 0.15, 0.3)]
    diagonal = torch.eye(256).repeat(3, 1).bool()
    assert (learned["tier/0/rnn/0/hh/weight"][diagonal] != 0).all()


@pytest.mark.parametrize("given", ["1,2", "1,2,0", "1,2,-1"])
def test_shares_of_gates_that_make_no_sense(given):
    with pytest.raises(ValueError, match=r"density_gates: \("):
        resolve("default", {"density_gates": given})


def test_they_go_quickly_first_and_slowly_last():
    t = Training(steps=100, prune_from=0.1, prune_to=0.6)
    gone = [progress(step, t) for step in range(100)]
    assert gone[:10] == [0.0] * 10
    assert gone[59:] == [1.0] * 41
    steps = np.diff(gone[9:60])
    assert (steps > 0).all()
    assert (np.diff(steps) < 0).all()


def test_what_may_go():
    t = Training(density_frames=0.2, density_sample=0.3, density_output=0.4)
    config = ModelConfig(dim=32, frame_sizes=(4,), rnn="lstm", n_rnn=2, skip=True)
    shares = {name: density(name, t) for name in SampleRNN(config).tensors}
    assert {name for name, share in shares.items() if share == 0.3} == {"tier/0/up/weight_v", "mlp/hidden/weight_v"}
    assert {name for name, share in shares.items() if share == 0.4} == {"mlp/output/weight_v"}
    pruned = {
        f"tier/0/{name}/weight_v" for name in ("rnn/0/ih", "rnn/0/hh", "rnn/1/ih", "rnn/1/hh", "skip/0", "skip/1")
    }
    assert {name for name, share in shares.items() if share == 0.2} == pruned


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    path = tmp_path_factory.mktemp("sounds") / "tone.wav"
    soundfile.write(path, 0.5 * np.sin(2 * np.pi * 200 * np.arange(5 * 8000) / 8000), 8000)
    return path


@pytest.mark.parametrize("more", [{}, {"weight_norm": "false"}, {"average": "0.9"}], ids=str)
def test_a_pruned_run_has_blocks_of_nothing(sound, tmp_path, more):
    assert run([sound], tmp_path / "run", "default", {**TINY, **more}, False, lambda line: None) == 0
    last = files.load(tmp_path / "run" / "epoch-007.safetensors")
    suffix = "weight" if "weight_norm" in more else "weight_v"
    found = {name: blocks(last.tensors[f"{name}.{suffix}"]).mean() for name in ("tier.0.rnn.0.hh", "mlp.hidden")}
    assert found == {"tier.0.rnn.0.hh": pytest.approx(0.25, abs=0.03), "mlp.hidden": pytest.approx(0.5, abs=0.03)}
    assert blocks(last.tensors[f"mlp.output.{suffix}"]).all()
    assert blocks(last.tensors[f"tier.0.input.{suffix}"]).all()
    assert np.isfinite(last.training["nll_bits"])
    assert last.training["density"] == pytest.approx(0.3, abs=0.05)
    assert np.isfinite(last.weight("tier.0.rnn.0.hh")).all()


def test_a_pruned_run_can_be_gone_on_with(sound, tmp_path):
    """From a save between two looks, while blocks are still going."""
    assert run([sound], tmp_path / "whole", "default", TINY, False, lambda line: None) == 0
    older = {}

    def keep(line):
        if line.startswith("epoch 2"):
            older["resume"] = (tmp_path / "parts" / "resume.safetensors").read_bytes()  # of step 9

    assert run([sound], tmp_path / "parts", "default", TINY, False, keep) == 0
    (tmp_path / "parts" / "resume.safetensors").write_bytes(older["resume"])
    assert run([], tmp_path / "parts", "default", {}, True, lambda line: None) == 0
    for name in ("resume.safetensors", "epoch-004.safetensors", "epoch-007.safetensors"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes(), name


def test_a_longer_plan_brings_nothing_back(sound, tmp_path):
    """It would have more left at this step than the shorter plan had."""
    folder = tmp_path / "run"
    assert run([sound], folder, "default", TINY, False, lambda line: None) == 0
    before = blocks(files.load(folder / "epoch-007.safetensors").tensors["tier.0.rnn.0.hh.weight_v"])
    assert run([], folder, "default", {"steps": "80"}, True, lambda line: None) == 0
    after = blocks(files.load(folder / "epoch-016.safetensors").tensors["tier.0.rnn.0.hh.weight_v"])
    assert before.mean() == pytest.approx(0.25, abs=0.03)
    assert not (after & ~before).any()


def test_what_is_gone_stays_gone():
    torch.manual_seed(0)
    learned = {"mlp/hidden/weight": torch.randn(64, 64)}
    t = Training(steps=40, density_sample=0.25, prune_from=0.0, prune_to=0.5)
    pruning, gone = Pruning(learned, t), torch.zeros(64, 64, dtype=torch.bool)
    for step in range(40):
        learned["mlp/hidden/weight"] += 0.1 * torch.randn(64, 64)  # an optimiser that knows nothing of this
        pruning.apply(step, {})
        now = learned["mlp/hidden/weight"] == 0
        assert (now | ~gone).all()
        gone = now
    assert pruning.left == pytest.approx(0.25)


def test_a_checkpoint_is_pruned_from_its_own_weights(tmp_path, sound, capfd):
    """`samplernn prune` begins where the checkpoint was, and ends with few blocks that fp32 and int8 both play."""
    whole = {**TINY, "density_frames": "1", "density_sample": "1", "steps": "20", "title": "Tone"}
    assert run([sound], tmp_path / "whole", "default", whole, False, lambda _line: None) == 0
    first = tmp_path / "whole" / "epoch-004.safetensors"
    out = tmp_path / "pruned"
    settings = [f"--set={key}={value}" for key, value in {"steps": 20, "epoch_steps": 5, "clips": 0}.items()]
    assert main(["prune", str(first), str(sound), "-o", str(out), *settings]) == 0
    begun, pruned = files.load(first), files.load(out / "epoch-004.safetensors")
    assert pruned.config == begun.config
    assert pruned.source["title"] == "Tone"
    assert blocks(pruned.weight("tier.0.rnn.0.hh")).mean() < 0.5
    kept = blocks(pruned.weight("mlp.hidden"))
    ours, theirs = begun.tensors["mlp.hidden.weight_v"], pruned.tensors["mlp.hidden.weight_v"]
    there = kept.repeat(ROWS, 0).repeat(COLUMNS, 1)
    assert np.corrcoef(ours[there], theirs[there])[0, 1] > 0.8  # moved a little, not drawn anew
    for precision in ("fp32", "int8"):
        assert np.isfinite(score(pruned, np.zeros((1, 64), int), "cpu", precision)).all()
    capfd.readouterr()
    assert main(["prune", str(first), str(sound), "-o", str(tmp_path / "x"), "--set", "dim=64"]) == 1
    assert "the shape of a network cannot be changed" in capfd.readouterr().err


@pytest.mark.parametrize("lr", ["fast", None, [0.1], True])
def test_what_a_checkpoint_says_of_its_training_is_not_trusted(tmp_path, lr):
    trained = network("gru")
    settings = {"lr": lr, "patience": 2, "steps": 9}
    path = tmp_path / "a.safetensors"
    files.save(replace(trained, training={**trained.training, "settings": settings}), path)
    found = again.pruning(path, {})
    assert float(found["lr"]) == known_keys()["lr"] / 2
    assert (found["patience"], found["steps"]) == ("0", "600")  # a run that is given up is not pruned
