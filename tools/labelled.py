"""Clips whose label is known by how they were made, the thresholds that half of them choose, the errors on the rest.

    python tools/labelled.py [--small] [--keep FOLDER]

The clips come out of sounds/*.flac and checkpoints/*.safetensors, the same every time. A label never comes from a
verdict or one of its figures:

- silence: one level; flicker between two or three neighbouring levels; a stroke of a source and then flicker; a source
  under half a level; a network's argmax run whose last nine tenths use at most three neighbouring levels
- tone: partials with slow vibrato and hiss; the strongest partials of one moment of a source, held; a network's argmax
  run whose samples repeat exactly, at 40 Hz or more, over ten levels or more
- noise: noise of several colours and bands; noise in the colour of an excerpt; a network at a temperature so high that
  what it draws from holds nine tenths of the bits that there are
- trap: ten clips of ten seconds that go round one riff of a source (two to four short pieces, or one long one, in which
  something changes), each with its own small changes; the same of what a network plays
- none: ten stretches of a source; medleys of it; stretches of a source that is itself a riff going round; a network
  that is led through the source, a new place every 0.7 s

Groups of ten go into one half or the other as a whole; single clips alternate. Both halves are made of the same
sources, by the same networks and generators, so the errors on one say nothing about sounds of another kind. The exit
code is 1 where the program goes by other thresholds than one half chooses.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import engine  # noqa: E402
from engine.listening.clips import generated  # noqa: E402
from engine.listening.descriptors import Figures, figures  # noqa: E402
from engine.listening.traps import Source  # noqa: E402
from engine.listening.verdicts import FLAGS, THRESHOLDS, Thresholds, verdicts  # noqa: E402

RATE = 44100
LONG, SHORT = 10.0, 5.0  # seconds: of clips in groups, of single ones
LEVEL = 1 / 128  # of 8 bits
Audio = NDArray[np.float64]
Random = np.random.Generator


@dataclass(frozen=True)
class Clip:
    """A labelled clip; ``group`` clips belong to one network, whose source is ``source``."""

    label: str
    kind: str
    audio: Audio
    half: int
    source: str = ""
    group: int = -1


@dataclass(frozen=True)
class Heard:
    """What is measured of a labelled clip."""

    clip: Clip
    figures: Figures
    coverage: float | None
    recurs: float | None


# --- material ------------------------------------------------------------------------------------------------


def sources() -> dict[str, Audio]:
    """The sounds by name."""
    return {path.stem: soundfile.read(path)[0] for path in sorted((ROOT / "sounds").glob("*.flac"))}


def excerpt(rng: Random, sound: Audio, seconds: float) -> Audio:
    """A random stretch that is not quieter than a twentieth of the whole."""
    size, level = round(seconds * RATE), np.sqrt(np.mean(sound**2))
    for _ in range(1000):
        at = int(rng.integers(0, len(sound) - size))
        if np.sqrt(np.mean(sound[at : at + size] ** 2)) > level / 4:
            break
    return sound[at : at + size]


def faded(audio: Audio, seconds: float = 0.005) -> Audio:
    """Ends without a click."""
    size = round(seconds * RATE)
    ramp = np.minimum(1.0, np.minimum(np.arange(len(audio)), np.arange(len(audio))[::-1]) / size)
    return audio * ramp


def coarse(audio: Audio) -> Audio:
    """As 8 bits hold it."""
    return np.clip(np.round(audio / LEVEL), -128, 127) * LEVEL


def normal(audio: Audio, peak: float = 0.6) -> Audio:
    """Scaled to a peak."""
    return audio * (peak / max(np.abs(audio).max(), 1e-9))


# --- single clips --------------------------------------------------------------------------------------------

SIZE = round(SHORT * RATE)


def flicker(rng: Random, size: int) -> Audio:
    """Two or three neighbouring levels, now and then another."""
    levels = int(rng.integers(2, 4))
    hold = int(rng.integers(1, 60))
    steps = np.repeat(rng.integers(0, levels, -(-size // hold)), hold)[:size] + int(rng.integers(-2, 1))
    return steps * LEVEL


def stroke(rng: Random, sound: Audio) -> Audio:
    """A little of a source, then flicker."""
    first = faded(excerpt(rng, sound, rng.uniform(0.2, 0.7)), 0.05)
    out = flicker(rng, SIZE)
    out[: len(first)] += first
    return coarse(out)


def silences(rng: Random, sounds: dict[str, Audio], count: int) -> Iterator[tuple[str, Audio]]:
    names = list(sounds)
    for k in range(count):
        sound = sounds[names[k % len(names)]]
        kind = ("one level", "flicker", "stroke", "under half a level")[k % 4]
        yield (
            kind,
            {
                "one level": lambda: np.full(SIZE, LEVEL * float(rng.integers(-3, 4))),
                "flicker": lambda: flicker(rng, SIZE),
                "stroke": lambda: stroke(rng, sound),  # noqa: B023 (called at once)
                "under half a level": lambda: normal(excerpt(rng, sound, SHORT), 0.45 * LEVEL),  # noqa: B023
            }[kind](),
        )


def partials(rng: Random, freqs: NDArray[np.floating], gains: NDArray[np.floating]) -> Audio:
    """Held partials, a slow vibrato over all, beating now and then, and hiss."""
    t = np.arange(SIZE) / RATE
    bend = rng.uniform(0, 0.004) * np.sin(2 * np.pi * rng.uniform(0.2, 5) * t + rng.uniform(0, 6))
    phase = 2 * np.pi * np.cumsum(1 + bend) / RATE
    out = sum(g * np.sin(f * phase + rng.uniform(0, 6)) for f, g in zip(freqs, gains, strict=True))
    swell = 1 + rng.uniform(0, 0.2) * np.sin(2 * np.pi * rng.uniform(0.1, 4) * t)
    hiss = rng.normal(size=SIZE) * 10 ** (rng.uniform(-60, -34) / 20)
    return coarse(normal(out * swell, rng.uniform(0.1, 0.8)) + hiss)


def held(rng: Random, sound: Audio) -> Audio:
    """The strongest partials of one moment of a source."""
    moment = excerpt(rng, sound, 0.2)
    spectrum = np.abs(np.fft.rfft(moment * np.hanning(len(moment)), 4 * len(moment)))
    freqs = np.fft.rfftfreq(4 * len(moment), 1 / RATE)
    chosen: list[int] = []
    for at in np.argsort(spectrum)[::-1]:
        if freqs[at] > 60 and all(abs(freqs[at] - freqs[other]) > 25 for other in chosen):
            chosen.append(int(at))
        if len(chosen) == 6:
            break
    return partials(rng, freqs[chosen], spectrum[chosen])


def tones(rng: Random, sounds: dict[str, Audio], count: int) -> Iterator[tuple[str, Audio]]:
    names = list(sounds)
    for k in range(count):
        if k % 2:
            yield "held moment", held(rng, sounds[names[k // 2 % len(names)]])
        else:
            base, many = rng.uniform(60, 1200), int(rng.integers(1, 7))
            yield "partials", partials(rng, base * np.arange(1, many + 1), rng.uniform(0.1, 1, many))


def coloured(rng: Random, colour: Callable[[Audio], Audio]) -> Audio:
    """Noise with the given power spectrum, breathing by a decibel or two."""
    freqs = np.fft.rfftfreq(SIZE, 1 / RATE)
    spectrum = np.fft.rfft(rng.normal(size=SIZE)) * np.sqrt(colour(np.maximum(freqs, 20.0)))
    t = np.arange(SIZE) / RATE
    breath = 10 ** (rng.uniform(0, 2) / 20 * np.sin(2 * np.pi * rng.uniform(0.1, 1.5) * t))
    return coarse(normal(np.fft.irfft(spectrum, SIZE) * breath, rng.uniform(0.2, 0.9)))


def like(rng: Random, sound: Audio) -> Callable[[Audio], Audio]:
    """The colour of an excerpt, in octaves."""
    part = excerpt(rng, sound, 1.0)
    power, freqs = np.abs(np.fft.rfft(part)) ** 2, np.fft.rfftfreq(len(part), 1 / RATE)
    edges = 40.0 * 2 ** np.arange(10)
    means = [power[(freqs >= a) & (freqs < b)].mean() + 1e-9 for a, b in pairwise(edges)]
    centres = np.log(np.sqrt(edges[:-1] * edges[1:]))
    return lambda f: np.exp(np.interp(np.log(f), centres, np.log(means)))


def noises(rng: Random, sounds: dict[str, Audio], count: int) -> Iterator[tuple[str, Audio]]:
    names = list(sounds)
    for k in range(count):
        if k % 2:
            yield "colour of an excerpt", coloured(rng, like(rng, sounds[names[k // 2 % len(names)]]))
        elif k % 4:
            low = rng.uniform(60, 3000)
            high = low * rng.uniform(2, 6)
            yield "band", coloured(rng, lambda f, a=low, b=high: 1 / (1 + (a / f) ** 8) / (1 + (f / b) ** 8))
        else:
            slope = rng.uniform(0, 2)
            yield "slope", coloured(rng, lambda f, s=slope: f**-s)


# --- groups --------------------------------------------------------------------------------------------------


def colours(audio: Audio) -> Audio:
    """Levels of the thirds of an octave from 50 Hz, in dB of the loudest, not below -40."""
    power, freqs = np.abs(np.fft.rfft(audio)) ** 2, np.fft.rfftfreq(len(audio), 1 / RATE)
    edges = 50 * 2 ** (np.arange(26) / 3)
    means = np.array([power[(freqs >= a) & (freqs < b)].sum() + 1e-9 for a, b in pairwise(edges)])
    return np.maximum(10 * np.log10(means / means.max()), -40.0)


def differ(parts: list[Audio]) -> bool:
    """Whether something changes from part to part: their colours, or their levels, by 8 dB."""
    pairs = [(a, b) for k, a in enumerate(parts) for b in parts[:k]]
    apart = [np.sqrt(np.mean((colours(a) - colours(b)) ** 2)) for a, b in pairs]
    louder = [abs(10 * np.log10((np.mean(a**2) + 1e-9) / (np.mean(b**2) + 1e-9))) for a, b in pairs]
    return max(apart) >= 8 or max(louder) >= 8


def riff(rng: Random, sound: Audio) -> list[Audio]:
    """Two to four short pieces of a source, or a long one, in which something changes."""
    while True:
        if rng.random() < 0.3:
            pieces = [faded(excerpt(rng, sound, rng.uniform(0.9, 2.0)))]
            parts = [pieces[0][: len(pieces[0]) // 2], pieces[0][len(pieces[0]) // 2 :]]
        else:
            pieces = [faded(excerpt(rng, sound, rng.uniform(0.15, 0.45))) for _ in range(int(rng.integers(2, 5)))]
            parts = pieces
        if differ(parts):
            return pieces


def going_round(rng: Random, pieces: list[Audio], seconds: float) -> Audio:
    """A riff again and again, begun anywhere, each time a little different."""
    size, parts = round(seconds * RATE), []
    while sum(map(len, parts)) < size + sum(map(len, pieces)):
        for piece in pieces:
            parts += [piece * 10 ** (rng.normal() / 20), np.zeros(int(rng.integers(0, 220)))]
    line = np.concatenate(parts)
    at = int(rng.integers(0, sum(map(len, pieces))))
    return coarse(line[at : at + size] + rng.normal(size=size) * LEVEL / 2)


def medley(rng: Random, sound: Audio, seconds: float) -> Audio:
    """Pieces from all over a source."""
    size, parts = round(seconds * RATE), []
    while sum(map(len, parts)) < size:
        parts.append(faded(excerpt(rng, sound, rng.uniform(0.5, 1.5))))
    return coarse(np.concatenate(parts)[:size])


@dataclass
class Groups:
    """Numbers the groups and puts every other one of a label and kind into either half."""

    clips: list[Clip]
    number: int = 0

    def add(self, label: str, kind: str, source: str, audios: list[Audio], half: int) -> None:
        self.clips += [Clip(label, kind, audio, half, source, self.number) for audio in audios]
        self.number += 1


def from_sounds(
    sounds: dict[str, Audio], singles: int, clips: int, per_source: int
) -> tuple[list[Clip], dict[str, Audio]]:
    """All that needs no network; also the sources made for it."""
    rng = np.random.default_rng(2017)
    found = [
        Clip(label, kind, audio, k % 8 // 4)
        for label, make in (("silence", silences), ("tone", tones), ("noise", noises))
        for k, (kind, audio) in enumerate(make(rng, sounds, singles))
    ]
    groups, more = Groups(found), dict(sounds)
    for k in range(per_source):
        for j, (name, sound) in enumerate(sounds.items()):
            half = (j + k) % 2
            pieces = riff(rng, sound)
            groups.add("trap", "riff", name, [going_round(rng, pieces, LONG) for _ in range(clips)], half)
            if k % 2:
                groups.add("none", "medley", name, [medley(rng, sound, LONG) for _ in range(clips)], half)
            else:
                groups.add("none", "source", name, [coarse(excerpt(rng, sound, LONG)) for _ in range(clips)], half)
    for half, name in enumerate(list(sounds)[:2]):
        line = going_round(rng, riff(rng, sounds[name]), 30.0)
        more[f"{name}, going round"] = line
        audios = [excerpt(rng, line, LONG) for _ in range(clips)]
        groups.add("none", "source that goes round", f"{name}, going round", audios, half)
    return groups.clips, more


# --- networks ------------------------------------------------------------------------------------------------


def from_networks(sounds: dict[str, Audio], clips: int, first: int) -> list[Clip]:
    """What real networks do, labelled by what was done to them or by their samples."""
    rng = np.random.default_rng(2018)
    paths = [path for path in sorted((ROOT / "checkpoints").glob("*.safetensors")) if path.stem in sounds]
    groups = Groups([], first)
    for k, path in enumerate(paths):
        checkpoint = engine.load(path)
        assert checkpoint.config.sample_rate == RATE
        groups.clips += argmax_runs(checkpoint, sounds[path.stem], rng)
        groups.clips += hot_runs(checkpoint, k % 2)
        played = led(checkpoint, sounds[path.stem], clips, rng)
        pieces = riff(rng, played[0])
        trapped = [going_round(rng, pieces, LONG) for _ in range(clips)]
        groups.add("trap", "riff of a network", path.stem, trapped, k % 2)
        groups.add("none", "led network", path.stem, played, k % 2)
    return groups.clips


def argmax_runs(checkpoint: engine.Checkpoint, sound: Audio, rng: Random, voices: int = 6) -> list[Clip]:
    """Argmax from places of the source: silence where the samples stay on three levels, a tone where they repeat."""
    generator = engine.make_generator(checkpoint, voices=voices)
    places = np.stack([excerpt(rng, sound, 0.3) for _ in range(voices)])
    generator.prime(engine.quantize(places, checkpoint.config))
    tokens = generator.generate(round((SHORT + 1) * RATE), 0.0)[:, RATE:]
    found = []
    for k, row in enumerate(tokens):
        late = row[len(row) // 10 :]
        audio = engine.dequantize(row, checkpoint.config).astype(np.float64)
        if np.ptp(late) <= 2:
            found.append(Clip("silence", "argmax run", audio, k % 2))
        elif np.ptp(late) >= 10 and 2 < repeats(row) <= RATE / 40:
            found.append(Clip("tone", "argmax run", audio, k % 2))
    return found


def repeats(row: NDArray[np.integer]) -> int:
    """The period of a row that repeats exactly from its beginning to its end; 0 for one that does not."""
    tail = row[:64]
    for period in range(1, RATE):
        if np.array_equal(row[period : period + 64], tail) and np.array_equal(row[period:], row[:-period]):
            return period
    return 0


def hot_runs(checkpoint: engine.Checkpoint, half: int, voices: int = 4) -> list[Clip]:
    """At a temperature of 4, where what is drawn from holds nine tenths of the bits."""
    generator = engine.make_generator(checkpoint, voices=voices, seed=4)
    tokens, bits = generated(generator, SIZE, 4.0)
    audio = engine.dequantize(tokens, checkpoint.config).astype(np.float64)
    enough = 0.9 * np.log2(checkpoint.config.q_levels)
    return [Clip("noise", "hot network", row, half) for row, b in zip(audio, bits, strict=True) if b >= enough]


def led(checkpoint: engine.Checkpoint, sound: Audio, clips: int, rng: Random) -> list[Audio]:
    """Every clip is put to a new place of the source every 0.7 s and plays on from there."""
    config = checkpoint.config
    generator = engine.make_generator(checkpoint, voices=clips, seed=5)
    parts = []
    for _ in range(-(-round(LONG * 10) // 7)):
        places = np.stack([excerpt(rng, sound, 0.1) for _ in range(clips)])
        generator.prime(engine.quantize(places, config))
        parts.append(generator.generate(round(0.7 * RATE), 0.95))
    audio = engine.dequantize(np.concatenate(parts, axis=1)[:, : round(LONG * RATE)], config)
    return list(audio.astype(np.float64))


# --- judging -------------------------------------------------------------------------------------------------


def hear(clips: list[Clip], sounds: dict[str, Audio]) -> list[Heard]:
    """Measure every clip; those of a group against its source."""
    known = {name: Source(sounds[name], RATE) for name in {clip.source for clip in clips if clip.source}}
    covered = {}
    for number in {clip.group for clip in clips if clip.group >= 0}:
        members = [clip for clip in clips if clip.group == number]
        covered[number] = known[members[0].source].coverage([clip.audio for clip in members])
    return [
        Heard(
            clip,
            figures(clip.audio, RATE),
            covered.get(clip.group),
            known[clip.source].recurs(clip.audio) if clip.source else None,
        )
        for clip in clips
    ]


def counts(heard: list[Heard], flag: str, at: Thresholds) -> tuple[int, int, int]:
    """Right, wrong and missed verdicts."""
    said = np.array([flag in verdicts(h.figures, h.coverage, h.recurs, at) for h in heard], bool)
    true = np.array([h.clip.label == flag for h in heard], bool)
    return int((said & true).sum()), int((said & ~true).sum()), int((~said & true).sum())


def f1(heard: list[Heard], flag: str, at: Thresholds) -> float:
    """The harmonic mean of precision and recall."""
    right, wrong, missed = counts(heard, flag, at)
    return 2 * right / max(1, 2 * right + wrong + missed)


RANGES = {
    "silent_db": np.arange(-60.0, -30.0, 1.0),
    "tone_movement_db": np.arange(1.0, 9.0, 0.5),
    "tone_lines": np.arange(0.05, 1.0, 0.05),
    "noise_movement_db": np.arange(1.0, 9.0, 0.5),
    "noise_lines": np.arange(0.05, 1.0, 0.05),
    "trap_coverage": np.arange(0.2, 1.0, 0.05),
    "trap_recurs": np.arange(0.4, 1.01, 0.05),  # above 1 the source itself recurs more
}


def choose(heard: list[Heard]) -> Thresholds:
    """Verdict by verdict the thresholds of the best F1; the middle one of those that are equally good."""
    at = THRESHOLDS
    for flag in FLAGS:
        names = [name for name in RANGES if name.startswith(flag[:5].replace("silen", "silent"))]
        grid = np.stack(np.meshgrid(*(RANGES[name] for name in names), indexing="ij"), axis=-1).reshape(-1, len(names))
        scores = [f1(heard, flag, replace(at, **dict(zip(names, map(float, row), strict=True)))) for row in grid]
        best = grid[np.array(scores) >= max(scores) - 1e-9]
        middle = best[np.abs(best - np.median(best, axis=0)).sum(axis=1).argmin()]
        at = replace(at, **{name: round(float(value), 2) for name, value in zip(names, middle, strict=True)})
    return at


def table(heard: list[Heard], at: Thresholds) -> list[str]:
    """Precision and recall of every verdict."""
    rows = ["| verdict | clips | precision | recall |", "|---|---|---|---|"]
    for flag in FLAGS:
        right, wrong, missed = counts(heard, flag, at)
        precision, recall = right / max(1, right + wrong), right / max(1, right + missed)
        rows.append(f"| {flag} | {right + missed} | {precision:.2f} | {recall:.2f} |")
    return rows


def mistakes(heard: list[Heard], at: Thresholds) -> list[str]:
    """Clips by label, kind and verdict, where the verdict is not the label."""
    found: dict[str, int] = {}
    for h in heard:
        said = (verdicts(h.figures, h.coverage, h.recurs, at) or ["none"])[0]
        if said != h.clip.label:
            key = f"{h.clip.label} ({h.clip.kind}{', ' if h.clip.source else ''}{h.clip.source}) heard as {said}"
            found[key] = found.get(key, 0) + 1
    return [f"{count} x {key}" for key, count in sorted(found.items())]


def labelled(small: bool = False) -> tuple[list[Clip], dict[str, Audio]]:
    """The set, and the sources by name; ``small`` is a tenth of it, without networks."""
    sounds = sources()
    clips, more = from_sounds(sounds, 8 if small else 48, 3 if small else 10, 1 if small else 2)
    if not small:
        clips += from_networks(sounds, 10, 1 + max(clip.group for clip in clips))
    return clips, more


def differences(chosen: Thresholds) -> list[str]:
    """Lines about the thresholds that the program has otherwise."""
    pairs = ((name, value, vars(THRESHOLDS)[name]) for name, value in vars(chosen).items())
    return [f"{name}: {value} chosen, {has} in the program" for name, value, has in pairs if abs(value - has) > 1e-6]


def main() -> int:
    """Print the set, what it chooses and the errors. Returns 1 where the program has other thresholds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="a tenth of the set, without networks")
    parser.add_argument("--keep", type=Path, help="write the clips here")
    args = parser.parse_args()
    clips, sounds = labelled(args.small)
    for k, clip in enumerate(clips if args.keep else []):
        args.keep.mkdir(parents=True, exist_ok=True)
        soundfile.write(args.keep / f"{clip.label}-{clip.kind.replace(' ', '-')}-{k:03d}.flac", clip.audio, RATE)
    heard = hear(clips, sounds)
    first, rest = ([h for h in heard if h.clip.half == half] for half in (0, 1))
    chosen = choose(first)
    kinds = sorted({(c.label, c.kind) for c in clips})
    lines = [f"{sum((c.label, c.kind) == kind for c in clips)} x {kind[0]}: {kind[1]}" for kind in kinds]
    lines += [f"chosen on {len(first)} clips: {chosen}", f"in the program:       {THRESHOLDS}"]
    lines += ["errors on these:", *mistakes(first, chosen)]
    lines += [f"on the other {len(rest)}:", *table(rest, chosen), *mistakes(rest, chosen)]
    sys.stdout.write("\n".join(lines) + "\n")
    wrong = [] if args.small else differences(chosen)  # a tenth of the set may choose otherwise
    sys.stderr.write("".join(f"engine/listening/verdicts.py: {line}\n" for line in wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
