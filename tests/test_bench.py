"""What bench says is what was measured: turns in rotation, whole hops, ratios to the right neighbours, steadiness."""

import json
import sys
import threading
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from engine import blocks, seeded
from engine.checkpoint import tensor_shapes
from engine.config import ModelConfig
from engine.cpu.generator import CpuGenerator
from engine.training import pruning
from engine.training.recipes import Training
from instrument import bench, bench_measure, bench_subjects, bench_table
from instrument.bench_measure import Hops, Speed, measure, steadiness
from instrument.bench_subjects import PEER, PRODUCTS, Subject
from instrument.cli import main

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tools"))

import speeds  # noqa: E402

SMALL = bench.Asked(seconds=0.002, dims=(16,), voices=(1, 8), threads=(1, 2), only=("sizes", "voices", "steadiness"))


class Bench:
    """A clock that only moves when samples are made."""

    def __init__(self) -> None:
        self.now = 0.0
        self.asked: list[tuple[str, int]] = []

    def subject(self, us: float, kind: str = "network", **shape) -> Subject:
        def make(n: int) -> None:
            self.asked.append((kind, n))
            self.now += n * us * 1e-6

        return Subject("n", "int8", 10_000, make, hop=16, kind=kind, **shape)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Bench:
    clock = Bench()
    monkeypatch.setattr(bench_measure, "_clock", lambda threads: (("thread", "wall")[threads > 1], lambda: clock.now))
    monkeypatch.setattr(bench_measure, "_wall", lambda: 2 * clock.now)  # half of the time another program has the core
    return clock


def test_what_is_compared_takes_turns_of_whole_hops(clock: Bench) -> None:
    whole, products = measure([clock.subject(50), clock.subject(20, PRODUCTS)], 0.09, "sizes")
    turns = clock.asked[-2 * bench_measure.TURNS :]
    assert turns == [("network", 192), ("products", 496)] * bench_measure.TURNS  # 10 ms each, rounded down to hops
    assert whole.us == pytest.approx(50)
    assert whole.realtime == pytest.approx(2.0)
    assert whole.to_products == pytest.approx(2.5)
    assert (whole.section, whole.clock, whole.to_one, whole.to_peer) == ("sizes", "thread", None, None)
    assert products.to_products is None


def test_the_slowest_makes_one_hop_a_turn(clock: Bench) -> None:
    (slow,) = measure([clock.subject(1e5)], 0.001)
    assert {n for _, n in clock.asked} == {16}
    assert slow.us == pytest.approx(1e5)


def test_ratios_are_to_the_same_network(clock: Bench) -> None:
    subjects = [
        clock.subject(10),
        clock.subject(25, voices=4),
        clock.subject(30, voices=4, threads=2),
        clock.subject(4, weights="10/10/100"),
        clock.subject(2, PRODUCTS, weights="10/10/100"),
        clock.subject(5, PRODUCTS),
        replace(clock.subject(2000, PEER), precision="fp32"),
        replace(clock.subject(9, PEER), name="another"),
    ]
    one, four, both, less, *_ = measure(subjects, 0.01)
    assert (one.us_by_wall, one.to_one_thread) == (pytest.approx(20.0), None)
    assert (one.to_products, one.to_one, one.to_peer) == pytest.approx((2.0, None, 200.0))
    assert four.to_one == pytest.approx(2.5)
    assert (both.clock, both.to_one, both.to_peer) == ("wall", None, None)  # to one thread alone
    assert both.to_one_thread == pytest.approx(25 / 30)
    assert (less.to_products, less.to_peer) == pytest.approx((2.0, 500.0))


def test_a_long_hop_is_seen() -> None:
    made = []

    def make(n: int) -> None:
        made.append(n)
        sum(range(200_000 if len(made) % 50 == 0 else 200))

    hops = steadiness(Subject("n", "int8", 1, make), 0.001)
    assert hops.hops >= 50
    assert hops.samples == 16
    assert hops.wall_us == tuple(sorted(hops.wall_us))
    assert hops.thread_us[3] > 3 * hops.thread_us[0]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts page faults for each thread")
