"""Where files of the bank and patches are, by the names that patches and commands give them.

Main thread; looks at names only and opens nothing. What is in the files is left to whoever asked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

from instrument.parameters import shorten

EPOCH = re.compile(r"epoch-(\d+)\.safetensors")


def find(file: str, patch: Path | None = None) -> Path:
    """Where ``file`` is: beside ``patch``, in the folder that holds patches/ and checkpoints/, or in the package.

    Without ``patch`` the working folder comes first. Returns the first that exists, else where it most likely belongs.
    Raises ValueError for what cannot be a file name.
    """
    places = [place / file for place in _places(patch)]
    try:
        meant = places[1] if patch is not None and len(places) > 3 else places[0]  # beside, together, checkout, package
        return next((place for place in places if place.exists()), meant)
    except (OSError, ValueError) as error:
        raise ValueError(f"{shorten(file)}: {_reason(error)}") from None


def _places(patch: Path | None) -> Iterator[Path]:
    if patch is None:
        yield Path()
    else:
        yield patch.parent
        for folder in patch.absolute().parent.parents:
            if (folder / "patches").is_dir() and (folder / "checkpoints").is_dir():
                yield folder
                break
    yield Path(__file__).parent.parent  # a checkout
    yield Path(str(resources.files("instrument"))) / "data"


def is_shipped(path: Path) -> bool:
    """Whether a file came with the installed program: nobody's to change."""
    return path.resolve().is_relative_to((Path(str(resources.files("instrument"))) / "data").resolve())


def _reason(error: Exception) -> str:
    return (error.strerror or "no such file") if isinstance(error, OSError) else str(error)


def find_checkpoint(file: str) -> Path:
    """Where the checkpoint ``file`` is, or the newest epoch of a run folder of that name. Raises ValueError."""
    found = find(file)
    return latest_epoch(found) if found.is_dir() else found


def latest_epoch(run: Path) -> Path:
    """The newest ``epoch-NNN.safetensors`` of a run folder. Raises ValueError if it holds none."""
    return epochs(run)[-1]


def epochs(run: Path) -> list[Path]:
    """The ``epoch-NNN.safetensors`` of a run folder in their order. Raises ValueError if it holds none."""
    found = epochs_so_far(run)
    if not found:
        raise ValueError(f"{run}: a folder without epoch-NNN.safetensors; name a run folder, a checkpoint or a patch")
    return found


def epochs_so_far(run: Path) -> list[Path]:
    """The same, be it none. Raises OSError where there is no such folder."""
    found = [(int(match[1]), file) for file in run.iterdir() if (match := EPOCH.fullmatch(file.name))]
    return [file for _, file in sorted(found)]
