"""Our own GRU for training on a processor beside torch's."""

import pytest
import torch

from engine.recurrence import recur


@pytest.mark.parametrize(("frames", "batch", "dim"), [(7, 3, 5), (1, 3, 5), (7, 1, 5), (4, 2, 1)])
def test_outputs_state_and_every_gradient_are_torch_s(frames, batch, dim):
    """Of inputs that do not lie in a row too, and of a state that goes on into the next step of training."""
    torch.manual_seed(3)
    shapes = [(3 * dim, 4), (3 * dim, dim), (3 * dim,), (3 * dim,)]
    weights = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    x = torch.randn(batch, frames, 4, dtype=torch.float64).transpose(0, 1).requires_grad_()
    h = torch.randn(1, dim, dtype=torch.float64).expand(batch, -1).requires_grad_()
    ours, (last,) = recur("gru", x, (h,), weights, torch.float64)
    theirs, after = torch._VF.gru(x, h[None].contiguous(), weights, True, 1, 0.0, True, False, False)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(last, after[0])
    given, through = torch.randn_like(ours), [x, h, *weights]
    found = torch.autograd.grad([ours, last], through, [given, given[0]])
    wanted = torch.autograd.grad([theirs, after], through, [given, given[:1]])
    torch.testing.assert_close(found, wanted)


def test_in_bfloat16_the_state_itself_stays_fp32():
    torch.manual_seed(3)
    weights = [torch.randn(shape) / 4 for shape in [(24, 8), (24, 8), (24,), (24,)]]
    x, h = torch.randn(30, 2, 8), torch.randn(2, 8)
    exact, _ = recur("gru", x, (h,), weights)
    rounded, (last,) = recur("gru", x, (h,), weights, torch.bfloat16)
    assert rounded.dtype == last.dtype == torch.float32
    assert 0 < (rounded - exact).abs().max() < 0.05
    assert not torch.equal(rounded, rounded.to(torch.bfloat16).float())
