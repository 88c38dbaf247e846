"""A W&B sweep file, read and checked by itself: keys, method, metric, command, parameters, early termination.

The same file goes to `wandb sweep`. What W&B takes and this reader does not know is refused by name, never ignored:
a sweep that runs otherwise here than there would be worse than one that does not start.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from emonet_lightning.errors import DataError, UsageError, nearest
from emonet_lightning.io import read_bytes, sha256_bytes
from emonet_lightning.local_paths import refuse_address
from emonet_lightning.sweeping import grid
from emonet_lightning.sweeping.distributions import Parameter
from emonet_lightning.yaml_files import parse_yaml, read_yaml

METHODS = ("grid", "random", "bayes")
_ABOUT = ("program", "name", "description", "project", "entity")
"""Keys that only W&B looks at."""
_KEYS = ("command", "method", "metric", "parameters", "early_terminate", "run_cap", *_ABOUT)
_ARGS = "${args}"
_INTERPRETERS = ("${interpreter}", "python", "python3")
_HOW = "write command: [${env}, python, -m, emonet_lightning, fit, ..., ${args}]"


@dataclass(frozen=True)
class Hyperband:
    """W&B's early termination.

    Attributes:
        rungs: numbers of validations after which a trial is compared, ascending.
        eta: one in so many goes on.
        strict: compare the value at the rung, not the best up to there.
    """

    rungs: tuple[int, ...]
    eta: float
    strict: bool

    @classmethod
    def read(cls, content: Any, where: str) -> "Hyperband":
        """Check `early_terminate`.

        Raises:
            UsageError: a type, key or number that is not known or makes no rung.
        """
        if not isinstance(content, dict) or content.get("type") != "hyperband":
            raise UsageError(f"{where}: is a mapping with type: hyperband, and min_iter, or max_iter and s")
        known = ("type", "min_iter", "max_iter", "s", "eta", "strict")
        for key in content.keys() - set(known):
            raise UsageError(f"{where}: unknown key '{key}'; {nearest(str(key), known)}")
        eta, strict = content.get("eta", 3), content.get("strict", False)
        if isinstance(eta, bool) or not isinstance(eta, int | float) or not eta > 1:
            raise UsageError(f"{where}.eta: {eta!r} must be a number above 1")
        if not isinstance(strict, bool):
            raise UsageError(f"{where}.strict: {strict!r} must be true or false")
        if ("min_iter" in content) == ("max_iter" in content):
            raise UsageError(f"{where}: give min_iter, or max_iter and s")
        if "min_iter" in content:
            first = _count(content["min_iter"], f"{where}.min_iter")
            rungs = [int(first * eta**power) for power in range(100) if first * eta**power < 1e9]
        else:
            last = _count(content["max_iter"], f"{where}.max_iter")
            rungs = [int(last / eta**power) for power in range(1, _count(content.get("s"), f"{where}.s") + 1)]
        rungs = sorted({rung for rung in rungs if rung >= 1})
        if not rungs:
            raise UsageError(f"{where}: max_iter / eta is below one validation; no trial would ever be compared")
        return cls(tuple(rungs), float(eta), strict)


@dataclass(frozen=True)
class SweepFile:
    """A sweep, as its file says it.

    Attributes:
        path: of the file.
        content: its bytes.
        words: of the command after `fit`, `${args}` among them.
        method: `grid`, `random` or `bayes`.
        metric: name of what is logged.
        maximise: whether more of it is better.
        parameters: in the file's order.
        early: early termination, if there is one.
        run_cap: most trials, if the file says so.
        one_at_a_time: of a grid, the first value of each parameter and one other at a time; no part of the file.
    """

    path: Path
    content: bytes
    words: tuple[str, ...]
    method: str
    metric: str
    maximise: bool
    parameters: tuple[Parameter, ...]
    early: Hyperband | None = None
    run_cap: int | None = None
    one_at_a_time: bool = False

    @classmethod
    def read(cls, path: Path | str) -> "SweepFile":
        """Read a sweep file.

        Raises:
            MissingInputError: no such file.
            DataError: not YAML of the strict kind, or not a mapping.
            UsageError: a key, method, command or parameter that is not known here; file and field are named.
        """
        refuse_address(str(path), "FILE")
        found = read_yaml(path)
        return cls.of(found, Path(path), read_bytes(path))

    @classmethod
    def of(cls, found: Any, path: Path, content: bytes) -> "SweepFile":
        """Check the content of a sweep file."""
        if not isinstance(found, dict):
            raise DataError(f"{path}: is no sweep; it is a mapping with command, method, metric and parameters")
        for key in found.keys() - set(_KEYS):
            raise UsageError(f"{path}: unknown key '{key}' of a sweep; {nearest(str(key), _KEYS)}")
        method = found.get("method")
        if method not in METHODS:
            raise UsageError(f"{path}: method '{method}' is unknown; {nearest(str(method), METHODS)}")
        metric, maximise = _metric(found.get("metric"), str(path))
        parameters = found.get("parameters")
        if not isinstance(parameters, dict) or not parameters:
            raise UsageError(f"{path}: 'parameters' is empty; name at least one option of fit")
        read = [Parameter.read(str(key), value, f"{path}: parameters.{key}") for key, value in parameters.items()]
        early = found.get("early_terminate")
        cap = found.get("run_cap")
        sweep = cls(
            path, content, _words(found.get("command"), str(path)), method, metric, maximise, tuple(read),
            None if early is None else Hyperband.read(early, f"{path}: early_terminate"),
            None if cap is None else _count(cap, f"{path}: run_cap"),
        )  # fmt: skip
        if method == "grid":
            sweep.grid_size()
        return sweep

    @classmethod
    def parse(cls, content: bytes, path: Path) -> "SweepFile":
        """Read a sweep from bytes, as those of a copy in a sweep's folder."""
        return cls.of(parse_yaml(content, str(path)), path, content)

    @property
    def digest(self) -> str:
        """Hex sha256 of the file."""
        return sha256_bytes(self.content)

    def changing_one(self) -> "SweepFile":
        """Return the sweep with one factor changed at a time.

        Raises:
            UsageError: it is no grid.
        """
        if self.method != "grid":
            raise UsageError(
                f"{self.path}: method {self.method}: --one_at_a_time is for listed values; use method: grid"
            )
        return replace(self, one_at_a_time=True)

    def grid_size(self) -> int:
        """Return how many points a grid has.

        Raises:
            UsageError: a parameter cannot be counted.
        """
        for parameter in self.parameters:
            if parameter.choices() is None:
                raise UsageError(
                    f"{self.path}: parameters.{parameter.name}: a grid needs values, not {parameter.distribution}; "
                    "list them, or use method: random"
                )
        return grid.size(self.parameters, self.one_at_a_time)

    def fit_words(self, point: Mapping[str, Any]) -> list[str]:
        """Return the words after `fit` for one point, as W&B's agent puts them in the place of `${args}`."""
        given = [f"--{name}={value}" for name, value in point.items()]
        return [word for each in self.words for word in (given if each == _ARGS else [each])]


