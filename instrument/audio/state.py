"""The render loop's own memory: what it remembers of the whole, of each slot, voice, deck and glide.

Made by ``performance``, then touched by the render loop alone. Records of numbers and addresses; a kernel gets them all
as one CORE, whose addresses lead to the rest.

Three positions, all in session samples. A command's ``at`` means the frame that reaches the ring:
``front`` (networks) = ``mix`` + delay runs ahead by the resampler's half length, ``mix`` (filters, gains) runs ahead of
the frames by the limiter's look-ahead. So whatever a command touches is heard in the same frame. ``front`` begins at 0.
"""

from __future__ import annotations

from typing import Any

from engine import kernel_cache  # noqa: F401

# isort: split
import numpy as np
from numba import types
from numba.extending import intrinsic
from numba.np.numpy_support import from_dtype

from instrument.shared import MAX_CHANNELS

_intrinsic: Any = intrinsic
Record = Any  # one element of an array of the types below, as compiled code sees it

PAST = 1 << 15  # network samples each deck remembers: for the resampler, and to prime another network with
MAX_TURN = 4096
MAX_VOICES = 64
MAX_PAIRS = MAX_CHANNELS // 2
PENDING = 1024  # commands that may wait for their sample in each of the two lists

PLAYING, FALLING, SILENT = range(3)  # phase of the whole: FALLING is panic's fade
STEADY, PRIMING, FADING = range(3)  # phase of a voice
ALONE, LISTENING, WITH, JOINED, PARTING = range(5)  # company of a deck; WITH: primed together with the deck itself
AWAKE, LEAVING, PARKED = range(3)  # LEAVING fades out
STEPS = 16  # of a loop's pass, at most
WELL, FAILED, LOST = range(3)
OFF, WAITING, LOOPING = range(3)  # state of a voice's loop: WAITING for a network that is being primed

# words of a lane's header (docs/design.md) that loops and steering need
HEADER_WORDS = 8
KEY, DICE, RESETS, NUMBER, SPREAD, FRESH_DICE, MEASURED = 0, 1, 3, 4, 5, 6, 7

_INT, _FLOAT = np.int64, np.float64


def _record(integers: str, floats: str) -> np.dtype[np.void]:
    return np.dtype([(name, _INT) for name in integers.split()] + [(name, _FLOAT) for name in floats.split()])


CORE = _record(
    # fixed at the start
    "rate voices stereo slots room top turn delay ahead hop nap offline glide opening closing fall fuse rest past "
    "history growing pairs fallback stir stirred "
    # (room: of the table of slots; top: none is ready from there on; slots: of a history's bank, the table's first;
    # fallback: the slot that takes over when what computes the others is lost, -1 for none; stir, stirred: what keeps
    # that from slowing down, 0 for nothing)
    # addresses: shared words and float32 samples; arrays of records; two lists of COMMAND, latest first; crossfade
    # limits and prime rates, (room, room); float64 of the saturators' delay lines, of the filter's cutoffs, of each
    # voice's share in each pair of output channels; of one turn's mix and, with several pairs, of theirs; of the
    # limiters' rings; float32 frames of one turn, in stereo and of all channels; histogram; headers of lanes
    "words samples slot_memory voice_memory deck_memory glide_memory modulation_memory front later limits rates "
    "loop_memory anchor_memory shape_memory line_memory tangents share_memory left right buses limiters out wide times "
    "header_memory "
    # where we are
    "mix phase panic_at overtaken fade_start stop_at ended "
    # whether what computes the slots is WELL, has FAILED in this turn of the grid, from which slot on, and from when on
    # all others, or is LOST; session samples that are being made
    "health failed_from failed_at making "
    # the session sample from which the networks' frames are counted: 0, or where a panic's silence ended
    "line "
    "front_count mix_count "
    # counted
    "late commands events_lost events_untold events_from tap_lost tap_missing tap_from fuses frames next_figures "
    "first_ns "
    # falling behind (instrument.audio.shedding), in samples: late turns more than others, made while the ring is low,
    # made in the late stretch, which took spent ns; and what is too much of the first two. crowd: who plays what, as
    # one number, and how many; turns made since somebody came or changed. hopeless: it was told
    "behind low streak spent patience endurance crowd many since hopeless",
    "b0 b1 b2 a1 a2 s0 s1 s2 t1 t2 edge fade_from fade_to release meter_fall meter_blend fuse_blend "
    "drive_rise drive_fall drive_mean "
    "entropy_blend steer_blend usual "
    "load left_peak right_peak left_square right_square peak_total square_total reduction "
    "hop_p50 hop_p99 hop_max factor",
)