def test_page_faults_are_counted() -> None:
    room = np.empty(64 << 20, np.uint8)  # never touched
    places = iter(range(0, len(room), 1 << 18))

    def make(_n: int) -> None:
        room[next(places)] = 1

    hops = steadiness(Subject("n", "int8", 1, make), 1e-9)
    assert hops.faults is not None
    assert hops.faults >= 1


def test_playing_brings_in_no_page() -> None:
    (subject,) = bench_subjects.choirs(16, [1])
    assert steadiness(subject, 0.02).faults in (0, None)


def test_voices_are_the_voices() -> None:
    one, three = bench_subjects.choirs(16, [1, 3])
    assert (one.voices, three.voices) == (1, 3)
    speeds_ = measure([one, three], 0.05)
    assert speeds_[1].us > speeds_[0].us


def _helpers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("helper-")]


def test_helpers_are_there_only_while_they_are_measured() -> None:
    alone, helped, products = bench_subjects.crew(bench_subjects.poster(16), (1, 2))
    assert [(s.threads, s.kind) for s in (alone, helped, products)] == [(1, "network"), (2, "network"), (1, PRODUCTS)]
    with alone.around():
        assert not _helpers()
    with helped.around():
        assert len(_helpers()) == 1
        helped.make(16)
    assert not _helpers()
    helped.make(16)  # whose team has gone


def test_helpers_end_with_what_breaks_off() -> None:
    helped = bench_subjects.crew(bench_subjects.poster(16), (2,))[1]

    def make(_n: int) -> None:
        if _helpers():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure([replace(helped, make=make)], 0.01)
    assert not _helpers()


def test_several_threads_have_a_team_and_one_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[int] = []
    monkeypatch.setattr(CpuGenerator, "have_help", lambda _self, team: given.append(team))
    *_, choir = bench_subjects.choirs(16, [1, 8], threads=(2,))
    assert (choir.voices, choir.threads) == (8, 2)
    with choir.around():
        assert len(given) == 1
        assert given[0]
    assert given[1:] == [0]


def test_one_core_leaves_several_threads_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench.cores, "core_count", lambda: 1)
    assert bench.Asked().threads == (1,)
    said: list[str] = []
    result = bench.collect(bench.Asked(0.002, (16,), (1, 8), only=("voices",)), said.append)
    assert [s.threads for s in result.speeds] == [1, 1]
    assert said[-1] == result.note
    assert "one core" in result.note


def test_blocks_go_as_they_do_in_training() -> None:
    weight = np.random.default_rng(1).normal(size=(3, 40, 50)).astype(np.float32)
    want = pruning.mask(torch.from_numpy(weight), 0.2).numpy() > 0
    np.testing.assert_array_equal(blocks.largest(weight, 0.2), want)
    training = Training(density_frames=0.1, density_sample=0.2, density_output=0.3)
    for name in tensor_shapes(ModelConfig(skip=True, n_rnn=2)):
        assert blocks.share_of(name, 0.1, 0.2, 0.3) == pruning.density(name.replace(".", "/"), training)


def test_a_seeded_network_has_what_it_is_told_to_have() -> None:
    made = seeded.network(ModelConfig(dim=128), "s", (0.2, 0.3, 0.5))
    found = {name: blocks.density(weight) for name, weight in made.tensors.items() if name.endswith("weight")}
    assert found["tier.1.rnn.0.hh.weight"] == pytest.approx(0.2, abs=0.01)
    assert found["tier.0.up.weight"] == pytest.approx(0.3, abs=0.01)
    assert found["mlp.output.weight"] == pytest.approx(0.5, abs=0.01)
    assert found["mlp.input.weight"] == found["tier.0.input.weight"] == 1.0
    assert made.apart
    assert made.ranges_known


