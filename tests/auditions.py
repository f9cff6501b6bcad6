"""Runs to audition, made of nothing, and the page's server beside the test."""

import contextlib
import io
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import soundfile
from networks import network

from engine.checkpoint import save

RATE = 8000


def make_run(
    folder: Path, epochs: int, temperatures: Sequence[float], seeds: int, seconds: float = 0.5, playable: bool = True
) -> Path:
    """A run's folder as training leaves it; every clip of the same sound, which is quick to make."""
    (folder / "clips").mkdir(parents=True)
    (folder / "audition").mkdir()
    t = np.arange(int(seconds * RATE)) / RATE
    sound = flac(0.3 * np.sin(2 * np.pi * (300 + 200 * t) * t) * np.exp(-6 * (t % 0.25)))
    soundfile.write(folder / "source.flac", np.random.default_rng(1).normal(0, 0.1, RATE), RATE)
    heard = []
    for epoch in range(1, epochs + 1):
        if playable:
            save(network("gru", epoch % 3), folder / f"epoch-{epoch:03}.safetensors")
        for temperature in temperatures:
            for seed in range(7, 7 + seeds):
                name = f"epoch-{epoch:03}-t{temperature:.3f}-s{seed:04}.flac"
                (folder / "clips" / name).write_bytes(sound)
                heard.append({"clip": name, "level_db": -20.5, "distance": 9.0 - epoch / 10, "reason": "a hiss"})
                heard[-1] |= {"flags": ["noise"] if epoch < 2 else [], "class": "wind" if epoch < 2 else "gnarly"}
    _lines(folder / "audition" / "listening.jsonl", heard)
    _lines(folder / "metrics.jsonl", [{"epoch": e, "bits_active": 3 - e / 4} for e in range(1, epochs + 1)])
    sounds = [str(folder / "source.flac")]
    (folder / "settings.json").write_text(json.dumps({"sounds": sounds, "recipe": "default", "values": {}}))
    return folder


def flac(audio: np.ndarray, network: str = "") -> bytes:
    """A clip's file, with what it says of itself; ``network`` is the sha256 of the one that made it."""
    blob = io.BytesIO()
    with soundfile.SoundFile(blob, "w", RATE, 1, "PCM_16", format="FLAC") as file:
        tag = {"step": 100, "backend": "cpu", "precision": "int8"}
        file.comment = json.dumps({**tag, "checkpoint": network} if network else tag)
        file.write(audio)
    return blob.getvalue()


def _lines(path: Path, lines: Sequence[object]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


@contextlib.contextmanager
def serve(folder: Path) -> Iterator[int]:
    """The page of ``folder``, served by a thread; gives its port."""
    import uvicorn

    from instrument.audition import server
    from instrument.audition.store import Run

    with server._listen(0) as listener:
        port = listener.getsockname()[1]
        running = uvicorn.Server(server.config_of(Run(folder), port))
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            while not running.started:
                assert thread.is_alive()
                time.sleep(0.01)
            yield port
        finally:
            running.should_exit = True
            thread.join()


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """``samplernn audition``, where it is expected to end by itself."""
    words = [sys.executable, "-m", "instrument.cli", "audition", *arguments, "--no-browser"]
    return subprocess.run(words, capture_output=True, text=True, timeout=60)
