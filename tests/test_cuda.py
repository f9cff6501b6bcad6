"""The GPU's engine without a GPU: its kernels in Triton's interpreter, its runs called one by one, a stand-in driver.

With one, the same comparisons on the card (marked ``gpu``). ``plain`` is PyTorch's own kernels in the same runs.
"""

import os
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("triton", reason="needs triton (Linux)")

from networks import ARCHITECTURES, network  # noqa: E402

from engine import draw  # noqa: E402
from engine import generator as g  # noqa: E402
from engine.cuda import kernels, launching, runs  # noqa: E402
from engine.cuda.buffers import Block, Shape  # noqa: E402
from engine.cuda.driver import Eager  # noqa: E402
from engine.cuda.plain import Plain  # noqa: E402
from engine.cuda.players import Players  # noqa: E402
from engine.cuda.weights import Weights  # noqa: E402
from engine.folding import fold  # noqa: E402
from engine.reference import log_softmax  # noqa: E402
from engine.seeded import network as seeded  # noqa: E402

HERE = Path(__file__).parent
GPU = torch.cuda.is_available()
needs_gpu = pytest.mark.skipif(not GPU, reason="needs a CUDA GPU")
WHERE = ["stand-in", pytest.param("gpu", marks=[pytest.mark.gpu, needs_gpu])]
LOGITS = 2e-5  # how far the sums of another order may be from the reference's


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def on_cuda(name, voices=1, stereo=(), path="plain", hops=2, where="stand-in", seed=5):
    checkpoint = network(name)
    if where == "gpu":
        driver = None
    elif path == "triton" and os.environ.get("TRITON_INTERPRET") != "1":
        pytest.skip("kernels are interpreted where there is no GPU only")
    else:
        driver = Eager()
    folded = fold(checkpoint, "fp16")
    generator = Players(voices, stereo, path, hops * checkpoint.config.hop, driver and (lambda: driver)).generator(
        folded
    )
    generator.seed(seed)
    return generator


def reference(name, voices=1, stereo=False, seed=5):
    return g.make_generator(network(name), "reference", "fp16", voices, seed, list(stereo) if stereo else False)


def drew_the_same(ours, truth, n, temperature=0.9):
    np.testing.assert_array_equal(ours.generate(n, temperature), truth.generate(n, temperature))
    for voice in range(ours.voices):
        assert ours.entropy(voice) == pytest.approx(truth.entropy(voice), abs=1e-3)


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_plain_runs_draw_what_the_reference_draws(name, where):
    """A whole launch, hops and single samples; ramps; argmax; state set, random and primed; both sides of a voice."""
    sides = (True, False)
    ours, truth = on_cuda(name, 2, sides, where=where), reference(name, 2, sides)
    n = 3 * network(name).config.hop + 3
    drew_the_same(ours, truth, n, np.linspace(0.5, 1.4, n))
    for generator in (ours, truth):
        generator.reset("random")
        generator.prime(np.arange(5) % generator.config.q_levels)
        generator.vary(1, 0.4)
    drew_the_same(ours, truth, 30)
    drew_the_same(ours, truth, 9, 0.0)


CASES = [
    ("gru", 1, (), 21, 2),
    ("lstm-skip", 1, (), 17, 2),
    ("lstm-pruned", 1, (), 9, 1),
    ("three-tiers", 2, (True, False), 11, 1),
    ("gru-pruned", 9, (), 17, 2),
]


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize(("name", "voices", "stereo", "n", "hops"), CASES)
def test_kernels_draw_what_the_reference_draws(name, voices, stereo, n, hops, where):
    """GRU and LSTM, one to three tiers, skip, kept apart; one lane, several, and many on tensor cores."""
    ours, truth = on_cuda(name, voices, stereo, "triton", hops, where), reference(name, voices, stereo)
    ours.vary(voices - 1, 0.7)
    truth.vary(voices - 1, 0.7)
    drew_the_same(ours, truth, n, np.linspace(0.6, 1.2, n))
    for generator in (ours, truth):  # told a whole hop, wherever in one it is
        generator.prime(np.arange(generator.config.hop) * 3 % generator.config.q_levels)
    drew_the_same(ours, truth, 2, 0.0)


