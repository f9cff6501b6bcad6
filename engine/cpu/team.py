"""Several threads at one network: products are cut into slices of rows, which helpers claim from the front.

The thread that plays posts a product and takes slices from the back; helpers, who run :func:`assist`, put theirs where
nothing else is written. When none is left the player waits for what helpers have claimed, but not for long: a helper
that the system has put aside loses its slices to the player, and gets nothing new until it has come back and is done.
Whoever computes a row, it is the same sum: samples do not depend on any of this.

Products may be posted before they are wanted (:func:`foresee`): a layer's recurrent half, and what a frame will say to
its other slots, are known while samples are being drawn, and helpers make them in between. What was made ahead is used
only if matrix and inputs are, to the byte, those asked for then: nobody need tell the team that a state was changed.

The engine owns no threads: who runs :func:`assist`, where and how often, is the instrument's. One player at a time.
"""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine import kernel_cache  # noqa: F401  (before numba)

# isort: split
from numba import njit

from engine.cpu.memory import (
    address,
    aligned,
    exchange,
    f32,
    fetch_add,
    flush_denormals,
    i64,
    load_acquire,
    relax,
    restore_denormals,
    store_release,
)
from engine.cpu.packing import (
    D_COLS,
    D_JOB,
    D_PLACE,
    D_TILES,
    D_WORK,
    DENSE_STRIDE,
    INT8,
    JOBS,
    MOST_LANES,
    SELF,
    SERIAL,
    TEAM,
)
from engine.cpu.products import OPTIONS, part
from engine.cpu.tiles import ROWS

# Words of a team. What more than one thread writes, and what others poll, has a cache line of its own.
AHEAD, AT_ONCE, SLICE, PATIENCE, LOST, STOP, FIRST_JOB = 0, 1, 2, 3, 4, 8, 16

# Words of a job: matrices in a row times the same inputs. Job 0 is for what is wanted at once.
CLAIM = 0  # slices on offer << 32 | claimed by helpers so far, of all matrices in their order
CONTEXT, MATRIX, LANES, SLICES, SOURCES, RESULTS, WHOSE = range(1, 8)  # on the same line; SLICES of each matrix
DONE = 8  # of each matrix, slices that helpers have finished; on lines of their own
COUNT, OPEN, EXPECTED = 24, 25, 26  # the player's: matrices, whether it may still want them; DONE as it will be
JOB_WORDS = 48

MOST_MATRICES, MOST_HELPERS = 16, 15
SOURCE_ROOM, RESULT_ROOM = 1 << 16, 1 << 19  # bytes for the inputs and the results of a job: more is not shared
LISTS = FIRST_JOB + JOBS * JOB_WORDS  # then addresses for each helper: of each lane's input, and of its product
HELPED = 4 * MOST_LANES  # slices that this helper has made so far
LIST_WORDS = HELPED + 8
_MANY = 1 << 20
_MOST_SLICES = 64


class Team:
    """The memory that a player and its helpers share. ``address`` goes into a program's ``team`` word, or 0.

    Args:
        ahead: work (about ns of one core) from which a product is made ahead.
        at_once: work from which one that is wanted at once is shared.
        slice: work that a slice should have.
        patience: turns of a waiting loop (about 20 ns) until a helper's slices are taken from it.
    """

    def __init__(self, ahead: int = 200, at_once: int = 2000, slice: int = 300, patience: int = 2000) -> None:
        self._words = aligned(LISTS + MOST_HELPERS * LIST_WORDS, np.int64)
        self._sources = aligned(JOBS * SOURCE_ROOM, np.uint8)
        self._results = aligned(JOBS * RESULT_ROOM, np.uint8)
        self._words[[AHEAD, AT_ONCE, SLICE, PATIENCE]] = ahead, at_once, slice, patience
        for k in range(JOBS):
            job = self._job(k)
            job[SOURCES] = address(self._sources) + k * SOURCE_ROOM
            job[RESULTS] = address(self._results) + k * RESULT_ROOM

    @property
    def address(self) -> int:
        """Where it lies."""
        return address(self._words)

    @property
    def lost(self) -> int:
        """How often a helper's slices were taken from it so far."""
        return int(self._words[LOST])

    @property
    def helped(self) -> int:
        """Slices that helpers have made so far."""
        return int(self._words[LISTS + HELPED :: LIST_WORDS].sum())

    def stop(self) -> None:
        """:func:`assist` returns soon, here and from now on."""
        self._words[STOP] = 1

    def working_on(self, context: int) -> bool:
        """Whether helpers may still read that network's memory, which no player is using any more."""
        return any(is_busy(job_at(self.address, k)) for k in range(JOBS) if self._job(k)[CONTEXT] == context)

    def _job(self, k: int) -> NDArray[np.int64]:
        return self._words[FIRST_JOB + k * JOB_WORDS :][:JOB_WORDS]


