"""Whether there may be a GPU to play on, found out in milliseconds: before torch is imported, which takes seconds."""

from __future__ import annotations

import ctypes
import sys
from importlib.metadata import version
from importlib.util import find_spec

LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"

NO_DEVICE = 100  # CUDA_ERROR_NO_DEVICE


def missing() -> str:
    """What keeps a GPU from playing, in words; nothing where nothing is known to."""
    if find_spec("torch") is None:
        return "needs torch (the extra `cuda`)"
    if version("torch").endswith("+cpu"):
        return f"torch {version('torch')} is built for processors only"
    try:
        driver = ctypes.CDLL(LIBRARY)
    except OSError:
        return "there is no driver of an NVIDIA GPU here"
    count = ctypes.c_int()
    code = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    if code and code != NO_DEVICE:
        return f"the GPU's driver says error {code}"
    return "" if count.value and not code else "there is no NVIDIA GPU here"
