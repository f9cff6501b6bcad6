"""Before any test: one thread a process, so that a run beside other work measures and takes the same."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
