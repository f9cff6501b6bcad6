"""Write the files by which other programs play the instrument, from the table of parameters and triggers.

    python tools/connect

Into connect/: a Max patch and its help, a Pure Data patch, a SuperCollider script, layouts for TouchOSC and Open Stage
Control. Their addresses, ranges and defaults are the table's (instrument/parameters.py), so run this when it has
changed; a test says when.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT), str(Path(__file__).resolve().parent)]

import maxpat  # noqa: E402
import open_stage_control  # noqa: E402
import puredata  # noqa: E402
import supercollider  # noqa: E402
import touchosc  # noqa: E402


def files() -> dict[str, bytes]:
    """Every file by its name in connect/."""
    return {
        "samplernn.maxpat": maxpat.patch(),
        "samplernn.maxhelp": maxpat.help_patch(),
        "samplernn.pd": puredata.patch(),
        "samplernn.scd": supercollider.script(),
        "samplernn.tosc": touchosc.layout(),
        "samplernn.open-stage-control.json": open_stage_control.session(),
    }


def main() -> None:
    folder = ROOT / "connect"
    for name, content in files().items():
        (folder / name).write_bytes(content)
        print(folder / name)


if __name__ == "__main__":
    main()
