"""How often the second after a jump is nearer to its own place in the source than to any other moment.

    python tools/moments_heard.py CHECKPOINT.safetensors SOUND... [--count 32] [--temperature 0.95] [--seeds 3]

Moments are taken as `samplernn moments` takes them. Two seconds of sound are as far apart as their log-mel
spectrograms, frame by frame (root mean square, dB); the network's second is held against the source's from each moment.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from engine import moments  # noqa: E402
from engine.checkpoint import Checkpoint, load  # noqa: E402
from engine.generator import make_generator  # noqa: E402
from engine.listening.descriptors import log_mel  # noqa: E402
from engine.quantize import dequantize, levels  # noqa: E402
from engine.training import sounds  # noqa: E402
from engine.training.recipes import Training  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("sounds", type=Path, nargs="+")
    parser.add_argument("--count", type=int, default=32)
    parser.add_argument("--temperature", type=float)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    checkpoint = load(args.checkpoint)
    temperature = args.temperature or checkpoint.playing.get("temperature", 1.0)
    kept = checkpoint.training.get("settings", {})
    training = Training(**{key: kept.get(key, 0.0) for key in ("gap", "gap_level", "limit")})
    audio = np.concatenate(sounds.laid_out(args.sounds, checkpoint.config, training))
    found = moments.of(checkpoint) or moments.take(checkpoint, audio, args.count)
    right = [own(checkpoint, found, audio, temperature, seed) for seed in range(args.seeds)]
    share = np.mean(right)
    print(f"{checkpoint.name}: {share:.1%} of {np.size(right)} jumps ({len(found)} moments, T {temperature:g})")


def own(checkpoint: Checkpoint, found: moments.Moments, audio: np.ndarray, temperature: float, seed: int) -> list[bool]:
    """Of every moment, whether its second is nearest to where it comes from."""
    rate = checkpoint.config.sample_rate
    generator = make_generator(checkpoint, voices=len(found), seed=seed)
    for voice in range(len(found)):
        generator.jump(voice, found.hidden[voice], found.tokens[voice])
    generator.prime(found.attack)
    tokens = np.concatenate([found.attack, generator.generate(rate - found.attack.shape[1], temperature)], axis=1)
    starts = np.round(found.times * rate).astype(int)
    longer = np.pad(audio, (0, rate))  # the last moment may be half a second before the end
    there = np.stack([log_mel(longer[at : at + rate], rate)[0] for at in starts])
    heard = [log_mel(sound(row, level, checkpoint), rate)[0] for row, level in zip(tokens, found.levels, strict=True)]
    return [int(((there - one) ** 2).mean(axis=(1, 2)).argmin()) == k for k, one in enumerate(heard)]


def sound(tokens: np.ndarray, level: float, checkpoint: Checkpoint) -> np.ndarray:
    """What is heard, pre-emphasis undone from the moment's own level on."""
    a = checkpoint.config.preemphasis
    if not a:
        return dequantize(tokens, checkpoint.config)
    x = levels(checkpoint.config)[tokens].astype(np.float64)
    x[0] += a * level
    y = np.empty_like(x)
    last = 0.0
    for i, value in enumerate(x):
        y[i] = last = value + a * last
    return np.clip(y, -1.0, 1.0)


if __name__ == "__main__":
    main()
