"""A layout for TouchOSC (2021 and newer): XML, compressed by zlib. Host and ports are set in the app's connections."""

from __future__ import annotations

import uuid
import zlib

from rows import buttons, knobs, meters

WIDTH, HEIGHT = 1280, 800
_SPACE = uuid.UUID("8f5f4cb0-31f5-5a3e-8a9d-6a5f4b2d9c01")  # ids are names in it: the same file every time
_COLOURS = {"temperature": (1.0, 0.35, 0.2), "panic": (1.0, 0.1, 0.1)}
_PLAIN = (0.35, 0.6, 0.9)

Frame = tuple[int, int, int, int]


def layout() -> bytes:
    """The file."""
    return zlib.compress(xml().encode(), 9)


def xml() -> str:
    """What is in it."""
    nodes, count = [], len(knobs())
    step = (WIDTH - 20) // count
    for i, knob in enumerate(knobs()):
        frame = (10 + i * step, 40, step - 10, 380)
        nodes.append(_label(f"{knob.name} label", knob.name, (10 + i * step, 10, step - 10, 28)))
        nodes.append(_fader(knob.name, knob.address, knob.low, knob.high, knob.default, frame))
    for i, button in enumerate(buttons()):
        frame = (10 + i % 8 * 158, 440 + i // 8 * 70, 148, 60)
        nodes.append(_button(button.name, button.address, frame))
        nodes.append(_label(f"{button.name} label", button.name, frame))
    for i, address in enumerate(meters()):
        name = address.rsplit("/", 1)[1]
        frame = (10 + i % 9 * 140, 670 + i // 9 * 60, 130, 24)
        nodes.append(_label(f"{name} name", name, frame))
        nodes.append(_value(f"{name} value", address, (frame[0], frame[1] + 24, 130, 30)))
    root = _node("GROUP", "samplernn", (0, 0, WIDTH, HEIGHT), (0.05, 0.05, 0.05), children="".join(nodes))
    return f"<?xml version='1.0' encoding='UTF-8'?><lexml version='3'>{root}</lexml>"


def _node(
    kind: str,
    name: str,
    frame: Frame,
    colour: tuple[float, float, float] = _PLAIN,
    properties: str = "",
    values: str = "",
    messages: str = "",
    children: str = "",
) -> str:
    x, y, w, h = frame
    r, g, b = colour
    base = _property("s", "name", f"<![CDATA[{name}]]>")
    base += _property("r", "frame", f"<x>{x}</x><y>{y}</y><w>{w}</w><h>{h}</h>")
    base += _property("c", "color", f"<r>{r}</r><g>{g}</g><b>{b}</b><a>1</a>")
    parts = f"<properties>{base}{properties}</properties><values>{values}</values>"
    parts += f"<messages>{messages}</messages>" if messages else ""
    parts += f"<children>{children}</children>" if children else ""
    return f"<node ID='{uuid.uuid5(_SPACE, name)}' type='{kind}'>{parts}</node>"


def _property(kind: str, key: str, value: str) -> str:
    return f"<property type='{kind}'><key><![CDATA[{key}]]></key><value>{value}</value></property>"


def _start(key: str, value: str) -> str:
    """A control's value as it is when the layout is opened."""
    locks = "<locked>0</locked><lockedDefaultCurrent>0</lockedDefaultCurrent>"
    start = f"<default><![CDATA[{value}]]></default><defaultPull>0</defaultPull>"
    return f"<value><key><![CDATA[{key}]]></key>{locks}{start}</value>"


def _partial(kind: str, conversion: str, value: str, low: float = 0.0, high: float = 1.0) -> str:
    scale = f"<scaleMin>{low:g}</scaleMin><scaleMax>{high:g}</scaleMax>"
    text = f"<![CDATA[{value}]]>"
    return f"<partial><type>{kind}</type><conversion>{conversion}</conversion><value>{text}</value>{scale}</partial>"


def _osc(address: str, argument: str, send: bool = True, trigger: str = "ANY", var: str = "x") -> str:
    flags = f"<enabled>1</enabled><send>{int(send)}</send><receive>1</receive><feedback>0</feedback>"
    when = f"<triggers><trigger><var><![CDATA[{var}]]></var><condition>{trigger}</condition></trigger></triggers>"
    path = f"<path>{_partial('CONSTANT', 'STRING', address)}</path>"
    return f"<osc>{flags}<connections>0000000001</connections>{when}{path}<arguments>{argument}</arguments></osc>"


def _fader(name: str, address: str, low: float, high: float, default: float, frame: Frame) -> str:
    values = _start("x", f"{(default - low) / (high - low):g}") + _start("touch", "false")
    message = _osc(address, _partial("VALUE", "FLOAT", "x", low, high))
    return _node("FADER", name, frame, _COLOURS.get(name, _PLAIN), values=values, messages=message)


def _button(name: str, address: str, frame: Frame) -> str:
    message = _osc(address, _partial("VALUE", "FLOAT", "x"))
    values = _start("x", "0") + _start("touch", "false")
    return _node("BUTTON", name, frame, _COLOURS.get(name, _PLAIN), values=values, messages=message)


def _label(name: str, text: str, frame: Frame) -> str:
    size = _property("i", "textSize", "16") + _property("b", "background", "0") + _property("b", "interactive", "0")
    return _node("LABEL", name, frame, properties=size, values=_start("text", text) + _start("touch", "false"))


def _value(name: str, address: str, frame: Frame) -> str:
    size = _property("i", "textSize", "18") + _property("b", "interactive", "0")
    message = _osc(address, _partial("VALUE", "STRING", "text"), send=False, var="text")
    return _node("LABEL", name, frame, properties=size, values=_start("text", "-"), messages=message)
