"""A set in which everything moves, on tiny networks in real time: launched on its samples, replayed to the bit."""

import itertools

import numpy as np
import soundfile
import tiny
from test_session import options, wait_until

from instrument import log, plan, replay
from instrument.controls import Op
from instrument.session import Session

MOVING = """
tempo: 240
launch: bar
lfos:
  sway: {parameter: pan, rate: 3, depth: 0.5, start: true}
  breath: {parameter: gain, shape: drift, beats: 1, depth: 6, seed: 3}
  steps: {parameter: temperature, shape: random, rate: 9, depth: 0.2, voice: 1}
macros:
  wild: [{to: temperature, range: [0.8, 1.2], curve: smooth}, {to: lfo/breath}]
snapshots:
  still: {parameters: {gain: -18, temperature: 0.8}, checkpoint: lstm}
"""


def test_a_set_that_moves_replays_bit_for_bit(tmp_path):
    path = tiny.write(tmp_path)
    looped = "  round: {parameter: pan, points: [[0, -1], [2, 1, exp]], unit: beats, loop: true, pingpong: true}\n"
    path.write_text(path.read_text().replace("sweeps:\n", f"sweeps:\n{looped}") + MOVING)
    session = Session(plan.make(options(path, tmp_path)), print, print)
    try:
        session.open()
        session.start()
        c = session.controller
        for gesture in (
            lambda: c.trigger("reseed", "zeros"),
            lambda: c.trigger("lfo", "breath", 0.5, 0.2),
            lambda: c.trigger("sweep", "round"),
            lambda: c.trigger("reseed", "zeros"),
            lambda: c.set("macro/wild", 0.9, ramp=0.2),
            lambda: c.trigger("lfo", "steps", launch="now"),
            lambda: c.trigger("reseed", "zeros"),
            lambda: c.trigger("tempo", 180),
            lambda: c.trigger("snapshot", "here"),
            lambda: c.trigger("recall", "still", 0.3),
            lambda: c.trigger("checkpoint", "gru", launch="beat"),
            lambda: c.trigger("recall", "here", 0.1),
            lambda: c.trigger("lfo/stop"),
            lambda: c.panic(),
            lambda: c.trigger("resume"),
        ):
            before = session.link.telemetry().written
            gesture()
            wait_until(lambda: session.link.telemetry().written > before + 16_000)  # noqa: B023
    finally:
        session.close()
    _, events, _ = log.read(tmp_path / "set.jsonl")
    assert {Op(e.op) for e in events} >= {Op.SET, Op.MODULATE, Op.SWITCH, Op.RESEED}
    reseeds = [e for e in events if e.op == Op.RESEED]
    # on a bar of 240: each, where no busy machine holds its control thread up for longer than a launch is early
    assert any(e.at % 44100 == 0 and e.late == 0 for e in reseeds)
    round_ = [e.at for e in events if e.op == Op.SET and e.parameter == 2 and e.voice == -1]
    assert len(round_) > 5
    assert all(b > a for a, b in itertools.pairwise(round_))
    replay.run(tmp_path / "set.jsonl", tmp_path / "again.wav")
    recorded, _ = soundfile.read(tmp_path / "set.wav", dtype="int32")
    again, _ = soundfile.read(tmp_path / "again.wav", dtype="int32")
    np.testing.assert_array_equal(again, recorded)
