"""What the parser's errors mean: one line each that names the option and offers the nearest."""

import inspect
import re
from collections.abc import Sequence

from emonet_lightning.data.face_data import FaceDataModule
from emonet_lightning.errors import nearest
from emonet_lightning.parser_settings import ALLOWED

_PLUGINS = "the plug-ins of lightning.pytorch (callbacks, loggers, profilers, strategies)"
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
    return _typed(message) or (message if len(message) < 400 else message[:400] + " ...")


def _typed(message: str) -> str | None:
    """What a value of a wrong type should have been, with its field."""
    fields = re.findall(r'Parser key "([\w.]+)"', message)
    where = f"{fields[-1]}: " if fields else ""
    barred = re.search(r"Importing '([^']{1,200})' is not allowed", message)
    if barred:
        return f"{where}'{barred[1]}' may not be imported; a class comes from {', '.join(ALLOWED[-2:])} or {_PLUGINS}"
    unloaded = re.search(r"Unable to load config ['\"]([^'\"]{1,200})", message)
    if unloaded:
        return f"{where}needs options, or a file of them; '{unloaded[1]}' is neither"
    union = re.search(r"Subtypes: \[(.+?)\] Errors: .* Given value: (.{1,200})", message)
    if union:
        return f"{where}expected {_readable(union[1])}, got {union[2]}"
    single = re.search(r"(?:Parser key|argument) .*?(?:Expected an? |Expected )(.+?)\. Got value: (.{1,200})", message)
    return f"{where}expected {_readable(single[1])}, got {single[2]}" if single else None


def _readable(types: str) -> str:
    types = re.sub(r"<class '(?:[\w]+\.)*(\w+)'>", r"\1", types).replace("NoneType", "null")
    types = re.sub(r"typing\.Literal\[(.+?)\]", r"one of \1", types)
    return re.sub(r"\b(?:[a-z_]\w*\.)+(?=[A-Za-z])", "", types)[:200]


def explain_reference(message: str) -> str:
    """Return what is wrong with a `${...}`, in one line, from OmegaConf's error."""
    lines = dict(line.strip().partition(":")[::2] for line in message.splitlines()[1:] if ":" in line)
    place = lines.get("full_key", "").strip()
    reason = " ".join(message.splitlines()[0].split())[:200] if message else "cannot be resolved"
    return (
        f"{f'{place}: ' if place else ''}a ${{...}} cannot be resolved ({reason}); "
        "write ${oc.env:NAME,default}, or the name of an option that there is"
    )


def _init_keys(class_path: str) -> set[str]:
    """Names of a data module's options, those passed on to its parent included."""
    name = class_path.rsplit(".", 1)[-1]
    chosen = [cls for cls in _subclasses(FaceDataModule) if cls.__name__ == name]
    signatures = [inspect.signature(cls).parameters for cls in (*chosen, FaceDataModule)]
    return {key for parameters in signatures for key in parameters} - {"self", "kwargs", "parts", *LINKED}


def _subclasses(cls: type) -> list[type]:
    children: list[type] = cls.__subclasses__()
    return [found for child in children for found in (child, *_subclasses(child))]
