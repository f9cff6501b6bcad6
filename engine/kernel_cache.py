"""Where compiled kernels are kept, and when they are stale. Import this before numba.

numba notices an edited function only by its own file: when just a callee in another file changed it serves the stale
kernel (seen). Here a kernel's stamp is a hash of its file and of every file of ours that it imports, directly or not;
the folder is named by the compilers' versions and the chosen instruction set.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import hashlib
import os
import re
import shutil
import sys
import tempfile
from functools import cache
from importlib.metadata import version
from pathlib import Path

KEEP = 4  # folders of earlier versions left for those who switch environments
ROOM = 64 << 20  # bytes a disk must have left: a version's kernels take about 10 MB

_TOP = Path(__file__).parent.parent


def user_cache() -> Path:
    """The folder for everything this program may lose: SAMPLERNN_CACHE, else the platform's convention."""
    if os.environ.get("SAMPLERNN_CACHE"):
        return Path(os.environ["SAMPLERNN_CACHE"])
    home = os.path.expanduser("~")  # noqa: PTH111 (Path.home raises where there is no home)
    if sys.platform == "darwin":
        return Path(home, "Library", "Caches", "samplernn-live")
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home, "samplernn-live", "cache")
    return Path(os.environ.get("XDG_CACHE_HOME") or Path(home, ".cache"), "samplernn-live")


def toolchain() -> str:
    """Names what compiles and for which instruction set."""
    parts = [f"{package}-{version(package)}" for package in ("numba", "llvmlite", "numpy")]
    text = " ".join([*parts, sys.version, os.environ.get("SAMPLERNN_KERNEL", "")])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@cache
def stamp(source: Path) -> str:
    """Hash of ``source`` and of every source of ours that it imports, directly or not."""
    digest = hashlib.sha256()
    for path in sorted(closure(source)):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def closure(source: Path) -> set[Path]:
    """``source`` and all it imports from this program."""
    found: set[Path] = set()
    waiting = [source.resolve()]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting.extend(_imports(path))
    return found


# Parsing all sources took a third of a second of every start; a test holds this against the parser.
_IMPORT = re.compile(
    rb"^[ \t]*(?:from[ ]+((?:engine|instrument)[\w.]*)[ ]+import[ ]+(\([^)]*\)|[^\n]*)|import[ ]+([^\n]*))",
    re.MULTILINE,
)


def imported(source: bytes) -> set[str]:
    """Modules of ours that ``source`` may import, by full name; names imported from them as if they were modules."""
    modules: set[str] = set()
    for package, names, plain in _IMPORT.findall(source):
        for part in re.sub(rb"#[^\n]*", b"", names or plain).strip(b"() ").split(b","):
            name = part.split()[0].decode() if part.split() else ""
            modules.add(f"{package.decode()}.{name}" if package else name)
        modules.add(package.decode())
    return {module for module in modules if module.startswith(("engine.", "instrument."))}


@cache
def _imports(source: Path) -> tuple[Path, ...]:
    files = [_TOP.joinpath(*module.split(".")).with_suffix(".py") for module in imported(source.read_bytes())]
    return tuple(path.resolve() for path in files if path.is_file())


def _last_used(folder: Path) -> float:
    """Seconds of the system's clock; 0 for one that another process has just removed."""
    try:
        return folder.stat().st_mtime
    except OSError:
        return 0.0


def prepare() -> Path:
    """Point numba at this toolchain's folder and at our stamps, and forget the oldest folders. Returns the folder.

    Where that cannot be written, kernels live in a temporary one: those in `SPARE` are taken over (see the locator),
    the others compiled again next time, and `UNKEPT` says why. Raises RuntimeError when numba was imported before: it
    would go by its own stamps; OSError when there is no room for a temporary folder either.
    """
    global SPARE, UNKEPT
    folder = user_cache() / "kernels" / toolchain()
    locator = "engine.kernel_locator.Locator"
    if "numba" in sys.modules and os.environ.get("NUMBA_CACHE_LOCATOR_CLASSES") != locator:
        raise RuntimeError("engine.kernel_cache must be imported before numba")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        os.utime(folder)
        for old in sorted(folder.parent.iterdir(), key=_last_used, reverse=True)[KEEP:]:
            shutil.rmtree(old, ignore_errors=True)
        _check_room(folder)
    except OSError as fault:
        SPARE, UNKEPT = folder, f"{folder}: {fault.strerror}"
        folder = _temporary()
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["NUMBA_CACHE_DIR"] = str(folder)
    os.environ["NUMBA_CACHE_LOCATOR_CLASSES"] = locator
    return folder


def _check_room(folder: Path) -> None:
    """Raises OSError if kernels cannot be kept in ``folder``."""
    tempfile.TemporaryFile(dir=folder).close()
    if shutil.disk_usage(folder).free < ROOM:
        raise OSError(errno.ENOSPC, f"less than {ROOM >> 20} MB left on the disk", str(folder))


def _temporary() -> Path:
    """A new folder for this process alone, on disk or else in memory. Raises OSError."""
    for parent in (None, "/dev/shm"):  # None: where temporary files belong
        with contextlib.suppress(OSError):
            _check_room(Path(parent or tempfile.gettempdir()))
            return Path(tempfile.mkdtemp(prefix="samplernn-kernels-", dir=parent))
    raise OSError(errno.ENOSPC, f"no folder with {ROOM >> 20} MB of room for kernels; SAMPLERNN_CACHE may name one")


SPARE: Path | None = None
UNKEPT = ""
copied = 0  # kernels taken over from SPARE
FOLDER = prepare()
