"""Threads that help: how many, where, and that a set with them is the set without."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from networks import network

from engine.cpu import team as t
from engine.generator import make_generator
from instrument.audio import cores, performance
from instrument.audio.helpers import Helpers
from instrument.audio.performance import Performance
from instrument.audio.slots import Slot

RATE = 44100


def slot(name="gru-pruned", voices=1):
    program = make_generator(network(name), "cpu", "int8", voices, spare=2 * voices).program
    return Slot(program, name=name, precision="int8")


@pytest.mark.parametrize(
    ("alone", "costs", "available", "expected"),
    [
        (10.0, {}, 8, 1),  # one is enough
        (14.0, {2: 9.0}, 2, 2),
        (14.0, {2: 13.0}, 8, 1),  # not worth a core
        (40.0, {2: 22.0, 3: 16.0, 4: 10.0}, 8, 4),
        (40.0, {2: 22.0, 3: 21.0}, 8, 2),
        (40.0, {2: 22.0}, 2, 2),
        (40.0, {}, 1, 1),
    ],
)
def test_as_few_threads_as_will_do(alone, costs, available, expected):
    assert cores.choose(22.7, alone, costs.__getitem__, available) == expected


def test_no_two_helpers_on_one_core(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3, 4, 5}, raising=False)
    monkeypatch.setattr(cores, "_core_of", lambda cpu: f"{cpu % 3}")  # 0 and 3, 1 and 4, 2 and 5 are one core each
    assert cores.core_count() == 3
    assert cores.helpers_cores(3) == [2, 1]
    assert cores.helpers_cores(2) == [2]
    assert cores.helpers_cores(4) == []  # more than there are: the system shall place them
    kept = []
    monkeypatch.setattr(os, "sched_setaffinity", lambda _, cpus: kept.append(cpus), raising=False)
    assert cores.kept_off([2, 1]) == {0, 1, 2, 3, 4, 5}
    assert kept == [{0, 3}]


def test_nobody_needs_no_memory():
    helpers = Helpers(1)
    assert (helpers.address, helpers.helped, helpers.lost, helpers.working_on(1)) == (0, 0, 0, False)
    helpers.close()


def test_helpers_end_when_told():
    helpers = Helpers(3)
    helpers.start()
    helpers.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("helper")]


def test_a_main_thread_that_dies_leaves_no_helper():
    """Whoever failed between making helpers and closing them: the process ends all the same."""
    dies = "from instrument.audio.helpers import Helpers\nHelpers(2).start()\nraise ValueError('gone')"
    done = subprocess.run([sys.executable, "-c", dies], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert "gone" in done.stderr


def test_helpers_are_there_once_started():
    """With their priority: what is measured next is measured with them."""
    raised = []
    helpers = Helpers(3, lambda: raised.append(threading.get_ident()))
    helpers.start()
    assert len(set(raised)) == 2
    helpers.close()


def test_priority_is_a_favour():
    def refuse():
        raise PermissionError("no")

    helpers = Helpers(2, refuse)
    helpers.start()
    helpers.close()


def test_helped_slots_say_the_same():
    """Through a slot's descriptor, with real threads."""
    one, two = slot(), slot()
    helpers = Helpers(2)
    helpers._team._words[[t.AHEAD, t.AT_ONCE, t.SLICE]] = 0, 0, 1
    helpers.start()
    try:
        two.have_help(helpers.address)
        sounds = []
        for each in (one, two):
            each.prepare(RATE, 16)
            each.begin(7)
            performance = Performance([each], sample_rate=RATE, seed=7, offline=True)
            sounds.append(performance.render_to(4000))
            performance.close()
        np.testing.assert_array_equal(*sounds)
        two.have_help(0)
        assert two.program.team
    finally:
        helpers.close()


def test_a_performance_with_helpers_closes(monkeypatch):
    """Asked for two threads it has two, says so, frees what it unloads, and leaves none behind."""
    p = Performance([slot()], sample_rate=RATE, threads=2)
    try:
        assert p.threads == 2
        assert p.holdings[0].threads == 2
        cost = p.table.measured(1)[0]
        assert cost.alone == cost.together  # one voice is measured once: two figures would not agree
        assert p.report()["threads"] == 2
        k, _ = p.load(slot("gru-pruned"))
        p.unload(k)
    finally:
        p.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("helper")]


def test_a_performance_that_cannot_be_made_leaves_no_helper(monkeypatch):
    def fail(*_args, **_more):
        raise ValueError("no timing")

    monkeypatch.setattr(performance, "make_timing", fail)
    with pytest.raises(ValueError, match="no timing"):
        Performance([slot()], sample_rate=RATE, threads=2)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("helper")]


def test_a_replay_has_no_helpers():
    p = Performance([slot()], sample_rate=RATE, threads=2, offline=True)
    assert p.threads == 1
    p.close()
