"""Turn an epoch of a training run into a checkpoint of the bank, with its card beside it.

    python tools/bank.py runs/tabla --name tabla --temperature 1.0 --remark "Drums." [--epoch 12]

The checkpoint is baked to fp16 and told its activation ranges and loudness; the card is written from what the
checkpoint and the run's settings say. How fast it plays is `samplernn bench`'s to say.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from engine.checkpoint import Checkpoint, load, save  # noqa: E402
from engine.playing import with_loudness, with_ranges  # noqa: E402
from engine.training.recipes import known_keys  # noqa: E402
from engine.training.recipes import load as load_recipe  # noqa: E402

CARD = """# {title}

![What it says, and its source](../docs/bank/{name}.png)

| | |
|---|---|
| source | {sounds}: {title}; parts and links in [sounds/PROVENANCE.md](../sounds/PROVENANCE.md) |
| author | {author} |
| licence | sound {licence}; checkpoint CC0-1.0 |
| network | {network} |
| trained | {steps} steps, {epoch} epochs |
| bits per sample | {bits:.3f} held out, {active:.3f} over active samples; {train:.3f} in training |
| best temperature | {temperature} |
| loudness | {loudness} dB |
| speed | {speed} |

{remark}

```
{command}
```
"""
CHANGED = """
The planned number of steps was changed on the way (`--resume --set steps=N`), so this command gives a network like
it, not the same bytes.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--name", required=True)
    parser.add_argument("--temperature", type=float, required=True)
    parser.add_argument("--remark", required=True)
    parser.add_argument("--speed", default="see `samplernn bench`")
    parser.add_argument("--epoch", type=int)
    parser.add_argument("--title", help="of the source, where the run was told none")
    parser.add_argument("--author", help="likewise")
    parser.add_argument("--folder", type=Path, default=ROOT / "checkpoints")
    args = parser.parse_args()
    epochs = sorted(args.run.glob("epoch-*.safetensors"))
    path = args.run / f"epoch-{args.epoch:03d}.safetensors" if args.epoch else epochs[-1]
    # a plan can be changed with --resume: what was run is what the checkpoint says
    checkpoint = with_loudness(with_ranges(load(path).baked()))
    settings = json.loads((args.run / "settings.json").read_text())
    changed = settings["values"]["steps"] != checkpoint.training["steps"]
    settings["values"]["steps"] = checkpoint.training["steps"]
    sounds = [Path(sound).name for sound in settings["sounds"]]
    settings["sounds"] = [f"sounds/{sound}" for sound in sounds]
    training = {**checkpoint.training, "recipe": settings["recipe"], "sounds": sounds}
    playing = {**checkpoint.playing, "temperature": args.temperature}
    told = {key: value for key in ("title", "author") if (value := getattr(args, key))}
    settings["values"] |= told
    source = {**checkpoint.source, **told, "licence": "CC0-1.0"}
    checkpoint = replace(checkpoint, training=training, playing=playing, source=source, name=args.name)
    save(checkpoint, args.folder / f"{args.name}.safetensors")
    (args.folder / f"{args.name}.md").write_text(card(checkpoint, settings, args) + changed * CHANGED)


def card(checkpoint: Checkpoint, settings: dict[str, Any], args: argparse.Namespace) -> str:
    """The card's text."""
    c, t = checkpoint.config, checkpoint.training
    levels = c.q_type if not c.preemphasis else f"{c.q_type}, pre-emphasis {c.preemphasis}"
    network = f"{c.rnn.upper()} x {c.n_rnn}, frames {c.frame_sizes}, dim {c.dim}, {c.q_levels} levels {levels}"
    if "density" in t:
        network += f", pruned in blocks to {100 * t['density']:.0f} %"
    return CARD.format(
        name=args.name,
        title=checkpoint.source["title"],
        author=checkpoint.source["author"],
        licence=checkpoint.source["licence"],
        sounds=", ".join(settings["sounds"]),
        network=f"{network}, {c.sample_rate} Hz",
        steps=t["steps"],
        epoch=t["epoch"],
        bits=t["nll_bits"],
        active=t["nll_bits_active"],
        train=t["train_bits"],
        temperature=args.temperature,
        loudness=checkpoint.playing["loudness"],
        remark=args.remark,
        speed=args.speed,
        command=command(settings, args.name),
    )


def command(settings: dict[str, Any], name: str) -> str:
    """The command that makes this run again: the recipe and what differs from it."""
    usual = {**known_keys(), **load_recipe(settings["recipe"]).values}
    usual["mlp_dim"] = settings["values"]["dim"]
    words = ["samplernn", "train", *settings["sounds"], "-o", f"runs/{name}", "--recipe", settings["recipe"]]
    for key, value in {**known_keys(), **settings["values"]}.items():  # runs of older versions lack newer settings
        plain = tuple(value) if isinstance(value, list) else value
        if plain != usual[key]:
            text = ",".join(map(str, plain)) if isinstance(plain, tuple) else str(plain)
            words += ["--set", f"{key}='{text}'" if " " in text else f"{key}={text}"]
    return " ".join(words)


if __name__ == "__main__":
    main()
