"""What networks cost with the helpers that are worth having, measured while these are there.

Control threads, before anything plays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from instrument.audio.cores import choose, core_count
from instrument.audio.headroom import Cost
from instrument.audio.helpers import Helpers
from instrument.audio.slots import Slot

Costs = dict[int, Cost]


def with_helpers(
    slots: Sequence[Slot],
    cost_of: Callable[[Slot], Cost],
    need_of: Callable[[Costs], float],
    budget: float,
    threads: int | None,
    raised: Callable[[], object] | None,
) -> tuple[Costs, Helpers, float]:
    """Each slot's cost, the helpers that it was measured with, which stay, and the share of one thread's time it takes.

    Args:
        cost_of: measures a slot.
        need_of: us a sample of all that is to be played, of which there are ``budget``.
        threads: in all; None is as many as are worth it.
        raised: see :class:`Helpers`.
    """
    helpers = Helpers(1)
    found = {1: {k: cost_of(slot) for k, slot in enumerate(slots)}}

    def need_with(count: int) -> float:
        nonlocal helpers
        helpers.close()
        helpers = Helpers(count, raised)
        helpers.start()
        for slot in slots:
            slot.have_help(helpers.address)
        with helpers.played():
            found[count] = {k: cost_of(slot) for k, slot in enumerate(slots)}
        return need_of(found[count])

    try:
        alone = need_of(found[1])
        best = threads or choose(budget, alone, need_with, core_count())
        if best != helpers.threads:
            need_with(best)
    except BaseException:
        helpers.close()
        raise
    return found[best], helpers, min(1.0, need_of(found[best]) / alone) if alone else 1.0
