"""The figures of a set, as ``--report`` writes them.

Called by the session on the main thread when everything has come to rest. What the figures mean is in docs/design.md;
the loop's own come from ``Performance.report``.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.checkpoint import write_whole

# What a report holds at least, in this order; control_latency_ms alone may be null.
FIELDS = (
    "seconds", "samples", "sample_rate", "backend", "precision", "threads", "priority", "voices", "checkpoint",
    "underruns", "xruns", "realtime_factor", "hop_us", "ring_frames", "latency_ms", "first_sample_s", "late_events",
    "control_latency_ms", "peak", "rms",
)  # fmt: skip

_IMPORTED = time.monotonic()


def assemble(*parts: Mapping[str, Any]) -> dict[str, Any]:
    """One report out of several tables, later ones win; the contract's fields come first and must be there."""
    merged = {name: value for part in parts for name, value in part.items()}
    missing = [name for name in FIELDS if name not in merged]
    assert not missing, f"report lacks {missing}"
    return {name: merged[name] for name in (*FIELDS, *(name for name in merged if name not in FIELDS))}


def write(path: Path, report: Mapping[str, Any]) -> None:
    """As JSON, whole or not at all. Raises ValueError when it cannot be written."""
    try:
        write_whole(path, (json.dumps(report, indent=2, allow_nan=False) + "\n").encode())
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None


def check_path(path: Path) -> Path:
    """``path`` if a file can be written there. Raises ValueError."""
    if path.is_dir():
        raise ValueError(f"{path}: is a folder; a file expected")
    if not path.parent.is_dir():
        raise ValueError(f"{path}: there is no folder {path.parent}")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise ValueError(f"{path}: no permission to write it")
    return path


def process_start() -> float:
    """When this process began, seconds of time.monotonic; where the system does not tell, when this was imported."""
    if sys.platform.startswith("linux"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = Path("/proc/self/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
            since_boot = int(fields[19]) / os.sysconf("SC_CLK_TCK")  # field 22 of proc(5): starttime
            return time.monotonic() - (time.clock_gettime(time.CLOCK_BOOTTIME) - since_boot)
    return _IMPORTED
