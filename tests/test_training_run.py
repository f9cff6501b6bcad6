"""A training run: its settings, that it learns, and that stopping and going on changes nothing, to the bit."""

import errno
import json
import math
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from engine import checkpoint as files
from engine import moments
from engine.checkpoint import tensor_shapes
from engine.training import dryrun, running, trainer
from engine.training.data import prepare
from engine.training.recipes import Training, load, names, resolve
from engine.training.running import run
from engine.training.runs import make_plan
from engine.training.trainer import Hopeless, Trainer, rate

TINY = {
    "sample_rate": "8000", "q_levels": "16", "frame_sizes": "2,4", "dim": "8", "emb_size": "4", "seq_len": "64",
    "batch": "4", "excerpt": "0.1", "epoch_steps": "5", "save_steps": "3", "stretches": "1.0",
    "q_type": "linear", "preemphasis": "0", "average": "0", "steps": "14",
    "warmup": "0", "threads": "1", "title": "Two tones", "clips": "0", "moments": "0",
}  # fmt: skip


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    t = np.arange(5 * 8000) / 8000
    tone = 0.5 * np.sin(2 * np.pi * 200 * t) + 0.2 * np.sin(2 * np.pi * 330 * t)
    path = tmp_path_factory.mktemp("sounds") / "tones.wav"
    soundfile.write(path, tone, 8000)
    return path


def quiet(line):
    assert "\n" not in line


