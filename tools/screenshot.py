"""The picture of the screen in the README: a real set, played for a while to nowhere, drawn by the program itself.

    python tools/screenshot.py docs/screen.png

Needs the extra `dev` and a Chromium, which turns the drawing into a picture.
"""

import asyncio
import json
import shutil
import socket
import sys
import tempfile
import time
from pathlib import Path

from pythonosc.osc_message_builder import OscMessageBuilder

from instrument import plan
from instrument.screen.app import ScreenApp
from instrument.session import Session

SECONDS, RATE, SIZE = 24.0, 6.0, (120, 34)
FONT = (
    "<style>body { margin: 0 } svg { display: block } svg text { font-family: 'DejaVu Sans Mono' !important }</style>"
)


def gestures(session: Session) -> dict[float, list]:
    """What is played, by seconds."""
    c = session.controller
    return {
        1.0: [lambda: c.trigger("sweep", next(iter(c.sweeps)))] if c.sweeps else [],
        0.5: [lambda: c.set("gain", -3.0, 1)],
        2.0: [lambda: c.set("temperature", 1.04, 1, ramp=5.0)],
        3.0: [lambda: c.set("temperature", 0.94, 2, ramp=4.0)],
        8.0: [lambda: c.trigger("marker", "the glass comes in")],
        9.0: [lambda: c.set("temperature", 0.93, 1, ramp=6.0)],
        12.0: [lambda: c.set("gain", -3.0, 2)],
        14.0: [lambda: c.trigger("checkpoint", "drones", 1.0, voice=2, launch="now")],
        SECONDS - 7.0: [lambda: c.set("temperature", 1.08, 1, ramp=9.0)],
        SECONDS - 5.0: [lambda: c.trigger("loop", 4.0, voice=2)],
        SECONDS - 3.0: [lambda: osc(session, "voice/2/pan", 0.35)],
        SECONDS - 1.2: [lambda: c.trigger("checkpoint", "tabla", 4.0, voice=1, launch="now")],
    }


def osc(session: Session, name: str, value: float) -> None:
    """As a patch on another machine would say it."""
    message = OscMessageBuilder(f"/samplernn/{name}")
    message.add_arg(value)
    host, port = session.osc.rsplit(":", 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.sendto(message.build().dgram, (host, int(port)))


async def draw(session: Session) -> str:
    """The screen after ``SECONDS`` of the set, as SVG."""
    app, waiting = ScreenApp(lambda _gesture: None, plain=False), gestures(session)
    async with app.run_test(size=SIZE) as pilot:
        begun = time.monotonic()
        while (now := time.monotonic() - begun) < SECONDS:
            for due in [due for due in waiting if due <= now]:
                for act in waiting.pop(due):
                    act()
            app.show(json.loads(json.dumps(session.showing.draw())))
            await asyncio.sleep(1.0 / RATE)
        await pilot.pause()
        return app.export_screenshot(title="samplernn play")


def photograph(svg: str, path: Path) -> None:
    """SVG to PNG."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as player:
        browser = player.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page()
        page.set_content(FONT + svg)
        page.locator("svg").screenshot(path=path)
        browser.close()


def main() -> None:
    path = Path(sys.argv[1])
    patch = sys.argv[2] if len(sys.argv) > 2 else "patches/tides.yaml"
    with tempfile.TemporaryDirectory() as folder:
        options = plan.Options(
            target=patch, output="null", midi="none", screen="none", seed=7, osc="127.0.0.1:9000",
            latency=120.0,
            record=Path(folder) / "set.flac",
        )  # fmt: skip
        session = Session(plan.make(options), print, print)
        try:
            session.open()
            session.start()
            svg = asyncio.run(draw(session))
        finally:
            session.close()
    photograph(svg, path)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
