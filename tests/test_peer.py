"""The rebuilt generation step is samplernn-pytorch's: one of its networks gives that project's own probabilities."""

from pathlib import Path

import numpy as np
import pytest
import torch

from engine.training.peer import Lean, Peer

VECTORS = Path(__file__).parent / "vectors"


def read(name: str) -> Peer:
    state = torch.load(VECTORS / f"{name}.pt", weights_only=True)
    renamed = {
        key.removeprefix("model.")
        .replace("weight_g", "parametrizations.weight.original0")
        .replace("weight_v", "parametrizations.weight.original1"): value
        for key, value in state.items()
    }
    ratios = [int(ratio) for ratio in np.load(VECTORS / f"{name}.npz")["frame_ratios"]]
    layers, dim = renamed["frame_level_rnns.0.h0"].shape
    peer = Peer(ratios, dim, layers)
    peer.load_state_dict(renamed)
    return peer


@pytest.mark.parametrize("name", ["deepsound-8-2", "deepsound-16"])
def test_one_step_at_a_time_gives_their_log_probs(name: str) -> None:
    vectors = np.load(VECTORS / f"{name}.npz")
    peer, sequence = read(name), torch.from_numpy(vectors["sequence"]).long()
    steps = 64
    peer.start()
    with torch.no_grad():
        got = [peer.log_probs(sequence, t) for t in range(peer.lookback, peer.lookback + steps)]
    np.testing.assert_allclose(torch.stack(got, 1).numpy(), vectors["log_probs"][:, :steps], atol=1e-4)


@pytest.mark.parametrize("name", ["deepsound-8-2", "deepsound-16"])
def test_the_lean_loop_draws_the_same_samples(name: str) -> None:
    peer = read(name)
    torch.manual_seed(3)
    want = peer.generate(96)[0]
    torch.manual_seed(3)
    assert torch.equal(Lean(peer).generate(96), want)