def metrics(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def assert_same_run(a: Path, b: Path):
    assert sorted(p.name for p in a.iterdir()) == sorted(p.name for p in b.iterdir())
    for path in a.glob("*.safetensors"):
        assert path.read_bytes() == (b / path.name).read_bytes(), path.name
    assert metrics(a) == metrics(b)


SHAPES = {
    "gru, learned": {},
    "lstm, skip, random, subset": {"rnn": "lstm", "n_rnn": "2", "skip": "true", "h0": "random", "keep": "0.5"},
    "averaged, patient": {"average": "0.9", "patience": "5"},
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_interrupted_and_resumed_equals_uninterrupted(sound, tmp_path, shape):
    settings = {**TINY, **shape}
    assert run([sound], tmp_path / "whole", "default", settings, False, quiet) == 0

    def interrupt(line):
        if line.startswith("epoch 1"):
            signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    assert run([sound], tmp_path / "parts", "default", settings, False, interrupt) == 130
    assert signal.getsignal(signal.SIGINT) is before
    assert not (tmp_path / "parts" / "epoch-003.safetensors").exists()
    assert run([], tmp_path / "parts", "default", {}, True, quiet) == 0
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


def test_minutes_become_the_steps_that_fit_into_them(sound, tmp_path, monkeypatch):
    """Measured once: a run that is resumed elsewhere has the same plan."""
    monkeypatch.setattr(running, "step_seconds", lambda *_: 2.0)
    said = []
    more = {**{key: value for key, value in TINY.items() if key != "steps"}, "minutes": "0.25"}
    assert run([sound], tmp_path / "run", "default", more, False, said.append) == 0
    assert said[0] == "7 steps of 2.00 s fit into 0.25 minutes here"
    values = json.loads((tmp_path / "run" / "settings.json").read_text())["values"]
    assert (values["steps"], values["minutes"]) == (7, 0.0)
    assert metrics(tmp_path / "run")[-1]["step"] == 7
    assert resolve("default", {})[1].minutes > 0
    assert resolve("default", {"steps": "9"})[1].minutes == 0


def test_a_crash_loses_only_what_was_not_saved(sound, tmp_path):
    """Going on from an older save drops the metrics that lie beyond it and writes them again."""
    assert run([sound], tmp_path / "whole", "default", TINY, False, quiet) == 0
    older = {}

    def keep(line):
        if line.startswith("epoch 2"):
            older["resume"] = (tmp_path / "parts" / "resume.safetensors").read_bytes()

    assert run([sound], tmp_path / "parts", "default", TINY, False, keep) == 0
    (tmp_path / "parts" / "resume.safetensors").write_bytes(older["resume"])
    with (tmp_path / "parts" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 1')
    assert run([], tmp_path / "parts", "default", {}, True, quiet) == 0
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


CHILD = """
import sys
from pathlib import Path
from engine.training.running import run
sound, folder, resume, steps = sys.argv[1:]
settings = {} if resume == "yes" else {SETTINGS}
sys.exit(run([Path(sound)], Path(folder), "default", settings, resume == "yes", lambda line: print(line, flush=True)))
"""


def child(sound, folder, resume, steps):
    source = CHILD.replace("{SETTINGS}", repr({**TINY, "steps": steps, "epoch_steps": "1000"}))
    root = Path(__file__).parent.parent
    command = [sys.executable, "-c", source, str(sound), str(folder), resume, steps]
    return subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.soak
def test_killed_at_any_step_and_resumed_equals_uninterrupted(sound, tmp_path):
    """SIGKILL ten times in one run, wherever it then is; every file of the run is the same in the end."""
    steps, rng, kills = "1500", np.random.default_rng(7), 0
    ended(child(sound, tmp_path / "whole", "no", steps))
    folder, resume = tmp_path / "parts", "no"
    while kills < 10:
        process = child(sound, folder, resume, steps)
        wanted = int(rng.integers(1, 140)) + saved_step(folder)
        while saved_step(folder) < wanted and process.poll() is None:
            pass
        assert process.poll() is None, "it was over before it was killed"
        process.kill()
        process.communicate()
        kills, resume = kills + 1, "yes"
    ended(child(sound, folder, "yes", steps))
    assert_same_run(tmp_path / "whole", folder)


def ended(process):
    """Wait for a child to end well."""
    _, err = process.communicate()
    assert (process.returncode, err) == (0, "")


def saved_step(folder):
    """The step of a run's last save; 0 before there is one."""
    try:
        head = files.header_of(folder / "resume.safetensors")
        return json.loads(head["__metadata__"]["samplernn-resume"])["step"]
    except (OSError, ValueError):
        return 0


def test_ctrl_c_finishes_the_step_saves_and_says_so(sound, tmp_path):
    process = child(sound, tmp_path / "run", "no", "100000")
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("step "):
            process.send_signal(signal.SIGINT)
            break
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == ""
    last = out.splitlines()[-1]
    assert last.startswith("stopped at step ")
    stopped = int(last.split()[3])
    goal = {**TINY, "epoch_steps": "1000", "steps": str(100000)}
    saved = (tmp_path / "run" / "resume.safetensors").read_bytes()
    seen = []

    def stop_there(line):
        seen.append(line)

    assert stopped >= 1
    whole = tmp_path / "whole"
    assert run_until(sound, whole, goal, stopped, stop_there) == 130
    assert (whole / "resume.safetensors").read_bytes() == saved


def run_until(sound, folder, settings, step, say, resume=False):
    """A run in this process, or the rest of one, that is interrupted right after ``step``."""

    class Stopping(Trainer):
        def advance(self):
            nats = super().advance()
            if self.step == step:
                signal.raise_signal(signal.SIGINT)
            return nats

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(running, "Trainer", Stopping)
        return run([sound], folder, "default", settings, resume, say)


def test_it_learns_and_its_checkpoints_say_what_they_are(sound, tmp_path):
    settings = {**TINY, "steps": "120", "epoch_steps": "40", "lr": "0.01", "dim": "16", "dither": "0"}
    assert run([sound], tmp_path / "run", "default", settings, False, quiet) == 0
    names = sorted(p.name for p in (tmp_path / "run").glob("epoch-*"))
    assert names == [f"epoch-00{k}.safetensors" for k in (1, 2, 3)]
    first, last = (files.load(tmp_path / "run" / names[k]) for k in (0, -1))
    assert last.training["nll_bits"] < first.training["nll_bits"] < 4.0
    assert last.training["nll_bits"] < 2.5
    assert last.training["nll_bits_active"] == pytest.approx(last.training["nll_bits"], abs=0.01)  # never silent
    assert (last.training["recipe"], last.training["steps"], last.training["epoch"]) == ("default", 120, 3)
    assert last.source["title"] == "Two tones"
    assert last.config.dim == 16
    assert set(last.playing["ranges"]) == {"mlp.1", "mlp.2"}  # so that playing a run does not wait for them


def test_held_out_bits_of_a_network_that_knows_nothing(sound, tmp_path):
    plan = make_plan([sound], tmp_path / "none", "default", TINY, False)
    trainer = Trainer(plan, prepare(plan.sounds, plan.config, plan.training))
    with torch.no_grad():
        for name, parameter in trainer.model.tensors.items():
            if name.startswith("mlp/output"):
                parameter.zero_()
        trainer.model.tensors["mlp/output/weight_v"].fill_(1.0)
    assert trainer.evaluate() == pytest.approx({"bits": 4.0, "bits_active": 4.0})
    assert trainer.evaluate() == trainer.evaluate()


def test_the_rate_rises_and_falls_to_zero():
    t = Training(steps=100, warmup=4, decay=0.5)
    rates = [rate(step, t) for step in range(101)]
    assert rates[:6] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0])
    assert rates[50] == 1.0
    assert rates[75] == 0.5
    assert rates[99] == pytest.approx(0.02)
    assert rates[100] == 0.0


@pytest.mark.parametrize("recipe", names())
def test_every_recipe_resolves(recipe):
    config, training = resolve(recipe, {"steps": "10"})
    assert training.steps == 10
    assert training.seq_len % config.hop == 0


def test_the_seeds_recipes_are_what_the_seeds_say():
    config, training = resolve("metal", {})
    assert (config.rnn, config.frame_sizes, config.skip, config.h0) == ("lstm", (16,), True, "random")
    assert (training.forget_bias, training.batch, config.sample_rate) == (3.0, 128, 16000)
    assert (training.valid, training.test, training.excerpt) == (0.06, 0.06, 8.0)
    config, training = resolve("poster", {})
    assert (training.batch, training.seq_len, training.decay, training.clips) == (128, 1024, 0.0, 5)
    assert len(training.stretches) > 2
    assert (config.rnn, config.n_rnn, config.h0) == ("gru", 1, "learned")
    assert (config.frame_sizes, config.dim, config.emb_size, config.sample_rate) == ((8, 16), 1024, 256, 44100)


REFUSED = {
    "unknown key": ({"dimm": "3"}, "--set dimm: unknown setting; did you mean dim?"),
    "no number": ({"steps": "many"}, "--set steps: 'many': a number like 3000 expected"),
    "no flag": ({"skip": "maybe"}, "--set skip: 'maybe': true or false"),
    "no tuple": ({"frame_sizes": "8;16"}, "--set frame_sizes: '8;16': numbers like 8,16 expected"),
    "out of range": ({"lr": "7"}, "lr: 7.0: from 0.0 to 1.0"),
    "not a number": ({"lr": "nan"}, "lr: nan: from"),
    "odd length": ({"seq_len": "1000"}, "seq_len: 1000: twice the largest frame (16) or a larger multiple"),
    "one frame": ({"seq_len": "16"}, "seq_len: 16: twice the largest frame (16) or a larger multiple"),
    "shape": ({"frame_sizes": "8,12"}, "frame_sizes"),
    "clip": ({"clip_mode": "both"}, "clip_mode: 'both': one of value, norm expected"),
    "speed": ({"stretches": "9"}, "stretches"),
    "device": ({"device": "gpu"}, "device: 'gpu': one of auto, cpu, cuda, mps expected"),
    "test": ({"test": "0.1"}, "test: 0.1: together with valid, the share that epochs are judged by"),
    "prune": ({"prune_from": "0.9"}, "prune_from: 0.9: at most prune_to (0.6) expected"),
    "precision": ({"precision": "fp16"}, "precision: 'fp16': one of auto, fp32, bf16 expected"),
}


@pytest.mark.parametrize(("overrides", "message"), REFUSED.values(), ids=REFUSED)
def test_settings_that_do_not_fit_are_refused_before_anything_is_made(tmp_path, overrides, message):
    with pytest.raises(ValueError, match=r".") as caught:
        run([Path("none.wav")], tmp_path / "run", "default", overrides, False, quiet)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_a_device_that_is_not_there_is_named(sound, tmp_path):
    with pytest.raises(ValueError, match="device: cuda: torch finds none here; auto or cpu expected"):
        run([sound], tmp_path / "run", "default", {**TINY, "device": "cuda"}, False, quiet)
    assert not (tmp_path / "run").exists()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_gpu_makes_nearly_the_run_of_a_processor(sound, tmp_path, precision):
    for device in ("cpu", "cuda"):
        more = {**TINY, "device": device, "precision": precision}
        run([sound], tmp_path / device, "default", more, False, quiet)
    bits = [[line["bits"] for line in metrics(tmp_path / device) if "bits" in line] for device in ("cpu", "cuda")]
    np.testing.assert_allclose(*bits, rtol=2e-2)


def test_what_is_held_out_for_the_end_is_judged_at_the_end(sound, tmp_path):
    said: list[str] = []
    more = {**TINY, "valid": "0.1", "test": "0.1"}
    assert run([sound], tmp_path / "run", "default", more, False, said.append) == 0
    assert any("5 held-out windows and 5 for the end" in line for line in said)
    rows = [line for line in metrics(tmp_path / "run") if "bits" in line]
    assert ["test_bits" in row for row in rows] == [False, False, True]
    last = files.load(tmp_path / "run" / "epoch-003.safetensors")
    assert last.training["test_bits"] == pytest.approx(rows[-1]["test_bits"], abs=1e-6)
    assert said[-1] == f"at the end: {rows[-1]['test_bits']:.3f} bits a sample of what was held out for it"


def test_mixed_precision_learns_as_much(sound, tmp_path):
    """Other steps, by their rounding, to the same place; weights and what is saved are fp32."""
    more = {**TINY, "steps": "120", "epoch_steps": "40", "lr": "0.01", "dim": "16", "dither": "0"}
    found = {}
    for precision in ("fp32", "bf16"):
        run([sound], tmp_path / precision, "default", {**more, "precision": precision}, False, quiet)
        found[precision] = files.load(tmp_path / precision / "epoch-003.safetensors")
    full, mixed = (found[precision].training["nll_bits"] for precision in ("fp32", "bf16"))
    assert full != mixed
    assert mixed == pytest.approx(full, abs=0.1)
    assert {tensor.dtype for tensor in found["bf16"].tensors.values()} == {np.dtype(np.float32)}


def test_a_full_disk_loses_nothing_that_was_saved(sound, tmp_path, monkeypatch):
    """The run ends with the file's name and what to do; what was there before is whole, and goes on to the same end."""
    sync, count = os.fsync, []

    def full(file):
        count.append(file)
        if len(count) == 6:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # as a write says it: without a name
        sync(file)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(
            ValueError, match=r"run/metrics\.svg: No space left .* free some space, then --resume goes on"
        ):
            run([sound], tmp_path / "run", "default", TINY, False, quiet)
    assert not list((tmp_path / "run").glob(".*.safetensors.*")), "a scratch file was left"
    assert run([], tmp_path / "run", "default", {}, True, quiet) == 0
    assert run([sound], tmp_path / "whole", "default", TINY, False, quiet) == 0
    for name in ("resume.safetensors", "epoch-003.safetensors"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_unknown_recipe():
    with pytest.raises(ValueError, match="recipe: 'metall': did you mean metal"):
        resolve("metall", {})


@pytest.mark.parametrize("recipe", names())
def test_every_recipe_says_whose_it_is(recipe):
    found = load(recipe)
    assert found.about
    assert found.source


RECIPE_FILES = {
    "values: {dim: 64, lr: 0.01}": "",
    "values: {dimm: 64}": "values.dimm: unknown setting; did you mean dim?",
    "values: {dim: many}": "values.dim: 'many': a value like 256 expected",
    "valeus: {}": "about, source and values expected",
    "values: {}\nmore: 1": "'more': about, source and values expected",
    "[": "no YAML",
    "": "a table with about, source and values expected",
}


@pytest.mark.parametrize("text", RECIPE_FILES)
def test_a_recipe_of_ones_own(text, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    if not RECIPE_FILES[text]:
        config, training = resolve(str(path), {"steps": "7"})
        assert (config.dim, training.lr, training.steps) == (64, 0.01, 7)
        return
    with pytest.raises(ValueError, match=r".") as caught:
        resolve(str(path), {})
    assert str(caught.value).startswith(f"{path}: ")
    assert RECIPE_FILES[text] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_averaged_weights_are_what_is_saved(sound, tmp_path):
    """A running average of rates that fall to zero comes near the last weights, and is not them."""
    for name, average in (("plain", "0"), ("averaged", "0.5"), ("slow", "0.99")):
        run([sound], tmp_path / name, "default", {**TINY, "average": average}, False, quiet)
    plain, averaged, slow = (
        files.load(tmp_path / name / "epoch-003.safetensors").tensors["mlp.output.weight_v"]
        for name in ("plain", "averaged", "slow")
    )
    near, far = (float(np.abs(each - plain).max()) for each in (averaged, slow))
    assert 0 < near < far


def test_a_run_without_progress_ends_early(sound, tmp_path):
    said = []
    more = {**TINY, "patience": "2", "lr": "0", "steps": "100"}
    assert run([sound], tmp_path / "run", "default", more, False, said.append) == 0
    assert len(list((tmp_path / "run").glob("epoch-*"))) == 3  # none was better than the first
    assert "no fewer bits for 2 epochs: ended after 15 of 100 steps" in said


def test_a_hopeless_run_is_begun_anew_with_the_next_seed(sound, tmp_path, monkeypatch):
    advance, said = Trainer.advance, []

    folder = tmp_path / "run"

    def broken(self):
        if self.plan.training.seed == 0 and self.step == 7:
            (folder / "clips" / "inner").mkdir(parents=True, exist_ok=True)
            for name in ("mine", "epoch-001-t1.000-s0000"):
                (folder / "clips" / f"{name}.flac").write_bytes(b"mine")
            raise Hopeless("broken")
        return advance(self)

    monkeypatch.setattr(Trainer, "advance", broken)
    assert run([sound], folder, "default", TINY, False, said.append) == 0
    assert "broken; begun anew with seed 1" in said
    assert run([sound], tmp_path / "straight", "default", {**TINY, "seed": "1"}, False, quiet) == 0
    one, other = (path / "epoch-003.safetensors" for path in (folder, tmp_path / "straight"))
    np.testing.assert_array_equal(files.load(one).tensors["embedding"], files.load(other).tensors["embedding"])
    assert metrics(folder) == metrics(tmp_path / "straight")
    assert (folder / "clips" / "mine.flac").read_bytes() == b"mine", "not the run's to take away"
    assert not (folder / "clips" / "epoch-001-t1.000-s0000.flac").exists()
    assert json.loads((folder / "settings.json").read_text())["values"]["seed"] == 1
    with pytest.raises(ValueError, match="broken"):
        run([sound], tmp_path / "none", "default", {**TINY, "restarts": "0"}, False, quiet)


def test_a_run_that_breaks_late_keeps_its_epochs(sound, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "HOPELESS_STEPS", 0)
    monkeypatch.setattr(trainer, "HOPELESS_SHARE", 9.0)  # so small a network has learned little by then
    advance = Trainer.advance

    def broken(self):
        if self.step == 12:
            raise Hopeless("broken")
        return advance(self)

    monkeypatch.setattr(Trainer, "advance", broken)
    with pytest.raises(ValueError, match="broken"):
        run([sound], tmp_path / "run", "default", TINY, False, quiet)
    assert len(list((tmp_path / "run").glob("epoch-*"))) == 2
    assert json.loads((tmp_path / "run" / "settings.json").read_text())["values"]["seed"] == 0, "begun anew"


def test_a_run_that_learns_nothing_is_hopeless(tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "HOPELESS_STEPS", 10)
    path, said = tmp_path / "noise.wav", []
    soundfile.write(path, np.random.default_rng(0).uniform(-1, 1, 5 * 8000), 8000, subtype="FLOAT")
    assert run([path], tmp_path / "run", "default", {**TINY, "restarts": "1"}, False, said.append) == 0
    assert next(line for line in said if "only noise" in line).endswith("begun anew with seed 1")
    assert sum("only noise" in line for line in said) == 1  # noise may be what is wanted: the last run goes on


def test_a_dry_run_measures_and_writes_nothing(sound, tmp_path):
    plan = make_plan([sound], tmp_path / "run", "default", TINY, False)
    lines = dryrun.report(plan)
    assert [line.split()[0] for line in lines] == ["sound", "network", "epoch", "run", "playing"]
    weights = sum(np.prod(shape) for shape in tensor_shapes(plan.config).values())
    assert f"{weights / 1e6:.2f} M weights" in lines[1]
    assert "times real time" in lines[4]
    assert not (tmp_path / "run").exists()


PEAK = """
import re, sys
from pathlib import Path
from engine.training.running import run
sound, folder, recipe, *settings = sys.argv[1:]
run([Path(sound)], Path(folder), recipe, dict(each.split("=", 1) for each in settings), False, lambda line: None)
# not ru_maxrss, which a process takes over from the one that started it
print(int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024)
"""
LARGE = {"steps": "2", "epoch_steps": "2", "threads": "1", "clips": "0"}
RUNS = [
    ("default", TINY),
    pytest.param("default", LARGE, marks=pytest.mark.soak),
    pytest.param("live-metal", {**LARGE, "batch": "64"}, marks=pytest.mark.soak),
    pytest.param("poster", {**LARGE, "batch": "8"}, marks=pytest.mark.soak),
]


@pytest.mark.skipif(sys.platform != "linux", reason="sizes of processes are counted otherwise")
@pytest.mark.parametrize(("recipe", "settings"), RUNS)
def test_a_dry_run_knows_how_much_memory_a_run_takes(recipe, settings, sound, tmp_path):
    sound = sound if settings is TINY else Path(__file__).parent.parent / "sounds" / "tabla.flac"
    plan = make_plan([sound], tmp_path / "run", recipe, settings, False)
    material = prepare(plan.sounds, plan.config, plan.training)
    weights = sum(math.prod(shape) for shape in tensor_shapes(plan.config).values())
    words = [str(sound), str(tmp_path / "run"), recipe, *(f"{key}={value}" for key, value in settings.items())]
    root = Path(__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", PEAK, *words], cwd=root, capture_output=True, text=True, check=True)
    assert dryrun.memory(plan, material, weights, False) == pytest.approx(int(done.stdout), rel=0.3)


def test_a_dry_run_is_of_the_device_that_the_run_would_take(sound, tmp_path, monkeypatch):
    """One that is not there is refused as the run would; the steps are made where it says."""
    plan = make_plan([sound], tmp_path / "run", "default", {**TINY, "device": "cuda"}, False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="device: cuda: torch finds none here"):
        dryrun.report(plan)
    seen = []
    monkeypatch.setattr(dryrun, "chosen_device", lambda name, local=0: seen.append(name) or "cpu")
    assert "here on cpu" in dryrun.report(plan)[2]
    assert seen == ["cuda", "cuda"]  # to say it, and to measure there


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_dry_run_waits_for_the_gpu(sound, tmp_path):
    plan = make_plan([sound], tmp_path / "run", "poster", {"device": "cuda", "batch": "16"}, False)
    lines = dryrun.report(plan)
    assert "of the GPU's" in lines[1]
    assert "here on cuda" in lines[2]


def test_the_last_checkpoint_holds_moments(tmp_path):
    """And only the last; a sound too short for them is said to be, and the run is none the worse."""
    path, said = tmp_path / "long.wav", []
    soundfile.write(path, np.random.default_rng(0).normal(size=8 * 8000) * 0.1, 8000)
    more = {**TINY, "steps": "4", "epoch_steps": "2", "moments": "16"}
    assert run([path], tmp_path / "run", "default", more, False, said.append) == 0
    first, last = (files.load(tmp_path / "run" / f"epoch-00{k}.safetensors") for k in (1, 2))
    assert moments.of(first) is None
    assert len(moments.of(last)) == 16
    assert run([path], tmp_path / "more", "default", {**more, "moments": "64"}, False, said.append) == 0
    assert any(line.startswith("no moments stored: ") for line in said)
    assert moments.of(files.load(tmp_path / "more" / "epoch-002.safetensors")) is None


def test_runs_that_cannot_be_resumed(sound, tmp_path):
    with pytest.raises(ValueError, match="no run to resume"):
        run([sound], tmp_path / "none", "default", {}, True, quiet)
    folder = tmp_path / "run"
    assert run([sound], folder, "default", {**TINY, "steps": "2"}, False, quiet) == 0
    with pytest.raises(ValueError, match="exists already"):
        run([sound], folder, "default", TINY, False, quiet)
    with pytest.raises(ValueError, match="can only change steps"):
        run([sound], folder, "default", {"dim": "9"}, True, quiet)
    other = tmp_path / "other.wav"
    soundfile.write(other, np.random.default_rng(0).normal(size=30000) * 0.1, 8000)
    with pytest.raises(ValueError, match=r"other\.wav: the sounds are not those"):
        run([other], folder, "default", {}, True, quiet)
    with pytest.raises(ValueError, match=r"tones\.wav is no folder"):
        run([sound], sound / "run", "default", TINY, False, quiet)


SETTINGS = {
    "no JSON": (b"{", "no JSON: "),
    "a list": (b"[]", "a list: the table"),
    "nothing": (b"{}", "recipe: missing: a name expected"),
    "no values": (b'{"recipe": "x", "sounds": ["a"]}', "values: missing: a table of settings expected"),
    "text": (b'{"recipe": "x", "sounds": ["a"], "values": {"steps": "9"}}', "values.steps: '9': a value like 3000"),
    "another": (b'{"recipe": "x", "sounds": ["a"], "values": {"step": 9}}', "values.step: unknown setting"),
    "wrong": (b'{"recipe": "x", "sounds": ["a"], "values": {"dim": -9}}', "dim: -9: an integer from 1 to 8192"),
    "no sounds": (b'{"recipe": "x", "sounds": [], "values": {}}', "sounds, sounds_at: as many names"),
}
SAVED = {
    "missing": (None, "missing: this run was never saved"),
    "cut": (lambda blob: blob[:-9], "not as long as its header says"),
    "garbage": (lambda blob: b"broken" * 99, "not a safetensors file"),
    "another": (lambda blob: blob.replace(b"samplernn-resume", b"samplernn-absent"), "metadata is damaged"),
    "shape": (lambda blob: blob.replace(b'"p/embedding"', b'"p/embellish"'), "tensor embedding of shape"),
}


@pytest.fixture(scope="module")
def left(sound, tmp_path_factory):
    """A run that was left after two steps."""
    folder = tmp_path_factory.mktemp("left") / "run"
    assert run([sound], folder, "default", {**TINY, "steps": "2"}, False, quiet) == 0
    return folder


@pytest.mark.parametrize("fault", SETTINGS)
def test_settings_that_are_damaged(left, tmp_path, fault):
    content, words = SETTINGS[fault]
    (tmp_path / "settings.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"settings\.json: ") as caught:
        make_plan([], tmp_path, "default", {}, True)
    assert words in str(caught.value)


@pytest.mark.parametrize("fault", SAVED)
def test_saved_states_that_are_damaged(left, tmp_path, fault):
    change, words = SAVED[fault]
    (tmp_path / "settings.json").write_bytes((left / "settings.json").read_bytes())
    (tmp_path / "epoch-001.safetensors").touch()  # or it would begin at its first step
    if change:
        (tmp_path / "resume.safetensors").write_bytes(change((left / "resume.safetensors").read_bytes()))
    with pytest.raises(ValueError, match=r"resume\.safetensors: ") as caught:
        make_plan([], tmp_path, "default", {}, True)
    assert words in str(caught.value)
    assert str(caught.value).endswith("start the run anew in another folder")


def test_a_run_is_resumed_from_any_folder(sound, tmp_path, monkeypatch):
    """With the sounds named as they were typed there; old runs know no more than that."""
    monkeypatch.chdir(sound.parent)
    assert run([Path(sound.name)], tmp_path / "run", "default", {**TINY, "steps": "2"}, False, quiet) == 0
    monkeypatch.chdir(tmp_path)
    assert run([], tmp_path / "run", "default", {"steps": "4"}, True, quiet) == 0
    settings = json.loads((tmp_path / "run" / "settings.json").read_text())
    assert settings["sounds"] == [sound.name]
    del settings["sounds_at"]
    (tmp_path / "run" / "settings.json").write_text(json.dumps(settings))
    with pytest.raises(ValueError, match=r"tones\.wav: no such file"):
        run([], tmp_path / "run", "default", {"steps": "5"}, True, quiet)
    monkeypatch.chdir(sound.parent)
    assert run([], tmp_path / "run", "default", {"steps": "5"}, True, quiet) == 0


def test_a_run_killed_before_its_first_save_begins_when_it_is_resumed(sound, tmp_path):
    assert run([sound], tmp_path / "whole", "default", TINY, False, quiet) == 0
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "settings.json").write_bytes((tmp_path / "whole" / "settings.json").read_bytes())
    assert run([], folder, "default", {}, True, quiet) == 0
    assert_same_run(tmp_path / "whole", folder)


def test_a_run_whose_state_is_gone_is_not_begun_over_its_epochs(left):
    (left / "resume.safetensors").rename(left / "elsewhere")
    try:
        with pytest.raises(ValueError, match="missing: this run was never saved"):
            run([], left, "default", {}, True, quiet)
    finally:
        (left / "elsewhere").rename(left / "resume.safetensors")


def test_what_set_changes_of_a_resumed_run_is_remembered(sound, tmp_path):
    folder = tmp_path / "run"
    assert run([sound], folder, "default", {**TINY, "steps": "4"}, False, quiet) == 0
    kept = json.loads((folder / "settings.json").read_text())

    def stop(line):
        if line.startswith("epoch 1"):
            signal.raise_signal(signal.SIGINT)

    assert run([], folder, "default", {"steps": "1e1", "clip_seconds": "2"}, True, stop) == 130
    now = json.loads((folder / "settings.json").read_text())
    assert (now["values"]["steps"], now["values"]["clip_seconds"]) == (10, 2.0)
    assert {**now, "values": 0} == {**kept, "values": 0}
    assert run([], folder, "default", {}, True, quiet) == 0
    assert (folder / "epoch-002.safetensors").exists()


def test_a_longer_plan_keeps_the_short_epoch_of_the_one_before(sound, tmp_path):
    folder, said = tmp_path / "run", []
    assert run([sound], folder, "default", {**TINY, "steps": "7"}, False, quiet) == 0
    short = (folder / "epoch-002.safetensors").read_bytes()
    assert run([], folder, "default", {"steps": "10"}, True, said.append) == 0
    assert (folder / "epoch-002.step-7.safetensors").read_bytes() == short
    assert files.load(folder / "epoch-002.safetensors").training["steps"] == 10
    assert "epoch-002.safetensors of the shorter plan is epoch-002.step-7.safetensors now" in said


def test_a_plan_cut_short_within_an_epoch_closes_it(sound, tmp_path):
    folder = tmp_path / "run"

    def stop(line):
        if line.startswith("epoch 1"):
            signal.raise_signal(signal.SIGINT)

    assert run([sound], folder, "default", TINY, False, stop) == 130
    saved = saved_step(folder)
    assert run([], folder, "default", {"steps": str(saved)}, True, quiet) == 0
    assert run_until(sound, folder, {"steps": "14"}, saved + 1, quiet, resume=True) == 130
    assert not (folder / "epoch-002.safetensors").exists()
    assert run([], folder, "default", {"steps": str(saved + 1)}, True, quiet) == 0
    assert files.load(folder / "epoch-002.safetensors").training["steps"] == saved + 1


def test_a_folder_with_nothing_but_a_lock_is_a_new_run_s(sound, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").touch()
    assert run([sound], tmp_path / "run", "default", {**TINY, "steps": "2"}, False, quiet) == 0


def test_a_run_that_another_began_in_the_meantime_is_left_alone(sound, tmp_path, monkeypatch):
    """It was looked at while its folder was not there; its sounds have been prepared since."""
    folder, first = tmp_path / "run", running.prepare

    def slowly(*given):
        with monkeypatch.context() as patched:
            patched.setattr(running, "prepare", first)
            assert run([sound], folder, "default", {**TINY, "steps": "3"}, False, quiet) == 0
        return first(*given)

    monkeypatch.setattr(running, "prepare", slowly)
    with pytest.raises(ValueError, match="run: exists by now: another training began it; name a new folder"):
        run([sound], folder, "default", {**TINY, "lr": "0.05"}, False, quiet)
    assert json.loads((folder / "settings.json").read_text())["values"]["lr"] == 0.002


def test_a_run_begun_anew_in_the_meantime_is_gone_on_with_as_it_is(sound, tmp_path, monkeypatch):
    folder, first, calls = tmp_path / "run", running.prepare, []
    assert run([sound], folder, "default", {**TINY, "steps": "3"}, False, quiet) == 0

    def slowly(*given):
        if not calls:
            shutil.rmtree(folder)
            run_plainly = {**TINY, "steps": "3", "seed": "5"}
            calls.append(True)
            assert run([sound], folder, "default", run_plainly, False, quiet) == 0
        return first(*given)

    monkeypatch.setattr(running, "prepare", slowly)
    assert run([], folder, "default", {"steps": "5"}, True, quiet) == 0
    values = json.loads((folder / "settings.json").read_text())["values"]
    assert (values["seed"], values["steps"]) == (5, 5)


def test_weights_that_are_no_numbers_begin_a_run_anew(sound, tmp_path, monkeypatch):
    """Found when an epoch is judged: the loss of its last step was fine."""
    advance, said = Trainer.advance, []

    def poisoned(self):
        nats = advance(self)
        if self.plan.training.seed == 0 and self.step == 5:
            with torch.no_grad():
                self.model.tensors["embedding"].fill_(math.nan)
        return nats

    monkeypatch.setattr(Trainer, "advance", poisoned)
    assert run([sound], tmp_path / "run", "default", TINY, False, said.append) == 0
    assert any("weights that are no numbers any more" in line and "seed 1" in line for line in said)


def test_one_training_at_a_time_writes_a_folder(sound, tmp_path):
    folder, found = tmp_path / "run", []

    def another(line):
        if line.startswith("epoch 1"):
            with pytest.raises(ValueError, match="run: another training is writing it: stop that one first") as caught:
                run([], folder, "default", {}, True, quiet)
            found.append(caught)

    assert run([sound], folder, "default", TINY, False, another) == 0
    assert found
    assert run([], folder, "default", {"steps": "15"}, True, quiet) == 0


@pytest.mark.parametrize("key", ["lr", "seq_len", "batch"])
def test_settings_changed_behind_a_run_s_back_are_named(left, tmp_path, key):
    folder = tmp_path / "run"
    shutil.copytree(left, folder)
    saved = json.loads((folder / "settings.json").read_text())
    saved["values"][key] *= 2
    (folder / "settings.json").write_text(json.dumps(saved))
    with pytest.raises(ValueError, match=rf"settings\.json: not the settings .* begun with: {key} .* expected"):
        make_plan([], folder, "default", {}, True)


def test_damaged_metrics_do_no_harm(sound, tmp_path):
    folder = tmp_path / "run"
    assert run([sound], folder, "default", {**TINY, "steps": "10"}, False, quiet) == 0
    good = metrics(folder)
    lines = [b"\xff\xfe", b'{"step": 5, "bits": "x"}', b'{"step": "5"}', b'{"step": 5, "train_bits": null}', b"[]"]
    with (folder / "metrics.jsonl").open("ab") as file:
        file.write(b"\n".join([*lines, b""]))
    assert run([], folder, "default", {"steps": "15"}, True, quiet) == 0
    assert metrics(folder)[: len(good)] == good
    assert metrics(folder)[-1]["step"] == 15


def test_two_frames_are_enough_for_a_step(sound, tmp_path):
    assert run([sound], tmp_path / "run", "default", {**TINY, "seq_len": "8", "steps": "3"}, False, quiet) == 0


def test_a_longer_plan_can_be_resumed(sound, tmp_path):
    assert run([sound], tmp_path / "run", "default", {**TINY, "steps": "5"}, False, quiet) == 0
    assert run([], tmp_path / "run", "default", {"steps": "10"}, True, quiet) == 0
    assert math.isfinite(files.load(tmp_path / "run" / "epoch-002.safetensors").training["nll_bits"])


def test_a_loss_that_is_no_number_ends_the_run_in_one_line(sound, tmp_path, monkeypatch):
    from engine.model import SampleRNN

    monkeypatch.setattr(SampleRNN, "loss", lambda self, *_: (torch.tensor(math.nan), []))
    with pytest.raises(ValueError, match=r"lr: 0\.002: the loss is no number any more at step 0"):
        run([sound], tmp_path / "run", "default", TINY, False, quiet)


def torchrun(*arguments, processes=2):
    """A run by several processes of this machine."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command += ["-m", "instrument.cli", "train", *map(str, arguments)]
    where = Path(__file__).parent.parent
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(where)}
    return subprocess.run(command, cwd=where, env=environment, capture_output=True, text=True, timeout=300)


def test_two_processes_make_the_run_of_one(sound, tmp_path):
    """Sums of gradients are rounded otherwise; what is saved by two can be gone on with by one."""
    settings = {**TINY, "average": "0.9", "rnn": "lstm", "h0": "random", "keep": "1.0"}
    words = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    done = torchrun(sound, "-o", tmp_path / "two", *words)
    assert done.returncode == 0, done.stderr
    assert sum("of sound, " in line for line in done.stdout.splitlines()) == 1, "more than one process spoke"
    run([sound], tmp_path / "one", "default", settings, False, quiet)
    two, one = (files.load(tmp_path / name / "epoch-003.safetensors").tensors for name in ("two", "one"))
    for name, value in one.items():
        np.testing.assert_allclose(two[name], value, atol=2e-3, err_msg=name)
    bits = [
        [line["train_bits"] for line in metrics(tmp_path / name) if "train_bits" in line] for name in ("two", "one")
    ]
    np.testing.assert_allclose(*bits, rtol=1e-3)
    assert run([], tmp_path / "two", "default", {"steps": "17"}, True, quiet) == 0
    assert (tmp_path / "two" / "epoch-004.safetensors").exists()


def test_streams_that_cannot_be_shared_out_are_named(sound, tmp_path):
    words = [word for key, value in {**TINY, "batch": "3"}.items() for word in ("--set", f"{key}={value}")]
    done = torchrun(sound, "-o", tmp_path / "run", *words)
    assert done.returncode != 0
    assert "batch: 3: a multiple of 2 expected, one share for each process" in done.stderr
    assert not (tmp_path / "run").exists()
