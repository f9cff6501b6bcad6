"""A Pure Data patch: sliders, buttons, boxes and meters over OSC, in Pd's own objects (vanilla 0.51 or newer).

What is seen sends to and receives by name; the cords are in its subpatch. So a patch of one's own needs no cords
either: ``samplernn-temperature`` moves a slider, ``samplernn-connect`` with host and port goes to another machine.
"""

from __future__ import annotations

from itertools import pairwise

from rows import BACK, HOST, PORT, RATE, Gesture, gestures, knobs, meters

LEFT, TOP, ROW, COLUMN = 20, 60, 36, 14
NUMBERS = ("entry", "index", "integer", "beats", "bpm")  # kinds that a number box says
FACE = "#fcfcfc #404040 #000000"


class Canvas:
    """Boxes and the cords between them, in the text format of Pd."""

    def __init__(self, head: str) -> None:
        self.lines = [head]
        self.count = 0

    def add(self, kind: str, x: int, y: int, text: str) -> int:
        """A box (obj, msg, text, floatatom, symbolatom); its number."""
        self.lines.append(f"#X {kind} {x} {y} {text};")
        self.count += 1
        return self.count - 1

    def cord(self, *boxes: int) -> None:
        """From first outlets to first inlets, along the boxes."""
        for one, other in pairwise(boxes):
            self.wire(one, 0, other)

    def wire(self, one: int, outlet: int, other: int) -> None:
        """From an outlet to the first inlet."""
        self.lines.append(f"#X connect {one} {outlet} {other} 0;")


def patch() -> bytes:
    """The file."""
    face = Canvas("#N canvas 60 60 960 700 12;")
    face.add("text", LEFT, 10, f"samplernn-live over OSC: it listens on {PORT} \\, this patch on {BACK}")
    face.lines += [*_network(), f"#X restore {LEFT + 700} 10 pd network;"]
    face.count += 1
    for i, knob in enumerate(knobs()):
        y = TOP + ROW * i
        names = f"samplernn-to-{knob.name} samplernn-{knob.name} {knob.name}"
        face.add("obj", LEFT, y, f"hsl 260 15 {knob.low:g} {knob.high:g} 0 0 {names} 0 -9 0 12 {FACE} 0 1")
        face.add("floatatom", LEFT + 275, y - 2, f"7 0 0 0 - samplernn-to-{knob.name} - 0")
    for i, gesture in enumerate(gestures()):
        _gesture(face, LEFT + 380 + 190 * (i // COLUMN), TOP + ROW * (i % COLUMN), gesture)
    for i, address in enumerate(meters()):
        name = address.rsplit("/", 1)[1]
        face.add(
            "floatatom",
            LEFT + 100 * (i % 9),
            TOP + ROW * COLUMN + 50 * (i // 9) + 24,
            f"9 0 0 2 {name} samplernn-out-{name} - 0",
        )
    return ("\n".join(face.lines) + "\n").encode()


def _gesture(face: Canvas, x: int, y: int, gesture: Gesture) -> None:
    """A button, a number box or a box for a word, by what it takes."""
    send, receive = f"samplernn-to-{_flat(gesture.name)}", f"samplernn-{_flat(gesture.name)}"
    if gesture.is_gate:
        face.add("obj", x, y, f"bng 17 250 50 0 {send} {receive} {gesture.name} 24 8 0 12 {FACE}")
    elif len(gesture.arguments) > 1:
        return  # takes more than a box can say
    elif gesture.kinds[0] in NUMBERS:
        face.add("floatatom", x, y, f"6 0 0 1 {gesture.name} {receive} {send} 0")
    else:
        face.add("symbolatom", x, y, f"12 0 0 1 {gesture.name} {receive} {send} 0")


def _flat(name: str) -> str:
    return name.replace("/", "-")


def _network() -> list[str]:
    inner = Canvas("#N canvas 100 100 1000 700 network 0;")
    _link(inner)
    for i, knob in enumerate(knobs()):
        _outwards(inner, 20, 180 + 26 * i, knob.name, knob.address)
    for i, gesture in enumerate(gestures()):
        _outwards(inner, 480, 180 + 26 * i, gesture.name, gesture.address, one=gesture.is_gate)
    _inwards(inner, 180 + 26 * (len(gestures()) + 1))
    return inner.lines


def _link(inner: Canvas) -> None:
    """To the instrument: connect, then ask it to tell what it does and what others change."""
    start, here = inner.add("obj", 20, 20, "loadbang"), inner.add("msg", 20, 46, f"{HOST} {PORT}")
    there, turn = inner.add("obj", 180, 20, "r samplernn-connect"), inner.add("obj", 180, 46, "t b a b")
    leave, call = inner.add("msg", 330, 72, "disconnect"), inner.add("obj", 180, 98, "list prepend connect")
    sent, send = inner.add("obj", 480, 20, "r samplernn-out"), inner.add("obj", 480, 46, "list prepend send")
    trim, net = inner.add("obj", 180, 124, "list trim"), inner.add("obj", 180, 150, "netsend -u -b")
    inner.cord(start, here, turn)
    inner.cord(there, turn)
    inner.wire(turn, 2, leave)
    inner.wire(turn, 1, call)
    inner.cord(leave, net)
    inner.cord(call, trim)
    inner.cord(sent, send, trim, net)
    for i, name in enumerate(("subscribe", "listen")):
        ask = inner.add("msg", 660, 20 + 60 * i, f"{BACK} {RATE}")
        form = inner.add("obj", 740, 20 + 60 * i, f"oscformat samplernn {name}")
        out = inner.add("obj", 740, 46 + 60 * i, "s samplernn-out")
        inner.wire(turn, 0, ask)
        inner.cord(ask, form, out)


def _outwards(inner: Canvas, x: int, y: int, name: str, address: str, one: bool = False) -> None:
    """From a name to an address; what only has to happen says 1."""
    boxes = [inner.add("obj", x, y, f"r samplernn-to-{_flat(name)}")]
    boxes.append(inner.add("msg", x + 190, y, "1") if one else inner.add("obj", x + 190, y, "list"))
    boxes.append(inner.add("obj", x + 240, y, f"oscformat {' '.join(address.split('/')[1:])}"))
    inner.cord(*boxes, inner.add("obj", x + 470, y, "s samplernn-out"))


def _inwards(inner: Canvas, y: int) -> None:
    """What comes back: telemetry to numbers; values that others changed to the sliders, which do not send them."""
    names, told = [knob.name for knob in knobs()], [address.rsplit("/", 1)[1] for address in meters()]
    boxes = ("netreceive -u -b 9001", "oscparse", "list trim", "route samplernn", f"route out error {' '.join(names)}")
    chain = [inner.add("obj", 20, y + 26 * i, text) for i, text in enumerate(boxes)]
    inner.cord(*chain)
    split = inner.add("obj", 20, y + 160, f"route {' '.join(told)}")
    inner.wire(chain[-1], 0, split)
    for i, name in enumerate(told):
        inner.wire(split, i, inner.add("obj", 20 + 180 * (i % 5), y + 200 + 26 * (i // 5), f"s samplernn-out-{name}"))
    inner.wire(chain[-1], 1, inner.add("obj", 700, y + 130, "print samplernn"))
    for i, name in enumerate(names):
        quiet = inner.add("msg", 20 + 180 * (i % 5), y + 330 + 60 * (i // 5), "set \\$1")
        inner.wire(chain[-1], 2 + i, quiet)
        inner.cord(quiet, inner.add("obj", 20 + 180 * (i % 5), y + 356 + 60 * (i // 5), f"s samplernn-{name}"))
