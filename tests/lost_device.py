"""A device output over a ring that is always full, for a child process whose device a test takes away.

Says what happens on stdout, a line each, with the count of callbacks; ends in order when stdin closes, having said
"heard" on stderr. With the word "python" the callback is the fallback; with a number the ring has so many channels.
"""

from __future__ import annotations

import sys
import threading

from engine import kernel_cache  # noqa: F401

# isort: split
from instrument.audio import outputs, portaudio
from instrument.controls import Link
from instrument.shared import W_FLOWING, W_RING_READ, W_RING_WRITE, get_word, make_shared, set_word

RING = 8192


def main() -> None:
    def say(line: str) -> None:
        print(f"{line} [{link.telemetry().callbacks}]", flush=True)

    if "python" in sys.argv:
        portaudio.takes_address = lambda _: False
    output = outputs.choose("system", 128, print)
    rate = output.rate or 0
    channels = next((int(word) for word in sys.argv if word.isdigit()), 2)
    link = Link(make_shared(1, rate, RING, 8, channels))
    words, done = link.shared.words, threading.Event()

    def produce() -> None:
        while not done.wait(0.002):
            set_word(words, W_RING_WRITE, get_word(words, W_RING_READ) + RING)

    output._say = say  # type: ignore[attr-defined]
    set_word(words, W_RING_WRITE, RING)
    set_word(words, W_FLOWING, 1)
    producer = threading.Thread(target=produce)
    producer.start()
    output.start(link, rate)
    say("playing")
    for line in sys.stdin:
        say(line.strip())
    output.stop()
    done.set()
    producer.join()
    print("heard", file=sys.stderr)
    say("left")


if __name__ == "__main__":
    main()
