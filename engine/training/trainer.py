"""The loop: truncated back-propagation through time over carried state, with everything needed to go on later.

A run is a folder: ``settings.json``, ``epoch-NNN.safetensors``, ``metrics.jsonl`` and ``resume.safetensors`` (weights,
Adam's moments, the streams' states, the step). A run that was interrupted and resumed equals one that was not, bit
for bit. Runs on the caller's thread; signals only set a flag that the loop reads between steps.
"""

from __future__ import annotations

import json
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as save_tensors
from torch import Tensor

from engine import checkpoint as files
from engine import moments
from engine.listening.background import Background
from engine.listening.clips import Wanted
from engine.model import SampleRNN, State
from engine.playing import with_ranges
from engine.training import pictures
from engine.training.data import Material, Streams, Window, prepare, report, window_indices
from engine.training.metrics import Metrics, NoMetrics
from engine.training.recipes import Training
from engine.training.runs import RESUME, SETTINGS, Plan, make_plan, saved_head
from engine.training.team import Team, assembled

Say = Callable[[str], None]

REPORT_SECONDS = 10.0
METRIC_STEPS = 10
HOPELESS_EPOCHS, HOPELESS_STEPS = 2, 200  # both must be over before a run is given up
HOPELESS_SHARE = 0.9  # of the bits of a guess: a network that has seen its sound for two epochs is far below


def run(sounds: list[Path], run_dir: Path, recipe: str, overrides: dict[str, str], resume: bool, say: Say) -> int:
    """Train to the end, or until a signal.

    Args:
        sounds: files to learn; with ``resume`` they may be left out, and must be the same if given.
        run_dir: where the run is kept; must not exist unless ``resume``.
        recipe: a name or a file, see engine.training.recipes.load; ignored with ``resume``.
        overrides: ``--set`` values as text; with ``resume`` only those of engine.training.runs.CHANGEABLE.
        say: takes lines for a human.

    Returns:
        The exit code: 0, or 128 and the signal's number.

    Raises:
        ValueError: one line, for anything the user can put right.
    """
    plan = make_plan(sounds, run_dir, recipe, overrides, resume)
    if plan.training.threads:
        torch.set_num_threads(plan.training.threads)
    torch.set_flush_denormal(True)
    try:
        with assembled() as team:
            return _train(plan, run_dir, resume, say if team.first else _unsaid, team)
    finally:
        torch.set_flush_denormal(False)  # it is the whole thread's, and whoever called has other sums to do


def _unsaid(_line: str) -> None:
    """What another process says."""


def _train(plan: Plan, run_dir: Path, resume: bool, say: Say, team: Team) -> int:
    """A run, or the rest of one, begun anew with the next seed where that seems hopeless. Returns the exit code."""
    while True:
        count = len(plan.sounds)
        say(f"preparing {count} sound file{'s' * (count > 1)} at {len(plan.training.stretches)} speeds ...")
        trainer = Trainer(plan, prepare(plan.sounds, plan.config, plan.training), team)
        team.wait()  # all have looked at the folder before it is made
        if resume:
            trainer.restore(run_dir / RESUME)
        elif team.first:
            run_dir.mkdir(parents=True, exist_ok=True)
            files.write_whole(run_dir / SETTINGS, json.dumps(plan.to_json(), indent=2).encode())
            _show_material(trainer, run_dir, say)
        if not resume:
            trainer.save(run_dir / RESUME)  # whenever it is killed, it can be gone on with
        try:
            return _loop(trainer, run_dir, say)
        except Hopeless as fault:
            if not plan.training.restarts or trainer.epoch > trainer.trial_epochs:
                raise ValueError(str(fault)) from None  # what has been learned by then is nobody's to throw away
            team.wait()
            plan, resume = _begun_anew(plan, run_dir), False
            say(f"{fault}; begun anew with seed {plan.training.seed}")


def _show_material(trainer: Trainer, run_dir: Path, say: Say) -> None:
    """What went in, in words, and as ``material.svg``."""
    plan, material = trainer.plan, trainer.material
    for line in report(plan.sounds, material, plan.config):
        say(line)
    windows = [(window.start, window.stop) for window in material.windows]
    drawn = pictures.material(material.line, plan.config.sample_rate, windows, run_dir.resolve().name)
    files.write_whole(run_dir / "material.svg", drawn.encode())


class Hopeless(Exception):
    """A run that will come to nothing."""


