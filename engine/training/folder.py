"""A run's folder while it is being written: claimed by one training, begun, begun anew, never losing what others made.

A run is a folder: ``settings.json``, ``epoch-NNN.safetensors``, ``metrics.jsonl``, ``resume.safetensors``, pictures,
``clips/`` and ``audition/``. What is read of it without torch is engine.training.runs'.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine import checkpoint as files
from engine.listening.clips import CLIP, EPOCH
from engine.training.runs import LOCK, RESUME, SETTINGS, Plan

METRICS = "metrics.jsonl"


@contextmanager
def claimed(run_dir: Path) -> Iterator[None]:
    """The folder, made if it is not there, as nobody else's until the end. Raises ValueError where it is another's.

    Let go of by the system whatever becomes of the process. Where files cannot be locked, nobody is kept out.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    held = -1
    if sys.platform != "win32":
        import fcntl

        with contextlib.suppress(OSError):
            held = os.open(run_dir / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(held)
                raise ValueError(f"{run_dir}: another training is writing it: stop that one first") from None
    try:
        yield
    finally:
        if held >= 0:
            os.close(held)


def begin(run_dir: Path, plan: Plan) -> None:
    """Write the plan of a new run. Raises ValueError where another has begun in the meantime."""
    if (run_dir / SETTINGS).exists():
        raise ValueError(f"{run_dir}: exists by now: another training began it; name a new folder")
    files.write_whole(run_dir / SETTINGS, json.dumps(plan.to_json(), indent=2).encode())


def remember(run_dir: Path, plan: Plan) -> None:
    """Write down what ``--set`` changed of a run that is gone on with; its sounds stay named as they were."""
    saved = json.loads((run_dir / SETTINGS).read_bytes())
    values = plan.to_json()["values"]
    if saved["values"] != values:
        saved["values"] = values
        files.write_whole(run_dir / SETTINGS, json.dumps(saved, indent=2).encode())


def begin_anew(run_dir: Path, plan: Plan) -> None:
    """Take away what the run itself has written, and write down ``plan`` instead.

    In an order that leaves something to go on from whenever it is cut short: without a saved state, and without epochs,
    a run begins at its first step.
    """
    epochs = [path for path in run_dir.glob("epoch-*") if EPOCH.fullmatch(path.name)]
    clips = [path for path in run_dir.glob("clips/*") if CLIP.fullmatch(path.name)]
    for path in (*epochs, *clips, run_dir / METRICS, run_dir / RESUME):
        path.unlink(missing_ok=True)
    remember(run_dir, plan)


def keep_earlier(path: Path, step: int) -> Path | None:
    """Rename an epoch's checkpoint that was made at another step than ``step``; returns its new name, if there was one.

    The last epoch of a plan may be short; a longer plan closes it again.
    """
    try:
        made = files.load(path).training.get("steps") if path.exists() else step
    except (ValueError, OSError):
        return None  # nothing that anybody could play
    if made == step:
        return None
    return path.rename(path.with_name(f"{path.stem}.step-{made}{path.suffix}"))


@contextmanager
def disk_faults_named(run_dir: Path) -> Iterator[None]:
    """A disk that takes no more becomes one line: which file, and what to do. Raises ValueError."""
    try:
        yield
    except OSError as error:
        where = error.filename or run_dir
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise ValueError(
                f"{where}: {error.strerror}: what was saved before is whole; free some space, then --resume goes on"
            ) from None
        raise
