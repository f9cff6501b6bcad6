"""Before any test: one thread a process, so that a run beside other work takes the same; examples by a fixed seed.

What plays in real time, or measures it, is marked ``live`` here: `make test` runs that and the rest side by side.
"""

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
if not Path("/dev/nvidia0").exists():  # without a GPU its kernels are interpreted; to be said before triton is imported
    os.environ.setdefault("TRITON_INTERPRET", "1")

from hypothesis import settings

# The same examples everywhere and always; `make soak` looks for new ones, and for more of them.
settings.register_profile("fixed", derandomize=True, deadline=None)
settings.register_profile("many", max_examples=3000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))

LIVE = {
    "test_audition_page",
    "test_cli",
    "test_connect",
    "test_docs",
    "test_ear",
    "test_following",
    "test_jack",
    "test_link",
    "test_midi",
    "test_midi_jack",
    "test_midi_out",
    "test_midi_wire",
    "test_movement_replay",
    "test_osc",
    "test_osc_clients",
    "test_osc_discovery",
    "test_osc_out",
    "test_osc_soak",
    "test_outputs",
    "test_priority",
    "test_recorder",
    "test_recording",
    "test_screen",
    "test_screen_play",
    "test_scripted_set",
    "test_session",
    "test_sets",
    "test_silence",
    "test_soundcheck",
    "test_stage",
    "test_status",
    "test_steadiness",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.stem in LIVE:
            item.add_marker("live")
