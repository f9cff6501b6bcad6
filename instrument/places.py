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


def _reason(error: Exception) -> str:
    return (error.strerror or "no such file") if isinstance(error, OSError) else str(error)


def set_aside(path: Path) -> Path | None:
    """Rename what bears the name of a recording to come: x.wav to x.old.wav, x.old-2.wav ... Returns its new name.

    None where there is nothing worth keeping. Raises ValueError when it cannot be renamed.
    """
    if not path.is_file() or not path.stat().st_size:
        return None
    names = (path.with_stem(f"{path.stem}.old{f'-{i}' * (i > 1)}") for i in range(1, 1 << 20))
    kept = next(name for name in names if not name.exists())
    try:
        return path.rename(kept)
    except OSError as error:
        raise ValueError(f"{path}: is there already and cannot be renamed: {error.strerror}") from None


def find_checkpoint(file: str) -> Path:
    """Where the checkpoint ``file`` is, or the newest epoch of a run folder of that name. Raises ValueError."""
    found = find(file)
    return latest_epoch(found) if found.is_dir() else found


def latest_epoch(run: Path) -> Path:
    """The newest ``epoch-NNN.safetensors`` of a run folder. Raises ValueError if it holds none."""
    epochs = [(int(match[1]), file) for file in run.iterdir() if (match := EPOCH.fullmatch(file.name))]
    if not epochs:
        raise ValueError(f"{run}: a folder without epoch-NNN.safetensors; name a run folder, a checkpoint or a patch")
    return max(epochs)[1]
