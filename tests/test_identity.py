"""The descriptor distance that says which source a clip sounds like, proven on the sources themselves."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from engine.listening.descriptors import Atlas, alternate, snippets

SOUNDS = Path(__file__).parent.parent / "sounds"
NAMES = sorted(path.stem for path in SOUNDS.glob("*.flac"))
RATE = 44100


@pytest.fixture(scope="module")
def halves():
    """By source: its odd and its even pairs of seconds."""
    return {name: alternate(soundfile.read(SOUNDS / f"{name}.flac")[0], RATE, 2.0) for name in NAMES}


@pytest.mark.parametrize("known", [0, 1])
def test_what_was_held_out_of_a_source_is_nearest_to_it(halves, known):
    assert len(NAMES) >= 4
    atlas = Atlas.of({name: pair[known] for name, pair in halves.items()}, RATE)
    for name, pair in halves.items():
        other = pair[1 - known]
        for at in range(0, len(other) - 5 * RATE + 1, 5 * RATE):
            found = atlas.distances(other[at : at + 5 * RATE], RATE)
            assert min(found, key=found.get) == name, (at / RATE, found)


def test_eight_bits_and_another_level_change_nothing(halves):
    atlas = Atlas.of({name: pair[0] for name, pair in halves.items()}, RATE)
    for name, pair in halves.items():
        coarse = np.round(pair[1][: 5 * RATE] * 0.5 * 128) / 128
        assert atlas.nearest(coarse, RATE) == name


def test_a_mixture_is_between_its_parts(halves):
    a, b = (halves[name][1][: 5 * RATE] for name in ("tabla", "glass"))
    atlas = Atlas.of({name: pair[0] for name, pair in halves.items()}, RATE)
    alone, mixed = atlas.distances(a, RATE), atlas.distances(np.concatenate([a, b]), RATE)
    assert mixed["glass"] < alone["glass"]
    assert mixed["tabla"] > alone["tabla"]


def test_clips_that_say_nothing_are_refused():
    with pytest.raises(ValueError, match="silence"):
        snippets(np.zeros(RATE), RATE)
    with pytest.raises(ValueError, match="half a second"):
        snippets(np.ones(RATE // 4), RATE)