def test_programs_may_run_in_any_order(monkeypatch):
    """No program of a kernel needs what another of the same launch makes: backwards they draw the same."""
    from triton.runtime import interpreter

    builder, seen = interpreter.interpreter_builder, []
    forwards = builder.set_grid_idx

    def backwards(x, y, z):
        dims = builder.grid_dim
        seen.append(dims)
        forwards(*(dim - 1 - at for dim, at in zip(dims, (x, y, z), strict=True)))

    monkeypatch.setattr(builder, "set_grid_idx", backwards)
    drew_the_same(on_cuda("gru", 1, (), "triton", 1), reference("gru"), 10)
    drew_the_same(on_cuda("gru", 2, (), "triton", 1), reference("gru", 2), 9)
    assert max(dims[0] for dims in seen) > 1


WRITTEN = {  # by each kernel; it reads all it is given
    "dice": {"words"}, "rows": {"out"}, "enter": {"out", "tokens", "faults"}, "speak": {"logits"},
    "cell": {"h_new", "c", "tokens", "faults"}, "front": {"out", "tokens", "faults"}, "back": {"logits", "ahead", "x"},
    "gather": {"out", "tokens", "faults"}, "last": {"tokens", "faults", "measured"},
}  # fmt: skip


PARAMETERS = {name: getattr(kernels, name).arg_names for name in WRITTEN}


class Launched(NamedTuple):
    """One kernel: its number on its stream, and how many of the other stream are over for it."""

    kernel: str
    aside: bool
    number: int
    over: int
    options: dict
    programmatic: bool
    memory: list  # (first byte, behind the last, whether it is written)


class Launches:
    """Takes the place of kernels and of streams: what is launched where, and what has been waited for by then."""

    def __init__(self, monkeypatch):
        self.made, self.counts, self.over, self.aside, self.joins = [], [0, 0], [0, 0], False, []
        for name in WRITTEN:
            monkeypatch.setattr(kernels, name, Recorder(self, name))

    @contextmanager
    def fork(self):
        assert not self.aside
        self.aside, self.over[1] = True, self.counts[0]
        yield
        self.aside = False

    def join(self):
        assert not self.aside
        assert self.counts[1] > self.over[0], "nothing to wait for"
        self.over[0] = self.counts[1]
        self.joins.append(len(self.made))

    def conflicts(self, joined=True):
        """Launches of different streams that are in no order and not indifferent to it."""
        main, side = ([launch for launch in self.made if launch.aside == aside] for aside in (False, True))
        return [
            (a.kernel, b.kernel)
            for a in main
            for b in side
            if a.number >= b.over and not (joined and b.number < a.over)
            if any(x[0] < y[1] and y[0] < x[1] and (x[2] or y[2]) for x in a.memory for y in b.memory)
        ]


class Recorder:
    """One kernel's place."""

    def __init__(self, launches, name):
        self.launches, self.name = launches, name

    def __getitem__(self, grid):
        def launched(*args, **options):
            all_, given = self.launches, dict(zip(PARAMETERS[self.name], args, strict=True))
            memory = [
                (value.data_ptr(), value.data_ptr() + self._size(key, given, grid), key in WRITTEN[self.name])
                for key, value in given.items()
                if isinstance(value, torch.Tensor)
            ]
            number, over = all_.counts[all_.aside], all_.over[all_.aside]
            programmatic = given.get("PDL", False)
            all_.made.append(Launched(self.name, all_.aside, number, over, options, programmatic, memory))
            all_.counts[all_.aside] += 1

        return launched

    def _size(self, key, given, grid):
        if self.name == "rows" and key == "out":  # it is given the first of several matrices' results
            return given["matrix_out"] * grid[2] * 4
        return given[key].numel() * given[key].element_size()


def recorded(monkeypatch, name, voices, samples, place=0, programmatic=True):
    """All launches of a run."""
    config = network(name).config
    weights = Weights(fold(network(name), "fp16"), torch.device("cpu"))
    shape = Shape(config, voices, (), samples, weights.apart)
    with monkeypatch.context() as patch:
        launches = Launches(patch)
        steps = runs.Fused(shape, weights, Block(shape, torch.device("cpu")), programmatic, launches)
        runs.run(steps, shape, place, samples)
    return launches


