"""From sound files to checkpoints: the material, the recipes and the loop. Needs the extra ``train``."""

import os

# Before torch is loaded: its threads would spin while they wait, and beside another program a step took up to thirty
# times as long. Asleep they cost a step on an idle machine 5 %.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
