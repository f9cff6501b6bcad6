"""From sound files to checkpoints: the material, the recipes and the loop. Needs the extra ``train``."""

import os

# Before torch is loaded: its threads would spin while they wait, and beside another program two of them were seen to
# make 2,150 samples a second where two that sleep made 69,700 (dim 128, one run each).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
