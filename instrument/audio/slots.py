"""A slot: a network made playable, everything the audio path will touch allocated and touched ahead.

Control threads make slots before anything plays; the render loop then reads their descriptors
(``instrument.audio.state.SLOT``) and calls through them. How long one may take is left to ``instrument.audio.timing``.
"""

from __future__ import annotations

import ctypes
import hashlib
from dataclasses import dataclass
from typing import Any

from engine import kernel_cache  # noqa: F401

# isort: split
import numpy as np
from numba import njit
from numpy.typing import NDArray

from engine.generator import Program
from engine.quantize import levels, thresholds
from instrument.audio.dsp import Resampler, make_resampler, network_index
from instrument.audio.memory import call_3, call_4, call_6
from instrument.audio.state import MAX_VOICES, STEPS

TARGET_DB = -20.0  # loudness every network is brought to, where its checkpoint says how loud it is
SETTLING_S = 0.003  # in which the step of a jump dies away
MOST_DB = 12.0  # and by how much at most
_FRESH = 3


def matching_gain(loudness: float | None) -> float:
    """Linear gain that brings a network of ``loudness`` (dB of full scale, rms) to TARGET_DB; 1 when unknown."""
    if loudness is None or not np.isfinite(loudness):
        return 1.0
    return float(10.0 ** (np.clip(TARGET_DB - loudness, -MOST_DB, MOST_DB) / 20.0))


@dataclass(frozen=True)
class Places:
    """A network's moments as the loop needs them: contiguous.

    Attributes:
        states: of a lane, (n, state_bytes) uint8.
        attack: samples to be said from there on, (n, any number) int32.
        levels: amplitude before each, (n,) float32.
    """

    states: NDArray[np.uint8]
    attack: NDArray[np.int32]
    levels: NDArray[np.float32]


