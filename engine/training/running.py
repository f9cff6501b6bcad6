"""A run from its folder to its end: prepared, stepped, judged, saved, begun anew, interrupted and gone on with.

Runs on the caller's thread; signals only set a flag that the loop reads between steps. What a step is, is the
trainer's; the folder's order, engine.training.folder's.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import FrameType

import torch

from engine import checkpoint as files
from engine import moments
from engine.listening.background import Background
from engine.listening.clips import Wanted
from engine.playing import with_ranges, with_recurrence
from engine.training import pictures
from engine.training.data import prepare
from engine.training.dryrun import step_seconds
from engine.training.folder import METRICS, begin, begin_anew, claimed, disk_faults_named, keep_earlier, remember
from engine.training.metrics import Metrics, NoMetrics
from engine.training.runs import RESUME, Plan, make_plan
from engine.training.sounds import report
from engine.training.team import Team, assembled
from engine.training.trainer import Hopeless, Tally, Trainer

Say = Callable[[str], None]

REPORT_SECONDS = 10.0
METRIC_STEPS = 10


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
        with assembled() as team, disk_faults_named(run_dir):
            said = say if team.first else _unsaid
            plan = _with_steps(plan, said, team)
            # between looking at a folder and having it to oneself another training may go on with it
            again = partial(make_plan, sounds, run_dir, recipe, overrides, True) if resume else None
            return _train(plan, run_dir, again, said, team)
    finally:
        torch.set_flush_denormal(False)  # it is the whole thread's, and whoever called has other sums to do


def _unsaid(_line: str) -> None:
    """What another process says."""


def _train(plan: Plan, run_dir: Path, again: Callable[[], Plan] | None, say: Say, team: Team) -> int:
    """A run, or the rest of one, begun anew with the next seed where that seems hopeless. Returns the exit code.

    ``again`` reads the plan of a run that is gone on with.
    """
    trainer = _prepared(plan, say, team)
    team.wait()  # all have looked at the folder before it is made
    with claimed(run_dir) if team.first else nullcontext():
        if again and (now := team.told(again())) != plan:
            plan = now
            trainer = _prepared(plan, say, team)
        if team.first:
            (remember if again else begin)(run_dir, plan)
        while True:
            if team.told((run_dir / RESUME).exists()):
                trainer.restore(run_dir / RESUME)
            else:
                if plan.training.start:
                    trainer.begin_with(files.load(Path(plan.training.start)))
                trainer.save(run_dir / RESUME)  # whenever it is killed, it can be gone on with
                if team.first:
                    _show_material(trainer, run_dir, say)
            try:
                return _loop(trainer, run_dir, say)
            except Hopeless as fault:
                if not plan.training.restarts or trainer.epoch > trainer.trial_epochs:
                    raise ValueError(str(fault)) from None  # what has been learned by then is nobody's to throw away
                team.wait()
                plan = _next_seed(plan)
                if team.first:
                    begin_anew(run_dir, plan)
                say(f"{fault}; begun anew with seed {plan.training.seed}")
            trainer = _prepared(plan, say, team)


def _with_steps(plan: Plan, say: Say, team: Team) -> Plan:
    """The plan with as many steps as fit into its minutes here."""
    t = plan.training
    if not t.minutes:
        return plan
    share = replace(t, batch=max(1, t.batch // team.size))
    seconds = team.mean(step_seconds(plan.config, share, team.local))  # one plan for all
    steps = max(1, int(60.0 * t.minutes / seconds))
    say(f"{steps} steps of {seconds:.2f} s fit into {t.minutes:g} minutes here")
    return replace(plan, training=replace(t, steps=steps, minutes=0.0))


def _prepared(plan: Plan, say: Say, team: Team) -> Trainer:
    count = len(plan.sounds)
    say(f"preparing {count} sound file{'s' * (count > 1)} at {len(plan.training.stretches)} speeds ...")
    return Trainer(plan, prepare(plan.sounds, plan.config, plan.training), team)


def _show_material(trainer: Trainer, run_dir: Path, say: Say) -> None:
    """What went in, in words, and as ``material.svg``."""
    plan, material = trainer.plan, trainer.material
    for line in (*report(plan.sounds, material.line, plan.config), *material.left_out):
        say(line)
    windows = sorted((window.start, window.stop) for window in (*material.windows, *material.tests))
    drawn = pictures.material(material.line, plan.config.sample_rate, windows, run_dir.resolve().name)
    files.write_whole(run_dir / "material.svg", drawn.encode())


def _next_seed(plan: Plan) -> Plan:
    """The plan with the next seed and a restart less."""
    t = plan.training
    return replace(plan, training=replace(t, seed=(t.seed + 1) % 2**63, restarts=t.restarts - 1))


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
    metrics = Metrics(run_dir / METRICS, trainer.step) if team.first else NoMetrics()
    clock = _Clock()
    t, material = trainer.plan.training, trainer.material
    tests = f" and {len(material.tests)} for the end" if material.tests else ""
    say(
        f"{material.seconds:.1f} s of sound, {len(t.stretches)} speeds, {len(material.windows)} held-out windows"
        f"{tests}; {trainer.epoch_steps} steps an epoch, {t.steps} in all"
    )
    wanted = Wanted(t.clips if team.first else 0, t.clip_seconds, t.clip_temperatures)
    with _signals() as caught, closing(Background(run_dir, wanted, say)) as clips:
        if trainer.finished and not team.told(_epoch_file(trainer, run_dir).exists()):
            _close_epoch(trainer, run_dir, metrics, say)  # a plan cut short within an epoch
            trainer.save(run_dir / RESUME)
        elif trainer.finished:
            say("this run is finished already")
        if closed := trainer.epoch if trainer.finished else trainer.step // trainer.epoch_steps:
            clips.add(closed)  # whose clips the interruption may have cost
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
            say(f"stopped at step {trainer.step} of {t.steps}, saved: `samplernn train --resume` goes on from here")
        else:
            if trainer.given_up:
                say(f"no fewer bits for {t.patience} epochs: ended after {trainer.step} of {t.steps} steps")
            clips.finish(lambda: bool(caught))
    return 128 + caught[0] if caught else 0


def _epoch_file(trainer: Trainer, run_dir: Path) -> Path:
    return run_dir / f"epoch-{trainer.epoch:03d}.safetensors"


def _close_epoch(trainer: Trainer, run_dir: Path, metrics: Metrics, say: Say) -> None:
    """Judge, save and tell: the first process does, and what it found counts for all."""
    team = trainer.team
    with trainer.judged():
        bits = team.told(trainer.evaluate() if team.first else None)
        checkpoint = trainer.to_checkpoint(bits)
    train_bits = trainer.epoch_tally.bits()
    trainer.epoch_tally = Tally()
    trainer.judge(bits.get("bits_active", bits["bits"]))
    if not team.first:
        return
    path = _epoch_file(trainer, run_dir)
    if earlier := keep_earlier(path, trainer.step):
        say(f"{path.name} of the shorter plan is {earlier.name} now")
    files.save(_completed(trainer, with_ranges(checkpoint), say), path)
    left = {"density": trainer.pruning.left} if trainer.pruning.left < 1.0 else {}
    metrics.add(step=trainer.step, epoch=trainer.epoch, epoch_train_bits=train_bits, **bits, **left)
    metrics.draw()
    active = f", {bits['bits_active']:.3f} over active ones" if "bits_active" in bits else ""
    say(f"epoch {trainer.epoch}: {bits['bits']:.3f} bits a sample held out{active}; {train_bits:.3f} in training")
    if "test_bits" in bits:
        say(f"at the end: {bits['test_bits']:.3f} bits a sample of what was held out for it")


def _completed(trainer: Trainer, checkpoint: files.Checkpoint, say: Say) -> files.Checkpoint:
    """``checkpoint`` with its source's recurrence, and moments if they are wanted, if it is the run's last."""
    plan = trainer.plan
    if not trainer.finished:
        return checkpoint
    checkpoint = with_recurrence(checkpoint, trainer.material.line)
    if not plan.training.moments:
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
