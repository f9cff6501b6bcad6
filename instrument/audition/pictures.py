"""Pictures of sounds: a spectrogram over a waveform, as PNG, without anything but NumPy and soundfile.

Any thread; a minute of sound takes a few tens of milliseconds. Loudness is absolute, so that pictures can be compared
and silence looks like silence. Pictures are kept beside the run; which may be made, and when, is left to the server.
"""

from __future__ import annotations

import contextlib
import os
import struct
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Sound = NDArray[np.float32]
Array = NDArray[np.float64]

COLUMNS, SPECTRUM_ROWS, WAVE_ROWS = 480, 128, 40
LOWEST_HZ, HIGHEST_HZ = 40.0, 18000.0
FLOOR_DB, TOP_DB = -96.0, -18.0  # re a full-scale sine
SHADES = 60  # of loudness; as many as can be told apart, and few enough to compress well
WINDOW_SECONDS = 0.04
CHUNK = 32  # columns worked on at a time, so that an hour needs no more memory than a minute
# From the page's background over the violet, red and yellow of hot metal: dark stays dark on a stage.
_ANCHORS = ((14, 15, 20), (44, 24, 84), (118, 30, 112), (190, 52, 88), (238, 104, 56), (252, 182, 76), (255, 248, 208))
_WAVE, _PAPER = SHADES, SHADES + 1  # palette indices
_WAVE_COLOURS = ((126, 200, 214), (20, 22, 29))


def picture_of(sound: Path, cache: Path, name: str, columns: int = COLUMNS) -> bytes:
    """The PNG of the sound file ``sound``, from the folder ``cache`` if it was drawn since the sound last changed.

    Raises ValueError if it cannot be read. That the cache cannot be written is no fault.
    """
    kept = cache / f"{name}.png"
    with contextlib.suppress(OSError):
        if kept.stat().st_mtime_ns > sound.stat().st_mtime_ns:
            return kept.read_bytes()
    data = png(draw(sound, columns), _palette())
    with contextlib.suppress(OSError):
        cache.mkdir(parents=True, exist_ok=True)
        _replace(kept, data)
    return data


def draw(sound: Path, columns: int = COLUMNS) -> Pixels:
    """Palette indices (SPECTRUM_ROWS + WAVE_ROWS, columns) of the sound, mixed to mono. Raises ValueError."""
    try:
        with soundfile.SoundFile(sound) as file:
            if file.frames < 1:
                raise ValueError(f"{sound.name}: empty")
            parts = [_part(audio, n, file.samplerate) for audio, n in _chunks(file, columns)]
    except (soundfile.SoundFileError, OSError) as error:
        raise ValueError(f"{sound.name}: {' '.join(str(error).split())[:200]}") from None
    return np.concatenate(parts, axis=1)


def _chunks(file: soundfile.SoundFile, columns: int) -> Iterator[tuple[Sound, int]]:
    """The sound in as many equal parts as there are columns, CHUNK of them at a time: (samples, columns)."""
    for first in range(0, columns, CHUNK):
        last = min(first + CHUNK, columns)
        count = file.frames * last // columns - file.frames * first // columns
        audio = file.read(count, dtype="float32", always_2d=True).mean(axis=1)
        yield np.nan_to_num(np.concatenate([audio, np.zeros(max(1, count) - len(audio), np.float32)])), last - first


def _part(audio: Sound, columns: int, sample_rate: int) -> Pixels:
    edges = np.linspace(0, len(audio), columns + 1)
    return np.concatenate([_spectrum(audio, edges, sample_rate), _wave(audio, edges)])


def _spectrum(audio: Sound, edges: Array, sample_rate: int) -> Pixels:
    """Loudest of each band in each column, (SPECTRUM_ROWS, columns), high bands first."""
    size = 2 ** max(6, round(np.log2(WINDOW_SECONDS * sample_rate)))
    frames_a_column = max(1, int((edges[1] - edges[0]) // size))  # nothing between two frames stays unseen
    centres = (
        edges[:-1, None] + np.diff(edges)[:, None] * (np.arange(frames_a_column) + 0.5) / frames_a_column
    ).ravel()
    padded = np.pad(audio, size // 2 + 1)
    window = np.hanning(size).astype(np.float32)  # in half the time of doubles, and far finer than a shade
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[centres.astype(int)] * window
    power = np.abs(np.fft.rfft(frames)) ** 2 / (window.sum() / 2) ** 2  # a full-scale sine is 1
    bands = np.maximum.reduceat(power, _band_starts(size, sample_rate), axis=1)[:, :SPECTRUM_ROWS]
    loudest = bands.reshape(len(edges) - 1, frames_a_column, -1).max(axis=1)  # (columns, SPECTRUM_ROWS)
    level = (10 * np.log10(loudest + 1e-12) - FLOOR_DB) / (TOP_DB - FLOOR_DB)
    return np.asarray(np.clip(level * SHADES, 0, SHADES - 1).astype(np.uint8).T[::-1])


def _band_starts(size: int, sample_rate: int) -> NDArray[np.int64]:
    """First FFT bin of every band, and one past the last: evenly spaced in pitch."""
    top = min(HIGHEST_HZ, sample_rate / 2)
    edges = np.geomspace(min(LOWEST_HZ, top / 2), top, SPECTRUM_ROWS + 1)
    return np.minimum((edges * size / sample_rate).astype(np.int64), size // 2)


def _wave(audio: Sound, edges: Array) -> Pixels:
    """From the lowest to the highest sample of every column, (WAVE_ROWS, columns)."""
    starts = np.minimum(edges[:-1].astype(np.int64), len(audio) - 1)
    middle = (WAVE_ROWS - 1) / 2
    top = middle - middle * np.clip(np.maximum.reduceat(audio, starts), -1, 1)
    bottom = middle - middle * np.clip(np.minimum.reduceat(audio, starts), -1, 1)
    rows = np.arange(WAVE_ROWS)[:, None]
    return np.where((rows >= np.floor(top)) & (rows <= np.ceil(bottom)), _WAVE, _PAPER).astype(np.uint8)


def _palette() -> Pixels:
    """Colours (SHADES + 2, 3)."""
    places = np.linspace(0, len(_ANCHORS) - 1, SHADES)
    shades = [np.interp(places, np.arange(len(_ANCHORS)), channel) for channel in zip(*_ANCHORS, strict=True)]
    return np.concatenate([np.stack(shades, axis=1), np.asarray(_WAVE_COLOURS)]).astype(np.uint8)


def png(pixels: Pixels, palette: Pixels) -> bytes:
    """An indexed PNG of ``pixels`` (rows, columns) in the colours of ``palette`` (colours, 3); W3C PNG, 2003."""
    rows, columns = pixels.shape
    lines = np.concatenate([np.zeros((rows, 1), np.uint8), pixels], axis=1).tobytes()  # filter 0 before each line
    head = struct.pack(">IIBBBBB", columns, rows, 8, 3, 0, 0, 0)
    parts = ((b"IHDR", head), (b"PLTE", palette.tobytes()), (b"IDAT", zlib.compress(lines, 6)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_png_part(*part) for part in parts)


def _png_part(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _replace(path: Path, data: bytes) -> None:
    """Put ``data`` at ``path``, whole or not at all."""
    part = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        part.write_bytes(data)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
