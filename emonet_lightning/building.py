"""Classes that an option names, built by themselves: what they do not take is one line that names the option."""

import importlib
from collections.abc import Iterable
from enum import Enum
from typing import Any

import jsonargparse
from lightning.fabric.plugins import CheckpointIO, ClusterEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback
from lightning.pytorch.accelerators import Accelerator
from lightning.pytorch.loggers import Logger
from lightning.pytorch.plugins import LayerSync, Precision
from lightning.pytorch.profilers import Profiler

from emonet_lightning.errors import EmoNetError, UsageError

PARTS: dict[str, tuple[type, ...]] = {
    "callbacks": (Callback,),
    "accelerator": (Accelerator,),
    "plugins": (Precision, ClusterEnvironment, CheckpointIO, LayerSync),
    "profiler": (Profiler,),
    "logger": (Logger,),
}
"""Options of the Trainer that can name classes, and of which kinds these are."""


def build(option: str, value: Any, *kinds: type) -> Any:
    """Return what an option names: an object, or a list of them; a value that names no class is returned as it is.

    The parser builds all options at once, and its error lists what each type of an option makes of the value.

    Args:
        option: as it is given on a command line.
        value: as parsed.
        kinds: that its classes are of.

    Raises:
        UsageError: a class does not take these options.
        EmoNetError: of the project's classes, as it is.
    """
    if isinstance(value, list):
        return [build(option, each, *kinds) for each in value]
    if not isinstance(value, jsonargparse.Namespace):
        return value
    module, _, name = str(value.class_path).rpartition(".")
    found = getattr(importlib.import_module(module), name, None)
    own = [kind for kind in kinds if isinstance(found, type) and issubclass(found, kind)]
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--built", type=(own or kinds)[0])
    try:
        return parser.instantiate(jsonargparse.Namespace(built=value)).built
    except (TypeError, ValueError, ImportError, MisconfigurationException) as error:
        if (said := own_error(error)) is not None:
            raise said from None
        reason = " ".join(str(error).split())[:300]
        raise UsageError(f"{option}: {name} cannot be built ({reason}); mend its init_args or dict_kwargs") from error


def own_error(error: BaseException | None) -> EmoNetError | None:
    """Return the project's error that another one, as the parser's, was raised for."""
    while error is not None and not isinstance(error, EmoNetError):
        error = error.__cause__ or error.__context__
    return error


def begin(loggers: Iterable[Any]) -> None:
    """Let loggers open what they write to, as the Trainer would later: some look at their options only then.

    Raises:
        UsageError: one does not take its options.
    """
    for logger in loggers:
        try:
            getattr(logger, "experiment", None)
        except TypeError as error:
            name, reason = type(logger).__name__, " ".join(str(error).split())[:300]
            raise UsageError(f"trainer.logger: {name} cannot begin ({reason}); mend its dict_kwargs") from error


def without_enums(value: Any) -> Any:
    """Return a configuration in which members of an Enum, as defaults of Lightning's are, have become what they mean.

    They could not be written to a file.
    """
    if isinstance(value, jsonargparse.Namespace):
        for key, inner in vars(value).items():
            value[key] = without_enums(inner)
    elif isinstance(value, list):
        return [without_enums(inner) for inner in value]
    return value.value if isinstance(value, Enum) else value