@njit(**OPTIONS)
def product(ctx, d, n, sources, outs):
    """All rows of y = W a + b for n lanes, with whoever helps."""
    team, tiles = ctx[TEAM], ctx[d + D_TILES]
    if team == 0:
        part(ctx, d, 0, tiles, n, sources, outs)
        return
    work = ctx[d + D_WORK] * n
    job = job_at(team, ctx[d + D_JOB])
    if ctx[d + D_JOB] and agrees(ctx, job, d, n, sources):
        collect(team, job, ctx, d, n, sources, outs)
        return
    job = job_at(team, 0)
    if work >= i64(team, FIRST_JOB)[AT_ONCE] and fits(ctx, d, n, 1) and is_free(job):
        post(team, job, ctx, d, 1, n, sources)
        share(team, job, ctx, d, n, sources, outs)
        return
    part(ctx, d, 0, tiles, n, sources, outs)


@njit(**OPTIONS)
def foresee(ctx, d, count, n, sources):
    """Offer ``count`` matrices from ``d`` on, which will be wanted with these inputs later, if that is worth it."""
    team = ctx[TEAM]
    if count == 0 or ctx[d + D_JOB] == 0 or ctx[d + D_WORK] * n < i64(team, FIRST_JOB)[AHEAD]:
        return
    job = job_at(team, ctx[d + D_JOB])
    close(job)
    if fits(ctx, d, n, count) and is_free(job):
        post(team, job, ctx, d, count, n, sources)


@njit(**OPTIONS)
def job_at(team, k):
    """Address of a job."""
    return team + (FIRST_JOB + k * JOB_WORDS) * 8


@njit(**OPTIONS)
def source_bytes(ctx, d):
    """Bytes of a matrix's input."""
    return ctx[d + D_COLS] * (1 if ctx[INT8] else 4)


@njit(**OPTIONS)
def fits(ctx, d, n, count):
    """Whether a job has room for so much."""
    small = n * source_bytes(ctx, d) <= SOURCE_ROOM and count <= MOST_MATRICES
    return small and count * n * ctx[d + D_TILES] * ROWS * 4 <= RESULT_ROOM


@njit(**OPTIONS)
def is_free(job):
    """Whether helpers are done with what a job was."""
    words = i64(job, JOB_WORDS)
    free = True
    for k in range(words[COUNT]):
        free = free and load_acquire(job + (DONE + k) * 8) == words[EXPECTED + k]
    return free


@njit(**OPTIONS)
def is_busy(job):
    """Whether helpers have anything left to do; what nobody asks for any more they make to its end all the same.

    Any thread: OPEN is stored after the EXPECTED that it goes with, and so read before them.
    """
    words, still = i64(job, JOB_WORDS), load_acquire(job + OPEN * 8)
    busy = False
    for k in range(words[COUNT]):
        expected = words[SLICES] if still > 0 and k >= still - 1 else words[EXPECTED + k]
        busy = busy or load_acquire(job + (DONE + k) * 8) != expected
    return busy


