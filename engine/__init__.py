"""SampleRNN as arithmetic: checkpoints in, samples out. No threads, devices or clocks, and torch only for training.

checkpoint = engine.load("checkpoints/tabla.safetensors")
generator = engine.make_generator(checkpoint, voices=2, seed=7)
audio = engine.dequantize(generator.generate(44100, temperature=0.95), checkpoint.config)
"""

from engine.checkpoint import Checkpoint, load, save
from engine.config import ModelConfig
from engine.generator import Generator, Program, make_generator, score
from engine.quantize import dequantize, quantize

__all__ = [
    "Checkpoint",
    "Generator",
    "ModelConfig",
    "Program",
    "dequantize",
    "load",
    "make_generator",
    "quantize",
    "save",
    "score",
]
