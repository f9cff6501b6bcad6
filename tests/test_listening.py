"""What is heard in a clip: figures of sounds that are known, verdicts on clips of known label, the lines of a run."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from networks import network

from engine.checkpoint import save
from engine.config import ModelConfig
from engine.listening import clips, report
from engine.listening.clips import Wanted
from engine.listening.descriptors import Figures, figures
from engine.listening.traps import Source, recurrence
from engine.listening.verdicts import CLASSES, FLAGS, THRESHOLDS, suggestion, verdicts
from engine.training.recipes import Training
from engine.training.sounds import laid_out

sys.path.insert(0, str(Path(__file__).parent.parent / "tools"))
import labelled

RATE = 44100
SOUNDS = Path(__file__).parent.parent / "sounds"


def seconds(n, rate=RATE):
    return np.arange(round(n * rate)) / rate


def clicks(gap, n=4.0):
    """Bursts of noise every ``gap`` seconds."""
    rng, t = np.random.default_rng(0), seconds(n)
    return 0.5 * rng.normal(size=len(t)) * np.exp(-(t % gap) / 0.02)


def test_figures_of_sounds_that_are_known():
    rng = np.random.default_rng(0)
    silent = figures(np.full(RATE, 0.3), RATE)
    assert (silent.level_db, silent.loud_db, silent.lines, silent.pitch, silent.onsets_per_s) == (-100, -100, 0, 0, 0)
    white = figures(0.1 * rng.normal(size=3 * RATE), RATE)
    assert white.level_db == pytest.approx(-20, abs=0.1)
    assert white.brightness_hz == pytest.approx(RATE / 4, rel=0.02)
    assert white.flatness == pytest.approx(0.56, abs=0.02)  # exp(-Euler's constant): a periodogram's, not a spectrum's
    assert white.lines < 0.01
    assert white.movement_db < 1
    tone = figures(0.5 * np.sin(2 * np.pi * 440 * seconds(3)), RATE)
    assert tone.level_db == pytest.approx(-9.03, abs=0.01)
    assert tone.brightness_hz == pytest.approx(440, rel=0.05)
    assert tone.lines > 0.99
    assert tone.pitch > 0.98
    assert tone.pitch_spread < 0.1
    struck = figures(clicks(0.5), RATE)
    assert struck.onsets_per_s == pytest.approx(2, abs=0.3)
    assert struck.pulse > 0.7
    assert struck.movement_db > white.movement_db


@pytest.mark.parametrize("rate", [8000, 16000, 48000])
def test_figures_at_other_rates(rate):
    tone = figures(0.5 * np.sin(2 * np.pi * 300 * seconds(2, rate)), rate)
    assert tone.lines > 0.99
    assert tone.pitch > 0.95
    noise = figures(np.random.default_rng(0).normal(size=2 * rate) * 0.1, rate)
    assert noise.lines < 0.05
    assert noise.flatness > 0.5
    with pytest.raises(ValueError, match="half a second"):
        figures(np.zeros(rate // 3), rate)


def test_a_loop_recurs_and_a_source_that_loops_makes_it_no_trap():
    sound = soundfile.read(SOUNDS / "tabla.flac")[0]
    loop = np.tile(sound[2 * RATE : round(3.3 * RATE)], 8)[: 10 * RATE]
    source = Source(sound, RATE)
    assert recurrence(loop, RATE) < 0.7 * source.least_recurrence(10.0)
    assert source.recurs(loop) < 0.7
    assert source.recurs(loop[: 2 * RATE]) is None
    assert source.coverage([loop, loop]) < 0.7 * source.coverage([sound[: 20 * RATE]])
    assert source.coverage([np.zeros(RATE)]) == 0.0
    looping = Source(np.tile(loop, 2), RATE)
    assert looping.recurs(loop) > 0.9
    assert looping.coverage([loop]) > 0.8


def figure(**values):
    usual = {"level_db": -18, "loud_db": -15, "brightness_hz": 1500, "flatness": 0.01, "movement_db": 9, "lines": 0.5}
    rest = {"onsets_per_s": 1.0, "pulse": 0.2, "pitch": 0.5, "pitch_spread": 0.5}
    return Figures(**{**usual, **rest, **values})


def test_a_trap_needs_both_halves_of_its_definition():
    t = THRESHOLDS
    few, many = t.trap_coverage - 0.01, t.trap_coverage + 0.01
    again, no = t.trap_recurs - 0.01, t.trap_recurs + 0.01
    assert verdicts(figure(), few, again) == ["trap"]
    assert verdicts(figure(), few, no) == verdicts(figure(), many, again) == verdicts(figure()) == []
    assert verdicts(figure(movement_db=0.5, lines=0.99), few, again) == ["tone"]
    assert verdicts(figure(loud_db=-70, movement_db=0.5, lines=0.99), few, again) == ["silence"]


EXAMPLES = {
    "silence": figure(loud_db=-70, level_db=-60),
    "wind": figure(movement_db=0.7, lines=0.0, level_db=-25),
    "hellish": figure(movement_db=0.7, lines=0.0, level_db=-6, brightness_hz=9000),
    "tones": figure(movement_db=0.7, lines=0.99),
    "rhythmic": figure(pulse=0.8, onsets_per_s=4),
    "voice": figure(pitch=0.9, pitch_spread=3, onsets_per_s=3),
    "gnarly": figure(movement_db=12),
    "garbled": figure(movement_db=4, lines=0.5),
}


@pytest.mark.parametrize("wanted", CLASSES)
def test_every_class_can_be_suggested_with_a_reason(wanted):
    f = EXAMPLES[wanted]
    found, reason = suggestion(f, verdicts(f))
    assert found == wanted
    assert reason
    assert "\n" not in reason


def test_labelled_clips_without_networks_are_told_apart():
    """A tenth of the set of docs/listening.md, by the thresholds that the program goes by."""
    heard = labelled.hear(*labelled.labelled(small=True))
    for flag in FLAGS:
        right, wrong, missed = labelled.counts(heard, flag, THRESHOLDS)
        assert right + missed >= 8
        assert right / (right + wrong) >= 0.9, labelled.mistakes(heard, THRESHOLDS)
        assert right / (right + missed) >= 0.9, labelled.mistakes(heard, THRESHOLDS)


# --- a run -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    """A run of a random network whose source is a part of tabla.flac."""
    save(network("gru"), tmp_path / "epoch-001.safetensors")
    sound = tmp_path / "trömmel.wav"
    soundfile.write(sound, soundfile.read(SOUNDS / "tabla.flac", stop=6 * RATE)[0], RATE)
    (tmp_path / "settings.json").write_text(json.dumps({"sounds": [sound.name], "sounds_at": [str(sound)]}))
    clips.make(tmp_path, 1, Wanted(3, 0.6, (0.9,)))
    return tmp_path


def test_every_clip_gets_its_line_once_and_the_last_counts(folder):
    assert report.listen(folder, [1]) == 3
    lines = report.lines_of(folder)
    assert list(lines) == [f"epoch-001-t0.900-s000{k}.flac" for k in (1, 2, 3)]
    row = next(iter(lines.values()))
    assert set(row["flags"]) <= set(FLAGS)
    assert row["class"] in CLASSES
    assert row["entropy_bits"] == clips.tag_of(folder / "clips" / row["clip"])["entropy_bits"]
    assert row["distance"] > 0
    assert row["coverage"] > 0
    assert row["recurs"] is None  # too short a clip to say
    assert report.listen(folder, [1]) == 0
    clips.make(folder, 1, Wanted(4, 0.6, (0.9,)))
    assert report.listen(folder, [1]) == 4  # a neighbour more: all are judged anew
    assert len((folder / "audition" / "listening.jsonl").read_text().splitlines()) == 7
    assert len(report.lines_of(folder)) == 4


def test_torn_lines_and_broken_clips_cost_only_themselves(folder):
    report.listen(folder, [1])
    path = folder / "audition" / "listening.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    names = [clip.path.name for clip in clips.clips_of(folder)]
    (folder / "clips" / names[0]).write_bytes(b"torn")
    assert report.listen(folder, [1]) == 3
    lines = report.lines_of(folder)
    assert (lines[names[0]]["flags"], lines[names[0]]["class"]) == ([], None)
    assert lines[names[0]]["reason"] == "not a sound file"
    assert lines[names[2]]["class"] in CLASSES


@pytest.mark.parametrize("settings", [None, "{", "[]", '{"sounds": ["gone.wav"]}'])
def test_without_its_source_a_clip_is_judged_all_the_same(folder, settings):
    path = folder / "settings.json"
    path.unlink()
    if settings is not None:
        path.write_text(settings)
    said = []
    assert report.listen(folder, [1], said.append) == 3
    row = next(iter(report.lines_of(folder).values()))
    assert (row["distance"], row["coverage"], row["recurs"]) == (None, None, None)
    assert row["class"] in CLASSES
    gone = settings is not None and "gone" in settings
    assert [line[:39] for line in said] == ["without a source: gone.wav: no such file"[:39]] * gone


@pytest.mark.parametrize("heard", [{"limit": -20.0}, {"gap": 0.05, "gap_level": -30.0}, {}])
def test_clips_are_held_against_the_source_as_it_was_learned(folder, heard):
    """Limited, without its gaps, and with its level set: the network has never heard another."""
    settings = json.loads((folder / "settings.json").read_text())
    (folder / "settings.json").write_text(json.dumps({**settings, "values": heard}))
    sound = Path(settings["sounds_at"][0])
    learned = laid_out([sound], ModelConfig(sample_rate=RATE), Training(**{"gap": 0.0, **heard}))
    found = report._Against.of(folder, RATE, pytest.fail).source
    np.testing.assert_array_equal(found.audio, np.concatenate(learned))


def test_a_source_that_was_moved_is_looked_for_under_its_typed_name(folder, monkeypatch, tmp_path):
    """As --resume does."""
    settings = json.loads((folder / "settings.json").read_text())
    settings["sounds_at"] = [str(tmp_path / "gone" / name) for name in settings["sounds"]]
    (folder / "settings.json").write_text(json.dumps(settings))
    monkeypatch.chdir(folder)
    assert report.source_paths(folder) == [Path(settings["sounds"][0])]
    assert report._Against.of(folder, RATE, pytest.fail).source is not None


def test_what_was_judged_against_the_raw_source_is_judged_anew(folder):
    report.listen(folder, [1])
    path = folder / "audition" / "listening.jsonl"
    path.write_text(path.read_text().replace(f' {report.JUDGING}"', '"'))
    assert report.listen(folder, [1]) == 3


def test_thresholds_that_the_set_does_not_choose_are_told(monkeypatch, capsys):
    """And the tool fails, so that what the program goes by cannot drift from what was measured."""
    monkeypatch.setattr(labelled, "labelled", lambda small: ([], {}))
    monkeypatch.setattr(labelled, "choose", lambda heard: THRESHOLDS)
    monkeypatch.setattr(sys, "argv", ["labelled.py"])
    assert labelled.main() == 0
    monkeypatch.setattr(labelled, "choose", lambda heard: replace(THRESHOLDS, silent_db=-50.0))
    assert labelled.main() == 1
    told = f"engine/listening/verdicts.py: silent_db: -50.0 chosen, {THRESHOLDS.silent_db} in the program\n"
    assert capsys.readouterr().err == told


def test_no_kind_of_sound_is_left_out_of_the_negatives():
    made, _ = labelled.labelled(small=True)
    assert {clip.source for clip in made if clip.kind == "source"} == set(labelled.sources())


def test_a_long_source_is_heard_in_stretches():
    rate = 100
    audio = np.arange(1000 * rate, dtype=float)
    thin = report._thinned(audio, rate)
    assert len(thin) == 300 * rate
    assert (thin[0], thin[-1]) == (audio[0], audio[-1])
