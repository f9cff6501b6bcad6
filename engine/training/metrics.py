"""What a run writes down of itself: ``metrics.jsonl``, its picture, and TensorBoard's files if that is installed."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from engine import checkpoint as files
from engine.training import pictures


class Metrics:
    """``metrics.jsonl``: one JSON table a line. Lines beyond the step that a run resumes from are dropped."""

    def __init__(self, path: Path, step: int) -> None:
        self._path = path
        self._board = _tensorboard(path.parent, step)
        if path.exists():
            text = path.read_text(encoding="utf-8", errors="replace")
            lines = [line for line in text.splitlines() if (row := _row(line)) and row["step"] <= step]
            files.write_whole(path, "".join(f"{line}\n" for line in lines).encode())

    def add(self, **values: float) -> None:
        with self._path.open("a") as file:
            file.write(json.dumps({key: round(value, 6) for key, value in values.items()}) + "\n")
        for key, value in values.items() if self._board else ():
            if key not in ("step", "epoch"):
                self._board.add_scalar(key, value, int(values["step"]))

    def draw(self) -> None:
        """``metrics.svg``, of all there is so far."""
        lines = self._path.read_text(encoding="utf-8", errors="replace").splitlines()
        rows = [row for line in lines if (row := _row(line))]
        drawn = pictures.metrics(rows, self._path.parent.resolve().name)
        files.write_whole(self._path.with_suffix(".svg"), drawn.encode())


class NoMetrics(Metrics):
    """Of a process that is not the first."""

    def __init__(self) -> None:
        pass

    def add(self, **values: float) -> None:
        pass

    def draw(self) -> None:
        pass


def _tensorboard(run_dir: Path, step: int) -> Any:
    """A writer for TensorBoard, of what comes after ``step``, if that is installed; else None."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(run_dir / "tensorboard"), purge_step=step + 1)


def _row(line: str) -> dict[str, float] | None:
    """A line of metrics; None for one that a crash cut short or that is damaged otherwise."""
    try:
        row = json.loads(line)
        whole = isinstance(row, dict) and "step" in row and all(type(value) in (int, float) for value in row.values())
        return row if whole and all(map(math.isfinite, row.values())) else None
    except (ValueError, RecursionError):
        return None
