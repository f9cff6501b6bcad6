"""Before any test: one thread a process, so that a run beside other work takes the same; examples by a fixed seed."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from hypothesis import settings

# The same examples everywhere and always; `make soak` looks for new ones, and for more of them.
settings.register_profile("fixed", derandomize=True, deadline=None)
settings.register_profile("many", max_examples=3000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))
