"""Sweep files for tests: the smallest that trains, and the shipped ones on small sets and a tiny encoder."""

from pathlib import Path

import yaml

from emonet_lightning.sweeping.record import Record

SHIPPED = Path(__file__).parent.parent / "sweeps"
QUICK = ["--trainer.accelerator=cpu", "--trainer.devices=1", "--trainer.max_epochs=2", "--data.batch_size=60"]


LR = {"model.lr": {"distribution": "log_uniform_values", "min": 1e-3, "max": 1e-1}}
TWO = {**LR, "model.dropout": {"values": [0.0, 0.3]}}


def outcome(folder):
    """What must not depend on stops and kills: parameters, state and score of every trial."""
    return [(t.number, t.parameters, t.state, t.score, t.epoch) for t in Record(folder).trials]


def write_sweep(path: Path, words, parameters, method="random", **keys) -> Path:
    command = ["${env}", "python", "-m", "emonet_lightning", "fit", *words, "${args}"]
    content = {"method": method, "metric": {"name": "val/score", "goal": "maximize"}, "command": command, **keys}
    path.write_text(yaml.safe_dump({**content, "parameters": parameters}, sort_keys=False))
    return path


def shipped(name: str, folder: Path, words, values=None, both: bool = True) -> Path:
    """A shipped file with further words in its command, and with the first and last value of each list alone.

    Args:
        name: of the file.
        folder: to write it to.
        words: put behind those of the file's command, and so over them.
        values: in the place of a parameter's own.
        both: or with the last one alone.
    """
    content = yaml.safe_load((SHIPPED / name).read_text())
    at = content["command"].index("${args}")
    content["command"][at:at] = words
    for key, parameter in content["parameters"].items():
        if "values" in parameter:
            kept = parameter["values"]
            parameter["values"] = (values or {}).get(key) or (
                kept[:: len(kept) - 1] if both and len(kept) > 1 else kept[-1:]
            )
    (folder / name).write_text(yaml.safe_dump(content, sort_keys=False))
    return folder / name