BRANCHING = [(name, voices) for name in ("gru", "lstm-skip", "one-tier", "three-tiers") for voices in (1, 2, 9)]


@pytest.mark.parametrize(("name", "voices"), BRANCHING)
def test_every_branch_is_joined_before_it_is_needed(name, voices, monkeypatch):
    """And before what it reads is written again, and before the run ends."""
    launches = recorded(monkeypatch, name, voices, 2 * network(name).config.hop)
    asides = [launch for launch in launches.made if launch.aside]
    assert {launch.kernel for launch in asides} == {"rows"}
    assert launches.conflicts() == []
    assert len(launches.conflicts(joined=False)) >= 4  # which it would find
    assert launches.made[-1].kernel == "last"
    assert launches.made[-1].over == len(asides)


@pytest.mark.parametrize(("name", "voices"), BRANCHING)
def test_only_what_follows_a_kernel_of_the_chain_overlaps_it(name, voices, monkeypatch):
    """Not the first of a run, behind a copy, not what is behind a join, not branches; nothing where it is asked off."""
    for samples, place in ((2 * network(name).config.hop, 0), (1, 0), (1, 1)):
        launches = recorded(monkeypatch, name, voices, samples, place)
        overlapping = {i for i, launch in enumerate(launches.made) if launch.options.get("launch_pdl")}
        chain = [i for i, launch in enumerate(launches.made) if not launch.aside]
        behind = {i for before, i in pairwise(chain) if not any(before < join <= i for join in launches.joins)}
        assert overlapping == behind
        assert behind
        assert all(launch.programmatic for launch in launches.made if launch.kernel != "dice")
        off = recorded(monkeypatch, name, voices, samples, place, programmatic=False)
        assert not any(launch.programmatic or "launch_pdl" in launch.options for launch in off.made)


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_scores(name, where):
    checkpoint = network(name)
    c = checkpoint.config
    tokens = np.random.default_rng(1).integers(0, c.q_levels, (2, c.lookback + 2 * c.hop + 5))
    ours = on_cuda(name, where=where).score(tokens)
    np.testing.assert_allclose(ours, g.score(checkpoint, tokens, "reference", "fp16"), atol=LOGITS)


@needs_gpu
@pytest.mark.gpu
@pytest.mark.parametrize("path", ["triton", "plain"])
@pytest.mark.parametrize("voices", [1, 3, 16])
def test_ten_thousand_samples_differ_only_at_an_edge(path, voices):
    """Teacher-forced; the cpu's fp32 sums of the same numbers stand for the reference, which would take hours."""
    generator = on_cuda("mu-law", voices, path=path, where="gpu")
    c = generator.config
    tokens = np.random.default_rng(3).integers(0, c.q_levels, (voices, 10_000)).astype(np.int32)
    ours = log_softmax(generator.force(tokens))
    truth = log_softmax(g.make_generator(network("mu-law"), "cpu", "fp16", voices, 5).force(tokens))
    tolerance = np.abs(ours - truth).max()
    assert tolerance < 1e-3
    words = np.array([draw.philox(9, t, 0, 0) for t in range(tokens.shape[1])])
    for lane in range(voices):
        cdf = np.cumsum(np.exp(truth[lane]), axis=1)
        drawn = [(np.cumsum(np.exp(x[lane]), axis=1) <= words[:, None] / 2**32).sum(1) for x in (ours, truth)]
        margin = np.abs(cdf - words[:, None] / 2**32).min(1)
        assert (margin[drawn[0] != drawn[1]] < 4 * tolerance + 1e-6).all()


@needs_gpu
@pytest.mark.gpu
@pytest.mark.parametrize("path", ["overlapping", "ordered", "plain"])
@pytest.mark.parametrize("voices", [1, 3, 16])
def test_graphs_draw_what_their_kernels_draw_one_by_one(path, voices):
    graphs, single = (on_cuda("lstm-skip", voices, path=path, where="gpu") for _ in range(2))
    expected = graphs.generate(500, 0.9)
    single.player.run_eagerly()
    np.testing.assert_array_equal(single.generate(500, 0.9), expected)


