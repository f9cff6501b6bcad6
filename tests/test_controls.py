"""The boundary's memory: what goes in comes out, full rings say so, snapshots are whole."""

import threading

import numpy as np
import pytest
from fake_program import make_program

from instrument.audio.callback import FADE_FRAMES, OUTPUT_UNDERFLOW, complain, serve_counted, serve_in_turn
from instrument.audio.performance import Performance
from instrument.audio.slots import Slot
from instrument.controls import Command, Link, Op
from instrument.shared import (
    CLOCK,
    COMMAND_SLOTS,
    DEVICE,
    EVENT_SLOTS,
    W_CLOCK,
    W_COMPLAINT,
    W_ENDED,
    W_FLOWING,
    W_RING_WRITE,
    W_TELEMETRY,
    hand_over,
    make_shared,
    pop_events,
    read_snapshot,
)


@pytest.fixture
def link():
    return Link(make_shared(2, 44100, 512, 1024))


def test_every_field_survives_both_ways():
    p = Performance([Slot(make_program(voices=2))], sample_rate=44100, voices=2, offline=True)
    sent = Command(77, Op.SET, voice=1, parameter=2, value=-0.123456789, ramp=12345, number=-9, flags=1, serial=1 << 40)
    p.link.push(sent)
    p.render_to(100)
    (event,) = p.link.events()
    assert vars(event) == vars(sent)
    seed = Command(50, Op.SEED, number=(1 << 64) - 1)
    p.link.push(seed)
    p.render_to(200)
    assert p.link.events()[0].number == -1  # 64 bits, as a signed number


def test_full_command_ring(link):
    assert all(link.push(Command(i, Op.RESEED)) for i in range(COMMAND_SLOTS))
    assert not link.push(Command(0, Op.RESEED))


def test_full_event_ring_counts_what_it_loses():
    p = Performance([Slot(make_program())], sample_rate=44100, offline=True)
    sent = 0
    while sent < EVENT_SLOTS + 100:
        while p.link.push(Command(0, Op.RESEED, serial=sent)):
            sent += 1
        p.render_to(p.report()["samples"] + 1)
    assert p.link.telemetry().events_lost == sent - EVENT_SLOTS
    assert [e.serial for e in p.link.events()] == list(range(1024))
    while p.link.events():
        pass
    p.link.push(Command(0, Op.RESEED, serial=-1))
    p.render_to(p.report()["samples"] + 1)
    hole, after = p.link.events()  # the hole is told where it is, before what comes next
    assert (hole.op, hole.number, after.serial) == (Op.EVENTS_LOST, sent - EVENT_SLOTS, -1)
    assert 0 <= hole.at < after.at


def test_more_commands_than_may_wait_lose_none():
    p = Performance([Slot(make_program())], sample_rate=44100, offline=True)
    order = np.random.default_rng(0).permutation(3000)
    left = [Command(int(at) * 3, Op.RESEED, serial=int(at)) for at in order]
    events, now = [], 0
    while now < 9100:
        while left and p.link.push(left[0]):
            left.pop(0)
        now += 50
        p.render_to(now)
        events += p.link.events()
    events += p.link.events()
    assert sorted(e.serial for e in events) == list(range(3000))
    assert all(e.at == e.serial * 3 + e.late for e in events)


def test_snapshots_are_never_torn(link):
    words, out = link.shared.words, np.zeros(2, np.int64)
    samples = link.shared.samples
    buffer = np.zeros(2, np.float32)
    done = threading.Event()

    def write():
        words[W_FLOWING] = 1
        for _ in range(20_000):
            words[W_RING_WRITE] += 1
            serve_counted(words, samples, buffer, 1, 0)
        done.set()

    thread = threading.Thread(target=write)
    thread.start()
    last = (0, 0)
    while not done.is_set():
        if read_snapshot(words, W_CLOCK, out):
            assert tuple(out) >= last  # sample and time only ever grow together
            last = (int(out[0]), int(out[1]))
    thread.join()
    sample, moment = link.clock()
    assert sample == 19_999
    assert moment > 0.0


def test_a_torn_snapshot_leaves_the_last_whole_one():
    p = Performance([Slot(make_program())], sample_rate=44100, offline=True)
    p.render_to(20_000)
    p.link.shared.words[W_CLOCK + 1 : W_CLOCK + 3] = 777, 10**9
    whole = p.link.telemetry()
    assert p.link.clock() == (777, 1.0)
    assert whole.rms > 0.1
    for base in (int(p.link.shared.words[W_TELEMETRY]), W_CLOCK):
        p.link.shared.words[base] += 1  # being written
        p.link.shared.words[base + 1 : base + 3] = 5
    assert p.link.clock() == (777, 1.0)
    assert p.link.telemetry() == whole


