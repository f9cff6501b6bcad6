"""Notes that hold a parameter up: gates with attack and release, the latest note first.

The MIDI input's thread. Gates of one parameter and one voice (or all) are one, however many notes play it: the latest
struck of those still held decides, as on a monophonic keyboard. A note let go under a held pedal goes on until the
pedal does. How values move is left to the controller.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from instrument.midi.curves import shaped
from instrument.parameters import PARAMETERS
from instrument.patch_midi import Binding

Place = tuple[str, int]  # device, channel from 0
Set = Callable[[Binding, float, float, float], None]  # binding, natural value, seconds, moment
Where = Callable[[Binding], float]  # natural value a binding's parameter goes to


@dataclass
class _Held:
    binding: Binding
    place: Place
    note: int
    height: float
    let_go: bool = False  # and held by the pedal


class _Gate:
    """One parameter's: where it rests, and the notes that hold it up, the latest last."""

    def __init__(self, rest: float) -> None:
        self.rest = rest
        self.held: list[_Held] = []


class Gates:
    """All of a map's gates. ``go`` moves a parameter, ``where`` says where one is going."""

    def __init__(self, go: Set, where: Where) -> None:
        self._go, self._where = go, where
        self._gates: dict[tuple[str, int | None], _Gate] = {}
        self._pedals: set[Place] = set()

    def strike(self, binding: Binding, place: Place, note: int, velocity: int, moment: float) -> None:
        """A note on."""
        gate = self._gates.setdefault((binding.to, binding.voice), _Gate(0.0))
        if not gate.held:
            gate.rest = self._where(binding) if binding.range is None and binding.value is not None else binding.ends[0]
        gate.held = [held for held in gate.held if (held.binding, held.place, held.note) != (binding, place, note)]
        top = binding.ends[1] if binding.value is None else float(binding.value)
        whole = PARAMETERS[binding.to].whole  # a switch knows no half
        share = 1.0 if whole else shaped(binding.curve, 1.0 - binding.velocity * (1.0 - velocity / 127))
        gate.held.append(_Held(binding, place, note, gate.rest + (top - gate.rest) * share))
        self._go(binding, gate.held[-1].height, binding.attack, moment)

    def let_go(self, place: Place, note: int, moment: float) -> None:
        """A note off."""
        for gate in self._gates.values():
            for held in gate.held:
                if (held.place, held.note) == (place, note):
                    held.let_go = True
            if place not in self._pedals:
                self._drop(gate, lambda held: held.let_go and (held.place, held.note) == (place, note), moment)

    def pedal(self, place: Place, down: bool, moment: float) -> None:
        """The sustain pedal of a device's channel."""
        if down:
            self._pedals.add(place)
            return
        self._pedals.discard(place)
        for gate in self._gates.values():
            self._drop(gate, lambda held: held.let_go and held.place == place, moment)

    def release(self, moment: float, device: str | None = None) -> None:
        """Let every note go, of one device or of all, whatever the pedals say."""
        self._pedals = {place for place in self._pedals if device is not None and place[0] != device}
        for gate in self._gates.values():
            self._drop(gate, lambda held: device in (None, held.place[0]), moment)

    def forget(self) -> None:
        """As if nothing was held; no parameter moves, for another patch has put them all where it wants them."""
        self._gates, self._pedals = {}, set()

    def renew(self, bindings: Collection[Binding], placed: Callable[[Binding], bool], moment: float) -> None:
        """Another version of the map: let go of the notes whose line is gone, and keep the others.

        Where ``placed``, the file has just put the line's parameter elsewhere, and it stays there.
        """
        for gate in self._gates.values():
            if gate.held and placed(gate.held[-1].binding):
                gate.held = [held for held in gate.held if held.binding in bindings]
            self._drop(gate, lambda held: held.binding not in bindings, moment)

    def sounding(self, binding: Binding) -> bool:
        """Whether a note of that line holds its gate."""
        gate = self._gates.get((binding.to, binding.voice))
        return gate is not None and any(held.binding == binding for held in list(gate.held))

    def _drop(self, gate: _Gate, gone: Callable[[_Held], bool], moment: float) -> None:
        """Take notes away; the parameter follows if the one that decided is among them."""
        before = gate.held
        gate.held = [held for held in before if not gone(held)]
        if not before or (gate.held and gate.held[-1] is before[-1]):
            return
        if gate.held:
            self._go(gate.held[-1].binding, gate.held[-1].height, gate.held[-1].binding.attack, moment)
        else:
            self._go(before[-1].binding, gate.rest, before[-1].binding.release, moment)
