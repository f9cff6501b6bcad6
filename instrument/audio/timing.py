"""What the networks cost on this machine, and what the loop may therefore do: how fast to prime, how long to crossfade.

Control thread, before the first sample. The result is fixed for the whole set and goes into the log's head, so that a
replay obeys the numbers and never a clock.

The rules, per slot and session sample, with all voices playing and switching at once:

- A tenth of the time is left alone. What the dearest network leaves of the rest pays for priming: ``prime_rate``
  network samples for each one played, 2 to 8.
- A voice is primed with as much as it can catch up with in 60 ms, at most 8192 samples.
- Two networks that fit together crossfade as long as they are asked to. Otherwise the crossfade may use up half of the
  ring, and is cut to what that lasts, but not below 2 ms.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from instrument.parameters import shorten

if TYPE_CHECKING:  # a log's numbers are checked before numba is imported
    from instrument.audio.slots import Slot

SHARE = 0.9  # of the time the networks may use
CATCH_UP_S = 0.06
LONGEST = 8192
SLOWEST, FASTEST = 2, 8
SHORTEST_FADE_S = 0.002
UNLIMITED = 1 << 40
_LEAST, _ROUNDS = 3, 7
# Of this thread, since other programs take turns with it now and will not with the render loop; where that clock is
# too coarse (Windows), the wall's.
_clock = time.thread_time if time.get_clock_info("thread_time").resolution < 1e-6 else time.perf_counter
_PATIENCE_S = 0.1


@dataclass(frozen=True)
class Timing:
    """The loop's rules in numbers.

    Attributes:
        turn: samples of the grid the loop works on.
        delay: session samples by which networks run ahead of the mix (0 when every rate is the session's).
        ahead: samples the limiter looks ahead.
        prime_rate, prime_length: by slot.
        crossfade: longest, in session samples, from slot (row) to slot (column).
        cost_us: measured, by slot: a session sample of all voices, and of priming one voice (one sample each). With
            the costs of partners at the start, what the rest was computed from: for people, never read back.
    """

    turn: int
    delay: int
    ahead: int
    prime_rate: tuple[int, ...]
    prime_length: tuple[int, ...]
    crossfade: tuple[tuple[int, ...], ...]
    cost_us: tuple[tuple[float, float], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, for the log's head."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any], slots: int) -> Timing:
        """Read what :meth:`to_json` gave for so many slots. Raises ValueError, naming the field: the loop trusts it."""
        rows = data.get("crossfade")
        if not isinstance(rows, (list, tuple)) or len(rows) != slots:
            raise ValueError(f"timing.crossfade: a list of {slots} lists expected, one for each of the bank")
        return cls(
            turn=_integers([data.get("turn")], "turn", 1, 1, UNLIMITED)[0],
            delay=_integers([data.get("delay")], "delay", 1, 0, UNLIMITED)[0],
            ahead=_integers([data.get("ahead")], "ahead", 1, 0, UNLIMITED)[0],
            prime_rate=_integers(data.get("prime_rate"), "prime_rate", slots, SLOWEST, FASTEST),
            prime_length=_integers(data.get("prime_length"), "prime_length", slots, 0, LONGEST),
            crossfade=tuple(_integers(row, "crossfade", slots, 1, UNLIMITED) for row in rows),
        )


def check_rules(prime_length: int, pairs: Sequence[Sequence[int]]) -> None:
    """Raise ValueError unless these can be the rules of a slot that joins (``controls.Loaded``)."""
    _integers([prime_length], "prime_length", 1, 0, LONGEST)
    for slot, *values in pairs:
        _integers([slot], "pairs", 1, 0, UNLIMITED)
        _integers(values[:2], "pairs", 2, SLOWEST, FASTEST)
        _integers(values[2:], "pairs", 2, 1, UNLIMITED)


def _integers(values: object, name: str, count: int, low: int, high: int) -> tuple[int, ...]:
    if not isinstance(values, (list, tuple)) or len(values) != count:
        raise ValueError(f"timing.{name}: a list of {count} expected, one for each of the bank")
    for value in values:
        if type(value) is not int or not low <= value <= high:
            raise ValueError(f"timing.{name}: {shorten(value)}: an integer from {low} to {high} expected")
    return tuple(values)


def make_timing(
    costs: Sequence[tuple[float, float]],
    network_rates: Sequence[int],
    *,
    sample_rate: int,
    voices: int,
    ring_frames: int,
    turn: int,
    delay: int,
    ahead: int,
) -> Timing:
    """Apply the rules to ``costs`` (us a session sample: all voices playing, one voice primed by one sample)."""
    sample = 1e6 / sample_rate
    dearest = max(cost for cost, _ in costs)
    rates, lengths = [], []
    for (_, prime), rate in zip(costs, network_rates, strict=True):
        k = int(max(SLOWEST, min(FASTEST, (SHARE * sample - dearest) / max(1e-9, prime * voices))))
        rates.append(k)
        lengths.append(int(min(LONGEST, (k - 1) * CATCH_UP_S * rate)))
    slack = ring_frames / 2 * sample
    rows = []
    for old, _ in costs:
        over = [old + new - SHARE * sample for new, _ in costs]
        shortest = max(1, int(SHORTEST_FADE_S * sample_rate))
        rows.append(tuple(UNLIMITED if x <= 0 else max(shortest, int(slack / x)) for x in over))
    return Timing(turn, delay, ahead, tuple(rates), tuple(lengths), tuple(rows), tuple(costs))


def measure(slot: Slot, voices: int) -> tuple[float, float]:
    """us a session sample of ``slot``: all voices playing, and priming one voice by one sample. About 30 ms.

    The quickest of several rounds: what disturbs a measurement only ever makes it longer. Lanes are left running:
    :meth:`Slot.begin` afterwards.
    """
    from instrument.audio.slots import run_prime

    p, stride = slot.program, slot.betas.shape[1]
    priming = _quickest(lambda: run_prime(p.prime, p.context, 0, slot.tokens.ctypes.data, stride))
    return measure_playing(slot, voices), priming / stride * slot.resampler.source / slot.resampler.target


def measure_playing(slot: Slot, voices: int) -> float:
    """us a session sample of ``slot`` with so many voices playing, measured likewise."""
    from instrument.audio.slots import run_generate

    p, stride = slot.program, slot.betas.shape[1]
    betas, tokens = slot.betas.ctypes.data, slot.tokens.ctypes.data
    slot.betas.fill(1.0)
    mask = (1 << voices) - 1 if voices < 64 else -1
    taken = _quickest(lambda: run_generate(p.generate, p.context, mask, stride, betas, tokens, stride))
    playing: float = taken / stride * slot.resampler.source / slot.resampler.target
    return playing


def with_partners(
    costs: Sequence[tuple[float, float]], partners: Sequence[int], known: Mapping[int, tuple[float, float]]
) -> list[tuple[float, float]]:
    """``costs`` where voices have partners (slots, -1 for none): theirs on top of each network's own, as far as known.

    Each of ``costs`` and of ``known`` (by slot) is as :func:`measure` gives them; the same again.
    """
    taken = [known[partner] for partner in partners if partner in known]
    playing = sum(cost for cost, _ in taken) / max(1, len(partners))
    priming = max((prime for _, prime in taken), default=0.0)
    return [(cost + playing, prime + priming) for cost, prime in costs]


def _quickest(call: Callable[[], object]) -> float:
    """Microseconds of the quickest call; what is slow anyway is called less often."""
    best, rounds, first = float("inf"), 0, time.perf_counter()
    while rounds < _LEAST or (rounds < _ROUNDS and time.perf_counter() - first < _PATIENCE_S):
        begun = _clock()
        call()
        best = min(best, _clock() - begun)
        rounds += 1
    return best * 1e6
