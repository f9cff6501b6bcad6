"""The one way sound leaves as a file: stereo, 24-bit PCM, .wav or .flac, no dither.

Used by the recorder on its disk thread and by offline rendering on the main thread; both write the same bytes for the
same samples. libsndfile does the formats; this adds what it leaves open: the conversion, files that stay readable when
the process is killed, and recordings longer than a .wav can hold. soundfile is imported late: the null output must do
without it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from instrument.keeping import Claim, set_aside

FORMATS = {".wav": "WAV", ".flac": "FLAC"}
FULL_SCALE = 1 << 23
BYTES = 6  # of a frame, in a .wav
WAV_FRAMES = (2**32 - 2**16) // BYTES  # 4 h 30 at 44.1 kHz; RF64 would change the header of short files too
ROOM = 1 << 20  # bytes: less is a full disk
UPDATE_HEADER_NOW = 0x1060  # SFC_UPDATE_HEADER_NOW of sndfile.h, which soundfile does not wrap


def is_sound_file(name: str) -> bool:
    """Whether an output's name means a file: it ends in .wav or .flac, in any case."""
    return Path(name).suffix.lower() in FORMATS


def check_path(path: Path) -> Path:
    """The path back, if a sound file could be written there. Raises ValueError with one line if not."""
    if not is_sound_file(str(path)):
        raise ValueError(f"{path}: a recording must end in .wav or .flac")
    if path.is_dir():
        raise ValueError(f"{path}: is a folder; a file name ending in .wav or .flac is needed")
    if not path.parent.is_dir():
        raise ValueError(f"{path}: the folder {path.parent} does not exist")
    target = path if path.exists() else path.parent
    if not os.access(target, os.W_OK):
        raise ValueError(f"{path}: no permission to write {'it' if path.exists() else 'in ' + str(path.parent)}")
    return path


def to_pcm24(audio: NDArray[np.float32]) -> NDArray[np.int32]:
    """Samples of full scale 1 as 24-bit integers, floor(x 2^23 + 0.5) clipped, in the high bits of int32.

    Any shape. float64 holds every product exactly, so every machine gets the same integers. NaN becomes 0.
    """
    scaled = np.nan_to_num(audio.astype(np.float64), nan=0.0, posinf=1.0, neginf=-1.0) * FULL_SCALE + 0.5
    whole = np.clip(np.floor(scaled), -FULL_SCALE, FULL_SCALE - 1)
    return np.left_shift(whole.astype(np.int32), 8)


class SoundFile:
    """A stereo 24-bit file being written. One thread at a time.

    `write` and `flush` raise OSError when the disk does not take it. A file killed after a `flush` opens with all that
    was written before it (.flac: but for the last block of 4096 frames). What does not fit in a .wav goes on in
    NAME-2.wav, NAME-3.wav ... without a gap.
    """

    def __init__(self, path: Path, sample_rate: int, limit: int = WAV_FRAMES) -> None:
        """Create the file. Raises ValueError with one line when that is not possible."""
        self.path, self.sample_rate = check_path(path), sample_rate
        self.frames = 0  # over all parts
        self.parts = [path]
        self._wav = path.suffix.lower() == ".wav"
        self._limit = limit if self._wav else 1 << 62
        self._room = self._limit
        there = path.exists()
        try:
            self._file, self._claim = self._create(path)
        except (ImportError, OSError, RuntimeError) as fault:
            if not there:
                path.unlink(missing_ok=True)
            raise ValueError(f"{path}: cannot be written: {failure(path, fault).strerror}") from None

    def _create(self, path: Path) -> tuple[Any, Claim]:
        import soundfile

        kind = FORMATS[path.suffix.lower()]
        claim = Claim(path)  # before anything that was in it is gone
        try:
            file = soundfile.SoundFile(path, "w", self.sample_rate, channels=2, subtype="PCM_24", format=kind)
        except BaseException:
            claim.close()
            raise
        return file, claim

    def write(self, audio: NDArray[np.float32]) -> None:
        """Append frames (n, 2) of full scale 1."""
        while len(audio) > self._room:
            fits, audio = audio[: self._room], audio[self._room :]
            self._append(fits)
            self._next_part()
        self._append(audio)

    def _append(self, audio: NDArray[np.float32]) -> None:
        try:
            self._file.write(to_pcm24(audio))
        except (RuntimeError, AssertionError) as fault:  # soundfile asserts that all frames were written
            raise failure(self.parts[-1], fault) from None
        self.frames += len(audio)
        self._room -= len(audio)

    def _next_part(self) -> None:
        self.close()
        path = self.path.with_stem(f"{self.path.stem}-{len(self.parts) + 1}")
        self.parts.append(path)
        self._room = self._limit
        try:
            set_aside(path)
            self._file, self._claim = self._create(path)
        except (RuntimeError, ValueError) as fault:
            raise failure(path, fault) from None

    def flush(self) -> None:
        """Let the file's header agree with what has been written."""
        if self._wav:
            _update_header(self._file)
        else:
            _flac_length(self.path, self.frames)

    def close(self) -> None:
        """Complete the file. Raises OSError. Safe to call again."""
        try:
            self._file.close()
        except RuntimeError as fault:
            raise failure(self.parts[-1], fault) from None
        finally:
            self._claim.close()


def _update_header(file: Any) -> None:
    """Rewrite a .wav's header; where soundfile has no way to say so it is complete only when closed."""
    import soundfile

    library, ffi = getattr(soundfile, "_snd", None), getattr(soundfile, "_ffi", None)
    if library is not None and ffi is not None:
        library.sf_command(file._file, UPDATE_HEADER_NOW, ffi.NULL, 0)


def _flac_length(path: Path, frames: int) -> None:
    """Write how many frames can be read so far into STREAMINFO, where the encoder puts it only at the end.

    RFC 9639, 8.2: after "fLaC" and the block header of 4 bytes come block sizes (2 x 16 bits), frame sizes (2 x 24),
    rate (20), channels (3), depth (5), then the total in 36 bits: the low half of byte 21 and bytes 22 to 25. libFLAC
    holds back one block and a sample, and overwrites this when the file is closed.
    """
    with path.open("r+b") as file:
        head = file.read(26)
        if len(head) < 26:  # nothing has come out of the encoder yet
            return
        block = int.from_bytes(head[8:10], "big")
        total = max(0, frames - 1) // block * block
        file.seek(21)
        file.write(bytes([head[21] & 0xF0 | total >> 32 & 0xF]) + (total & 0xFFFFFFFF).to_bytes(4, "big"))


def failure(path: Path, fault: BaseException) -> OSError:
    """A file that could not be written, in words: libsndfile only says that something went wrong."""
    with contextlib.suppress(OSError):
        if shutil.disk_usage(path.parent).free < ROOM:
            return OSError(errno.ENOSPC, "the disk is full", str(path))
    return OSError(errno.EIO, getattr(fault, "strerror", None) or one_line(fault), str(path))


def one_line(fault: BaseException) -> str:
    """What a fault says, in one line."""
    return " ".join(str(fault).split()) or type(fault).__name__
