"""The rules that several parts of a patch share: values of parameters, voices, seconds, bank entries.

Pure, any thread. Built from the table of parameters. Which fields use them is for the readers of the parts.
"""

from __future__ import annotations

from instrument.parameters import MAX_RAMP, MAX_VOICES, PARAMETERS
from instrument.schema import Either, Number, Rule, Switch, Text

SECONDS = Number(0, MAX_RAMP)
VOICE = Number(1, MAX_VOICES, whole=True)
NATURAL = Number(min(p.low for p in PARAMETERS.values()), max(p.high for p in PARAMETERS.values()))
ENTRY = Either(((int, Number(0, 9999, whole=True)), (str, Text())), "an index (from 0) or a name in the bank")

VALUES: dict[str, Rule] = {
    name: Switch() if p.switch else Number(p.low, p.high, whole=p.whole) for name, p in PARAMETERS.items()
}
