"""Truncated back-propagation through time over carried state, a step at a time, with everything needed to go on later.

What is saved (weights, Adam's moments, the streams' states, the step) makes a run that was interrupted and resumed
equal one that was not, bit for bit. When to step, judge and save is left to engine.training.running.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as save_tensors
from torch import Tensor

from engine import checkpoint as files
from engine.model import SampleRNN, State
from engine.training.data import Material, Streams
from engine.training.judging import held_out_bits
from engine.training.pruning import Pruning
from engine.training.recipes import Training
from engine.training.runs import Plan, saved_head
from engine.training.team import Team

HOPELESS_EPOCHS, HOPELESS_STEPS = 2, 200  # both must be over before a run is given up
HOPELESS_SHARE = 0.9  # of the bits of a guess: a network that has seen its sound for two epochs is far below


class Hopeless(Exception):
    """A run that will come to nothing."""


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
        self.device = torch.device(chosen_device(t.device, self.team.local))
        self.low = chosen_precision(t.precision, self.device)
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
        self.pruning = Pruning(self.learned, t)
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

    @torch.no_grad()
    def begin_with(self, checkpoint: files.Checkpoint) -> None:
        """Take over a checkpoint's weights. Raises ValueError unless it is a network of this shape."""
        if checkpoint.config != self.plan.config:
            raise ValueError(f"start: {checkpoint.name}: a network of another shape than these settings say")
        there = SampleRNN.from_checkpoint(checkpoint).tensors
        for name, parameter in self.model.tensors.items():
            parameter.copy_(there[name])
        for name, average in self.averaged.items():
            average.copy_(self.learned[name])
        self.pruning = Pruning(self.learned, self.plan.training)

    def judge(self, bits: float) -> None:
        """Note an epoch's held-out bits. Raises Hopeless if they are no number, or nothing has been learned so far."""
        if not math.isfinite(bits):
            raise Hopeless(
                f"lr: {self.plan.training.lr}: weights that are no numbers any more: a smaller rate expected"
            )
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
        known = torch.from_numpy(indices[self.mine]).to(self.device)
        loss, after = self.model.loss(known, state, self._kept(), self.low)
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
        self.pruning.apply(self.step, self.averaged)
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
        """Bits per sample on the held-out windows, unstretched: over all samples and over active ones.

        At the end of a run also on what was held out for that: ``test_bits``, ``test_bits_active``.
        """
        bits = held_out_bits(self.model, self.material.windows, self.plan.training)
        if self.finished and self.material.tests:
            tested = held_out_bits(self.model, self.material.tests, self.plan.training)
            bits |= {f"test_{name}": value for name, value in tested.items()}
        return bits

    def save(self, path: Path) -> None:
        """Everything that :meth:`restore` needs, in one file that is there whole or not at all; of the whole team."""
        t = self.plan.training
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
            "settings": t.learning(),
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
        self.pruning = Pruning(self.learned, self.plan.training)
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
            "density": self.pruning.left,
            **{name: value for name, value in bits.items() if name.startswith("test_")},
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
        # weight norm makes the recurrent matrices anew in every step, so cuDNN has to gather them in every step
        warnings.filterwarnings("ignore", message="RNN module weights are not part of single contiguous chunk")
        return f"cuda:{rank % torch.cuda.device_count()}"
    return name


def chosen_precision(name: str, device: torch.device) -> torch.dtype:
    """What ``precision`` means on a device: fp32 too where a processor would make bfloat16 of it step by step."""
    if name == "bf16" and device.type == "cpu" and not _multiplies_bf16():
        name = "fp32"
    if name == "auto":
        name = "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return {"fp32": torch.float32, "bf16": torch.bfloat16}[name]


def _multiplies_bf16() -> bool:
    """Whether this processor has instructions for it; without them it takes ten times as long as fp32."""
    asked = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # torch says it of these alone
    return any(getattr(torch.cpu, name, bool)() for name in asked)


def rate(step: int, training: Training) -> float:
    """Learning rate of ``step`` as a share of its highest: a short rise, level, a straight line to zero."""
    t = training
    rise = min(1.0, (step + 1) / (t.warmup + 1))
    fall = (t.steps - step) / max(1.0, t.decay * t.steps)
    return max(0.0, min(1.0, rise, fall))
