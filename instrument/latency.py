"""L, the constant time from a gesture to its sound, shared out: a device's block, the loop's own part, and the ring.

Main thread, before anything plays. What the loop's own part consists of is ``instrument.audio.performance``'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from instrument.plan import Plan


@dataclass(frozen=True)
class Share:
    """What L is, in milliseconds; what remains of it for the ring, in frames; and one line if it is not the usual L."""

    latency_ms: float
    ring_frames: int
    news: str = ""


def share(plan: Plan, sample_rate: int) -> Share:
    """Share L out at ``sample_rate`` Hz.

    A bank of low rates needs more than the usual L: it gets that if nobody has asked for another. Raises ValueError
    when somebody has.
    """
    from instrument.audio import performance

    networks: Sequence[performance.Configured] = plan.networks
    at_once = plan.patch.output.launch if plan.backend == "cuda" else 1
    fallback = plan.fallback[1] if plan.fallback else None
    other = plan.block + performance.overhead(networks, sample_rate, at_once, fallback)
    least = other + plan.block + performance.turn_of(networks, sample_rate, at_once, fallback)
    frames = round(plan.latency_ms * sample_rate / 1000)
    if frames >= least:
        return Share(plan.latency_ms, frames - other)
    shortest = -(-1000 * least // sample_rate)
    need = f"with blocks of {plan.block} at {sample_rate} Hz"
    if plan.latency_from:
        raise ValueError(f"{plan.latency_from}: {plan.latency_ms:g} ms: at least {shortest} ms expected {need}")
    news = f"latency {shortest} ms, the least {need}; a smaller --block makes it shorter"
    return Share(float(shortest), round(shortest * sample_rate / 1000) - other, news)


def check_patch(file: str) -> str:
    """One line saying that the patch or set ``file`` can be played, as far as files tell. Raises ValueError, one line.

    Its bank is read too, of a set the first patch's, and its latency tried at the rate of its first checkpoint.
    """
    from instrument import patch, patch_osc, plan, setlist

    path = patch.find(file)
    line = setlist.check(path)
    made = plan.make(plan.Options(target=str(path), osc=patch_osc.NOTHING))
    plan.fallback_of(made.options, made.set)
    share(made, made.checkpoints[0].config.sample_rate)
    return line