def _metric(content: Any, where: str) -> tuple[str, bool]:
    if not isinstance(content, dict) or not isinstance(content.get("name"), str):
        raise UsageError(f"{where}: metric: name what is optimised, as {{name: val/score, goal: maximize}}")
    for key in content.keys() - {"name", "goal", "target"}:
        raise UsageError(f"{where}: metric: unknown key '{key}'; {nearest(str(key), ['name', 'goal'])}")
    if "target" in content:
        raise UsageError(f"{where}: metric.target: is not known here; leave it out")
    goal = content.get("goal", "minimize")  # W&B's default
    if goal not in ("minimize", "maximize"):
        raise UsageError(f"{where}: metric.goal: '{goal}' is unknown; {nearest(str(goal), ['minimize', 'maximize'])}")
    return content["name"], goal == "maximize"


def _words(command: Any, where: str) -> tuple[str, ...]:
    """Return the words of a command after `fit`; the interpreter is the one that runs already."""
    if not isinstance(command, list) or not all(isinstance(word, str | int | float) for word in command):
        raise UsageError(f"{where}: command: is missing, or no list of words; {_HOW}")
    words = [str(word) for word in command if word != "${env}"]
    start = ["-m", "emonet_lightning", "fit"]
    if words[:2] == ["emonet_lightning", "fit"]:
        rest = words[2:]
    elif words[:1] and words[0] in _INTERPRETERS and words[1:4] == start:
        rest = words[4:]
    else:
        raise UsageError(f"{where}: command: does not run `python -m emonet_lightning fit`; {_HOW}")
    if rest.count(_ARGS) != 1:
        raise UsageError(f"{where}: command: needs {_ARGS} once, where the parameters go; {_HOW}")
    for word in rest:
        if word.startswith("${") and word.endswith("}") and word != _ARGS:
            raise UsageError(f"{where}: command: '{word}' is not known here; {_HOW}")
    return tuple(rest)


def _count(value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UsageError(f"{where}: {value!r} must be a whole number of at least 1")
    return value
