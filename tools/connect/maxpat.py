"""A Max patch and its help file, as Max 8 writes them."""

from __future__ import annotations

import json
from typing import Any

from rows import BACK, HOST, PORT, RATE, gestures, knobs, meters

ROW, LEFT, TOP = 32.0, 20.0, 110.0


class Patcher:
    """Boxes and cords."""

    def __init__(self, width: float, height: float) -> None:
        self.boxes: list[dict[str, Any]] = []
        self.lines: list[dict[str, Any]] = []
        self.rect = [80.0, 80.0, width, height]

    def add(self, maxclass: str, x: float, y: float, width: float, inlets: int, outlets: int, **more: Any) -> str:
        """A box; its id."""
        name = f"obj-{len(self.boxes) + 1}"
        box = {"id": name, "maxclass": maxclass, "numinlets": inlets, "numoutlets": outlets}
        box |= {"outlettype": [""] * outlets, "patching_rect": [x, y, width, 22.0], **more}
        self.boxes.append({"box": box})
        return name

    def new(self, x: float, y: float, text: str, outlets: int = 1, width: float = 200.0) -> str:
        """An object."""
        return self.add("newobj", x, y, width, 1, outlets, text=text)

    def say(self, x: float, y: float, text: str, width: float = 420.0) -> None:
        """A comment."""
        self.add("comment", x, y, width, 1, 0, text=text)

    def cord(self, one: str, other: str, outlet: int = 0) -> None:
        """From an outlet to the first inlet."""
        self.lines.append({"patchline": {"source": [one, outlet], "destination": [other, 0]}})

    def bytes(self) -> bytes:
        """The file."""
        version = {"major": 8, "minor": 5, "revision": 0, "architecture": "x64", "modernui": 1}
        patcher = {"fileversion": 1, "appversion": version, "classnamespace": "box", "rect": self.rect}
        patcher |= {"boxes": self.boxes, "lines": self.lines}
        return (json.dumps({"patcher": patcher}, indent=1) + "\n").encode()


def patch() -> bytes:
    """Sliders and messages that play, and what the instrument says back."""
    p = Patcher(1250.0, 860.0)
    p.say(LEFT, 10.0, f"samplernn-live over OSC: it listens on {PORT}, this patch on {BACK}. Help: samplernn.maxhelp")
    send = p.new(LEFT, 74.0, f"udpsend {HOST} {PORT}", 0)
    start = p.new(LEFT + 240, 40.0, "loadbang", 1, 70.0)
    for i, name in enumerate(("subscribe", "listen")):
        ask = p.add("message", LEFT + 330 + 230 * i, 40.0, 220.0, 2, 1, text=f"/samplernn/{name} {BACK} {RATE}")
        p.cord(start, ask)
        p.cord(ask, send)
    routed = _heard(p)
    for i, knob in enumerate(knobs()):
        y = TOP + ROW * i
        p.say(LEFT, y, f"{knob.name} {f'({knob.unit})' if knob.unit else ''}", 110.0)
        bounds = {"floatoutput": 1, "min": knob.low, "size": knob.high - knob.low, "orientation": 1}
        slider = p.add("slider", LEFT + 115, y, 160.0, 1, 1, **bounds)
        limits = {"minimum": knob.low, "maximum": knob.high, "format": 6}
        number = p.add("flonum", LEFT + 285, y, 60.0, 1, 2, **limits)
        quiet = p.new(LEFT + 355, y, "prepend set", 1, 80.0)
        out = p.new(LEFT + 445, y, f"prepend {knob.address}")
        p.cord(slider, number)
        p.cord(number, out)
        p.cord(out, send)
        p.cord(routed, quiet, i)
        p.cord(quiet, number)
        p.cord(quiet, slider)
    _messages(p, send, LEFT + 680)
    return p.bytes()


def help_patch() -> bytes:
    """Every address with what it does, as messages to click."""
    p = Patcher(1250.0, 900.0)
    p.say(
        LEFT,
        10.0,
        "Every parameter takes a value and, if wanted, seconds to go there: /samplernn/temperature 1.1 10.",
        900.0,
    )
    p.say(
        LEFT,
        32.0,
        "For one voice: /samplernn/voice/2/gain -6. Between 0 and 1: /samplernn/norm/temperature 0.5.",
        900.0,
    )
    send = p.new(LEFT, 60.0, f"udpsend {HOST} {PORT}", 0)
    for i, knob in enumerate(knobs()):
        y = TOP - 10 + 26.0 * i
        message = p.add("message", LEFT, y, 220.0, 2, 1, text=f"{knob.address} {knob.default:g}")
        p.cord(message, send)
        p.say(LEFT + 230, y, f"{knob.low:g} to {knob.high:g} {knob.unit}: {knob.help}")
    _messages(p, send, LEFT + 660, told=True)
    y = TOP + 26.0 * (len(knobs()) + 1)
    p.say(LEFT, y, f"/samplernn/subscribe {BACK} {RATE} sends these as single floats to port {BACK}:")
    for i, (address, text) in enumerate(meters().items()):
        p.say(LEFT, y + 22.0 * (i + 1), f"{address}: {text}", 620.0)
    return p.bytes()


def _messages(p: Patcher, send: str, x: float, told: bool = False) -> None:
    for i, gesture in enumerate(gestures()):
        y = TOP + 26.0 * i
        arguments = " ".join(str(argument) for argument in gesture.arguments)
        message = p.add("message", x, y, 200.0, 2, 1, text=f"{gesture.address} {arguments}".strip())
        p.cord(message, send)
        if told:
            p.say(x + 210, y, gesture.help, 360.0)


def _heard(p: Patcher) -> str:
    """Telemetry to number boxes, faults to the console; the object whose outlets are the parameters' values."""
    x, y = LEFT + 900, TOP
    heard = p.new(x, 40.0, f"udpreceive {BACK}")
    told = list(meters())
    route = p.new(x, 74.0, f"route {' '.join(told)}", len(told) + 1, 320.0)
    p.cord(heard, route)
    for i, address in enumerate(told):
        number = p.add("flonum", x, y + 26.0 * i, 80.0, 1, 2, format=6)
        p.say(x + 90, y + 26.0 * i, address.rsplit("/", 1)[1], 120.0)
        p.cord(route, number, i)
    values = p.new(
        x, y + 26.0 * (len(told) + 1), f"route {' '.join(k.address for k in knobs())}", len(knobs()) + 1, 320.0
    )
    p.cord(route, values, len(told))
    faults = p.new(x, y + 26.0 * (len(told) + 2), "route /samplernn/error", 2)
    shown = p.new(x, y + 26.0 * (len(told) + 3), "print samplernn", 0)
    p.cord(values, faults, len(knobs()))
    p.cord(faults, shown)
    return values
