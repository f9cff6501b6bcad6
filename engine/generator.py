"""What every backend is: the Generator protocol, and how one is made.

Backends are imported only when asked for; none of this owns a thread or a clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.checkpoint import Checkpoint
from engine.config import ModelConfig, sound_differs
from engine.draw import beta_of

BACKENDS = ("cpu", "cuda", "reference")
AT_ONCE = 64  # samples that one launch on a GPU makes, or the next whole number of hops
USUAL = {"cpu": "int8", "cuda": "fp16", "reference": "fp32"}  # what a backend plays unless it is told otherwise
RESETS = ("learned", "zeros", "random")


class Unavailable(ValueError):
    """A backend that cannot be had here, or not any more."""


@dataclass(frozen=True)
class Program:
    """A generator as the audio path calls it: C addresses and the memory they work on (docs/design.md).

    ``generate(context, lanes, n, betas, tokens, stride)``, ``prime(context, lane, tokens, n)``,
    ``reset(context, lane, mode)``, ``blend(context, lane, partner's context, partner's lane, n, betas, blends, tokens,
    right)``; all int64 in and out. Valid as long as ``keep`` lives.
    """

    config: ModelConfig
    voices: int
    context: int
    generate: int
    prime: int
    reset: int
    state: int
    state_bytes: int
    keep: object
    blend: int = 0  # 0: this backend blends nothing
    stereo: int = 0  # mask of the voices with a right side
    spare: int = 0  # lanes behind those of the voices, which no mask names
    team: int = 0  # where to put the address of a team that helps (engine.cpu.team), 0 for none; 0: it takes no help
    samples: int = 0  # of a call that it makes at once, with less to do for each than in shorter ones; 0: no such thing
    failed: int = 0  # where it is to be seen (an int64, not 0) that what computes it is lost for good; 0: it cannot be
    stir: int = 0  # ``stir(stirred, 0, 0)``: keeps that from slowing down while nobody asks for samples; 0: nothing
    stirred: int = 0


class Generator(Protocol):
    """A network in the middle of a sound: weights, and for every voice its state and its dice."""

    config: ModelConfig
    voices: int
    backend: str
    precision: str
    stereo: tuple[bool, ...]  # of each voice

    def generate(
        self,
        n: int,
        temperature: ArrayLike = 1.0,
        partner: Generator | None = None,
        blend: ArrayLike = 0.0,
    ) -> NDArray[np.int32]:
        """The next ``n`` samples of every voice: (voices, n) indices, of a generator with stereo voices
        (2, voices, n): left and right, which are the same where a voice is mono.

        Args:
            temperature: a number, (n,), (voices, 1) or (voices, n); 0 is argmax. Calls may be split anywhere.
            partner: another generator, of the same backend, voices and stereo, whose network has the same rate and
                levels: it hears what is drawn, its own dice rest.
            blend: of the same shapes as temperature, 0 to 1: the draw is from softmax of
                ((1 - blend) logits + blend logits of the partner) / temperature; 0 and 1 are exactly the one network
                and the other.

        Raises:
            ValueError: a temperature below 0 or not a number, or of another shape; a partner that does not fit, naming
                what differs.
        """

    def reset(self, h0: str | None = None, voice: int | None = None) -> None:
        """``learned``, ``zeros`` or ``random`` h in every tier, the rest stays; None is a fresh start from silence.

        The dice stay in either case. ``voice`` counts from 0; None is every voice. Raises ValueError for neither.
        """

    def seed(self, seed: int | Sequence[int]) -> None:
        """New dice at position 0: one 64-bit key for all (voices differ), or one key a voice, each as voice 0."""

    def vary(self, voice: int, variation: float) -> None:
        """From here on fresh dice move those of ``voice`` (from 0), 0 not at all, 1 so that nothing of them is left.

        Until the next call; only :meth:`seed` rewinds the fresh dice. Raises ValueError outside 0 to 1.
        """

    def entropy(self, voice: int) -> float:
        """Bits of the distribution that ``voice`` drew from at the last sample of its clock that 64 divides.

        At the temperature of that sample; 0 where that is 0, and before the first.
        """

    def prime(self, indices: NDArray[np.integer]) -> None:
        """Run known samples, (T,) or (voices, T), through the network; the dice do not move. Stereo voices hear them
        on both sides, or (2, voices, T) on each its own.

        Raises ValueError for another shape or what no sample can be.
        """

    def hidden(self, voice: int) -> NDArray[np.float32]:
        """h, and c of an LSTM, of a voice (from 0), (1 or 2, tiers, n_rnn, dim), copied."""

    def jump(self, voice: int, hidden: NDArray[np.floating], tokens: NDArray[np.integer]) -> None:
        """Put a voice to the beginning of a hop, with ``hidden`` as :meth:`hidden` gives it and ``tokens``
        (lookback,) behind it; its dice stay.

        Raises ValueError for another shape, or what no sample can be.
        """

    def state(self) -> Any:
        """Everything that decides the samples to come, copied."""

    def restore(self, state: Any) -> None:
        """Go back to what :meth:`state` gave, of a generator of the same network, precision and voices.

        Raises ValueError for what cannot be such a state; this generator is as it was then.
        """

    def repeat(self, state: Any) -> None:
        """Another pass of a loop: as :meth:`restore`, but variation and the fresh dice go on as they are."""

    def score(self, indices: NDArray[np.integer]) -> NDArray[np.float64]:
        """Natural-log probabilities of every level, teacher-forced from h0, not touching the voices' state.

        Args:
            indices: (B, T); the first ``lookback`` are context.

        Returns:
            (B, T - lookback, q_levels)

        Raises:
            ValueError: no sequence, too short a one, or what no sample can be.
        """


def make_generator(
    checkpoint: Checkpoint,
    backend: str = "cpu",
    precision: str | None = None,
    voices: int = 1,
    seed: int | Sequence[int] = 0,
    stereo: bool | Sequence[bool] = False,
    spare: int = 0,
    players: Any = None,
) -> Generator:
    """A generator of ``checkpoint``, each voice at a fresh start.

    Args:
        precision: ``int8``, ``fp32`` or ``fp16``; None is what ``backend`` plays (cpu: int8, reference: fp32, cuda:
            fp16, and nothing else).
        voices: 1 to 64.
        seed: see :meth:`Generator.seed`.
        stereo: whether voices have a right side, all alike or one by one: the tiers run once, fed by the left side;
            the sample level runs for each side, the right one with its own last samples and its own dice.
        spare: lanes behind the voices', for a program's partners (cpu only).
        players: of a whole set on a GPU (:func:`cuda_players`), with these voices; None captures graphs for this
            generator alone.

    Raises:
        ValueError: naming the argument that is wrong; Unavailable for a backend that this machine does not have.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend: {backend!r}: one of {', '.join(BACKENDS)} expected")
    if isinstance(voices, bool) or not isinstance(voices, int) or not 1 <= voices <= 64:
        raise ValueError(f"voices: {voices!r}: an integer from 1 to 64 expected")
    sides = checked_stereo(stereo, voices)
    precision = precision or USUAL[backend]
    if backend == "cuda" and precision != "fp16":
        raise ValueError(f"precision: {precision!r}: the cuda backend plays fp16")
    if precision == "int8" and not checkpoint.ranges_known:
        from engine.playing import with_ranges

        checkpoint = with_ranges(checkpoint)
    from engine.folding import fold

    folded = fold(checkpoint, precision)
    generator: Generator
    if backend == "reference":
        from engine.reference import ReferenceGenerator

        generator = ReferenceGenerator(folded, voices, sides)
    elif backend == "cuda":
        players = cuda_players(voices, sides) if players is None else players
        generator = players.generator(folded, spare)
    else:
        from engine.cpu.generator import CpuGenerator

        generator = CpuGenerator(folded, voices, sides, spare)
    generator.seed(seed)
    return generator


