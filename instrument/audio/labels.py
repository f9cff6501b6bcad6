"""Markers beside a recording, in the form that audio editors read: Audacity's label track.

The recorder's disk thread writes them. A line a marker, ``start<tab>end<tab>text``, times in seconds of the recording;
see "Importing and Exporting Labels" in Audacity's manual. They are handed to the system as they come: a set that is
killed has lost none.
"""

from __future__ import annotations

from pathlib import Path

SUFFIX = ".labels.txt"


def labels_path(recording: Path) -> Path:
    """``set.flac`` -> ``set.labels.txt``."""
    return recording.with_name(recording.stem + SUFFIX)


class Labels:
    """The markers of one recording; the file is made with the first."""

    def __init__(self, recording: Path, sample_rate: int) -> None:
        self.path, self._rate = labels_path(recording), sample_rate
        self.made = False

    def add(self, sample: int, text: str) -> None:
        """A marker at ``sample`` of the recording. Raises OSError."""
        seconds = f"{sample / self._rate:.6f}"
        words = " ".join(text.split()) or "marker"
        with self.path.open("a" if self.made else "w", encoding="utf-8", errors="replace", newline="\n") as file:
            file.write(f"{seconds}\t{seconds}\t{words}\n")
        self.made = True
