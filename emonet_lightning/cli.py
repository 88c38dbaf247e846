"""The command line: `fit`, `validate`, `test` over Lightning, and the tool commands beside them.

A command's options are its function's signature. What only one command needs is imported by that command, so `--help`
is quick and `predict` never loads Lightning. An error that a user can mend is one line on standard error.
"""

import contextlib
import dataclasses
import importlib
import inspect
import os
import re
import sys
import threading
from collections.abc import Callable
from typing import Any

from emonet_lightning import __version__, interruption
from emonet_lightning.command_table import COMMANDS, INTERRUPTIBLE, RUNS
from emonet_lightning.errors import (
    EmoNetError,
    EnvironmentProblem,
    SaidElsewhere,
    UsageError,
    code_of,
    nearest,
)
from emonet_lightning.redaction import redact

UNSAFE_LOADING = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit code (0 done, 2 usage, 65 data, 66 missing input, 74 I/O, 75 interrupted, ...).

    Args:
        argv: words after the program's name; default `sys.argv[1:]`.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    # before PyTorch is imported: threads that spin at barriers made a step 15 times slower on a busy 2-core machine
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    # first of all: a signal during the seconds of imports must not be lost
    watched = argv and argv[0] in INTERRUPTIBLE and threading.current_thread() is threading.main_thread()
    try:
        with interruption.installed() if watched else contextlib.nullcontext():
            return _dispatch(argv)
    except SaidElsewhere as error:
        return error.exit_code
    except (EmoNetError, KeyboardInterrupt, OSError) as error:
        message, code = str(error), code_of(error)
        if isinstance(error, BrokenPipeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # a closed pager is no failure
            return 0
        if isinstance(error, KeyboardInterrupt):
            message = "interrupted; finished parts are kept"
        elif isinstance(error, OSError):
            message = f"{error.filename or 'file'}: {error.strerror or error}"
    # an error may quote an option, and a job's log is a file
    print(f"error: {redact(' '.join(message.split()))}", file=sys.stderr)
    return code


def _dispatch(argv: list[str]) -> int:
    if os.environ.get(UNSAFE_LOADING, "0").lower() not in ("", "0", "false", "no", "n"):
        raise EnvironmentProblem(
            f"{UNSAFE_LOADING} is set: with it libraries run code that stands in weight files; unset it"
        )
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0
    name, rest = argv[0], argv[1:]
    parts = [command.split()[1] for command in COMMANDS if command.startswith(f"{name} ")]
    if parts:
        if not rest or rest[0] in ("-h", "--help"):
            print(_overview(f"{name} "))
            return 0
        if rest[0] not in parts:
            raise UsageError(f"{name}: unknown part '{rest[0]}'; {nearest(rest[0], parts)}")
        name, rest = f"{name} {rest[0]}", rest[1:]
    if name == "--version":
        print(__version__)
    elif name in RUNS:
        _run(name, rest)
    elif name in COMMANDS:
        _call(name, rest)
    else:
        raise UsageError(f"unknown command '{name}'; {nearest(name, [*RUNS, *COMMANDS])}")
    return 0


def _run(name: str, rest: list[str]) -> None:
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    from emonet_lightning import judging, stages

    try:
        {"fit": stages.fit, "test": judging.test, "validate": judging.validate}[name](rest)
    except MisconfigurationException as error:  # Lightning's word for options that do not fit
        raise UsageError(str(error)) from error


def _call(name: str, rest: list[str]) -> None:
    import docstring_parser
    import jsonargparse

    from emonet_lightning.parser_settings import limit_parsing

    limit_parsing()
    command = COMMANDS[name]
    module, function_name = command.target.split(":")
    function: Callable[..., None] = getattr(importlib.import_module(module), function_name)
    parser = jsonargparse.ArgumentParser(
        prog=f"python -m emonet_lightning {name}",
        description=(inspect.getdoc(function) or command.summary).partition("\n\nArgs:")[0],
        exit_on_error=False,
        allow_abbrev=False,
    )
    signature = inspect.signature(function).parameters
    help_of = {found.arg_name: found.description for found in docstring_parser.parse(function.__doc__ or "").params}
    for word in command.positional:
        given: dict[str, Any] = (
            {} if signature[word].default is signature[word].empty else {"nargs": "?"}
        )  # one that may be left out
        parser.add_argument(word, type=signature[word].annotation, help=help_of.get(word), **given)
    parser.add_function_arguments(function, skip=set(command.positional))
    # --index-map is --index_map: options are names of arguments, people type hyphens
    rest = [re.sub(r"^--[A-Za-z][\w.-]*", lambda word: "--" + word[0][2:].replace("-", "_"), word) for word in rest]
    flags = {f"--{key}" for key, parameter in signature.items() if parameter.annotation is bool}
    # an option that is a list may be given several times
    lists = {f"--{key}" for key, parameter in signature.items() if "list[" in str(parameter.annotation)}
    rest = [
        re.sub(r"^--\w+(?!\+|\w)", lambda word: word[0] + "+" if word[0] in lists else word[0], word) for word in rest
    ]
    following = [*rest[1:], "--"]
    rest = [f"{a}=true" if a in flags and b.startswith("--") else a for a, b in zip(rest, following, strict=False)]
    try:
        parsed: Any = parser.instantiate(parser.parse_args(rest))
    except jsonargparse.ArgumentError as error:
        raise UsageError(_explain(str(error), [action.dest for action in parser._actions])) from error
    if name != "fetch":
        for key in signature:
            _refuse_addresses(parsed[key], key)
    # one by one: a key that is also a method of the namespace (`values`) is stored under another name
    function(**{key: parsed[key] for key in signature})


def _refuse_addresses(value: Any, option: str) -> None:
    from emonet_lightning.local_paths import refuse_address

    if isinstance(value, str):
        refuse_address(value, option)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for entry in dataclasses.fields(value):
            _refuse_addresses(getattr(value, entry.name), f"{option}.{entry.name}")
    elif isinstance(value, list | tuple):
        for inner in value:
            _refuse_addresses(inner, option)


def _explain(message: str, known: list[str]) -> str:
    message = " ".join(message.split())
    unknown = re.search(r"unrecognized arguments?: --([\w.]+)", message)
    return f"unknown option '{unknown.group(1)}'; {nearest(unknown.group(1), known)}" if unknown else message[:400]


def _overview(only: str = "") -> str:
    lines = [
        "usage: python -m emonet_lightning COMMAND [options]   (COMMAND --help lists its options)",
        "",
        "Trains and judges Empathic Insight-Face: one MLP head per emotion on a frozen vision encoder.",
        "",
    ]
    width = max(map(len, COMMANDS))
    every = {**RUNS, **{name: command.summary for name, command in COMMANDS.items()}}
    lines += [f"  {name:<{width}} {summary}" for name, summary in every.items() if name.startswith(only)]
    lines += [
        "",
        "exit codes: 0 done, 2 usage, 65 data, 66 missing input, 70 crash loop, 74 I/O, 75 interrupted and resumable,",
        "            78 environment",
    ]
    return "\n".join(lines)