@njit(**OPTIONS)
def post(team, job, ctx, d, count, n, sources):
    """Put products where helpers find them; the job is free. The last store lets helpers in."""
    words, a, size = i64(job, JOB_WORDS), i64(sources, n), source_bytes(ctx, d) // 8
    slices = ctx[d + D_WORK] * n // i64(team, FIRST_JOB)[SLICE]
    slices = max(1, min(slices, ctx[d + D_TILES], _MOST_SLICES))
    copies = i64(words[SOURCES], n * size)
    for i in range(n):
        source = i64(a[i], size)
        for j in range(size):
            copies[i * size + j] = source[j]
    words[CONTEXT], words[MATRIX], words[LANES], words[SLICES] = ctx[SELF], d, n, slices
    words[WHOSE] = ctx[SERIAL]
    words[COUNT], words[OPEN] = count, 1
    for k in range(count):
        words[DONE + k] = 0
    store_release(job, (count * slices) << 32)


@njit(**OPTIONS)
def agrees(ctx, job, d, n, sources):
    """Whether what was offered ahead is what is wanted now; if not, nobody goes on with it."""
    words, a, size = i64(job, JOB_WORDS), i64(sources, n), source_bytes(ctx, d) // 8
    if words[OPEN] == 0:
        return False
    place = ctx[d + D_PLACE]
    same = words[WHOSE] == ctx[SERIAL] and words[MATRIX] + place * DENSE_STRIDE == d and words[LANES] == n
    same = same and place >= words[OPEN] - 1  # a frame that is gone through again was collected before
    copies = i64(words[SOURCES], n * size)
    i = 0
    while same and i < n:
        source, other = i64(a[i], size), np.int64(0)
        for j in range(size):
            other |= source[j] ^ copies[i * size + j]
        same = other == 0
        i += 1
    if not same:
        close(job)
    return same


@njit(**OPTIONS)
def claim(job, upto):
    """Claim for the player what helpers have not, of the slices before ``upto``; returns where its own begin."""
    while True:
        seen = load_acquire(job)
        taken = seen & 0xFFFFFFFF
        if taken >= upto or exchange(job, seen, seen - taken + upto):
            return taken


@njit(**OPTIONS)
def close(job):
    """What is left of a job that was offered ahead will not be wanted."""
    words = i64(job, JOB_WORDS)
    if words[OPEN] == 0:
        return
    slices = words[SLICES]
    place = words[OPEN] - 1  # of the first matrix that was not collected
    taken = claim(job, words[COUNT] * slices)
    for k in range(place, words[COUNT]):
        words[EXPECTED + k] = max(0, min(slices, taken - k * slices))
    store_release(job + OPEN * 8, 0)


@njit(**OPTIONS)
def collect(team, job, ctx, d, n, sources, outs):
    """A product that was offered ahead: what helpers have of it, the rest made here. Its matrices come in order."""
    words, place = i64(job, JOB_WORDS), ctx[d + D_PLACE]
    slices = words[SLICES]
    taken = claim(job, (place + 1) * slices)
    first = words[OPEN] - 1
    for k in range(first, place + 1):  # those skipped too
        words[EXPECTED + k] = max(0, min(slices, taken - k * slices))
    store_release(job + OPEN * 8, 0 if place + 1 == words[COUNT] else place + 2)
    theirs = words[EXPECTED + place]
    begin = slice_begin(ctx, d, slices, theirs)
    part(ctx, d, begin, ctx[d + D_TILES], n, sources, outs)
    join(team, job, ctx, d, place, theirs, begin, n, sources, outs)


@njit(**OPTIONS)
def slice_begin(ctx, d, slices, k):
    """The first tile of slice k."""
    return ctx[d + D_TILES] * k // slices


