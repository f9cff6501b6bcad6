"""Where compiled kernels are kept. Import this before numba.

numba notices an edited function only by its own file's time stamp: when just a callee in another file changed it serves
the stale kernel (seen). So every version of the sources gets a cache folder of its own, named by a hash of all
compiled sources, the compilers' versions and the chosen instruction set.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from importlib.metadata import version
from pathlib import Path

KEEP = 4  # folders of earlier versions left for those who switch branches


def user_cache() -> Path:
    """The folder for everything this program may lose: SAMPLERNN_CACHE, else the platform's convention."""
    if "SAMPLERNN_CACHE" in os.environ:
        return Path(os.environ["SAMPLERNN_CACHE"])
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "samplernn-live"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", str(Path.home()))) / "samplernn-live" / "cache"
    return Path(os.environ.get("XDG_CACHE_HOME", "") or Path.home() / ".cache") / "samplernn-live"


def sources() -> list[Path]:
    """Every source file that numba compiles something of, in a fixed order."""
    top = Path(__file__).parent.parent
    files = [*top.glob("engine/**/*.py"), *top.glob("instrument/**/*.py")]
    return sorted(path for path in files if "numba" in path.read_text(encoding="utf-8"))


def fingerprint() -> str:
    """Hash of the compiled sources, versions and instruction set."""
    digest = hashlib.sha256()
    for path in sources():
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    for package in ("numba", "llvmlite", "numpy"):
        digest.update(version(package).encode() + b"\0")
    digest.update(sys.version.encode() + os.environ.get("SAMPLERNN_KERNEL", "").encode())
    return digest.hexdigest()[:16]


def prepare() -> Path:
    """Point numba at this version's folder, and forget the oldest ones. Returns the folder.

    Raises RuntimeError when numba was imported first with another folder: its cache could then be stale.
    """
    folder = user_cache() / "kernels" / fingerprint()
    if "numba" in sys.modules and os.environ.get("NUMBA_CACHE_DIR") != str(folder):
        raise RuntimeError("engine.kernel_cache must be imported before numba")
    os.environ["NUMBA_CACHE_DIR"] = str(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        os.utime(folder)
        by_age = sorted(folder.parent.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
        for old in by_age[KEEP:]:
            shutil.rmtree(old, ignore_errors=True)
    except OSError:
        pass  # a read-only home: numba then compiles without keeping
    return folder


FOLDER = prepare()
