"""Clips during a training: a child process of low priority makes and judges them while the network learns on.

One child at a time; when the training is ahead of it the newest epoch is next. At the end the last epoch is waited for,
and the ones that were passed over are named. The child reads files and writes files: a run learns the same to the bit
with clips and without. Used on the trainer's thread, between steps. A child that fails is one line and no more. A child
ends when its trainer has, however that came about: its stdin is a pipe that nobody writes to, and that closes then.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from engine.listening import clips
from engine.listening.clips import Say, Wanted

POLL_SECONDS = 0.1
NICE = 15


class Background:
    """Makes the clips of the epochs that it is told of."""

    def __init__(self, run_dir: Path, wanted: Wanted, say: Say) -> None:
        self._run_dir, self._wanted, self._say = run_dir, wanted, say
        self._child: subprocess.Popen[bytes] | None = None
        self._errors: IO[bytes] | None = None
        self._epoch = 0  # of the child
        self._waiting: list[int] = []

    def add(self, epoch: int) -> None:
        """An epoch's checkpoint is there."""
        if self._wanted.clips:
            self._waiting.append(epoch)
            self.poll()

    def poll(self) -> None:
        """See to the child: take its end, start the next."""
        if self._child is not None and self._child.poll() is not None:
            self._ended(self._child)
        if self._child is None and self._waiting:
            self._start(self._waiting.pop())

    def finish(self, stop: Callable[[], bool]) -> None:
        """Wait for the newest epoch, unless ``stop`` says otherwise, and end; name the epochs without clips."""
        newest = max([self._epoch, *self._waiting])
        older = [epoch for epoch in self._waiting if epoch < newest]
        self._waiting = [epoch for epoch in self._waiting if epoch == newest]
        while (self._child is not None or self._waiting) and not stop():
            self.poll()
            time.sleep(POLL_SECONDS)
        self._waiting += older
        self.close()

    def close(self) -> None:
        """End the child now, if there is one. What it had written stays."""
        left = list(self._waiting)
        if self._child is not None:
            self._child.terminate()
            self._child.wait()
            left.append(self._epoch)
            self._forget()
        self._waiting = []
        if left:
            numbers = ", ".join(map(str, sorted(left)))
            self._say(f"no or not all clips of epoch {numbers}: samplernn clips {self._run_dir} makes them")

    def _start(self, epoch: int) -> None:
        w = self._wanted
        words = [sys.executable, "-m", "engine.listening.background", str(self._run_dir), str(epoch)]
        words += [str(w.clips), str(w.seconds), *map(str, w.temperatures)]
        top = str(Path(__file__).resolve().parent.parent.parent)
        path = os.pathsep.join(filter(None, [top, os.environ.get("PYTHONPATH")]))
        self._errors, self._epoch = tempfile.TemporaryFile(), epoch  # noqa: SIM115 (the child writes it)
        try:
            self._child = subprocess.Popen(
                words,
                env={**os.environ, "PYTHONPATH": path},
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
                start_new_session=True,  # Ctrl-C is the trainer's; it ends the child itself
            )
        except OSError as fault:
            self._say(f"no clips of epoch {epoch}: {fault.strerror}")
            self._forget()

    def _ended(self, child: subprocess.Popen[bytes]) -> None:
        if child.returncode and self._errors is not None:
            self._errors.seek(0)
            lines = self._errors.read().decode(errors="replace").split("\n")
            last = next((line for line in reversed(lines) if line.strip()), f"exit code {child.returncode}")
            self._say(f"no or not all clips of epoch {self._epoch}: {' '.join(last.split())}")
        self._forget()

    def _forget(self) -> None:
        for file in (self._errors, self._child.stdin if self._child else None):
            if file is not None:
                file.close()
        self._child = self._errors = None


def main(arguments: list[str] | None = None) -> int:
    """The child: RUN_DIR EPOCH CLIPS SECONDS TEMPERATURE..."""
    parser = argparse.ArgumentParser(description="Clips of one epoch.")
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("epoch", type=int)
    parser.add_argument("clips", type=int)
    parser.add_argument("seconds", type=float)
    parser.add_argument("temperatures", type=float, nargs="+")
    args = parser.parse_args(arguments)
    with contextlib.suppress(OSError, AttributeError):  # Windows has no nice
        os.nice(NICE)
    wanted = Wanted(args.clips, args.seconds, tuple(args.temperatures))
    try:
        clips.run(args.run_dir, [args.epoch], wanted, lambda line: None)
    except (OSError, ValueError) as fault:
        sys.stderr.write(f"{fault}\n")
        return 1
    return 0


def _end_with_the_trainer() -> None:
    """Wait for the end of stdin; a clip that is being written then is left unwritten."""
    while os.read(0, 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_end_with_the_trainer, daemon=True).start()
    sys.exit(main())
