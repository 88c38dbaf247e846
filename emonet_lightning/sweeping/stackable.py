"""Which options the configurations of one stacked training may differ in, and what else it cannot do.

Stacked configurations train on one data set's features, encoded once, over the same epochs. What decides these is the
same for all; everything about the heads, their loss and their optimiser is each configuration's own.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from emonet_lightning.errors import UsageError
from emonet_lightning.same_run import UNSET

OWN = (
    "seed_everything",
    "best_heads.patience",
    "model.adam_eps",
    "model.clip_norm",
    "model.dropout",
    "model.final_lr_share",
    "model.heads_dtype",
    "model.huber_delta",
    "model.imbalance",
    "model.init_heads_from",
    "model.l2_normalise",
    "model.loss",
    "model.lr",
    "model.max_positive_weight",
    "model.per_emotion",
    "model.reinit_last_layer",
    "model.standardise",
    "model.warmup_share",
    "model.weight_decay",
    "model.widths",
    "model.zero_init",
)
"""Options that each configuration may have its own value of."""
_SHARED = {
    "model.encoder": "the features of all are encoded once, by one encoder",
    "model.taxonomy": "all have the same heads",
    "model.extra_dimensions": "all have the same heads",
    "model.steps_per_call": "it changes no result, and there are no calls of Lightning's to save",
    "model.parallel": "one process trains all",
    "data": "all train on the same batches of the same features",
    "test_data": "the test is of the one that is chosen by validation, afterwards",
    "trainer": "all train on one device, epoch by epoch; a learning rate's schedule is that of all epochs",
}
_OTHER = "it is no option of the heads, their loss or their optimiser"
_TRAINER = {
    **UNSET,
    "max_steps": (-1,),
    "max_time": (None,),
    "fast_dev_run": (False, 0),
    "logger": (None, False, []),
    "reload_dataloaders_every_n_epochs": (0,),
}
"""Options of the Trainer that would change what is trained, and the values that leave it alone."""


def which_cannot_stack(keys: Iterable[str]) -> dict[str, str]:
    """Return the options that stacked configurations cannot differ in, each with the reason.

    Args:
        keys: dotted options, as `model.lr`.
    """
    found = {}
    for key in keys:
        if not _within(key, OWN):
            found[key] = next((why for name, why in _SHARED.items() if _within(key, (name,))), _OTHER)
    return found


def check_base(config: Mapping[str, Any]) -> None:
    """Refuse a run whose options a stacked training would not follow.

    Args:
        config: the parsed configuration that all points have in common, as primitives.

    Raises:
        UsageError: names the option.
    """
    mode = (config.get("data") or {}).get("init_args", {}).get("mode", "cached")
    if mode != "cached":
        raise UsageError(f"data.mode: {mode}: stacked configurations share cached features; use cached")
    trainer = config["trainer"]
    for name, allowed in _TRAINER.items():
        if trainer.get(name) not in allowed:
            raise UsageError(
                f"trainer.{name}: {str(trainer[name])[:80]} is not followed by a stacked training; leave it out, or "
                "train each configuration by itself"
            )
    if trainer["max_epochs"] in (None, -1):
        raise UsageError("trainer.max_epochs: a stacked training needs a number of epochs")
    if trainer["num_nodes"] != 1 or trainer["devices"] not in ("auto", 1, "1", [0]):
        raise UsageError("trainer.devices: a stacked training uses one device; set trainer.devices: 1")
    if config["ckpt_path"]:
        raise UsageError("ckpt_path: a stacked training begins anew, from the cached features; leave it out")


def _within(key: str, names: Iterable[str]) -> bool:
    return any(key == name or key.startswith((f"{name}.", f"{name}[")) for name in names)
