"""Stereo and partners from a patch to the log and back: what is checked, asked for, and brought back by a replay."""

import dataclasses

import numpy as np
import pytest
import tiny
from fake_link import FakeLink, make_controller

from instrument import log, patch, plan, replay
from instrument.controls import BLEND, Command, Op
from instrument.plan import Options

PATCH = """
bank: [gru.safetensors, lstm.safetensors, one-tier.safetensors]
voices: 2
stereo: true
voice: {2: {stereo: false, partner: lstm, blend: 0.4}}
osc: {listen: none}
"""


@pytest.fixture
def folder(tmp_path):
    tiny.write(tmp_path)
    (tmp_path / "pairs.yaml").write_text(PATCH)
    return tmp_path


def test_a_patch_says_who_is_stereo_and_who_has_a_partner(folder):
    made = plan.make(Options(target=str(folder / "pairs.yaml"), voices=3))
    assert made.stereo == (True, False, True)
    assert made.partners == (-1, 1, -1)
    assert made.parameters[1][BLEND] == 0.4


@pytest.mark.parametrize(
    ("partner", "words"),
    [
        ("one-tier", r"voice\.2\.partner: one-tier does not fit gru: its q_levels is 64, not 32"),
        ("lstn", r"voice\.2\.partner: 'lstn' is not in the bank; did you mean 'lstm'"),
        ("7", r"voice\.2\.partner: 7 is not in the bank of 0 to 2"),
    ],
)
def test_a_partner_that_does_not_fit_is_refused_at_the_start(folder, partner, words):
    (folder / "bad.yaml").write_text(PATCH.replace("partner: lstm", f"partner: {partner}"))
    with pytest.raises(ValueError, match=words):
        plan.make(Options(target=str(folder / "bad.yaml")))


def test_stereo_is_true_or_false(folder):
    (folder / "bad.yaml").write_text(PATCH.replace("stereo: true", "stereo: wide"))
    with pytest.raises(ValueError, match="stereo: 'wide' is not 0 or 1"):
        patch.load(folder / "bad.yaml")


def test_the_trigger_names_what_differs():
    link = FakeLink()
    controller = make_controller(link, misfit=lambda _k, p: "q_type is linear, not mu-law" if p == 2 else "")
    for given, number in (("glass", 1), (0, 0), ("none", -1), (-1, -1), (1.0, 1)):
        controller.trigger("partner", given, voice=1)
        assert (link.pushed[-1].op, link.pushed[-1].number, link.pushed[-1].voice) == (Op.PARTNER, number, 0)
    with pytest.raises(ValueError, match=r"^partner: drones does not fit tabla: its q_type is linear, not mu-law$"):
        controller.trigger("partner", "drones")
    with pytest.raises(ValueError, match="partner: 'd' is not in the bank"):
        controller.trigger("partner", "d")


def head_of(made, performance):
    entries = zip(made.names, made.paths, made.checkpoints, strict=True)
    return log.Head(
        sample_rate=44100, backend="cpu", precision="int8", kernel="", voices=made.voices, seed=3,
        bank=tuple({"name": n, "path": str(path), "sha256": c.sha256} for n, path, c in entries),
        start=made.start, parameters=made.parameters, timing=performance.timing, versions={}, patch={}, rules={},
        stereo=made.stereo, partners=made.partners,
    )  # fmt: skip


def test_a_log_brings_the_same_set_back(folder):
    from instrument import bank
    from instrument.audio.performance import Performance

    made = plan.make(Options(target=str(folder / "pairs.yaml")))
    slots = bank.make_slots(made.checkpoints, made.names, "cpu", "int8", 2, made.stereo)
    rest = {"start": made.start, "parameters": made.parameters, "partners": made.partners, "seed": 3}
    first = Performance(slots, sample_rate=44100, voices=2, offline=True, **rest)
    for command in (
        Command(3001, Op.PARTNER, voice=0, number=1),
        Command(3500, Op.SET, voice=0, parameter=BLEND, value=0.8, ramp=2000),
        Command(9001, Op.PARTNER, number=-1),
    ):
        assert first.link.push(command)
    heard = first.render_to(14_000)
    events = first.link.events()
    written = log.EventLog(folder / "set.log", head_of(made, first))
    written.events(events)
    written.mark(14_000)
    written.close()
    head, read, _ = log.read(folder / "set.log")
    assert (tuple(head.stereo), tuple(head.partners)) == (made.stereo, made.partners)
    again = replay.prepare(head, made.checkpoints)
    for command in replay.commands_of(read):
        assert again.link.push(command)
    np.testing.assert_array_equal(again.render_to(14_000), heard)
    assert again.link.events() == events
    older = dataclasses.asdict(head) | {"stereo": (), "partners": ()}
    assert replay.prepare(log.Head(**older), made.checkpoints).voices == 2
