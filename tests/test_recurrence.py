"""Our own GRU for training on a processor beside torch's."""

import torch

from engine.recurrence import recur


def test_outputs_state_and_every_gradient_are_torch_s():
    torch.manual_seed(3)
    shapes = [(15, 4), (15, 5), (15,), (15,)]
    weights = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    x = torch.randn(7, 3, 4, dtype=torch.float64, requires_grad=True)
    h = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    ours, (last,) = recur("gru", x, (h,), weights, torch.float64)
    theirs, after = torch._VF.gru(x, h[None], weights, True, 1, 0.0, True, False, False)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(last, after[0])
    given, through = torch.randn_like(ours), [x, h, *weights]
    # the state goes on into the next step of training, so it has a gradient of its own
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