class Slot:
    """One network of the bank.

    Args:
        program: a generator's, with a lane for every voice; kept alive as long as the slot.
        name: for people.
        loudness: of the checkpoint's free run, dB; None leaves its level alone.
        precision: networks of one architecture share a state only at one precision.
        moments: places to jump to.
        recurrence: of the sound that it learned from, if its checkpoint says.
    """

    def __init__(
        self,
        program: Program,
        *,
        name: str = "",
        loudness: float | None = None,
        precision: str = "",
        moments: Places | None = None,
        recurrence: float | None = None,
    ) -> None:
        if not 1 <= program.voices <= MAX_VOICES:
            raise ValueError(f"{name or 'slot'}: {program.voices} voices: 1 to {MAX_VOICES} expected")
        self.program = program
        self.name, self.precision, self.recurrence = name, precision, recurrence
        self.config = program.config
        self.gain = matching_gain(loudness)
        self.architecture = _architecture(program, precision)
        self._levels = np.ascontiguousarray(levels(program.config), np.float32)
        nowhere = Places(np.zeros((0, 8), np.uint8), np.zeros((0, 0), np.int32), np.zeros(0, np.float32))
        self._places = moments or nowhere
        # of loops, of voices and of their partners
        self._kept = np.full((program.voices + program.spare, STEPS, program.state_bytes), 0, np.uint8)
        self._edges = np.ascontiguousarray(thresholds(program.config), np.float32)
        self.resampler: Resampler
        self.betas: NDArray[np.float32]
        self.tokens: NDArray[np.int32]
        self.blends: NDArray[np.float32]

    @property
    def moments(self) -> int:
        """How many places there are to jump to."""
        return len(self._places.states)

    def prepare(self, session_rate: int, turn: int) -> None:
        """Make the resampler and the scratch of a session; before it plays."""
        self.resampler = make_resampler(self.config.sample_rate, session_rate)
        stride = max(64, self.config.hop, network_index(turn, self.resampler.source, self.resampler.target) + 1)
        self.blends = np.zeros(stride, np.float32)
        self.betas = np.ones((self.program.voices, stride), np.float32)
        self.tokens = np.full(
            (1 + (self.program.stereo != 0), self.program.voices, stride), self.config.q_zero, np.int32
        )

    def describe(self, record: Any) -> None:
        """Fill in a descriptor (one element of an array of SLOT), all but its timing."""
        p, r = self.program, self.resampler
        assert p.state_bytes % 8 == 0
        record.architecture = self.architecture
        record.context, record.generate, record.prime, record.reset = p.context, p.generate, p.prime, p.reset
        record.state, record.state_bytes = p.state, p.state_bytes
        record.q_levels = self.config.q_levels
        record.levels, record.edges = self._levels.ctypes.data, self._edges.ctypes.data
        record.source, record.target, record.taps, record.phases = r.source, r.target, r.taps, r.phases
        record.table = r.table.ctypes.data
        record.betas, record.stride = self.betas.ctypes.data, self.betas.shape[1]
        record.tokens, record.right_tokens = self.tokens[0].ctypes.data, self.tokens[-1].ctypes.data
        record.gain, record.preemphasis = self.gain, self.config.preemphasis
        places = self._places
        record.moments, record.moment_count = places.states.ctypes.data, len(places.states)
        record.moment_levels = places.levels.ctypes.data
        record.attacks, record.attack_length = places.attack.ctypes.data, places.attack.shape[1]
        record.kept = self._kept.ctypes.data
        record.family, record.lanes = _family(p), p.voices
        record.blend, record.blends = p.blend if p.spare >= 2 * p.voices else 0, self.blends.ctypes.data
        record.failed, record.frame = p.failed, p.config.hop if p.samples else 1
        record.settling = np.exp(-1.0 / (SETTLING_S * self.config.sample_rate))

    @property
    def failure(self) -> int:
        """Not 0 once what computes it is lost."""
        return int(_view(self.program.failed, 1)[0]) if self.program.failed else 0

    def have_help(self, team: int) -> None:
        """From the next sample on, of a team at that address, 0 for none; before it plays, or when it does not."""
        if self.program.team:
            _view(self.program.team, 1)[0] = team

    def header(self, lane: int) -> NDArray[np.int64]:
        """The first eight words of a lane's state, in place."""
        return _view(self.program.state + lane * self.program.state_bytes, 8)

    def begin(self, seed: int) -> None:
        """Every lane to a fresh start, with the dice of its voice under ``seed`` at position 0."""
        key = (seed + (1 << 63)) % (1 << 64) - (1 << 63)
        voices = self.program.voices
        for lane in range(voices + self.program.spare):
            header = self.header(lane)
            header[:] = key, 0, 0, 0, lane % voices, 0, 0, 0
            run_reset(self.program.reset, self.program.context, lane, _FRESH)


def _architecture(program: Program, precision: str) -> int:
    """Equal for networks whose lanes' state and sound may be taken over as they are."""
    c = program.config
    parts = (
        *(c.frame_sizes, c.dim, c.mlp_dim, c.mlp_layers, c.rnn, c.n_rnn, c.skip),
        *(c.q_levels, c.q_type, c.preemphasis, c.sample_rate, precision, program.state_bytes),
    )
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "little", signed=True)


def _family(program: Program) -> int:
    """Equal for networks that hear the same samples (engine.config.sound_differs)."""
    c = program.config
    parts = (c.sample_rate, c.q_levels, c.q_type, c.preemphasis)
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "little", signed=True)


def _view(address: int, words: int) -> NDArray[np.int64]:
    return np.ctypeslib.as_array((ctypes.c_int64 * words).from_address(address))


@njit(cache=True, nogil=True, error_model="numpy")
def run_reset(function: int, context: int, lane: int, mode: int) -> int:
    """Call a program's reset."""
    done: int = call_3(function, (context, lane, mode))
    return done


@njit(cache=True, nogil=True, error_model="numpy")
def run_prime(function: int, context: int, lane: int, tokens: int, n: int) -> int:
    """Call a program's prime."""
    done: int = call_4(function, (context, lane, tokens, n))
    return done


@njit(cache=True, nogil=True, error_model="numpy")
def run_generate(function: int, context: int, lanes: int, n: int, betas: int, tokens: int, stride: int) -> int:
    """Call a program's generate."""
    faults: int = call_6(function, (context, lanes, n, betas, tokens, stride))
    return faults
