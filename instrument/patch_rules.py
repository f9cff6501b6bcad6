"""What each field of a patch may be: the rules behind both the reader and ``samplernn patch schema``.

Pure, any thread. Built from the table of parameters and triggers. What one field says about another (a voice that is
not there, a sweep without a name) is left to :mod:`instrument.patch`.
"""

from __future__ import annotations

from instrument import patch_movement
from instrument.parameters import ESCAPES, MAX_VOICES, PARAMETERS
from instrument.patch_midi import BINDING
from instrument.patch_osc import OSC
from instrument.patch_values import ENTRY, SECONDS, VALUES, VOICE
from instrument.schema import TOP, Choice, ListOf, Number, Record, Switch, Table, Text

_HELP = {name: f"{p.help}{f' ({p.unit})' if p.unit else ''}" for name, p in PARAMETERS.items()}

_OUTPUT = Record(
    {
        "device": Text(),
        "latency": Number(1, 2000),
        "block": Number(16, 8192, whole=True),
        "channels": Number(2, 16, whole=True, even=True),
        "launch": Number(1, 512, whole=True),
    },
    help={
        "device": "default, or part of a device's name",
        "latency": "gesture to sound, in milliseconds",
        "block": "frames of a device block",
        "channels": "2, or 4, 6 ... 16 for voices on pairs of their own; fixed when the set starts",
        "launch": "samples that a GPU makes at once, rounded up to whole frames of the top tier",
    },
)
_VOICE_SETTINGS = Record(
    {**VALUES, "checkpoint": ENTRY, "partner": ENTRY, "stereo": Switch()},
    help={
        **_HELP,
        "partner": "another network of the bank that blend leads to, or none",
        "stereo": "whether this voice has a right side of its own, if otherwise than all",
    },
)
PATCH = Record(
    {
        "name": Text(),
        "seed": Number(0, 2**64 - 1, whole=True),
        "output": _OUTPUT,
        "bank": ListOf(Text(4000), 1, 128),
        "fallback": Text(4000),
        "voices": VOICE,
        "parameters": Record(VALUES, help=_HELP),
        "stereo": Switch(),
        "voice": Table(VOICE, _VOICE_SETTINGS, MAX_VOICES),
        "midi": ListOf(BINDING, 0, 1000),
        "midi_out": Text(),
        "midi_port": Text(60),
        **patch_movement.FIELDS,
        "osc": OSC,
        "switch": Choice(("prime", "keep")),
        "escape": Choice(ESCAPES),
        "history": Switch(),
        "crossfade": SECONDS,
    },
    required=("bank",),
    help={
        "seed": "of the dice; drawn anew at each start if left out",
        "bank": "checkpoints: program 0, 1, ...; relative to this file, or to the folder of patches/ and checkpoints/",
        "fallback": "a checkpoint that the processor plays when the GPU that plays the bank fails, or is not there",
        "voices": "how many sound at once",
        "stereo": "voices have a right side of their own: the same network, other dice",
        "parameters": "where all voices start",
        "voice": "where single voices (from 1) start, if elsewhere",
        "midi": "what MIDI inputs do",
        "midi_out": "MIDI outputs that are told what is on: part of a name, or same for those of the inputs",
        "midi_port": "name of a MIDI input of our own that other programs can play",
        **patch_movement.HELP,
        "osc": "where to listen and to send, whose messages are taken, whether to be found",
        "escape": "what is done about a voice that is stuck in silence, a tone, noise or a trap",
        "history": "the bank is a training run's, its epochs in order: maturity moves through them",
        "crossfade": "seconds in which a change to this patch, or to what it says when it is saved, is heard",
        "switch": "another checkpoint is primed with what was played (prime), or takes the state over if it can (keep)",
    },
)
assert TOP == "patch"