@njit(**OPTIONS)
def share(team, job, ctx, d, n, sources, outs):
    """What is wanted at once: the player takes slices from the back until none is left."""
    words = i64(job, JOB_WORDS)
    offered = slices = words[SLICES]
    while True:
        seen = load_acquire(job)
        if seen & 0xFFFFFFFF >= offered:
            break
        if exchange(job, seen, seen - (1 << 32)):
            offered -= 1
            part(
                ctx, d, slice_begin(ctx, d, slices, offered), slice_begin(ctx, d, slices, offered + 1), n, sources, outs
            )
    words[EXPECTED] = offered
    store_release(job + OPEN * 8, 0)
    join(team, job, ctx, d, 0, offered, slice_begin(ctx, d, slices, offered), n, sources, outs)


@njit(**OPTIONS)
def join(team, job, ctx, d, place, slices, end, n, sources, outs):
    """The tiles before ``end``, which are so many slices that helpers claimed: have them, or make them after all."""
    if slices == 0:
        return
    if wait_for(team, job + (DONE + place) * 8, slices):
        fetch(i64(job, JOB_WORDS)[RESULTS], ctx[d + D_TILES] * ROWS, place, end * ROWS, n, outs)
    else:
        i64(team, FIRST_JOB)[LOST] += 1
        part(ctx, d, 0, end, n, sources, outs)


@njit(**OPTIONS)
def wait_for(team, done, slices):
    """Whether helpers finish so many slices within the team's patience."""
    for _ in range(i64(team, FIRST_JOB)[PATIENCE]):
        if load_acquire(done) == slices:
            return True
        relax()
    return False


@njit(**OPTIONS)
def fetch(results, rows, place, end, n, outs):
    """The first ``end`` of the ``rows`` that helpers have made, to where they belong."""
    y = i64(outs, n)
    for i in range(n):
        to, made = f32(y[i], end), f32(results + (place * n + i) * rows * 4, end)
        for r in range(end):
            to[r] = made[r]


@njit(**OPTIONS)
def assist(team, helper, patience):
    """The work of helper 0, 1, ...: slices of what is offered, until there was none ``patience`` times; how many."""
    before = flush_denormals()
    done, idle = 0, 0
    while idle < patience and load_acquire(team + STOP * 8) == 0:
        if help_once(team, helper):
            done += 1
            idle = 0
        else:
            relax()
            idle += 1
    restore_denormals(before)
    return done


@njit(**OPTIONS)
def help_once(team, helper):
    """One slice of the first job that has any: what is wanted at once before what is ahead. Whether there was one."""
    for k in range(JOBS):
        job = job_at(team, k)
        seen = load_acquire(job)
        if seen & 0xFFFFFFFF < seen >> 32 and exchange(job, seen, seen + 1):
            help_with(team, helper, job, seen & 0xFFFFFFFF)
            return True
    return False


@njit(**OPTIONS)
def help_with(team, helper, job, slice_):
    """A slice of a job, its rows to the job's results. While it is claimed the player leaves the job as it is."""
    words = i64(job, JOB_WORDS)
    ctx, n, slices = i64(words[CONTEXT], _MANY), words[LANES], words[SLICES]
    place, slice_ = slice_ // slices, slice_ % slices
    d = words[MATRIX] + place * DENSE_STRIDE
    size, rows = source_bytes(ctx, d), ctx[d + D_TILES] * ROWS
    sources = team + (LISTS + helper * LIST_WORDS) * 8
    outs = sources + 2 * MOST_LANES * 8
    a, y = i64(sources, n), i64(outs, n)
    for i in range(n):
        a[i], y[i] = words[SOURCES] + i * size, words[RESULTS] + (place * n + i) * rows * 4
    part(ctx, d, slice_begin(ctx, d, slices, slice_), slice_begin(ctx, d, slices, slice_ + 1), n, sources, outs)
    fetch_add(job + (DONE + place) * 8, 1)
    i64(sources, LIST_WORDS)[HELPED] += 1
