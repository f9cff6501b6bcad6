"""Another program that plays: OSC over UDP and MIDI over a JACK port, each event with its moment. For child processes.

    python tests/stage_sender.py OUT.npz PORT SECONDS OSC_RATE MIDI_RATE      waits for a line before it begins

Up to 100 events a second come at random distances of at least half the mean, faster ones as a flood does: all that are
due. OSC: `gain`, every value once (in a flood: seven addresses, and a seed now and then). MIDI: controller 1 of the
port desk:k. The last of each is sent last.
"""

from __future__ import annotations

import random
import socket
import struct
import sys
import threading
import time
from pathlib import Path

import numpy as np

ADDRESSES = ("temperature", "gain", "voice/1/width", "blend", "norm/filter", "drive", "level")
LAST = 0.25
LAST_CONTROLLER = 101


def head(address: str, kind: str) -> bytes:
    """An OSC message without its one argument."""
    text = f"/samplernn/{address}".encode()
    return text + bytes(4 - len(text) % 4) + f",{kind}".encode() + bytes(2)


def gain(k: int) -> float:
    """The k-th value: no two alike for 4,000 events."""
    return -12.0 + 0.003 * (k % 4000)


def main() -> None:
    path, port, seconds, osc_rate, midi_rate = sys.argv[1], int(sys.argv[2]), *map(float, sys.argv[3:])
    import rtmidi

    out = rtmidi.MidiOut(rtmidi.API_UNIX_JACK, "desk")
    out.open_virtual_port("k")
    wire = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    wire.connect(("127.0.0.1", port))
    heads, seed, plain = [head(a, "f") for a in ADDRESSES], head("seed", "i"), head("gain", "f")
    sent: dict[str, list[tuple[float, float]]] = {"osc": [], "midi": []}

    def quiet(k: int) -> None:
        data, before = plain + struct.pack(">f", gain(k)), time.monotonic()
        wire.send(data)
        sent["osc"].append((before, gain(k)))

    def flood(k: int) -> None:
        wire.send(seed + struct.pack(">i", k) if k % 100 == 99 else heads[k % 7] + struct.pack(">f", k % 1000 / 1000))
        if k % 100 == 99:
            sent["osc"].append((time.monotonic(), k))

    def controller(k: int) -> None:
        before = time.monotonic()
        out.send_message([0xB0, 1, k * 37 % 128])
        sent["midi"].append((before, k * 37 % 128))

    print("there", flush=True)
    sys.stdin.readline()
    plays = [(osc_rate, quiet if osc_rate <= 100 else flood, 1), (midi_rate, controller, 2)]
    began = time.monotonic()
    threads = [threading.Thread(target=pace, args=(rate, began, seconds, play, dice)) for rate, play, dice in plays]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if osc_rate > 100:
        for each in heads:
            wire.send(each + struct.pack(">f", LAST))
        time.sleep(0.01)
        out.send_message([0xB0, 1, LAST_CONTROLLER])
    np.savez(Path(path), **{name: np.array(rows).reshape(-1, 2) for name, rows in sent.items()})
    print("sent", flush=True)
    sys.stdin.readline()  # the port stays until nobody needs it


def pace(rate: float, began: float, seconds: float, play: object, dice: int) -> None:
    """Call ``play(k)`` that often."""
    rng, due, k = random.Random(dice), began, 0
    while (now := time.monotonic()) < began + seconds:
        if rate > 100:
            while k < (now - began) * rate:
                play(k)
                k += 1
            time.sleep(0.0005)
        elif now >= due:
            play(k)
            k += 1
            due = now + rng.uniform(0.5, 1.5) / rate
        else:
            time.sleep(min(0.001, due - now))


if __name__ == "__main__":
    main()
