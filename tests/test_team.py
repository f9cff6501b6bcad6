"""A team gives the samples of one thread, whoever computes what, and however late."""

import threading
import time

import numpy as np
import pytest
from networks import ARCHITECTURES, network

from engine.cpu import team as t
from engine.cpu.memory import address
from engine.cpu.packing import (
    D_JOB,
    DENSE_STRIDE,
    L_HH,
    T_LAYERS,
    T_UP,
    TEAM,
    TIER_STRIDE,
    TIER_WORDS,
    TIERS,
)
from engine.generator import make_generator

EAGER = {"ahead": 0, "at_once": 0, "slice": 1}  # shares whatever there is


class Helpers:
    """Threads that assist until the team stops."""

    def __init__(self, team, count=1):
        self.team = team
        t.assist(team.address, 0, 1)  # compiled before anybody waits for it
        self.threads = [threading.Thread(target=self.run, args=(k,)) for k in range(count)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def run(self, k):
        while not self.team._words[t.STOP]:
            t.assist(self.team.address, k, 100000)

    def __exit__(self, *_):
        self.team.stop()
        for thread in self.threads:
            thread.join()


def generators(name, precision="int8", voices=1, **options):
    """One alone and one whose team is still to be set."""
    return [make_generator(network(name), "cpu", precision, voices, seed=3, **options) for _ in range(2)]


def give(generator, team):
    generator._packed.words[TEAM] = team.address if team else 0


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_a_team_says_what_one_says(name, precision):
    team = t.Team(**EAGER)
    alone, shared = generators(name, precision, 3, stereo=[False, True, False])
    give(shared, team)
    with Helpers(team):
        for n in (1, 200, 63, 236):
            np.testing.assert_array_equal(shared.generate(n, 0.95), alone.generate(n, 0.95))
        for generator in (alone, shared):
            generator.reset("random", 1)  # what was made ahead is no longer wanted
            generator.prime(np.arange(5) % generator.config.q_levels)
        np.testing.assert_array_equal(shared.generate(100), alone.generate(100))


@pytest.mark.parametrize("seed", range(4))
def test_whatever_happens_to_the_state_nothing_is_stuck(seed):
    """States put back in the middle of a frame, reseeds, known samples: the same sound, and jobs end."""
    team, rng = t.Team(**EAGER), np.random.default_rng(seed)
    alone, shared = generators("gru-pruned", voices=2)
    give(shared, team)
    kept = [(alone.state(), shared.state())]
    with Helpers(team):
        for _ in range(150):
            what, n = rng.integers(6), int(rng.integers(1, 20))
            if what == 0:
                kept.append((alone.state(), shared.state()))
            elif what == 1:
                for generator, state in zip((alone, shared), kept[rng.integers(len(kept))], strict=True):
                    generator.restore(state)
            elif what == 2:
                alone.reset("zeros", 0)
                shared.reset("zeros", 0)
            elif what == 3:
                known = rng.integers(0, alone.config.q_levels, n)
                alone.prime(known)
                shared.prime(known)
            np.testing.assert_array_equal(shared.generate(n), alone.generate(n))
        until = time.monotonic() + 60
        while team.working_on(shared.context):
            assert time.monotonic() < until
            time.sleep(0.001)
    assert all(job[t.OPEN] or t.is_free(address(job)) for job in map(team._job, range(t.JOBS)))


def test_a_frame_may_be_gone_through_twice():
    """What was collected of a job is not collected again: put back in the middle of a frame, the same sound."""
    team = t.Team(**EAGER)
    alone, shared = generators("gru-pruned")
    give(shared, team)
    with Helpers(team):
        for _ in range(200):
            for generator in (alone, shared):
                generator.generate(1)
            states = [generator.state() for generator in (alone, shared)]
            first = [generator.generate(2) for generator in (alone, shared)]
            for generator, state in zip((alone, shared), states, strict=True):
                generator.restore(state)
            again = [generator.generate(2) for generator in (alone, shared)]
            np.testing.assert_array_equal(first, again)
            np.testing.assert_array_equal(*again)
    jobs = [team._job(k) for k in range(t.JOBS)]
    assert all(job[t.OPEN] or t.is_free(address(job)) for job in jobs)


def test_several_helpers():
    team = t.Team(**EAGER)
    alone, shared = generators("gru-pruned", voices=4)
    give(shared, team)
    with Helpers(team, 3):
        np.testing.assert_array_equal(shared.generate(800), alone.generate(800))


def test_blended_networks_share_a_team():
    team = t.Team(**EAGER)
    alone, shared = generators("gru"), generators("gru")
    for generator in shared:
        give(generator, team)
    with Helpers(team):
        one, two = (pair[0].generate(300, 1.0, partner=pair[1], blend=0.4) for pair in (alone, shared))
    np.testing.assert_array_equal(two, one)


@pytest.mark.parametrize("way", [{"ahead": 0, "at_once": 1 << 40}, {"ahead": 1 << 40, "at_once": 0}])
def test_rows_of_helpers_are_taken(way):
    """Ahead and at once: until helpers have made some, however late they come."""
    team = t.Team(**way, slice=1)
    alone, shared = generators("gru-pruned", voices=2)
    give(shared, team)
    with Helpers(team):
        for _ in range(100_000):
            np.testing.assert_array_equal(shared.generate(8, 0.95), alone.generate(8, 0.95))
            if team.helped > 100:
                break
    assert team.helped > 100


def test_networks_that_play_in_turns_have_jobs_of_their_own():
    first, second = (make_generator(network("gru"), "cpu", "int8") for _ in range(2))
    jobs = [{int(g._packed.words[at + D_JOB]) for at in matrices(g)} for g in (first, second)]
    assert 0 not in jobs[0] | jobs[1]
    assert not jobs[0] & jobs[1]


def matrices(generator):
    """Words of those that can be made ahead."""
    words = generator._packed.words
    tiers = [int(words[TIER_WORDS]) + i * TIER_STRIDE for i in range(int(words[TIERS]))]
    layers = [int(words[tier + T_LAYERS]) for tier in tiers]
    return [int(words[tiers[0] + T_UP]) + DENSE_STRIDE, *(int(words[layer + L_HH]) for layer in layers)]


def test_nobody_helps():
    """All helpers asleep: the player takes every slice, and waits for nobody."""
    team = t.Team(**EAGER)
    alone, shared = generators("gru-pruned")
    give(shared, team)
    np.testing.assert_array_equal(shared.generate(100), alone.generate(100))
    assert team.lost == 0


class Lazy:
    """A helper that claims a slice and is put aside before it has made it: the memory a helper would leave."""

    def __init__(self, team):
        self.team, self.held = team, []

    def claim(self):
        """Claim a slice of the first job that has one; whether there was one."""
        for k in range(t.JOBS):
            job = self.team._job(k)
            if job[t.CLAIM] & 0xFFFFFFFF < job[t.CLAIM] >> 32:
                self.held.append((address(job), int(job[t.CLAIM] & 0xFFFFFFFF)))
                job[t.CLAIM] += 1
                return True
        return False

    def wake(self):
        for job, slice_ in self.held:
            t.help_with(self.team.address, 0, job, slice_)
        self.held = []


def test_a_helper_that_is_put_aside_costs_its_slices_only():
    """Its slices are made by the player; when it wakes its late rows change nothing, and its jobs are used again."""
    team = t.Team(**EAGER, patience=50)
    alone, shared = generators("gru-pruned")
    give(shared, team)
    helper = Lazy(team)
    expected = [alone.generate(1) for _ in range(200)]
    lost = []
    for n, samples in enumerate(expected):
        if 20 <= n < 60:
            helper.claim()  # of what was offered ahead for samples to come
        if n == 120:
            helper.wake()
        np.testing.assert_array_equal(shared.generate(1), samples)
        lost.append(team.lost)
    assert lost[19] == 0
    assert lost[60] > 0
    assert lost[119] == lost[199]  # nothing new was claimed; nothing that woke was waited for


def test_what_is_held_is_not_offered_anew():
    """A job whose slice somebody still works on is left alone, and its network must be kept."""
    team = t.Team(**EAGER, patience=50)
    (shared, _) = generators("gru-pruned")
    give(shared, team)
    helper = Lazy(team)
    shared.generate(9)
    assert helper.claim()
    job = next(team._job(k) for k in range(t.JOBS) if address(team._job(k)) == helper.held[0][0])
    shared.generate(100)
    assert not t.is_free(address(job))
    assert team.working_on(shared.context)
    helper.wake()
    assert t.is_free(address(job)) or job[t.OPEN]


def test_work_that_is_not_worth_it_stays_with_the_player():
    team = t.Team(ahead=10**9, at_once=10**9)
    (shared, _) = generators("gru-pruned")
    give(shared, team)
    shared.generate(50)
    assert all(team._job(k)[t.COUNT] == 0 for k in range(t.JOBS))


def test_a_stopped_team_is_over():
    team = t.Team()
    team.stop()
    assert t.assist(team.address, 0, 1 << 40) == 0