@needs_gpu
@pytest.mark.gpu
@pytest.mark.parametrize("voices", [1, 3, 9])
def test_any_split_of_calls_is_the_same_sound_on_a_gpu(voices):
    whole, parts = (on_cuda("mu-law", voices, path="triton", where="gpu") for _ in range(2))
    got = np.concatenate([parts.generate(n, 0.95) for n in (1, 63, 17, 64, 65, 290)], axis=1)
    np.testing.assert_array_equal(got, whole.generate(500, 0.95))


def test_any_split_of_calls_is_the_same_sound():
    whole, parts = on_cuda("lstm-skip", 2), on_cuda("lstm-skip", 2)
    expected = whole.generate(69, 0.95)
    got = np.concatenate([parts.generate(n, 0.95) for n in (1, 2, 17, 8, 41)], axis=1)
    np.testing.assert_array_equal(got, expected)
    assert kinds(parts.player) >= {launching.RUN, launching.HOPS, launching.ONE}
    assert kinds(whole.player) == {launching.RUN, launching.ONE}


def kinds(player):
    """Which kinds of graph were launched."""
    words, hop = player.words[launching.GRAPHS :].tolist(), player.shape.config.hop
    return {words.index(graph) // hop for graph in player.driver.launched}


def test_wherever_it_begins_a_launch_makes_a_whole_run():
    """Turns begin in the middle of frames after a silence, or where rates differ."""
    generator, truth = on_cuda("three-tiers"), reference("three-tiers")
    drew_the_same(generator, truth, 3)
    before = len(generator.player.driver.launched)
    drew_the_same(generator, truth, 16)
    assert len(generator.player.driver.launched) == before + 1


@pytest.mark.parametrize("voices", [1, 3, 8, 64])
def test_the_order_of_sums_does_not_depend_on_where_a_launch_begins(voices, monkeypatch):
    """Every product of a size is made in tiles of one shape, whatever place and length a run has."""
    config = replace(network("gru").config, dim=512, mlp_dim=384, frame_sizes=(8, 16), q_levels=256)
    weights = Weights(fold(seeded(config, "seeded"), "fp16"), torch.device("cpu"))
    shape = Shape(config, voices, (), 64, weights.apart)
    steps = runs.Fused(shape, weights, Block(shape, torch.device("cpu")))
    found = {}

    def launched(kernel, _grid, _stages, *args):
        if kernel is kernels.rows:
            found.setdefault(args[5:8], set()).add(args[-4:])

    monkeypatch.setattr(steps, "_launch", launched)
    monkeypatch.setattr(kernels, "dice", {(voices,): lambda *_, **__: None})
    for place in range(16):
        for samples in (1, 3, 16, 64):
            runs.run(steps, shape, place, samples)
    assert len(found) > 1
    assert all(len(tiles) == 1 for tiles in found.values()), found


def test_what_is_told_runs_the_tiers_only():
    generator, truth = on_cuda("lstm-skip"), reference("lstm-skip")
    told = np.random.default_rng(2).integers(0, 32, 45)
    for each in (generator, truth):
        each.prime(told)
    assert kinds(generator.player) == {launching.KNOWN_RUN, launching.KNOWN_HOPS, launching.ONE}
    drew_the_same(generator, truth, 21)


def test_state_is_everything():
    generator = on_cuda("lstm", 2, (False, True))
    generator.vary(0, 0.5)
    generator.generate(11)
    kept = generator.state()
    first = generator.generate(20, 1.1)
    generator.reset("zeros")
    generator.restore(kept)
    np.testing.assert_array_equal(generator.generate(20, 1.1), first)
    generator.repeat(kept)
    again = generator.generate(20, 1.1)
    assert (again[:, 0] != first[:, 0]).any()
    np.testing.assert_array_equal(again[:, 1], first[:, 1])


def test_lanes_may_be_anywhere_in_their_frames():
    """Voices whose frames begin elsewhere than the others' are launched by themselves, and sound as they do alone."""
    alone = on_cuda("three-tiers").generate(40)
    among = on_cuda("three-tiers", 3)
    for voice, shift in ((1, 1), (2, 6)):
        tokens = np.zeros(shift, np.int32)
        launching.prime(among.context, voice, tokens.ctypes.data, shift)
    np.testing.assert_array_equal(among.generate(40)[0], alone[0])


def test_another_network_of_the_architecture_is_loaded_over_one():
    ours, other = on_cuda("gru"), network("gru", seed=1)
    ours.player.load(fold(other, "fp16"))
    truth = g.make_generator(other, "reference", "fp16", seed=5)
    ours.reset("zeros")
    truth.reset("zeros")
    drew_the_same(ours, truth, 20)
    with pytest.raises(ValueError, match="of another architecture"):
        ours.player.load(fold(network("lstm"), "fp16"))


def test_a_driver_that_fails_is_silence_and_a_fault_and_is_not_called_again():
    generator = on_cuda("gru", 2)
    generator.generate(8)
    driver = generator.player.driver
    driver.failing = 719
    tokens, beta = np.full((2, 2, 20), -1, np.int32), np.ones((2, 20), np.float32)
    fault = launching.generate(generator.context, 0b11, 20, beta.ctypes.data, tokens.ctypes.data, 20)
    assert fault == 0b11
    assert (tokens[0] == generator.config.q_zero).all()
    assert generator.player.error == 719
    driver.failing, before = 0, len(driver.launched)
    with pytest.raises(g.Unavailable, match=r"the GPU has failed \(719\)"):
        generator.generate(4)
    assert len(driver.launched) == before


def test_logits_that_are_no_numbers_are_a_fault_of_their_lane():
    checkpoint = network("gru")
    broken = replace(checkpoint, tensors={**checkpoint.tensors, "mlp.output.bias": np.full(32, np.nan, np.float32)})
    for path in ("plain", "triton"):
        generator = Players(1, (), path, 8, Eager).generator(fold(broken, "fp16"))
        tokens, beta = np.zeros((2, 1, 3), np.int32), np.ones((1, 3), np.float32)
        assert launching.generate(generator.context, 1, 3, beta.ctypes.data, tokens.ctypes.data, 3) == 1
        assert (tokens[0] == generator.config.q_zero).all()


def test_dice_are_philox_to_the_bit():
    """Keys and positions that fill 64 bits, the right side, dice moved by fresh ones."""
    key, at, fresh, far = -0x0123456789ABCDEF, (1 << 40) + (1 << 32) - 2, (1 << 35) + 5, draw.spread_of(0.75)
    lanes = torch.tensor([[key, at, 3, 0, 0, -1], [key, at, 3, far, fresh, -1]])
    of, side, words = torch.tensor([0, 1, 1]), torch.tensor([0, 0, 1]), torch.zeros(3, 5, dtype=torch.int32)
    kernels.dice[(3,)](lanes, of, side, words, 5, 8)
    for lane, spread, purpose, found in ((0, 0, 0, words[0]), (1, far, 0, words[1]), (1, far, 16, words[2])):
        for s in range(5):
            want = draw.philox(key & (1 << 64) - 1, at + s, 3, purpose)
            other = draw.philox(key & (1 << 64) - 1, fresh + s, 3, draw.FRESH + purpose)
            assert int(found[s]) & 0xFFFFFFFF == (draw.varied(want, other, spread) if spread else want), (lane, s)


def test_half_precision_has_an_end():
    checkpoint = network("gru")
    large = {**checkpoint.tensors, "mlp.output.weight_g": checkpoint.tensors["mlp.output.weight_g"] * 1e6}
    with pytest.raises(ValueError, match=r"precision: fp16: a weight of .*: 65504 at most expected"):
        fold(replace(checkpoint, tensors=large), "fp16")


def test_what_the_gpu_does_not_play_is_said():
    with pytest.raises(ValueError, match="precision: 'int8': the cuda backend plays fp16"):
        g.make_generator(network("gru"), "cuda", "int8")
    if not GPU:
        with pytest.raises(ValueError, match="backend: cuda: torch finds no GPU here"):
            g.make_generator(network("gru"), "cuda")
    with pytest.raises(ValueError, match="partner: the cuda backend blends nothing"):
        on_cuda("gru").generate(3, partner=on_cuda("gru"))


def test_kernels_compile_for_hopper_without_a_gpu():
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, HERE / "cuda_compile.py", "1", "64"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "cell" in done.stdout


def test_players_come_and_go_and_nothing_is_captured_while_a_set_plays():
    driver = Eager()
    players = Players(1, (), "plain", 8, lambda: driver)
    first = players.generator(fold(network("gru"), "fp16"))
    players.reserve(network("gru").config)
    players.begin()
    captured = len(driver._runs)
    second = players.generator(fold(network("gru", 1), "fp16"))
    with pytest.raises(ValueError, match=r"no idle player on the GPU for another network of dim 24, tiers \(4, 8\)"):
        players.generator(fold(network("gru", 2), "fp16"))
    with pytest.raises(ValueError, match="no idle player"):
        players.generator(fold(network("lstm"), "fp16"))
    del second
    third, truth = players.generator(fold(network("gru", 2), "fp16")), reference("gru", seed=0)
    third.seed(5)
    first.seed(5)
    truth.seed(5)
    drew_the_same(first, truth, 20)
    other = g.make_generator(network("gru", 2), "reference", "fp16", 1, 5)
    drew_the_same(third, other, 20)
    assert len(driver._runs) == captured


def test_what_there_was_room_for_stays_when_memory_fills(monkeypatch):
    players = Players(1, (), "plain", 8, Eager)
    made, real = [], Players._made

    def some(self, folded):
        if len(made) == 3:
            raise g.Unavailable("the memory of the GPU is full")
        made.append(real(self, folded))
        return made[-1]

    monkeypatch.setattr(Players, "_made", some)
    with pytest.raises(g.Unavailable):
        players.reserve(network("gru").config, 6)
    assert players._idle == made
    monkeypatch.setattr(type(made[0]), "load", lambda *_: 1 / 0)
    with pytest.raises(g.Unavailable, match="division by zero"):
        players.generator(fold(network("gru"), "fp16"))
    assert sorted(map(id, players._idle)) == sorted(map(id, made))


def test_without_triton_pytorchs_own_kernels_play_and_a_line_says_so(monkeypatch):
    from engine.cuda import runs

    def broken(*_):
        raise RuntimeError("no compiler\nat all")

    monkeypatch.setattr(runs, "Fused", broken)  # ordered: without a GPU it is the only way of Triton's
    players = Players(1, (), "auto", 8, Eager)
    generator = players.generator(fold(network("gru"), "fp16"))
    assert players.news == ["the GPU's kernels cannot be had (no compiler): PyTorch's own, several times slower"]
    drew_the_same(generator, reference("gru", seed=0), 9)
    with pytest.raises(g.Unavailable, match="backend: cuda: no compiler"):
        Players(1, (), "triton", 8, Eager).generator(fold(network("gru"), "fp16"))


class Liar(Plain):
    """Makes other samples."""

    def sample(self, s, slot):
        super().sample(s, slot)
        self.scratch.logits[s] += 1e-3 * (s == 5)


@pytest.mark.parametrize(("first", "fault"), [(Liar, "they made other samples"), (Plain, "")])
def test_kernels_that_overlap_are_held_against_those_that_do_not(first, fault, monkeypatch):
    from engine.cuda import ways

    made = {"overlapping": first, "ordered": Plain}
    monkeypatch.setattr(ways, "make", lambda way, *parts: made[way](*parts))
    monkeypatch.setattr(ways, "ways", lambda _path, _on_gpu: ["overlapping", "ordered"] if _path == "auto" else [_path])
    players = Players(1, (), "auto", 8, Eager)
    generator, second = (players.generator(fold(network("gru"), "fp16")) for _ in range(2))
    assert generator.player.path == second.player.path == ("ordered" if fault else "overlapping")
    assert [line.count(fault) for line in players.news] == ([1] if fault else [])
    drew_the_same(generator, reference("gru", seed=0), 9)


def test_a_full_gpu_and_a_lost_one_are_unavailable(monkeypatch):
    driver = Eager()
    players = Players(1, (), "plain", 8, lambda: driver)
    driver.failed[0] = 719
    with pytest.raises(g.Unavailable, match=r"backend: cuda: the GPU has failed \(719\)"):
        players.generator(fold(network("gru"), "fp16"))
    driver.failed[0] = 0

    def full(*_, **__):
        raise torch.cuda.OutOfMemoryError("tried to allocate 2 GiB")

    monkeypatch.setattr(torch, "zeros", full)
    with pytest.raises(g.Unavailable, match="the memory of the GPU is full"):
        players.generator(fold(network("gru"), "fp16"))
