"""From sound files to checkpoints: the material, the recipes and the loop. Needs the extra ``train``."""