def cuda_players(voices: int, stereo: tuple[bool, ...], at_once: int = AT_ONCE) -> Any:
    """The :class:`engine.cuda.players.Players` of a set with these voices. Raises Unavailable, naming the extra."""
    try:
        from engine.cuda.players import Players
    except ModuleNotFoundError as error:
        raise Unavailable(f"backend: cuda: needs {error.name} (the extra `cuda`)") from None
    return Players(voices, stereo, samples=at_once)


def score(
    checkpoint: Checkpoint,
    indices: NDArray[np.integer],
    backend: str = "reference",
    precision: str | None = None,
) -> NDArray[np.float64]:
    """Teacher-forced natural-log probabilities; see :meth:`Generator.score`."""
    return make_generator(checkpoint, backend, precision or ("fp16" if backend == "cuda" else "fp32")).score(indices)


def betas(temperature: ArrayLike, voices: int, n: int) -> NDArray[np.float32]:
    """fp32(1/T) of every sample, (voices, n), from any temperature that :meth:`Generator.generate` takes."""
    beta = beta_of(np.asarray(temperature, dtype=np.float64))
    try:
        return np.ascontiguousarray(np.broadcast_to(beta, (voices, n)))
    except ValueError:
        raise ValueError(
            f"temperature: shape {beta.shape}: a number, ({n},), ({voices}, 1) or ({voices}, {n}) expected"
        ) from None


def blends(blend: ArrayLike, voices: int, n: int) -> NDArray[np.float32]:
    """Shares of a partner's logits for every sample, (voices, n) fp32. Raises ValueError for what is not 0 to 1."""
    share = np.asarray(blend, dtype=np.float64)
    if not np.all((share >= 0) & (share <= 1)):
        raise ValueError(f"blend: {blend!r}: 0 to 1 expected")
    try:
        return np.ascontiguousarray(np.broadcast_to(share.astype(np.float32), (voices, n)))
    except ValueError:
        raise ValueError(
            f"blend: shape {share.shape}: a number, ({n},), ({voices}, 1) or ({voices}, {n}) expected"
        ) from None


