"""Whether a folder's run is the one that is asked for: what decides what is trained, compared before anything is.

`run.yaml` holds the options of the run that a folder was begun with.
"""

import inspect
from pathlib import Path
from typing import Any

from emonet_lightning.callbacks import BestHeads
from emonet_lightning.errors import DataError, UsageError
from emonet_lightning.redaction import redact
from emonet_lightning.yaml_files import read_yaml

RUN_FILE = "run.yaml"
# a stage's starting heads are those of the stage before, wherever they lie
_HARMLESS = {"init_heads_from", "num_workers", "num_threads", "cache_dir", "steps_per_call"}
# options of the Trainer that decide what is trained or chosen, and what says the same as leaving them out: that is
# left out, so that a run from before an option was looked at, with its checkpoints, still is the same run
UNSET: dict[str, tuple[Any, ...]] = {
    "limit_train_batches": (None, 1.0),
    "limit_val_batches": (None, 1.0),
    "val_check_interval": (None, 1.0),
    "check_val_every_n_epoch": (1,),
    "min_epochs": (None,),
    "min_steps": (None,),
    "precision": (None, "32-true", "32", 32),
    "callbacks": (None, []),
}
_DOUBLE = ("64-true", "64", 64)


def check_folder(folder: Path, names: list[str], configs: list[dict[str, Any]]) -> None:
    """Refuse to go on in a folder that holds another run; nothing is checked where there is none.

    Args:
        folder: of the run.
        names: of its stages; none for a run of a single, unnamed one.
        configs: of each stage.

    Raises:
        UsageError: other stages, or the first option that differs.
        DataError: what is there is no record of a run.
    """
    top = _record(folder / RUN_FILE)
    if top is not None:
        before = [stage["name"] for stage in top.get("stages", [])]
        if before != names:
            kinds = [f"the stages {', '.join(kind)}" if kind else "no stages" for kind in (before, names)]
            raise UsageError(
                f"{folder}: holds a run of {kinds[0]}, now it is one of {kinds[1]}; choose another --out, "
                "or the same stages"
            )
    for path, config in zip([folder / name for name in names] or [folder], configs, strict=True):
        found = _record(path / RUN_FILE)
        if found is not None and "stages" in found:
            raise UsageError(f"{path}: holds a run of several stages, not one stage; choose another --out")
        if found is not None:
            _compare(path, found, config)


def _record(path: Path) -> dict[str, Any] | None:
    """Return what a run's file says of it, where there is one."""
    if not path.is_file():
        return None
    found = read_yaml(path)
    whole = isinstance(found, dict)
    if whole and "stages" in found:
        stages = found["stages"]
        whole = isinstance(stages, list) and len(stages) > 0
        whole = whole and all(isinstance(stage, dict) and isinstance(stage.get("name"), str) for stage in stages)
    elif whole:
        trainer = found.get("trainer")
        whole = {"seed_everything", "model", "data"} <= found.keys() and isinstance(trainer, dict)
        whole = whole and {"max_epochs", "max_steps"} <= trainer.keys()
    if not whole:
        raise DataError(f"{path}: is no record of a run; copy a good one back, or choose another --out")
    return dict(found)


def _compare(folder: Path, found: dict[str, Any], config: dict[str, Any]) -> None:
    """Refuse to go on with a run of other data, model or seed."""
    before, now = (decisive(content) for content in (found, redact(config)))
    for key in sorted(before.keys() | now.keys()):
        if before.get(key) != now.get(key):
            first, second = (str(found.get(key, _unset(key)))[:200] for found in (before, now))
            raise UsageError(
                f"{folder}: holds a run with {key} {first}, now it is {second}; "
                "choose another --out, or the same options"
            )


def decisive(config: dict[str, Any]) -> dict[str, Any]:
    """Return the dotted options that decide what is trained, not where or how fast."""
    flat = {"seed_everything": config["seed_everything"]}
    trainer, best = config["trainer"], config.get("best_heads") or {}
    flat |= {f"trainer.{key}": trainer[key] for key in ("max_epochs", "max_steps")}
    for key, unset in UNSET.items():
        value = trainer.get(key, unset[0])
        if key == "precision" and value in _DOUBLE:
            value = _DOUBLE[0]
        # 1 is one batch, 1.0 is all of them
        if not any(value == default and type(value) is type(default) for default in unset):
            flat[f"trainer.{key}"] = value
    flat |= {f"best_heads.{key}": value for key, value in best.items() if value != _unset(f"best_heads.{key}")}
    todo = [(part, config[part]) for part in ("model", "data")]
    while todo:
        name, value = todo.pop()
        if isinstance(value, dict) and value:
            todo += [(f"{name}.{key}", inner) for key, inner in value.items() if key not in _HARMLESS]
        else:
            flat[name.replace(".init_args", "")] = value
    return flat


def _unset(key: str) -> Any:
    """What a dotted option is where nobody sets it, as far as `decisive` leaves it out then."""
    section, _, name = key.partition(".")
    if section == "best_heads":
        known = inspect.signature(BestHeads).parameters.get(name)
        return known.default if known else None
    return UNSET.get(name, (None,))[0] if section == "trainer" else None
