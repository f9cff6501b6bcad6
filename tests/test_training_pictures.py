"""What a run shows of itself: the sound that went in, the bits as they fell."""

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
import soundfile

from engine.training import pictures, sounds
from engine.training.running import run

RATE = 8000
SMALL = {
    "sample_rate": "8000", "q_levels": "16", "frame_sizes": "2,4", "dim": "8", "emb_size": "4", "seq_len": "64",
    "batch": "4", "epoch_steps": "5", "stretches": "1.0",
    "q_type": "linear", "preemphasis": "0", "average": "0", "steps": "10", "clips": "0", "moments": "0",
}  # fmt: skip


def shapes(svg, name):
    return [e for e in ElementTree.fromstring(svg).iter() if e.tag.endswith(f"}}{name}")]


def test_the_sound_is_drawn_with_its_held_out_windows():
    line = np.concatenate([np.zeros(RATE), 0.5 * np.sin(np.arange(RATE))]).astype(np.float32)
    svg = pictures.material(line, RATE, [(0, 400), (9000, 9400)], "a <wild>\x1b name")
    assert len(shapes(svg, "rect")) == 1 + 2
    (wave,) = shapes(svg, "path")
    columns = wave.attrib["d"].split("M")[1:]
    tall = [float(c.split("V")[1]) - float(c.split()[1].split("V")[0]) for c in columns]
    assert max(tall[: len(tall) // 2 - 1]) < 1 < 50 < min(tall[len(tall) // 2 + 1 : -1])
    assert shapes(svg, "text")[-1].text.startswith("a <wild>  name: 2.0 s")


def test_bits_are_drawn_as_far_as_there_are_any():
    assert "nothing yet" in pictures.metrics([], "run")
    rows = [{"step": 10 * k, "train_bits": 5 - 0.1 * k} for k in range(1, 11)]
    rows += [{"step": 50, "bits": 4.9, "bits_active": 4.8}, {"step": 100, "bits": 4.5, "bits_active": 4.4}]
    svg = pictures.metrics(rows, "run")
    assert len(shapes(svg, "circle")) == 2
    (path,) = shapes(svg, "polyline")
    heights = [float(point.split(",")[1]) for point in path.attrib["points"].split()]
    assert heights == sorted(heights), "fewer bits lie lower"
    assert "best 4.400 at step 100" in shapes(svg, "text")[-1].text


def test_a_run_says_and_shows_what_went_in(tmp_path):
    rng, said = np.random.default_rng(0), []
    clean, loud = tmp_path / "clean.wav", tmp_path / "zu laut, äh.wav"
    soundfile.write(clean, 0.3 * rng.normal(size=(3 * RATE, 2)), RATE)
    soundfile.write(loud, np.clip(3 * np.sin(np.arange(3 * 2 * RATE) * 0.05), -1, 1), 2 * RATE)
    folder = tmp_path / "run"
    assert run([clean, loud], folder, "default", SMALL, False, said.append) == 0
    assert "clean.wav: 3.0 s, 8000 Hz, 2 channels" in said
    assert any(line.startswith("zu laut, äh.wav: 3.0 s, 16000 Hz, 1 channel; ") and "clipped" in line for line in said)
    assert any("s without gaps, RMS -" in line for line in said)
    for name in ("material.svg", "metrics.svg"):
        assert shapes((folder / name).read_text(), "text")
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    dots = len(shapes((folder / "metrics.svg").read_text(), "circle"))
    assert dots == sum("bits" in row for row in rows) == 2


@pytest.mark.parametrize("path", sorted((Path(__file__).parent.parent / "sounds").glob("*.flac")), ids=lambda p: p.stem)
def test_the_sounds_that_come_along_are_not_clipped(path):
    assert sounds.clipped_share(path) < sounds.CLIPPED