def test_all_of_it_as_one_line_and_back(capsys: pytest.CaptureFixture[str]) -> None:
    bench.run(SMALL, True, print)
    line = capsys.readouterr().out
    assert line.count("\n") == 1
    data = json.loads(line)
    result = bench.Result.from_json(data)
    assert json.loads(json.dumps(result.to_json())) == data
    assert {s.section for s in result.speeds} == {"sizes", "voices"}
    kinds = {s.kind for s in result.speeds}
    assert kinds == {"network", "products", "samplernn-pytorch", "leaner loop"}
    network = result.speeds[0]
    assert network.to_products is not None
    assert network.to_products > 1
    assert network.to_peer is not None
    assert network.to_peer > 10
    assert [(s.voices, s.threads) for s in result.speeds if s.section == "voices"] == [(1, 1), (8, 1), (8, 2)]
    several = [s for s in result.speeds if s.threads == 2]
    assert len(several) == 2 + len(bench_subjects.SHARES)  # dense, with blocks taken away, and a choir
    assert all(s.to_one_thread and s.clock == "wall" and s.precision == "int8" for s in several)
    assert len(result.hops) == 1


def test_the_table_grows_and_has_every_figure() -> None:
    said: list[str] = []
    result = bench.collect(replace(SMALL, only=("voices",)), said.append)
    rows = [line for line in said if line.startswith("seeded-16")]
    assert rows == [bench_table.row(speed) for speed in result.speeds]
    assert said[:1] == [""] or said[0].startswith("compiling")
    assert len(list(speeds.lines(result))) == 3 + len(rows)


def test_without_torch_the_rest_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "engine.training.peer", None)
    said: list[str] = []
    result = bench.collect(replace(SMALL, only=("sizes",)), said.append)
    assert said[-1] == result.note
    assert "'train'" in result.note
    assert all(s.to_peer is None for s in result.speeds)
    assert result.int8_to_peer is None


def test_the_ratio_that_has_a_field_of_its_own() -> None:
    shape = ("sizes", "seeded-256", "network", "dense", "int8", 1, 1, "thread")
    speed = Speed(*shape, 1.0, 1e6, 1.0, 1.0, 1.0, 1e6, to_peer=9.0)
    others = [replace(speed, weights="8/5/30", to_peer=2.0), replace(speed, kind=PRODUCTS, to_peer=None)]
    others.append(replace(speed, section="voices", to_peer=None))
    others.append(replace(speed, threads=2, to_peer=None))
    assert bench.Result(SMALL, {}, [*others[:1], speed, *others[1:]]).int8_to_peer == 9.0


def test_recipes_are_measured_as_they_are() -> None:
    network, products = bench_subjects.recipe("live-metal")
    assert (network.name, network.hop, network.weights, products.kind) == ("live-metal", 16, "dense", PRODUCTS)
    network.make(16)


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        (["--only", "bnak"], "'bnak'"),
        (["--dims", "256,x"], "'x'"),
        (["--voices", "65"], "'65'"),
        (["--threads", "17"], "'17'"),
        (["--dims", ""], "''"),
    ],
)
def test_what_cannot_be_measured_is_one_line(words: list[str], wrong: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", *words]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert wrong in line


def test_every_field_of_the_line_is_explained() -> None:
    text = (ROOT / "docs" / "bench.md").read_text(encoding="utf-8")
    for kind in (Speed, Hops, bench.Result, bench.Asked):
        for field in fields(kind):
            assert f"`{field.name}`" in text, f"docs/bench.md: {field.name}"


def test_the_page_shows_the_figures_beside_it() -> None:
    text = (ROOT / "docs" / "bench.md").read_text(encoding="utf-8")
    result = bench.Result.from_json(json.loads((ROOT / "docs" / "bench.json").read_text(encoding="utf-8")))
    assert speeds.written(text, result) == text, "python tools/speeds.py docs/bench.json writes it anew"