SLOT = _record(
    "architecture context generate prime reset state state_bytes "
    "q_levels levels edges source target taps phases table betas tokens right_tokens stride prime_length ready "
    # lanes' states, float32 of each one's last amplitude, how many; int32 of each one's attack, its length
    "moments moment_levels moment_count attacks attack_length "
    # lanes' states for each voice, and for each partner, (lanes, STEPS): of its loop
    "kept "
    # networks of one family hear the same samples and may be blended; float32 shares of a turn; lanes of voices
    "family blend blends lanes "
    # where it is to be seen that what computes it is lost, 0: it cannot be; samples of a top-tier frame, where lanes
    # whose frames begin together are made together for the price of one, else 1
    "failed frame",
    "gain preemphasis settling",
)

# Of a stereo voice v (a bit of CORE's stereo) row ``voices + v`` of the voices, decks and pasts is its right side, of
# which only what belongs to one side counts: filters, levels, the sound made so far.
VOICE = _record(
    "deck phase slot switch_at switch_origin fade_length wanted wanted_ramp wanted_flags "
    "fault fuse_at fuse_back fuse_reason grown parked rest_start rest_length measured pair partner",
    "z1 z2 square peak runaway rest_from rest_to entropy steer entropy_total "
    # of a stereo voice: the filter of what differs between its sides
    "side1 side2 side3 side4 side5",
)

# speech: address and number of the samples that a jump left to be said before the dice go on; hushed: its slot was lost
# partner: the slot that is blended with its own; company: how far that is, its positions and its share in the blend
DECK = _record(
    "slot first origin started primed rate jumped hushed speech speech_left "
    "partner company company_at company_origin company_started company_primed company_rate share_start",
    "decoded previous step share_from share_to",
)

# part: of a sample, added to the length; rest: parts that are not yet one; begun: where the pass's steps are counted
# from; exact: the pass is where the stored one was, of which so many steps are; spread: 2^32 variation; chances: drawn
LOOP = _record("state length start next begun step step_length step_end stored exact spread chances", "part rest")
ANCHOR = _record("speech speech_left partner", "decoded")  # of a deck, as it was where a step began

# Of filter and drive, (rows). half: which filter is at work, -1 low-pass, 1 high-pass; count: how far the
# saturator is in. knob and g, drive and amount: the last value and what was made of it
SHAPE = _record("half count", "knob g band low drive amount power mean last root")
LINE = 16  # samples of each of a saturator's three delay lines

# (voices, parameters) of them twice: what was set, and what is added to it; low and high limit the sum
GLIDE = _record("end ramp", "target step low high")

COMMAND = _record("at op voice parameter flags ramp number serial", "value")


# A literal argument would make numba compile the callee once more for that very number; these are none.
ZERO, EVERY = np.int64(0), np.int64(-1)

OCTAVES, PARTS = 36, 32  # the histogram: octaves of nanoseconds in 32 parts each, 3 % wide
TIMES = (OCTAVES + 1) * PARTS


def _reader(dtype: np.dtype[np.void]) -> Any:
    """An intrinsic (address, index) -> the record of ``dtype`` at that place of the array at that address.

    One pointer, where an array of records would be seven numbers in every call: the loop compiles in a third of the
    time, and no reference is counted anywhere.
    """
    record, size = from_dtype(dtype), dtype.itemsize

    def read(_context: Any, address: Any, index: Any) -> Any:
        def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
            place = builder.add(args[0], builder.mul(args[1], args[1].type(size)))
            return builder.inttoptr(place, context.get_value_type(record))

        return record(types.int64, types.int64), codegen

    return _intrinsic(read)


core_at, slot_at, voice_at = _reader(CORE), _reader(SLOT), _reader(VOICE)
deck_at, glide_at, command_at = _reader(DECK), _reader(GLIDE), _reader(COMMAND)
loop_at, anchor_at, shape_at = _reader(LOOP), _reader(ANCHOR), _reader(SHAPE)
