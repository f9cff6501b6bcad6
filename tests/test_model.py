"""The network: every shape, its folds, its carried state and its cheaper loss, against slower ways to the same."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from engine.checkpoint import load, save, tensor_shapes
from engine.config import ModelConfig
from engine.model import SampleRNN

BASE = ModelConfig(dim=12, emb_size=6, q_levels=32, frame_sizes=(2, 8), sample_rate=8000)
SHAPES = {
    "gru, two tiers": BASE,
    "one tier": replace(BASE, frame_sizes=(4,)),
    "three tiers": replace(BASE, frame_sizes=(2, 4, 12)),
    "lstm": replace(BASE, rnn="lstm"),
    "metal": replace(BASE, frame_sizes=(4,), rnn="lstm", n_rnn=3, skip=True, h0="random"),
    "gru, skip": replace(BASE, n_rnn=2, skip=True),
    "narrow mlp": replace(BASE, mlp_dim=5),
    "one hidden layer": replace(BASE, mlp_layers=1),
    "no weight norm": replace(BASE, weight_norm=False, h0="zeros"),
}
every_shape = pytest.mark.parametrize("config", SHAPES.values(), ids=SHAPES)


def made(config, seed=1):
    """A network none of whose tensors is zero."""
    model = SampleRNN(config, seed, forget_bias=3.0)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model


def indices_for(config, hops=6, batch=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, config.q_levels, (batch, config.lookback + hops * config.hop), generator=generator)


@every_shape
def test_names_and_shapes_are_the_checkpoint_s(config, tmp_path):
    model = made(config)
    checkpoint = model.to_checkpoint(training={"epoch": 1})
    assert {name: t.shape for name, t in checkpoint.tensors.items()} == tensor_shapes(config)
    save(checkpoint, tmp_path / "a.safetensors")
    again = SampleRNN.from_checkpoint(load(tmp_path / "a.safetensors"))
    assert torch.equal(again(indices_for(config))[0], model(indices_for(config))[0])


@every_shape
def test_a_baked_checkpoint_is_the_same_network(config):
    model = made(config)
    baked = SampleRNN.from_checkpoint(model.to_checkpoint().baked(np.float32))
    want, got = model(indices_for(config))[0], baked(indices_for(config))[0]
    torch.testing.assert_close(got, want, atol=2e-5, rtol=1e-4)


@every_shape
def test_two_calls_equal_one(config):
    model, indices = made(config), indices_for(config)
    whole, end = model(indices)
    half = 2 * config.hop
    first, state = model(indices[:, : config.lookback + half])
    second, end_again = model(indices[:, half:], state)
    torch.testing.assert_close(torch.cat([first, second], 1), whole, atol=1e-5, rtol=1e-4)
    for parts, want in zip(end_again, end, strict=True):
        torch.testing.assert_close(parts, want, atol=1e-5, rtol=1e-4)


@every_shape
def test_a_sample_depends_on_the_past_only(config):
    model, indices = made(config), indices_for(config)
    changed = indices.clone()
    at = config.lookback + 3 * config.hop + 1
    changed[:, at] = (changed[:, at] + 7) % config.q_levels
    before, after = model(indices)[0], model(changed)[0]
    place = at - config.lookback
    assert torch.equal(before[:, : place + 1], after[:, : place + 1])
    assert not torch.equal(before[:, place + 1], after[:, place + 1])


@every_shape
@pytest.mark.parametrize("share", [None, 0.4])
def test_loss_and_gradients_are_forward_s(config, share):
    model, indices = made(config), indices_for(config, hops=70, batch=5)
    size = config.frame_sizes[0]
    frames = 5 * 70 * config.hop // size
    keep = None if share is None else torch.randperm(frames)[: int(share * frames)].sort().values
    state = model.initial_state(5, torch.Generator().manual_seed(4))
    loss, after = model.loss(indices, state, keep)
    loss.backward()
    own = {name: p.grad for name, p in model.named_parameters()}
    model.zero_grad(set_to_none=True)
    logits, same = model(indices, state)
    losses = functional.cross_entropy(logits.flatten(0, 1), indices[:, config.lookback :].flatten(), reduction="none")
    by_frame = losses.reshape(5, -1, size).transpose(0, 1).reshape(-1, size)
    plain = (by_frame if keep is None else by_frame[keep]).mean()
    plain.backward()
    torch.testing.assert_close(loss, plain)
    torch.testing.assert_close(after, same)
    for name, parameter in model.named_parameters():
        assert (parameter.grad is None) == (own[name] is None), name
        if parameter.grad is not None:
            torch.testing.assert_close(own[name], parameter.grad, atol=1e-6, rtol=1e-3)


@every_shape
def test_mixed_precision_is_the_same_loss_and_gradient_rounded(config):
    """To bfloat16's eight bits: the direction of every gradient, h0's small one less exactly."""
    model, indices = made(config), indices_for(config, hops=70, batch=5)
    state = model.initial_state(5, torch.Generator().manual_seed(4))
    found = {}
    for low in (torch.float32, torch.bfloat16):
        model.zero_grad(set_to_none=True)
        loss, after = model.loss(indices, state, None, low)
        loss.backward()
        assert loss.dtype == torch.float32
        assert all(part.dtype == torch.float32 for parts in after for part in parts)
        found[low] = loss.item(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    (full, want), (rounded, got) = found.values()
    assert full != rounded
    assert rounded == pytest.approx(full, rel=5e-3)
    for name, gradient in want.items():
        near = functional.cosine_similarity(got[name].flatten(), gradient.flatten(), dim=0)
        assert near > (0.8 if name.endswith("0") else 0.99), name


def test_tables_are_the_embedding_through_the_first_layer():
    model = made(BASE)
    past = torch.tensor([3, 31])
    convolved = torch.einsum("oke,ke->o", model.weight("mlp.input"), model.tensor("embedding")[past])
    folded = model.tables().reshape(2, 32, -1)[torch.arange(2), past].sum(0)
    torch.testing.assert_close(folded, convolved)


def test_weight_norm_is_one_scale_a_row_recurrent_matrices_too():
    model = made(BASE)
    for name in ("tier.0.rnn.0.hh", "tier.0.up", "mlp.input", "mlp.output"):
        g = model.tensor(f"{name}.weight_g")
        axes = tuple(range(g.ndim - 1 if g.ndim == 2 else {"tier.0.up": 2}.get(name, 1), g.ndim))
        norms = model.weight(name).square().sum(dim=axes, keepdim=True).sqrt()
        torch.testing.assert_close(norms, g.abs())


def test_skip_adds_every_layer_and_feeds_the_input_again():
    config = replace(BASE, n_rnn=2, skip=True, frame_sizes=(4,))
    model, x = made(config), torch.randn(5, 3, 12)
    zeros = torch.zeros(2, 3, 12)
    out, _ = model._recur(0, x, (zeros,))
    layers = []
    below = x
    for k in range(2):
        cell = torch.nn.GRU(below.shape[-1], 12)
        name = f"tier.0.rnn.{k}"
        values = [model.weight(f"{name}.ih"), model.weight(f"{name}.hh")]
        values += [model.tensor(f"{name}.bias_ih"), model.tensor(f"{name}.bias_hh")]
        for parameter, value in zip(cell.parameters(), values, strict=True):
            parameter.data = value.detach()
        layers.append(cell(below)[0])
        below = torch.cat([layers[-1], x], dim=-1)
    want = sum(h @ model.weight(f"tier.0.skip.{k}").T for k, h in enumerate(layers)) + model.tensor("tier.0.skip.bias")
    torch.testing.assert_close(out, want)


def test_initial_values():
    lstm = SampleRNN(replace(BASE, rnn="lstm"), seed=1, forget_bias=3.0)
    bias = lstm.tensor("tier.0.rnn.0.bias_ih").reshape(4, 12)
    assert bias.sum(1).tolist() == [0.0, 36.0, 0.0, 0.0]  # gates i, f, g, o
    candidate = SampleRNN(BASE).weight("tier.0.rnn.0.hh")[24:]
    torch.testing.assert_close(candidate @ candidate.T, torch.eye(12), atol=1e-5, rtol=0)
    assert not torch.equal(SampleRNN(BASE, 1).tables(), SampleRNN(BASE, 2).tables())


def test_where_a_state_starts():
    learned = made(BASE).initial_state(2)[0][0]
    assert learned.requires_grad
    assert learned.abs().min() > 0
    zeros = SampleRNN(replace(BASE, h0="zeros")).initial_state(2)
    assert all(float(part.abs().sum()) == 0 for parts in zeros for part in parts)
    model = SampleRNN(replace(BASE, h0="random"))
    first, same, other = (model.initial_state(400, torch.Generator().manual_seed(s))[0][0] for s in (1, 1, 2))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert -1 <= first.min() < -0.99
    assert 0.99 < first.max() < 1


def test_a_length_that_is_no_whole_number_of_hops_is_refused():
    with pytest.raises(ValueError, match="a multiple of 8"):
        made(BASE)(torch.zeros(1, 8 + 12, dtype=torch.long))
