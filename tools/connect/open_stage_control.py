"""A session for Open Stage Control (its format 1, a tree of widgets)."""

from __future__ import annotations

import json
from typing import Any

from rows import HOST, PORT, buttons, knobs, meters

WIDTH, HEIGHT, GAP = 90, 260, 10


def session() -> bytes:
    """The file; started with `--load` and `--send 127.0.0.1:9000`, it needs no more."""
    widgets = [_fader(i, knob) for i, knob in enumerate(knobs())]
    widgets += [_button(i, button) for i, button in enumerate(buttons())]
    widgets += [_meter(i, address) for i, address in enumerate(meters())]
    root = {"type": "root", "id": "root", "default": "", "widgets": widgets, "tabs": []}
    content = {"version": "1.26.2", "createdWith": "Open Stage Control", "type": "session", "content": root}
    return (json.dumps(content, indent=1) + "\n").encode()


def _widget(kind: str, name: str, left: int, top: int, width: int, height: int, **more: Any) -> dict[str, Any]:
    place = {"type": kind, "id": name, "left": left, "top": top, "width": width, "height": height}
    return place | {"label": name.replace("_", " "), "target": f"{HOST}:{PORT}", "preArgs": "", **more}


def _fader(i: int, knob: Any) -> dict[str, Any]:
    return _widget(
        "fader",
        knob.name,
        GAP + i * (WIDTH + GAP),
        GAP,
        WIDTH,
        HEIGHT,
        address=knob.address,
        range={"min": knob.low, "max": knob.high},
        default=knob.default,
        steps=int(knob.high - knob.low) + 1 if knob.whole else "",
        typeTags="f",
        doubleTap=True,
    )


def _button(i: int, button: Any) -> dict[str, Any]:
    column, row = i % 10, i // 10
    return _widget(
        "button",
        button.name.replace("/", "_"),
        GAP + column * (120 + GAP),
        HEIGHT + 3 * GAP + row * 70,
        120,
        60,
        address=button.address,
        mode="push",
        on=1,
        off=0,
        typeTags="i",
    )


def _meter(i: int, address: str) -> dict[str, Any]:
    name = address.rsplit("/", 1)[1]
    left, top = GAP + i % 10 * (120 + GAP), HEIGHT + 5 * GAP + 2 * 70 + 60 * (i // 10)
    return _widget("text", f"out_{name}", left, top, 120, 50, address=address, interaction=False, decimals=2)
