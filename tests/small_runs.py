"""Runs of seconds through Lightning's own Trainer, for tests that look at what a run does step by step."""

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import Checkpoint

from emonet_lightning.checkpoints import named_checkpoints
from emonet_lightning.taxonomy import Taxonomy

FORTY = Taxonomy.load("emonet40")


def trainer(epochs=1, callbacks=(), **options):
    return Trainer(
        **{
            "max_epochs": epochs,
            "accelerator": "cpu",
            "devices": 1,
            "logger": False,
            "enable_checkpointing": any(isinstance(callback, Checkpoint) for callback in callbacks),
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "num_sanity_val_steps": 0,
            "use_distributed_sampler": False,
            "callbacks": list(callbacks),
            **options,
        }
    )


def fit(module, data, epochs=1, callbacks=(), ckpt_path=None, **options):
    """Train; returns the Trainer, whose `callback_metrics` hold the last epoch's figures."""
    run = trainer(epochs, callbacks, **options)
    run.fit(module, datamodule=data, ckpt_path=ckpt_path)
    return run


class Log(Callback):
    """The figures of every epoch."""

    def __init__(self):
        self.lines = []

    def on_train_epoch_start(self, trainer, module):
        if trainer.callback_metrics:  # those of the epoch before: the module logs after the callbacks were asked
            self.on_train_end(trainer, module)

    def on_train_end(self, trainer, module):
        self.lines.append({key: float(value) for key, value in trainer.callback_metrics.items()})


def newest(folder):
    """The newest checkpoint of a folder, or None."""
    return next((found.path for found in named_checkpoints(folder)), None)


def heads_of(module):
    return {name: value.detach().clone() for name, value in module.heads.state_dict().items()}


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in first)
