"""Falling behind, and what is done about it before the ring runs dry: voices rest.

Render thread only, compiled, and only live: offline, and so in a replay, voices rest where the log says so.

Each turn is held against its own duration. A machine that stands still for some milliseconds makes one turn late and
the next ones fast, and the ring is there for that. A set that is too much makes nearly every turn late:

- The turns since the loop last slept are counted, late ones up, those in time down. When ``core.patience`` samples
  more were late than in time, and the ring is less than half full, the set is behind.
- Voices that fitted until now get a quarter of the ring instead, since it is the machine that changed and it may
  change back; so do those of which one changes its network, which may use up half (``instrument.audio.timing``).
- It is behind as well when the ring has stayed less than half full for ``core.endurance`` samples without a sleep,
  whatever the turns say: another program takes the time between them.

Of voices that fitted until now one rests. Of voices that never did (at the start, after one was woken, on another
network) as many as it takes to bring the others within SHARE of the time, by what the late stretch took. Muted ones
rest first, then the highest number; the last one stays.
"""

# mypy: disable-error-code="no-any-return"
# (records are untyped to mypy; numba checks them)
from __future__ import annotations

from engine import kernel_cache  # noqa: F401

# isort: split
import numpy as np
from numba import njit

from instrument.audio.decks import value_at
from instrument.audio.memory import INNER, get_i64
from instrument.audio.parking import park
from instrument.audio.pending import tell
from instrument.audio.ring import ring_room
from instrument.audio.state import AWAKE, EVERY, LEAVING, PARKED, PLAYING, STEADY, ZERO, Record, voice_at
from instrument.audio.timing import SHARE
from instrument.controls import BY_ITSELF, MUTE, Op
from instrument.shared import NEVER, W_FLOWING, W_RING_FRAMES, load_acquire

PATIENCE_S, PATIENCE_TURNS = 0.003, 3
ENDURANCE_S, REFILLED = 0.2, 0.5 / (1.0 - SHARE)  # rings that half a ring takes to fill where SHARE is used
QUICKEST_S = 0.002  # a fade out that there is no more time for
USUAL = 1000  # turns that what is usual is a mean of
MOST = 4  # durations that one turn counts for: a standstill among late turns says nothing of their cost
_PARK, _BEHIND = np.int64(Op.PARK), np.int64(Op.BEHIND)
_MUTE, _BY_ITSELF, _NEVER = np.int64(MUTE), np.int64(BY_ITSELF), np.int64(NEVER)


@njit(**INNER)
def fill_of(core: Record) -> int:
    """Frames that the ring holds."""
    fill: int = get_i64(core.words, W_RING_FRAMES) - ring_room(core.words)
    return fill


@njit(**INNER)
def rested(core: Record) -> None:
    """The loop sleeps, or voices were let rest: what was counted is over."""
    core.behind, core.low, core.streak, core.spent = 0, 0, 0, 0


@njit(**INNER)
def weigh(core: Record, n: int, ns: int) -> None:
    """Hold a turn of n samples, which took ``ns``, against its duration."""
    time = n * 1_000_000_000 // core.rate
    took = min(ns, MOST * time)
    core.behind = max(0, core.behind + (n if ns > time else -n))
    core.streak = core.streak + n if core.behind > 0 else 0
    core.spent = core.spent + took if core.behind > 0 else 0
    core.low = core.low + n if 2 * fill_of(core) < get_i64(core.words, W_RING_FRAMES) else 0
    core.since = min(core.since + 1, USUAL)
    core.usual += (took / time - core.usual) / core.since


@njit(**INNER)
def shed(core: Record) -> None:
    """Let voices rest if the set is behind; that the last one is too much is told, once."""
    if core.offline != 0 or core.phase != PLAYING or core.stop_at != NEVER or load_acquire(core.words, W_FLOWING) == 0:
        return
    look_around(core)
    if count(core, LEAVING) > 0:  # what that will bring is not known yet
        rested(core)
    if not is_behind(core):
        return
    awake = count(core, AWAKE)
    share = core.spent * 1e-9 * core.rate / core.streak if core.streak > 0 else 1.0
    if awake > 1:
        fit = awake - 1 if core.usual < SHARE else int(awake * SHARE / share)
        let_rest(core, awake - min(awake - 1, max(1, fit)), share)
    elif core.hopeless == 0:
        core.hopeless = 1
        tell(core, core.mix, _BEHIND, EVERY, ZERO, ZERO, ZERO, share, ZERO)
    rested(core)


@njit(**INNER)
def look_around(core: Record) -> None:
    """What is usual begins anew when somebody comes or changes; who only goes makes it less."""
    crowd, many = 0, 0
    for v in range(core.voices):
        voice = voice_at(core.voice_memory, v)
        if voice.parked != PARKED:
            many += 1
            crowd += (v + 1) * (1 + voice.phase + 3 * voice.slot + 1009 * (voice.partner + 1))
    if crowd != core.crowd and many >= core.many:
        core.since = 0
    core.crowd, core.many = crowd, many


@njit(**INNER)
def is_behind(core: Record) -> bool:
    """Whether it is so bad that something must be done now."""
    if core.low >= core.endurance:
        return True
    parts = 4 if core.usual < SHARE else 2
    for v in range(core.voices):
        if voice_at(core.voice_memory, v).phase != STEADY:
            parts = 4
    return core.behind >= core.patience and parts * fill_of(core) < get_i64(core.words, W_RING_FRAMES)


@njit(**INNER)
def count(core: Record, parked: int) -> int:
    """Voices that are AWAKE or LEAVING."""
    found = 0
    for v in range(core.voices):
        found += voice_at(core.voice_memory, v).parked == parked
    return found


@njit(**INNER)
def let_rest(core: Record, many: int, share: float) -> None:
    """So many voices fade out, where a turn takes ``share`` of its duration."""
    length = fade_length(core, share)
    for _ in range(many):
        v = least(core)
        tell(core, core.mix, _PARK, v, ZERO, ZERO, length, share, _BY_ITSELF)
        park(core, v, length)


@njit(**INNER)
def fade_length(core: Record, share: float) -> int:
    """Samples of a fade out that costs half of what the ring holds, where a turn takes ``share`` of its duration."""
    excess = max(share - 1.0, 1e-3)
    longest = max(int(0.5 * fill_of(core) / excess), int(QUICKEST_S * core.rate))
    length: int = min(core.rest, longest)
    return length


@njit(**INNER)
def least(core: Record) -> int:
    """The voice that is missed least: the highest that is muted, else the highest."""
    found = -1
    for v in range(core.voices):
        if voice_at(core.voice_memory, v).parked == AWAKE:
            muted = value_at(core, v, _MUTE, _NEVER) >= 1.0
            if found < 0 or muted or value_at(core, found, _MUTE, _NEVER) < 1.0:
                found = v
    return found
