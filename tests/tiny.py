"""Tiny checkpoints and a patch on disk, for tests that play: they load and run in no time on any machine."""

from dataclasses import replace
from pathlib import Path

from networks import network

from engine.checkpoint import save

BANK = ("gru", "one-tier", "lstm")
PATCH = """
name: tiny
seed: 11
bank: [gru.safetensors, one-tier.safetensors, lstm.safetensors, gru-2.safetensors]
voices: 2
parameters: {temperature: 1.0, gain: -6}
voice: {2: {checkpoint: one-tier, pan: 0.4}}
sweeps:
  up: {parameter: temperature, points: [[0, 0.9], [0.2, 1.1]]}
  long: {parameter: pan, voice: 1, points: [[0, -1], [5, 1]]}
osc: {listen: none}
"""


def write(folder: Path) -> Path:
    """Write the bank and the patch into ``folder``; returns the patch."""
    for name in BANK:
        save(network(name), folder / f"{name}.safetensors")
    save(replace(network("gru", 1), name="gru-2"), folder / "gru-2.safetensors")
    patch = folder / "tiny.yaml"
    patch.write_text(PATCH)
    return patch