def _begun_anew(plan: Plan, run_dir: Path) -> Plan:
    """The plan with the next seed and a restart less; what the run has written is gone."""
    old = (*run_dir.glob("epoch-*.safetensors"), *run_dir.glob("clips/*"), run_dir / "metrics.jsonl", run_dir / RESUME)
    for path in old:
        path.unlink(missing_ok=True)
    t = plan.training
    return replace(plan, training=replace(t, seed=t.seed + 1, restarts=t.restarts - 1))


@dataclass
class Tally:
    """Training loss since the last report: sums, so that it can be saved and go on exactly."""

    nats: float = 0.0
    steps: int = 0

    def bits(self) -> float:
        return self.nats / max(1, self.steps) / math.log(2)


class Trainer:
    """A network, its optimiser and the streams' states: advanced one step at a time."""

    def __init__(self, plan: Plan, material: Material, team: Team | None = None) -> None:
        t = plan.training
        self.team = team or Team()
        self.mine = self.team.streams(t.batch)
        self.plan = plan
        self.material = material
        self.streams = Streams(material, plan.config, t)
        self.device = torch.device(chosen_device(t.device, self.team.rank))
        self.model = SampleRNN(plan.config, t.seed, t.forget_bias).to(self.device)
        self.learned = {name: p for name, p in self.model.tensors.items() if p.requires_grad}
        self.optimizer = torch.optim.Adam(self.learned.values(), lr=t.lr, fused=True)
        self.state: State = [
            tuple(part.detach().clone() for part in parts)
            for parts in self.model.initial_state(self.mine.stop - self.mine.start)
        ]
        self.step = 0
        self.best = (math.inf, 0)  # fewest held-out bits, and the epoch that had them
        self.averaged = {name: p.detach().clone() for name, p in self.learned.items()} if t.average else {}
        self.epoch_tally = Tally()
        per_epoch = material.samples / (t.batch * t.seq_len)
        self.epoch_steps = t.epoch_steps or max(1, round(per_epoch))

    @property
    def epoch(self) -> int:
        """Epochs begun: the number that a checkpoint written now carries."""
        return math.ceil(self.step / self.epoch_steps)

    @property
    def finished(self) -> bool:
        return self.step >= self.plan.training.steps or self.given_up

    @property
    def given_up(self) -> bool:
        """Whether the held-out bits have not fallen for as many epochs as there is patience."""
        patience = self.plan.training.patience
        return 0 < patience <= self.step // self.epoch_steps - self.best[1] and self.best[1] > 0

    @property
    def trial_epochs(self) -> int:
        """The epochs in which a run may still be begun anew."""
        return max(HOPELESS_EPOCHS, -(-HOPELESS_STEPS // self.epoch_steps))

    def judge(self, bits: float) -> None:
        """Note an epoch's held-out bits. Raises Hopeless if nothing has been learned so far."""
        if bits < self.best[0]:
            self.best = (bits, self.epoch)
        nothing = HOPELESS_SHARE * math.log2(self.plan.config.q_levels)
        if self.epoch == self.trial_epochs and self.best[0] > nothing and self.plan.training.restarts:
            raise Hopeless(f"only noise after {self.epoch} epochs: {self.best[0]:.2f} bits a sample")

    def advance(self) -> float:
        """One optimiser step; returns its loss in nats a sample."""
        t = self.plan.training
        indices, fresh = self.streams.batch(self.step)
        state = self._started(torch.from_numpy(fresh).to(self.device))
        self.optimizer.zero_grad(set_to_none=True)
        loss, after = self.model.loss(torch.from_numpy(indices[self.mine]).to(self.device), state, self._kept())
        whole = loss.detach().clone()
        self.team.average([whole])
        nats = float(whole)
        if not math.isfinite(nats):
            raise Hopeless(f"lr: {t.lr}: the loss is no number any more at step {self.step}: a smaller rate expected")
        loss.backward()  # type: ignore[no-untyped-call]
        self.team.average(p.grad for p in self.learned.values() if p.grad is not None)
        if t.clip and t.clip_mode == "value":
            torch.nn.utils.clip_grad_value_(self.learned.values(), t.clip)
        elif t.clip:
            torch.nn.utils.clip_grad_norm_(self.learned.values(), t.clip)
        for group in self.optimizer.param_groups:
            group["lr"] = t.lr * rate(self.step, t)
        self.optimizer.step()
        self._average()
        self.state = [tuple(part.detach() for part in parts) for parts in after]
        self.step += 1
        self.epoch_tally.nats += nats
        self.epoch_tally.steps += 1
        return nats

    @torch.no_grad()
    def _average(self) -> None:
        """The running average follows the weights, faster while it is young."""
        decay = min(self.plan.training.average, (1 + self.step) / (10 + self.step))
        for name, average in self.averaged.items():
            average.lerp_(self.learned[name], 1.0 - decay)

    @contextmanager
    @torch.no_grad()
    def judged(self) -> Iterator[None]:
        """The weights that are judged and saved, in the network's place: the averaged ones, if there are any."""
        kept = {name: self.learned[name].detach().clone() for name in self.averaged}
        try:
            for name, average in self.averaged.items():
                self.learned[name].copy_(average)
            yield
        finally:
            for name, value in kept.items():
                self.learned[name].copy_(value)

    def _generator(self, purpose: int) -> torch.Generator:
        seed = int(np.random.SeedSequence([self.plan.training.seed, purpose, self.step]).generate_state(1)[0])
        return torch.Generator().manual_seed(seed)

    def _started(self, fresh: Tensor) -> State:
        """The carried state, with a fresh start where the streams begin an excerpt; ``fresh`` is of all streams."""
        first = self.model.initial_state(len(fresh), self._generator(3))
        mask = fresh[self.mine, None]
        return [
            tuple(
                torch.where(mask, new.to(self.device)[:, self.mine], old) for new, old in zip(news, olds, strict=True)
            )
            for news, olds in zip(first, self.state, strict=True)
        ]

    def _kept(self) -> Tensor | None:
        """Bottom-tier frames whose samples count in this step, drawn at random; None for all."""
        t = self.plan.training
        if t.keep == 1.0:
            return None
        frames = t.batch // self.team.size * t.seq_len // self.plan.config.frame_sizes[0]
        count = max(1, round(frames * t.keep))
        drawn = torch.randperm(frames, generator=self._generator(4 + 16 * self.team.rank))[:count].sort().values
        return drawn.to(self.device)

    def evaluate(self) -> dict[str, float]:
        """Bits per sample on the held-out windows, unstretched: over all samples and over active ones."""
        windows = self.material.windows
        lengths = sorted({len(window.audio) for window in windows})
        groups = [[w for w in windows if len(w.audio) == length] for length in lengths]
        nats = np.concatenate([window_losses(self.model, group, self.plan.training).ravel() for group in groups])
        active = np.concatenate([window.active for group in groups for window in group])
        bits = {"bits": float(nats.mean()) / math.log(2)}
        if active.any():
            bits["bits_active"] = float(nats[active].mean()) / math.log(2)
        return bits

    def save(self, path: Path) -> None:
        """Everything that :meth:`restore` needs, in one file that is there whole or not at all; of the whole team."""
        states = [[self.team.gather(part) for part in parts] for parts in self.state]
        if not self.team.first:
            return
        tensors = {f"p/{name}": p.detach() for name, p in self.model.tensors.items()}
        for name, parameter in self.learned.items():
            for key, value in self.optimizer.state[parameter].items():
                tensors[f"a/{key}/{name}"] = value
        tensors.update({f"e/{name}": average for name, average in self.averaged.items()})
        for i, parts in enumerate(states):
            tensors.update({f"s/{i}/{j}": part.contiguous() for j, part in enumerate(parts)})
        head = {
            "step": self.step,
            "nats": self.epoch_tally.nats.hex(),
            "steps": self.epoch_tally.steps,
            "best": [self.best[0].hex(), self.best[1]],
            "material": self.material.fingerprint(),
        }
        files.write_whole(path, save_tensors(tensors, {"samplernn-resume": json.dumps(head)}))

    def restore(self, path: Path) -> None:
        """Go on from what :meth:`save` wrote."""
        head = saved_head(path, self.plan.config)
        try:
            with safe_open(path, "pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dictionary)
            self._adopt(head, tensors)
        except (OSError, SafetensorError, KeyError, TypeError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ValueError(f"{path}: not saved by a run of these settings: {reason}; start the run anew") from None

    def _adopt(self, head: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        if head["material"] != self.material.fingerprint():
            raise ValueError(f"{self.plan.sounds[0]}: the sounds are not those this run began with")
        with torch.no_grad():
            for name, parameter in self.model.tensors.items():
                parameter.copy_(tensors[f"p/{name}"])
        tensors = {name: tensor.to(self.device) for name, tensor in tensors.items()}
        self.averaged = {name: tensors[f"e/{name}"].clone() for name in self.averaged}
        for name, parameter in self.learned.items():
            keys = [key.split("/", 2)[1] for key in tensors if key.startswith("a/") and key.split("/", 2)[2] == name]
            self.optimizer.state[parameter] = {key: tensors[f"a/{key}/{name}"].clone() for key in keys}
        self.state = [
            tuple(tensors[f"s/{i}/{j}"][:, self.mine].clone() for j in range(len(parts)))
            for i, parts in enumerate(self.state)
        ]
        self.step = int(head["step"])
        bits, epoch = head.get("best", [math.inf.hex(), 0])  # runs of older versions have none
        self.best = (float.fromhex(bits), int(epoch))
        self.epoch_tally = Tally(float.fromhex(head["nats"]), int(head["steps"]))

    def to_checkpoint(self, bits: dict[str, float]) -> files.Checkpoint:
        """The network as it is now, with what its card needs to say."""
        t = self.plan.training
        training = {
            "recipe": self.plan.recipe,
            "steps": self.step,
            "epoch": self.epoch,
            "nll_bits": bits["bits"],
            "nll_bits_active": bits.get("bits_active"),
            "train_bits": self.epoch_tally.bits(),
            "settings": t.learning(),
        }
        title = t.title or ", ".join(path.stem for path in self.plan.sounds)
        source = {"title": title, "author": t.author, "licence": t.licence}
        return self.model.to_checkpoint(training=training, source=source)


def chosen_device(name: str, rank: int = 0) -> str:
    """What ``device`` means here; with several processes a GPU each. Raises ValueError for what is not there."""
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = "cuda" if there["cuda"] else "cpu"
    if not there[name]:
        raise ValueError(f"device: {name}: torch finds none here; auto or cpu expected")
    if name == "cuda":
        torch.set_float32_matmul_precision("high")  # TF32: its rounding is far below the noise of a step
        return f"cuda:{rank % torch.cuda.device_count()}"
    return name


def rate(step: int, training: Training) -> float:
    """Learning rate of ``step`` as a share of its highest: a short rise, level, a straight line to zero."""
    t = training
    rise = min(1.0, (step + 1) / (t.warmup + 1))
    fall = (t.steps - step) / max(1.0, t.decay * t.steps)
    return max(0.0, min(1.0, rise, fall))


def window_losses(model: SampleRNN, windows: list[Window], training: Training) -> NDArray[np.float64]:
    """Nats of every counted sample, (windows, samples), of held-out windows of one length, after their context."""
    c = model.config
    device = model.tensor("embedding").device
    indices = torch.from_numpy(window_indices(windows, c, training).astype(np.int64)).to(device)
    losses, state = [], None
    chunk = max(c.hop, 2048 // c.hop * c.hop)
    with torch.no_grad():
        for at in range(0, indices.shape[1] - c.lookback, chunk):
            piece = indices[:, at : at + c.lookback + chunk]
            logits, state = model(piece, state)
            nats = torch.nn.functional.cross_entropy(
                logits.flatten(0, 1), piece[:, c.lookback :].flatten(), reduction="none"
            )
            losses.append(nats.cpu().double().numpy().reshape(len(piece), -1))
    counted: NDArray[np.float64] = np.concatenate(losses, axis=1)[:, -len(windows[0].active) :]
    return counted


@dataclass
class _Clock:
    """Speed of the steps lately, for the progress line."""

    started: float = field(default_factory=time.monotonic)
    said: float = 0.0
    seconds: float = 0.0  # a step, smoothed

    def tick(self, seconds: float) -> None:
        self.seconds = seconds if not self.seconds else 0.95 * self.seconds + 0.05 * seconds

    def due(self) -> bool:
        now = time.monotonic()
        if now - self.said < REPORT_SECONDS:
            return False
        self.said = now
        return True


def _loop(trainer: Trainer, run_dir: Path, say: Say) -> int:
    team = trainer.team
    metrics = Metrics(run_dir / "metrics.jsonl", trainer.step) if team.first else NoMetrics()
    clock = _Clock()
    t, material = trainer.plan.training, trainer.material
    say(
        f"{material.seconds:.1f} s of sound, {len(t.stretches)} speeds, {len(material.windows)} held-out windows; "
        f"{trainer.epoch_steps} steps an epoch, {t.steps} in all"
    )
    wanted = Wanted(t.clips if team.first else 0, t.clip_seconds, t.clip_temperatures)
    with _signals() as caught, closing(Background(run_dir, wanted, say)) as clips:
        if trainer.step >= trainer.epoch_steps:
            clips.add(trainer.step // trainer.epoch_steps)  # whose clips the interruption may have cost
        if trainer.finished:
            say("this run is finished already")
        while not trainer.finished and not team.any(bool(caught)):
            began = time.monotonic()
            nats = trainer.advance()
            clock.tick(time.monotonic() - began)
            if trainer.step % METRIC_STEPS == 0:
                metrics.add(step=trainer.step, train_bits=nats / math.log(2), seconds=clock.seconds)
            if clock.due():
                say(_progress(trainer, clock))
            if trainer.step % trainer.epoch_steps == 0 or trainer.finished:
                _close_epoch(trainer, run_dir, metrics, say)
                trainer.save(run_dir / RESUME)
                clips.add(trainer.epoch)
            elif trainer.step % t.save_steps == 0:
                trainer.save(run_dir / RESUME)
            clips.poll()
        if not trainer.finished:
            trainer.save(run_dir / RESUME)
            clips.close()
            say(f"stopped at step {trainer.step} of {t.steps}, saved: --resume goes on from here")
        else:
            if trainer.given_up:
                say(f"no fewer bits for {t.patience} epochs: ended after {trainer.step} of {t.steps} steps")
            clips.finish(lambda: bool(caught))
        team.wait()
    return 128 + caught[0] if caught else 0


def _close_epoch(trainer: Trainer, run_dir: Path, metrics: Metrics, say: Say) -> None:
    with trainer.judged():
        bits = trainer.evaluate()
        checkpoint = trainer.to_checkpoint(bits)
    train_bits = trainer.epoch_tally.bits()
    trainer.epoch_tally = Tally()
    trainer.judge(bits.get("bits_active", bits["bits"]))
    if not trainer.team.first:
        return
    path = run_dir / f"epoch-{trainer.epoch:03d}.safetensors"
    files.save(_with_moments(trainer, with_ranges(checkpoint), say), path)
    metrics.add(step=trainer.step, epoch=trainer.epoch, epoch_train_bits=train_bits, **bits)
    metrics.draw()
    active = f", {bits['bits_active']:.3f} over active ones" if "bits_active" in bits else ""
    say(f"epoch {trainer.epoch}: {bits['bits']:.3f} bits a sample held out{active}; {train_bits:.3f} in training")


def _with_moments(trainer: Trainer, checkpoint: files.Checkpoint, say: Say) -> files.Checkpoint:
    """``checkpoint`` with moments if it is the run's last and they are wanted."""
    plan = trainer.plan
    if not (trainer.finished and plan.training.moments):
        return checkpoint
    try:
        found = moments.take(checkpoint, trainer.material.line, plan.training.moments)
        return moments.with_moments(checkpoint, found)
    except ValueError as fault:
        say(f"no moments stored: {fault}")
        return checkpoint


def _progress(trainer: Trainer, clock: _Clock) -> str:
    t = trainer.plan.training
    left = (t.steps - trainer.step) * clock.seconds
    speed = t.batch * t.seq_len / max(clock.seconds, 1e-9)
    return (
        f"step {trainer.step}/{t.steps}, epoch {trainer.epoch}: {trainer.epoch_tally.bits():.3f} bits a sample, "
        f"{speed:,.0f} samples/s, {int(left // 3600)}:{int(left // 60 % 60):02d}:{int(left % 60):02d} left"
    )


@contextmanager
def _signals() -> Iterator[list[int]]:
    """The numbers of SIGINT, SIGTERM and SIGHUP as they arrive; off the main thread nothing is caught."""
    caught: list[int] = []

    def catch(number: int, frame: FrameType | None) -> None:
        caught.append(number)

    if threading.current_thread() is not threading.main_thread():
        yield caught
        return
    hangup = getattr(signal, "SIGHUP", signal.SIGINT)  # Windows has none
    ignored = signal.getsignal(hangup) == signal.SIG_IGN  # by nohup: it goes on when the terminal is closed
    numbers = (signal.SIGINT, signal.SIGTERM, *(() if ignored else (hangup,)))
    before = [signal.signal(number, catch) for number in numbers]
    try:
        yield caught
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
