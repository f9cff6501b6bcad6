"""Another project's checkpoints give that project's own probabilities: proof from outside that the model is right."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from engine.checkpoint import load, save
from engine.foreign import load_foreign
from engine.model import SampleRNN

VECTORS = Path(__file__).parent / "vectors"
CASES = {"deepsound-8-2": (8, 16), "deepsound-16": (16,)}


@pytest.mark.parametrize("name", CASES)
def test_log_probs_equal_theirs(name, tmp_path):
    checkpoint = load_foreign(VECTORS / f"{name}.pt", sample_rate=16000)
    assert checkpoint.config.frame_sizes == CASES[name]
    save(checkpoint, tmp_path / "own.safetensors")
    model = SampleRNN.from_checkpoint(load(tmp_path / "own.safetensors"))
    vectors = np.load(VECTORS / f"{name}.npz")
    sequence, expected = torch.from_numpy(vectors["sequence"]).long(), vectors["log_probs"]
    half, lookback = expected.shape[1] // 2, checkpoint.config.lookback
    with torch.no_grad():
        first, state = model(sequence[:, : lookback + half])
        second, _ = model(sequence[:, half:], state)
    logits = torch.cat([first, second], dim=1)
    np.testing.assert_allclose(torch.log_softmax(logits, -1).numpy(), expected, atol=1e-4)


def test_newer_weight_norm_keys_read_alike(tmp_path):
    old = torch.load(VECTORS / "deepsound-16.pt", weights_only=True)
    renamed = {
        key.replace(".weight_g", ".parametrizations.weight.original0").replace(
            ".weight_v", ".parametrizations.weight.original1"
        ): value
        for key, value in old.items()
    }
    assert renamed.keys() != old.keys()
    torch.save(renamed, tmp_path / "new.pt")
    want, got = (load_foreign(p, 16000).tensors for p in (VECTORS / "deepsound-16.pt", tmp_path / "new.pt"))
    for key, value in want.items():
        np.testing.assert_array_equal(got[key], value)


class Hostile:
    """Something a pickle would run on loading."""

    def __reduce__(self):
        return (print, ("ran",))


def test_faults_are_one_line(tmp_path, capsys):
    path = tmp_path / "x.pt"
    for content in ({"weight": torch.zeros(2)}, {"model.x": Hostile()}, [1, 2]):
        torch.save(content, path)
        with pytest.raises(ValueError, match=r"x\.pt: [^\n]+$"):
            load_foreign(path, 16000)
    soundfile.write(tmp_path / "x.wav", np.zeros(100), 8000)
    whole = (VECTORS / "deepsound-16.pt").read_bytes()
    for content in (b"no checkpoint", b"", (tmp_path / "x.wav").read_bytes(), b"\x80" * 99, b"\x80\x02.", whole[:9999]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"x\.pt: [^\n]*a state_dict saved by samplernn-pytorch expected$"):
            load_foreign(path, 16000)
    with pytest.raises(ValueError, match="not a file"):
        load_foreign(tmp_path, 16000)
    with pytest.raises(ValueError, match="no such file"):
        load_foreign(tmp_path / "none.pt", 16000)
    assert "ran" not in capsys.readouterr().out


def test_a_missing_tensor_is_named(tmp_path):
    tensors = torch.load(VECTORS / "deepsound-16.pt", weights_only=True)
    del tensors["model.sample_level_mlp.hidden.bias"]
    torch.save(tensors, tmp_path / "cut.pt")
    with pytest.raises(ValueError, match=r"sample_level_mlp\.hidden\.bias is missing"):
        load_foreign(tmp_path / "cut.pt", 16000)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda v: v.sum(), "axes expected"),
        (lambda v: v * 1e30, "numbers within 10000 of 0 expected"),
        (lambda v: v.to_sparse(), "sparse"),
        (lambda v: v[1:], "expected"),
    ],
)
def test_tensors_of_another_kind_are_named(tmp_path, change, words):
    tensors = torch.load(VECTORS / "deepsound-16.pt", weights_only=True)
    torch.save({key: change(value) for key, value in tensors.items()}, tmp_path / "odd.pt")
    with pytest.raises(ValueError, match=rf"odd\.pt: [^\n]*{words}"):
        load_foreign(tmp_path / "odd.pt", 16000)


def test_what_torch_warns_of_is_not_shown(tmp_path, monkeypatch):
    def load_with_a_warning(*_given, **_more):
        warnings.warn("TypedStorage is deprecated", stacklevel=2)
        raise IndexError("pop from empty list")

    monkeypatch.setattr(torch, "load", load_with_a_warning)
    with pytest.raises(ValueError, match=r"deepsound-16\.pt: torch cannot read it safely"):
        load_foreign(VECTORS / "deepsound-16.pt", 16000)


def test_what_bore_the_name_is_renamed(tmp_path, capfd):
    from instrument import cli

    out = tmp_path / "x.safetensors"
    line = ["import", str(VECTORS / "deepsound-16.pt"), "--sample-rate", "16000", "-o", str(out)]
    out.write_bytes(b"months of work")
    assert cli.main(line) == 0
    kept = tmp_path / "x.old.safetensors"
    assert kept.read_bytes() == b"months of work"
    assert capfd.readouterr().out == f"{out} was there already: it is {kept} now\nwrote {out}\n"
    assert load(out).config.sample_rate == 16000
