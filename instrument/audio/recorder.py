"""The recorder: what is played, from session sample 0 to the end of the closing fade, into sound files.

A disk thread of its own drains the audio tap every 50 ms, and writes markers beside the sound. The tap is a plain
stream: what the loop could not hand over is zeros in it already. A disk that fails costs that recording and one line,
never the set: the tap is drained on.
"""

from __future__ import annotations

import contextlib
import queue
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from instrument.audio.labels import Labels
from instrument.audio.soundfiles import BYTES, SoundFile, failure

PERIOD = 0.05  # seconds between two looks at the tap
FLUSH = 0.5  # seconds between two flushes, or less:
WITHIN = 0.9  # seconds that a kill may cost: a flush, a look at the tap and a block of a .flac
BLOCK = 4096  # frames that a .flac's encoder holds back
PATIENCE = 10.0  # seconds a hanging disk may delay the end

Tap = Callable[[NDArray[np.float32]], int]


class Recorder:
    """Records one performance into one file or several. Made, started and finished by the session's thread."""

    def __init__(self, paths: Sequence[Path], sample_rate: int, tap: Tap, say: Callable[[str], None]) -> None:
        """Create the files. Raises ValueError with one line naming the one that cannot be. `tap` is `Link.tap`."""
        self._files: list[SoundFile] = []
        try:
            for path in paths:
                self._files.append(SoundFile(path, sample_rate))
        except ValueError:
            self._each(SoundFile.close)
            raise
        self._tap, self._say, self._rate = tap, say, sample_rate
        self._markers: queue.SimpleQueue[tuple[int, str]] = queue.SimpleQueue()
        self._labels = {file.path: Labels(file.path, sample_rate) for file in self._files}
        self._buffer = np.zeros((sample_rate, 2), np.float32)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self.frames = 0  # drained so far
        self.failed = False
        self.left: float | None = None  # seconds that the fullest disk has room for; None before anybody looked

    @property
    def paths(self) -> list[Path]:
        """The files that have not failed, their further parts included, and their markers' files."""
        labels = (self._labels[file.path] for file in self._files)
        return [part for file in self._files for part in file.parts] + [each.path for each in labels if each.made]

    @property
    def seconds(self) -> float:
        """How much has been recorded."""
        return self.frames / self._rate

    def mark(self, sample: int, text: str) -> None:
        """A marker at session sample ``sample``. Any thread; returns at once, the disk thread writes it."""
        self._markers.put((sample, text))

    def start(self) -> None:
        """Begin to drain."""
        self._thread.start()

    def finish(self, length: int | None = None) -> None:
        """Drain what is left and close the files; `length` is the set's in samples, made up with zeros if need be.

        Call it when the loop has ended. Safe to call again, and before `start`.
        """
        if self._stop.is_set():
            return
        self._length = length
        self._stop.set()
        if self._thread.ident is None:
            self._each(SoundFile.close)
            return
        self._thread.join(PATIENCE)
        if self._thread.is_alive():
            self.failed = True
            self._say("recording given up: the disk has not answered for 10 s; what was written before is kept")

    def _run(self) -> None:
        every = min(FLUSH, WITHIN - PERIOD - BLOCK / self._rate)
        flushed = -FLUSH  # a file can be opened from the first look on
        while not self._stop.wait(PERIOD):
            self._drain(FLUSH / 2)
            self._mark()
            if time.monotonic() - flushed >= every:
                self._each(SoundFile.flush)
                self._look()
                flushed = time.monotonic()
        self._drain()
        self._mark()
        if self._length is not None:
            self._pad(self._length - self.frames)
        self._each(SoundFile.close)

    def _drain(self, most: float = PATIENCE) -> None:
        """Take what is there, but come back after ``most`` seconds: a disk that hardly keeps up is flushed too."""
        until = time.monotonic() + most
        while count := self._tap(self._buffer):
            self._write(self._buffer[:count])
            if time.monotonic() >= until:
                return

    def _mark(self) -> None:
        """Write the markers that wait."""
        while not self._markers.empty():
            sample, text = self._markers.get()
            for file in self._files:
                try:
                    self._labels[file.path].add(sample, text)
                except (OSError, ValueError) as fault:
                    self._say(f"marker: {getattr(fault, 'strerror', None) or fault}")

    def _look(self) -> None:
        """How long the disks will do."""
        found = []
        for file in self._files:
            with contextlib.suppress(OSError):
                size = sum(part.stat().st_size for part in file.parts)
                pace = size / file.frames if file.frames else BYTES
                found.append(shutil.disk_usage(file.path.parent).free / pace / self._rate)
        self.left = min(found, default=None)

    def _pad(self, missing: int) -> None:
        self._buffer[:] = 0.0
        while missing > 0:
            part = min(missing, len(self._buffer))
            self._write(self._buffer[:part])
            missing -= part

    def _write(self, audio: NDArray[np.float32]) -> None:
        self.frames += len(audio)
        self._each(lambda file: file.write(audio))

    def _each(self, action: Callable[[SoundFile], None]) -> None:
        for file in list(self._files):
            try:
                action(file)
            except OSError as fault:
                self._files.remove(file)
                self._give_up(file, fault)

    def _give_up(self, file: SoundFile, fault: OSError) -> None:
        self.failed = True
        why = failure(file.path, fault).strerror
        self._say(f"recording {file.path} stopped after {file.frames / file.sample_rate:.1f} s: {why}")
        with contextlib.suppress(OSError):  # said already; what reached the disk stays
            file.close()
