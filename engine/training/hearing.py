"""A sound as a trained network heard it: cleaned, limited and trimmed by the settings of its training.

For moments, which are places of that sound, and for clips, which are held against it. What a training makes of the
sound besides (copies, varispeed, layers) is left to engine.training.data. No torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from engine.config import ModelConfig
from engine.training.recipes import Training, typed
from engine.training.sounds import Audio, laid_out

HEARD = ("limit", "gap", "gap_level")  # what laid_out goes by


def as_trained(sounds: Sequence[Path], sample_rate: int, settings: object) -> Audio:
    """``sounds`` end to end, (T,), at ``sample_rate`` Hz.

    Args:
        settings: of the training, as a checkpoint or a run's ``settings.json`` keeps them; what they do not say (those
            of a network that was brought over say nothing) was not done.

    Raises:
        ValueError: one line: a setting that does not fit, or what is wrong with a sound.
        ImportError: a limiter is wanted, and pedalboard is not there.
    """
    known = settings if isinstance(settings, Mapping) else {}
    values = {key: typed(key, known[key]) for key in HEARD if key in known}
    training = Training(**{"gap": 0.0, **values})
    return np.concatenate(laid_out(sounds, ModelConfig(sample_rate=sample_rate), training))