def test_events_pop_in_batches(link):
    assert pop_events(link.shared.words, np.zeros((4, 8), np.int64)) == 0
    assert link.events() == []


# --- the reader of the ring


class Reader:
    def __init__(self, link):
        self.link, self.words = link, link.shared.words
        self.written = 0

    def write(self, value, frames):
        ring = self.link.shared.samples
        start = int(self.words[5])
        for i in range(self.written, self.written + frames):
            ring[start + 2 * (i & int(self.words[6])) :][:2] = value, -value
        self.written += frames
        self.words[W_RING_WRITE] = self.written

    def read(self, frames, status=0, claim=0):
        out = np.full(2 * frames, 9.0, np.float32)
        if claim:
            serve_in_turn(self.words, self.link.shared.samples, out, frames, status, claim)
        else:
            serve_counted(self.words, self.link.shared.samples, out, frames, status)
        return out.reshape(-1, 2)


def test_shortage_fades_out_and_in_and_is_counted(link):
    r = Reader(link)
    r.write(0.5, 400)
    assert np.all(r.read(64) == 0.0)  # not pre-filled: silence that nobody misses
    assert link.telemetry().underruns == 0
    r.words[W_FLOWING] = 1
    heard = [r.read(256), r.read(256)]  # 144 of the second are there
    assert link.telemetry().underruns == 1
    assert link.telemetry().short_frames == 112
    heard.append(r.read(256))
    r.write(0.5, 400)
    heard.append(r.read(256))
    sound = np.concatenate(heard)
    np.testing.assert_array_equal(sound[:, 0], -sound[:, 1])
    assert sound[FADE_FRAMES:400, 0] == pytest.approx(0.5)
    assert np.abs(np.diff(sound[:, 0])).max() < 0.03  # neither out nor in is a click
    assert np.abs(sound[700:760]).max() < 1e-4
    assert sound[-1, 0] == pytest.approx(0.5)
    t = link.telemetry()
    assert (t.callbacks, t.underruns, t.xruns, t.read) == (5, 2, 0, 400 + 256)


def test_a_device_that_is_back_begins_from_silence_whoever_read_before(link):
    r = Reader(link)
    r.words[W_FLOWING] = 1
    r.write(0.5, 512)
    assert r.read(256, claim=DEVICE)[-1, 0] == pytest.approx(0.5)
    for back in (DEVICE + 1, DEVICE + 2):
        assert hand_over(r.words, back - 1, CLOCK)
        for _ in range(3):
            r.read(128, claim=CLOCK)
            r.write(0.5, 128)
        assert np.all(r.read(64, claim=back) == 0.0)  # opened, and not yet its turn
        r.read(128, claim=CLOCK)
        r.write(0.5, 128)
        assert hand_over(r.words, CLOCK, back)
        heard = r.read(256, claim=back)[:, 0]
        assert heard[0] < 0.01
        assert np.diff(heard).max() < 0.01
        assert heard[-1] == pytest.approx(0.5)
        r.write(0.5, 256)


def test_an_underrun_shifts_playback_and_loses_no_sample(link):
    r = Reader(link)
    r.words[W_FLOWING] = 1
    r.write(0.25, 100)
    r.read(256)
    assert link.clock()[0] == 0
    r.write(0.25, 300)
    r.read(256)
    assert link.clock()[0] == 100
    assert link.telemetry().read == 356


def test_the_drivers_own_complaints_and_the_end(link):
    r = Reader(link)
    r.words[W_FLOWING] = r.words[W_ENDED] = 1
    r.read(64, OUTPUT_UNDERFLOW)
    t = link.telemetry()
    assert (t.xruns, t.underruns) == (1, 0)


def test_an_xrun_told_for_every_block_of_a_period_counts_once(link):
    r = Reader(link)
    hour = 44100 * 3600  # a block as long as that: these come at once after each other
    r.words[W_COMPLAINT] = -(1 << 50)
    for _ in range(4):
        complain(r.words, hour)
    assert link.telemetry().xruns == 1
    r.words[W_COMPLAINT] -= 3600 * 10**9
    complain(r.words, hour)
    assert link.telemetry().xruns == 2
