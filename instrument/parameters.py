"""THE table of what can be played: live parameters, triggers and telemetry.

OSC addresses, MIDI targets, the patch schema, the docs' tables, ``samplernn osc list`` and the screens are read from
here, so that a parameter added here exists everywhere. Pure data and arithmetic, standard library only; any thread.
What a value does to the sound is left to the render loop, which knows a parameter by its code.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from dataclasses import dataclass

MAX_VOICES = 64
MAX_RAMP = 3600.0  # seconds; longer ramps and crossfades clip
RESEEDS = ("learned", "random", "zeros")
NOW, BEAT, BAR = LAUNCHES = ("now", "beat", "bar")
INTERNAL, MIDI, LINK = CLOCKS = ("internal", "midi", "link")  # who says the tempo
SLOWEST, FASTEST = 20.0, 300.0  # beats a minute
TURNS = ("start", "stop", "continue")  # of the transport
ESCAPES = ("off", "warn", "moment", "temperature")
PREFIX = "/samplernn"
COMPARED, CANDIDATES = 24, 24  # letters and names that are looked at for the nearest


@dataclass(frozen=True)
class Parameter:
    """A live, continuous value, set for every voice at once or for one.

    Attributes:
        name: as in addresses, patches and maps.
        code: how the render loop knows it (index of its column), fixed for ever: logs hold it.
        low, high, default: natural units, all finite.
        unit: of the natural value; empty for a bare number.
        whole: only whole numbers.
        help: one line for the tables.
    """

    name: str
    code: int
    low: float
    high: float
    default: float
    unit: str
    help: str
    whole: bool = False

    @property
    def switch(self) -> bool:
        """Whether it is 0 or 1 and nothing else."""
        return self.whole and (self.low, self.high) == (0.0, 1.0)

    def clip(self, value: float) -> float:
        """``value`` in natural units, inside the range, rounded if only whole numbers make sense.

        Raises ValueError for NaN and infinities.
        """
        if not math.isfinite(value):
            raise ValueError(f"{self.name}: {value} is not a finite number")
        clipped = min(max(float(value), self.low), self.high)
        return float(math.floor(clipped + 0.5)) if self.whole else clipped

    def natural(self, norm: float) -> float:
        """0..1 over the range -> natural units, clipped. Raises ValueError for NaN and infinities."""
        return self.clip(self.low + norm * (self.high - self.low))

    def norm(self, value: float) -> float:
        """Natural units -> 0..1 over the range, clipped. Raises ValueError for NaN and infinities."""
        return (self.clip(value) - self.low) / (self.high - self.low)


PARAMETERS: dict[str, Parameter] = {
    p.name: p
    for p in (
        Parameter("temperature", 0, 0.0, 2.0, 1.0, "", "weight of the dice: 0 always takes the likeliest sample"),
        Parameter("gain", 1, -60.0, 12.0, 0.0, "dB", "loudness"),
        Parameter("pan", 2, -1.0, 1.0, 0.0, "", "-1 left, 0 centre, 1 right"),
        Parameter("mute", 3, 0.0, 1.0, 0.0, "", "1 silences the voice, which keeps playing unheard", whole=True),
        Parameter("maturity", 4, 0.0, 1.0, 1.0, "", "of a training history: 0 its first epoch, 1 its last"),
        Parameter("filter", 5, -1.0, 1.0, 0.0, "", "0 open; to -1 a low-pass closes, to 1 a high-pass opens"),
        Parameter("drive", 6, 0.0, 36.0, 0.0, "dB", "pushed into saturation, about as loud as before; 0 clean"),
        Parameter("level", 7, 0.0, 1.0, 1.0, "", "linear amplitude beside gain: the envelope that gates ride"),
        Parameter("output", 8, 1.0, 8.0, 1.0, "", "pair of output channels: 1 is channels 1 and 2", whole=True),
        Parameter("width", 9, 0.0, 1.0, 1.0, "", "of a stereo voice: 0 mono, 1 as wide as its two sides are"),
        Parameter("blend", 10, 0.0, 1.0, 0.0, "", "of a voice with a partner: 0 its own network, 1 the partner"),
        Parameter("variation", 11, 0.0, 1.0, 0.0, "", "of a loop with dice: 0 the same every time, 1 fresh dice"),
        Parameter("entropy", 12, 0.0, 8.0, 0.0, "bits", "uncertainty held by moving the temperature; 0 off"),
    )
}


@dataclass(frozen=True)
class Argument:
    """One argument of a trigger.

    Attributes:
        name: as shown in the tables.
        kind: ``gate`` (a number: nonzero fires), ``mode`` (a reseed mode or a gate), ``entry`` (index from 0 or name in
            the bank), ``name``, ``name or gate``, ``integer``, ``index``, ``seconds``, ``port``, ``rate``, ``share``
            (0..1), ``bpm``, ``turn`` (of the transport), ``launch``, ``beats``, ``word`` (one of ``words``).
        optional: may be left out.
        words: of a ``word``.
    """

    name: str
    kind: str
    optional: bool = False
    words: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"[{self.name}]" if self.optional else self.name


@dataclass(frozen=True)
class Trigger:
    """Something that happens once.

    Attributes:
        name: the address below the prefix, and the target in maps.
        arguments: in order.
        help: one line for the tables.
        voice: may be aimed at one voice.
        mapped: may be the target of a MIDI map.
        launched: may wait for the next beat or bar.
        reply: what comes back, for the tables.
    """

    name: str
    arguments: tuple[Argument, ...]
    help: str
    voice: bool = False
    mapped: bool = False
    reply: str = ""
    launched: bool = False


_GATE = (Argument("gate", "gate", optional=True),)

TRIGGERS: dict[str, Trigger] = {
    t.name: t
    for t in (
        Trigger(
            "checkpoint",
            (Argument("index or name", "entry"), Argument("crossfade seconds", "seconds", optional=True)),
            "play another checkpoint of the bank (from 0, or by name)",
            voice=True,
            mapped=True,
            launched=True,
        ),
        Trigger(
            "reseed",
            (Argument("learned | random | zeros | gate", "mode", optional=True),),
            "a new state in every tier, tokens and dice stay; random if nothing is said",
            voice=True,
            mapped=True,
            launched=True,
        ),
        Trigger(
            "seed",
            (Argument("integer", "integer"),),
            "new dice: the key, at position 0",
            voice=True,
            mapped=True,
        ),
        Trigger(
            "partner",
            (Argument("index, name or none", "entry"),),
            "another network of the bank, of the same rate and levels, for `blend` to lead to; none drops it",
            voice=True,
            mapped=True,
            launched=True,
        ),
        Trigger(
            "moment",
            (Argument("index", "index"),),
            "jump to a place of the sound that the network learned from (from 0); `samplernn info` says how many",
            voice=True,
            mapped=True,
            launched=True,
        ),
        Trigger(
            "loop",
            (Argument("beats", "beats", optional=True),),
            "repeat from here on every so many beats (4; fractions too), a little otherwise as `variation` says",
            voice=True,
            mapped=True,
            launched=True,
        ),
        Trigger(
            "rest",
            _GATE,
            "the voice fades out in 30 ms and costs nothing from then on, until it is woken",
            voice=True,
            mapped=True,
            launched=True,
        ),
        Trigger(
            "wake",
            _GATE,
            "a voice that rests begins afresh on its checkpoint, and fades in",
            voice=True,
            mapped=True,
            launched=True,
        ),
        Trigger("loop/stop", _GATE, "end the loop; the voice goes on from where it is", voice=True, mapped=True),
        Trigger("sweep", (Argument("name", "name"),), "start a sweep of the patch", mapped=True, launched=True),
        Trigger(
            "patch",
            (Argument("index or name", "entry"),),
            "another patch of the set (from 0, or by name), as soon as its checkpoints are loaded",
            mapped=True,
            launched=True,
        ),
        Trigger("patch/next", _GATE, "the next patch of the set; the last one stays", mapped=True, launched=True),
        Trigger("patch/previous", _GATE, "the patch before; the first one stays", mapped=True, launched=True),
        Trigger(
            "sweep/stop",
            (Argument("name | gate", "name or gate", optional=True),),
            "end that sweep, or all; values stay where they are",
            mapped=True,
        ),
        Trigger(
            "lfo",
            (
                Argument("name", "name"),
                Argument("share of its depth", "share", optional=True),
                Argument("seconds", "seconds", optional=True),
            ),
            "start an LFO of the patch from the beginning of its cycle; a share changes the depth of one that runs",
            mapped=True,
            launched=True,
        ),
        Trigger(
            "lfo/stop",
            (Argument("name | gate", "name or gate", optional=True),),
            "end that LFO, or all",
            mapped=True,
        ),
        Trigger(
            "macro",
            (Argument("name", "name"), Argument("value", "share"), Argument("ramp seconds", "seconds", optional=True)),
            "turn a macro of the patch, 0..1; also /samplernn/macro/<name> value [ramp seconds]",
        ),
        Trigger("snapshot", (Argument("name", "name"),), "store where everything stands", mapped=True),
        Trigger(
            "recall",
            (Argument("name", "name"), Argument("seconds", "seconds", optional=True)),
            "go where a snapshot has everything, within that time",
            mapped=True,
            launched=True,
        ),
        Trigger("tempo", (Argument("beats a minute", "bpm"),), "20 to 300; 120 at the start", mapped=True),
        Trigger("tap", _GATE, "a beat by hand: from the third on they are the tempo", mapped=True),
        Trigger(
            "transport",
            (Argument("start | stop | continue", "turn"),),
            "the beat from the first bar, halted, or on from there",
            mapped=True,
        ),
        Trigger(
            "quantise",
            (Argument("now | beat | bar", "launch"),),
            "when switches, partners, patches, reseeds, moments, recalls, sweeps, loops, LFOs, rest and wake begin",
            mapped=True,
        ),
        Trigger(
            "panic",
            _GATE,
            "fades in 30 ms, once what the ring holds is played (at most the latency); voices reset, silence until "
            "resume or a checkpoint",
            mapped=True,
        ),
        Trigger("resume", _GATE, "sound again after a panic", mapped=True),
        Trigger(
            "learn",
            (Argument("target", "name"),),
            "the next MIDI control that moves is for that: a parameter, voice/<n>/<parameter>, macro/<name>, a trigger",
        ),
        Trigger("learn/stop", _GATE, "learn nothing"),
        Trigger("resend", _GATE, "tell MIDI faders, rings and pads everything again", mapped=True),
        Trigger(
            "marker",
            (Argument("text | gate", "name or gate", optional=True),),
            "a marker in the recording's labels and in the log, at what is heard now",
            mapped=True,
        ),
        Trigger(
            "escape",
            (Argument(" | ".join(ESCAPES), "word", words=ESCAPES),),
            "what is done about a voice that is stuck in silence, a tone, noise or a trap: nothing, a line, a jump to "
            "a moment, or a tenth more temperature (less for noise)",
            mapped=True,
        ),
        Trigger(
            "get",
            (Argument("name", "name"),),
            "ask for a value: a parameter, voice/<n>/<parameter>, checkpoint or patch",
            reply="/samplernn/value name value",
        ),
        Trigger("ping", (), "ask whether anybody is there", reply="/samplernn/pong version"),
        Trigger(
            "subscribe",
            (Argument("port", "port"), Argument("rate", "rate", optional=True)),
            "telemetry to that port of the sender's machine, rate times a second (20)",
            reply="/samplernn/out/<name> value",
        ),
        Trigger("unsubscribe", (Argument("port", "port", optional=True),), "no more telemetry to that port, or to any"),
        Trigger(
            "listen",
            (Argument("port", "port"), Argument("rate", "rate", optional=True)),
            "to that port of the sender's machine all values, then what others change, up to rate times a second (20)",
            reply="/samplernn/<parameter> value",
        ),
        Trigger("unlisten", (Argument("port", "port", optional=True),), "no more changes to that port, or to any"),
        Trigger(
            "dump",
            (),
            "ask for everything: parameters, checkpoints, bank, sweeps",
            reply="/samplernn/value name value ..., /samplernn/dump/end count",
        ),
    )
}

# What telemetry a subscriber gets, each as one float on /samplernn/out/<name>.
TELEMETRY: dict[str, str] = {
    "level": "RMS of the mix, dB of full scale",
    "peak": "peak of the mix, dB of full scale",
    "temperature": "of voice 1, as it sounds now",
    "entropy": "of voice 1: how uncertain its network is, bits a sample",
    "steer": "of voice 1: factor on the temperature that holds its `entropy`",
    "looping": "of voice 1: place in its loop, 0..1; -1 without one",
    "checkpoint": "index in the bank that voice 1 plays",
    "patch": "index in the set of the patch that plays",
    "load": "share of real time the loop's turns take, 0..1",
    "ring": "how full the ring is, 0..1",
    "latency": "gesture to sound, ms",
    "underruns": "callbacks that found the ring short, so far",
    "flux": "how much of voice 1's sound is new just now (spectral flux), 0..1",
    "stuck": "of voice 1, while escape is not off: 0 nothing, 1 silence, 2 a tone, 3 noise, 4 a trap",
    "position": "seconds since the first sample",
    "tempo": "beats a minute",
    "beat": "place in the bar, in beats: 0 is its line",
}

# The same of each voice, on /samplernn/out/voice/<n>/<name>, n from 1.
VOICE_TELEMETRY: dict[str, str] = {
    "level": "RMS of the voice, dB of full scale",
    "peak": "peak of the voice, dB of full scale",
    "temperature": "as it sounds now",
    "entropy": "how uncertain its network is, bits a sample",
    "steer": "factor on the temperature that holds its `entropy`",
    "looping": "place in its loop, 0..1; -1 without one",
    "resting": "1 while it rests, else 0",
    "checkpoint": "index in the bank",
}


def parameter(name: str) -> Parameter:
    """The parameter called ``name``. Raises ValueError with the nearest name."""
    if name not in PARAMETERS:
        raise ValueError(f"no parameter {shorten(name)}{suggest(name, PARAMETERS)}")
    return PARAMETERS[name]


def targets() -> tuple[str, ...]:
    """Everything a MIDI message may be mapped to."""
    return (*PARAMETERS, *(name for name, trigger in TRIGGERS.items() if trigger.mapped))


def suggest(word: object, known: Iterable[object]) -> str:
    """``; did you mean ...?`` or, when nothing is near, ``; there is ...``; empty without candidates."""
    names, meant = [str(name) for name in known], str(word)[:COMPARED].lower()
    # what takes difflib long (many names of one letter, as long as the word) must not keep others waiting
    likely = sorted(names, key=lambda name: abs(len(name) - len(meant)))[:CANDIDATES]
    if near := difflib.get_close_matches(meant, [name[:COMPARED] for name in likely], n=1, cutoff=0.6):
        return f"; did you mean {next(name for name in likely if name[:COMPARED] == near[0])!r}?"
    return f"; there is {', '.join(names[:12])}{' ...' if len(names) > 12 else ''}" if names else ""


def shorten(value: object, most: int = 60) -> str:
    """``value`` as it may stand in a one-line message: its repr, never longer than ``most`` characters."""
    if isinstance(value, int) and value.bit_length() > 200:
        return "a number of very many digits"
    try:
        text = repr(value[: most + 1] if isinstance(value, (str, bytes)) else value)
    except ValueError:  # Python refuses to print integers of more than 4300 digits
        return f"a {type(value).__name__} with a number of very many digits"
    return text if len(text) <= most else f"{text[: most - 3]}..."


def number(value: float) -> str:
    """A number as people write it: no trailing zeros."""
    return str(int(value)) if abs(value) < 1e20 and value == int(value) else f"{value:g}"


def parameter_table() -> str:
    """The parameters as a Markdown table, for README and docs."""
    rows = ["| parameter | range | default | |", "|---|---|---|---|"]
    for p in PARAMETERS.values():
        unit = f" {p.unit}" if p.unit else ""
        span = f"{number(p.low)} {'or' if p.switch else 'to'} {number(p.high)}{unit}"
        rows.append(f"| `{p.name}` | {span} | {number(p.default)}{unit} | {p.help} |")
    return "\n".join(rows)


def trigger_table() -> str:
    """The triggers that can be mapped, as a Markdown table for the docs."""
    rows = [f"| `{t.name}` | {t.help} |" for t in TRIGGERS.values() if t.mapped]
    return "\n".join(["| trigger | |", "|---|---|", *rows])


def telemetry_table() -> str:
    """What subscribers get as a Markdown table, for the docs."""
    rows = ["| `/samplernn/out/` | |", "|---|---|"]
    rows += [f"| `{name}` | {text} |" for name, text in TELEMETRY.items()]
    return "\n".join([*rows, *(f"| `voice/<n>/{name}` | {text} |" for name, text in VOICE_TELEMETRY.items())])
