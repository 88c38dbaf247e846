"""What the parser's errors mean: one line each that names the option and offers the nearest."""

import inspect
import re
from collections.abc import Sequence

from emonet_lightning.data.face_data import FaceDataModule
from emonet_lightning.errors import nearest

LINKED = ("taxonomy", "extra_dimensions", "encoder")
"""Options of the model that the data take over."""


def explain(message: str, known: Sequence[str]) -> str:
    """Return what a parser's error means, in a line that names the option and offers the nearest.

    Args:
        message: of jsonargparse.
        known: options of the command.
    """
    message = " ".join(message.split())
    if message.startswith('Parser key "model.per_emotion"'):
        return (
            "model.per_emotion: by emotion, each with lr, weight_decay or frozen, "
            """as in --model.per_emotion='{"Anger": {"lr": 1e-4}, "Fear": {"frozen": true}}'"""
        )
    unknown = re.search(r"Expected a dot import path string: (\w+)", message)
    if unknown:
        known_classes = [cls.__name__ for cls in _subclasses(FaceDataModule) if not cls.__name__.startswith("_")]
        return f"no data module is called '{unknown.group(1)}'; {nearest(unknown.group(1), known_classes)}"
    lacking = re.search(r"given class_path '([\w.]+)': the following arguments are required: (\w+)", message)
    if lacking:
        return f"{lacking.group(1).rsplit('.', 1)[-1]} needs the option '{lacking.group(2)}'"
    inside = re.search(r"Problem with given class_path '([\w.]+)': Option '([\w.]+)' is not accepted", message)
    if inside:
        path, key = inside.groups()
        return f"unknown option '{key}' of {path.rsplit('.', 1)[-1]}; {nearest(key, _init_keys(path))}"
    wrong = re.search(r"class_path '([\w.]+)': Parser key \"([\w.]+)\": (Expected .+? Got value: \S+)", message)
    if wrong:
        path, key, reason = wrong.groups()
        return f"option '{key}' of {path.rsplit('.', 1)[-1]}: {reason}"
    stray = re.search(r"[Uu]nrecognized arguments?: (\S+\.ya?ml)", message)
    if stray:
        return f"unexpected '{stray.group(1)}'; a configuration file is given as --config {stray.group(1)}"
    outside = re.search(
        r"(?:Group '([\w.]+)' )?does not accept option '([\w.]+)'|unrecognized arguments?: --([\w.]+)", message
    )
    if outside:
        group, key = outside.group(1), outside.group(2) or outside.group(3)
        key = f"{group}.{key}" if group and not key.startswith(f"{group}.") else key
        return f"unknown option '{key}'; {nearest(key, known)}"
    return message if len(message) < 400 else message[:400] + " ..."


def _init_keys(class_path: str) -> set[str]:
    """Names of a data module's options, those passed on to its parent included."""
    name = class_path.rsplit(".", 1)[-1]
    chosen = [cls for cls in _subclasses(FaceDataModule) if cls.__name__ == name]
    signatures = [inspect.signature(cls).parameters for cls in (*chosen, FaceDataModule)]
    return {key for parameters in signatures for key in parameters} - {"self", "kwargs", "parts", *LINKED}


def _subclasses(cls: type) -> list[type]:
    children: list[type] = cls.__subclasses__()
    return [found for child in children for found in (child, *_subclasses(child))]
