"""Networks for tests of the audio path: C functions after docs/design.md that sound like nothing learned.

``sine``: half scale, its phase in the state, with a little noise from the dice; never silent. ``beta``: the token is
100 times the beta it was given. ``square``: full scale, the runaway. All count, in their state, what they were primed
with; ``beta`` keeps what it was given in ``Fake.betas``.
"""

from __future__ import annotations

from engine import kernel_cache  # noqa: F401

# isort: split
import math
from dataclasses import dataclass

import numpy as np
from numba import cfunc, njit, types
from numpy.typing import NDArray

from engine.config import ModelConfig
from engine.generator import Program
from instrument.audio.memory import get_f32, get_i32, get_i64, set_f32, set_i32, set_i64

KINDS = {"sine": 0, "beta": 1, "square": 2}
# context: state, bytes, kind, levels, period in samples, clock at which it faults, voices, address of a log, its length
# lane: header (0 key, 1 position, 2 clock, 3 resets, 4 number), 8 phase, 9 primed, 10 sum of what it was primed with,
# 11 last token primed, 12 last reset mode, 13 resets in all, 14 position at the last reset of mode 0 to 2
BYTES = 16 * 8
OPTIONS = {"cache": True, "nogil": True, "error_model": "numpy"}


@njit(**OPTIONS)
def noise(key, position):
    x = (key * 2862933555777941757 + position * 3202034522624059733 + 3037000493) ^ 0x5DEECE66D
    x ^= (x >> 29) & 0x7FFFFFFFF
    x *= 4768777513237032717
    return ((x >> 32) & 0xFFFF) / 65536.0 - 0.5


@njit(**OPTIONS)
def one(context, lane, beta):
    kind, levels = get_i64(context, 2), get_i64(context, 3)
    phase, position = get_i64(lane, 8), get_i64(lane, 1)
    if kind == 0:
        x = 0.5 * math.sin(2 * math.pi * phase / get_i64(context, 4)) + 0.04 * noise(get_i64(lane, 0), position)
        token = np.int64(math.floor((x + 1.0) * levels / 2))
    elif kind == 1:
        if phase < get_i64(context, 8):
            set_f32(get_i64(context, 7), phase, beta)
        token = np.int64(min(levels - 1.0, 100.0 * beta))
    else:
        token = 0 if (phase // 50) & 1 else levels - 1
    set_i64(lane, 8, phase + 1)
    set_i64(lane, 1, position + 1)
    set_i64(lane, 2, get_i64(lane, 2) + 1)
    return token


_I = types.int64


@cfunc(_I(_I, _I, _I, _I, _I, _I), cache=True, error_model="numpy")
def generate(context, lanes, n, betas, tokens, stride):
    faults = 0
    for v in range(get_i64(context, 6)):
        if lanes >> v & 1:
            lane = get_i64(context, 0) + v * get_i64(context, 1)
            for i in range(n):
                token = one(context, lane, get_f32(betas, v * stride + i))
                if get_i64(context, 5) >= 0 and get_i64(lane, 2) > get_i64(context, 5):
                    token = get_i64(context, 3) // 2
                    faults |= 1 << v
                set_i32(tokens, v * stride + i, token)
    return faults


@cfunc(_I(_I, _I, _I, _I), cache=True, error_model="numpy")
def prime(context, lane, tokens, n):
    state = get_i64(context, 0) + lane * get_i64(context, 1)
    for i in range(n):
        token = get_i32(tokens, i)
        set_i64(state, 9, get_i64(state, 9) + 1)
        set_i64(state, 10, get_i64(state, 10) * 31 + token)
        set_i64(state, 11, token)
        set_i64(state, 2, get_i64(state, 2) + 1)
    return 0


@cfunc(_I(_I, _I, _I), cache=True, error_model="numpy")
def reset(context, lane, mode):
    state = get_i64(context, 0) + lane * get_i64(context, 1)
    set_i64(state, 12, mode)
    set_i64(state, 13, get_i64(state, 13) + 1)
    if mode < 3:
        set_i64(state, 14, get_i64(state, 1))
    if mode == 3:
        for word in (2, 8, 9, 10, 11):
            set_i64(state, word, 0)
    if mode == 2:
        set_i64(state, 3, get_i64(state, 3) + 1)
    return 0


LOGGED = 1 << 16


@dataclass(frozen=True)
class Fake:
    """A program, and its insides to look at: state (voices, 16), the betas that ``beta`` was given."""

    program: Program
    state: NDArray[np.int64]
    betas: NDArray[np.float32]


def make_fake(kind: str = "sine", voices: int = 1, period: int = 100, fault_at: int = -1, **config: object) -> Fake:
    """A network of ``kind``; ``config`` as for ModelConfig."""
    made = ModelConfig(**{"dim": 4, "frame_sizes": (4, 8), "q_levels": 4096, **config})  # type: ignore[arg-type]
    state = np.zeros((voices, BYTES // 8), np.int64)
    betas = np.zeros(LOGGED, np.float32)
    values = [state.ctypes.data, BYTES, KINDS[kind], made.q_levels, period, fault_at, voices, betas.ctypes.data, LOGGED]
    context = np.array(values, np.int64)
    addresses = (generate.address, prime.address, reset.address)
    keep = (context, state, betas)
    return Fake(Program(made, voices, context.ctypes.data, *addresses, state.ctypes.data, BYTES, keep), state, betas)


def make_program(kind: str = "sine", voices: int = 1, **rest: object) -> Program:
    """Only the program of :func:`make_fake`."""
    return make_fake(kind, voices, **rest).program  # type: ignore[arg-type]