def check_partner(ours: Generator, partner: Generator) -> None:
    """Raises ValueError, naming what differs, unless ``partner`` can hear and blend with every voice of ``ours``."""
    fault = sound_differs(ours.config, partner.config)
    if fault:
        raise ValueError(f"partner: {fault}")
    if partner is ours or type(partner) is not type(ours):
        raise ValueError("partner: another generator of the same backend expected")
    if (ours.voices, ours.stereo) != (partner.voices, partner.stereo):
        raise ValueError(f"partner: {partner.voices} voices: {ours.voices}, stereo alike, expected")


def checked_stereo(stereo: bool | Sequence[bool], voices: int) -> tuple[bool, ...]:
    """Which voices have a right side. Raises ValueError."""
    sides = (stereo,) * voices if isinstance(stereo, bool) else tuple(stereo)
    if len(sides) != voices or not all(isinstance(side, bool) for side in sides):
        raise ValueError(f"stereo: {stereo!r}: true or false, for all or for each of {voices} voices expected")
    return sides


def keys(seed: int | Sequence[int], voices: int) -> tuple[list[int], list[int]]:
    """Dice key and dice voice of every lane."""
    if isinstance(seed, (int, np.integer)):
        values, numbers = [int(seed)] * voices, list(range(voices))
    else:
        values, numbers = [int(s) for s in seed], [0] * voices
    if len(values) != voices:
        raise ValueError(f"seed: {len(values)} seeds: one for all or one for each of {voices} voices expected")
    for value in values:
        if not -(1 << 63) <= value < 1 << 64:
            raise ValueError(f"seed: {value}: a 64-bit integer expected")
    return [value & (1 << 64) - 1 for value in values], numbers


def checked_indices(indices: NDArray[np.integer], config: ModelConfig) -> NDArray[np.int32]:
    """``indices`` as contiguous int32 of the same shape. Raises ValueError for what no sample can be."""
    array = np.asarray(indices)
    if not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"indices: type {array.dtype}: integers expected")
    if array.size and not (array.min() >= 0 and array.max() < config.q_levels):
        raise ValueError(f"indices: {array.min()}..{array.max()}: 0 to {config.q_levels - 1} expected")
    return array.astype(np.int32, order="C", copy=False)


def checked_rows(indices: NDArray[np.integer], config: ModelConfig, voices: int) -> NDArray[np.int32]:
    """Known samples, (T,) for all or (voices, T), as contiguous (voices, T). Raises ValueError."""
    array = checked_indices(indices, config)
    if array.ndim not in (1, 2) or array.shape[:-1] not in ((), (1,), (voices,)):
        raise ValueError(f"indices: shape {array.shape}: (T,) or ({voices}, T) expected")
    return np.ascontiguousarray(np.broadcast_to(array, (voices, array.shape[-1])))


def checked_sides(indices: NDArray[np.integer], config: ModelConfig, stereo: tuple[bool, ...]) -> NDArray[np.int32]:
    """Known samples of both sides, (2, voices, T); those of one are heard on both. Raises ValueError."""
    array, voices = checked_indices(indices, config), len(stereo)
    if array.ndim == 3 and len(array) == 2 and any(stereo):
        return np.stack([checked_rows(side, config, voices) for side in array])
    return np.stack([checked_rows(array, config, voices)] * 2)


def checked_hidden(hidden: NDArray[np.floating], config: ModelConfig) -> NDArray[np.float32]:
    """What a voice shall have in mind, as float32. Raises ValueError."""
    shape = (2 if config.rnn == "lstm" else 1, config.n_tiers, config.n_rnn, config.dim)
    array = np.asarray(hidden, dtype=np.float32)
    if array.shape != shape or not np.isfinite(array).all():
        raise ValueError(f"hidden: shape {array.shape}: finite numbers of shape {shape} expected")
    return array


def checked_lookback(tokens: NDArray[np.integer], config: ModelConfig) -> NDArray[np.int32]:
    """The samples behind a voice, (lookback,) int32. Raises ValueError."""
    array = checked_indices(tokens, config)
    if array.shape != (config.lookback,):
        raise ValueError(f"tokens: shape {array.shape}: ({config.lookback},) expected")
    return array


def checked_batch(indices: NDArray[np.integer], config: ModelConfig) -> NDArray[np.int32]:
    """What is to be scored, (B, T), as contiguous int32. Raises ValueError."""
    array = checked_indices(indices, config)
    if array.ndim != 2 or not len(array) or array.shape[1] < config.lookback:
        raise ValueError(f"indices: shape {array.shape}: (B, T) with T at least {config.lookback} expected")
    return array


def checked_reset(h0: str | None, voice: int | None, voices: int) -> range:
    """The lanes that a reset is for. Raises ValueError."""
    if h0 is not None and h0 not in RESETS:
        raise ValueError(f"h0: {h0!r}: one of {', '.join(RESETS)} expected")
    if voice is None:
        return range(voices)
    if isinstance(voice, bool) or not isinstance(voice, (int, np.integer)) or not 0 <= voice < voices:
        raise ValueError(f"voice: {voice!r}: an integer from 0 to {voices - 1} expected")
    return range(int(voice), int(voice) + 1)
