"""The reference against the network that is trained: the same probabilities, for every architecture."""

import numpy as np
import pytest
import torch
from networks import ARCHITECTURES, network

import engine
from engine.model import SampleRNN


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_scores_are_the_model_s(name, backend):
    checkpoint = network(name)
    c = checkpoint.config
    tokens = np.random.default_rng(8).integers(0, c.q_levels, (2, c.lookback + 4 * c.hop))
    model = SampleRNN.from_checkpoint(checkpoint)
    with torch.no_grad():
        logits, _ = model(torch.from_numpy(tokens))
        truth = torch.log_softmax(logits.double(), dim=-1).numpy()
    np.testing.assert_allclose(engine.score(checkpoint, tokens, backend, "fp32"), truth, atol=1e-4)
