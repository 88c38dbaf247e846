"""What a parameter of a sweep may be: a list of values, or a distribution, each a function of a number in [0, 1).

Everything that is drawn is drawn in [0, 1) and mapped here, so that a random draw and a proposal of Optuna's are the
same thing to the rest, and a logarithmic or normal parameter looks uniform to the sampler.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

from emonet_lightning.errors import DataError, UsageError, nearest

_LOGARITHMIC = ("log_uniform", "log_uniform_values", "q_log_uniform", "q_log_uniform_values")
_BOUNDED = ("uniform", "int_uniform", "q_uniform", *_LOGARITHMIC)
_BELL = ("normal", "q_normal", "log_normal", "q_log_normal")
LISTED = ("constant", "categorical")
DISTRIBUTIONS = (*LISTED, *_BOUNDED, *_BELL)
"""Those of W&B that are known here."""
_KEYS = {"value", "values", "distribution", "min", "max", "mu", "sigma", "q"}
_MOST_VALUES, _MOST_SAMPLES = 10_000, 20
_TAIL = 1e-9  # of a bell, which has no end


@dataclass(frozen=True)
class Parameter:
    """One parameter of a sweep.

    Attributes:
        name: option of `fit`, without hyphens.
        values: what it can be, where that is a list; else empty.
        distribution: of a number, by W&B's name; `constant` or `categorical` of a list.
        low: bound, or mu.
        high: bound, or sigma.
        step: multiple that a number is rounded to; 0 for none.
    """

    name: str
    values: tuple[Any, ...] = ()
    distribution: str = "categorical"
    low: float = 0.0
    high: float = 0.0
    step: float = 0.0

    @classmethod
    def read(cls, name: str, content: Any, where: str) -> "Parameter":
        """Check what a sweep file says of a parameter.

        Args:
            name: of the parameter.
            content: from the file.
            where: file and field, for errors.

        Raises:
            UsageError: an empty range or list, or a distribution or key that is not known here.
            DataError: not a mapping of W&B's form.
        """
        if not isinstance(content, dict):
            raise DataError(f"{where}: is a mapping with value, values, or min and max, not {str(content)[:60]!r}")
        if "parameters" in content:
            raise UsageError(f"{where}: nested parameters are one option here; write it with dots ({name}.KEY)")
        for key in content.keys() - _KEYS:
            raise UsageError(f"{where}: unknown key '{key}'; {nearest(str(key), _KEYS)}")
        kind = content.get("distribution", _implied(content))
        if kind not in DISTRIBUTIONS:
            raise UsageError(f"{where}: distribution '{kind}' is unknown here; {nearest(str(kind), DISTRIBUTIONS)}")
        if kind in LISTED:
            return cls(name, _listed(content, kind, where), kind)
        if kind in _BELL:
            low, high = (_number(content, key, default, where) for key, default in (("mu", 0.0), ("sigma", 1.0)))
            if high <= 0:
                raise UsageError(f"{where}: sigma {high:g} must be above 0")
        else:
            low, high = (_number(content, key, None, where) for key in ("min", "max"))
            _check_range(kind, low, high, where)
        step = _number(content, "q", 1.0, where) if kind.startswith("q_") else 0.0
        if kind.startswith("q_") and step <= 0:
            raise UsageError(f"{where}: q {step:g} must be above 0")
        return cls(name, (), kind, low, high, step)

    @property
    def is_list(self) -> bool:
        """Whether it is one of listed values."""
        return self.distribution in LISTED

    def at(self, position: float) -> Any:
        """Return the value at a position in [0, 1): the quantile of its distribution, or an entry of its list."""
        if self.is_list:
            return self.values[min(int(position * len(self.values)), len(self.values) - 1)]
        value = self._quantile(position)
        if self.distribution == "int_uniform":
            return min(int(value), int(self.high))
        if self.step:
            value = round(value / self.step) * self.step
            return int(value) if float(self.step).is_integer() else round(value, 12)
        return value

    def choices(self) -> tuple[Any, ...] | None:
        """Return all values where they can be counted; None of a continuous one."""
        if self.is_list:
            return self.values
        if self.distribution == "int_uniform":
            return tuple(range(int(self.low), int(self.high) + 1))
        if self.distribution == "q_uniform":
            count = int((self.high - self.low) / self.step + 1e-9) + 1
            if count <= _MOST_VALUES:
                found = [round((self.low + i * self.step) / self.step) * self.step for i in range(count)]
                whole = float(self.step).is_integer()
                return tuple(int(value) if whole else round(value, 12) for value in found)
        return None

    def samples(self) -> tuple[Any, ...]:
        """Return values to look at before anything is run: those that are listed, of many some, else both ends."""
        if not self.is_list:
            return self.at(0.0), self.at(1.0)
        return self.values[:: -(-len(self.values) // _MOST_SAMPLES)]

    def _quantile(self, position: float) -> float:
        kind = self.distribution.removeprefix("q_")
        if kind in ("normal", "log_normal"):
            value = NormalDist(self.low, self.high).inv_cdf(min(max(position, _TAIL), 1 - _TAIL))
            return math.exp(value) if kind == "log_normal" else value
        if kind == "int_uniform":
            return math.floor(self.low + position * (self.high - self.low + 1))
        low, high = self.low, self.high
        if kind == "log_uniform_values":
            low, high = math.log(low), math.log(high)
        value = low + position * (high - low)
        return math.exp(value) if kind.startswith("log_uniform") else value


def _implied(content: dict[str, Any]) -> str:
    """Return the distribution that W&B takes where none is named."""
    if "value" in content:
        return "constant"
    if "values" in content:
        return "categorical"
    bounds = [content.get(key) for key in ("min", "max")]
    return "int_uniform" if all(type(bound) is int for bound in bounds) else "uniform"


def _listed(content: dict[str, Any], kind: str, where: str) -> tuple[Any, ...]:
    if kind == "constant":
        if "value" not in content:
            raise UsageError(f"{where}: 'value' is missing")
        return (content["value"],)
    values = content.get("values")
    if not isinstance(values, list) or not values:
        raise UsageError(f"{where}: 'values' is empty; list at least one value")
    if len({repr(value) for value in values}) < len(values):
        twice = next(value for value in values if values.count(value) > 1)
        raise UsageError(f"{where}: value {twice!r} stands twice; keep one")
    if len(values) > _MOST_VALUES:
        raise UsageError(f"{where}: more than {_MOST_VALUES:,} values; give min and max")
    return tuple(values)


def _number(content: dict[str, Any], key: str, default: float | None, where: str) -> float:
    value = content.get(key, default)
    if value is None:
        raise UsageError(f"{where}: '{key}' is missing; a range has min and max")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UsageError(f"{where}: '{key}' is a number, not {str(value)[:60]!r}")
    return float(value)


def _check_range(kind: str, low: float, high: float, where: str) -> None:
    if low >= high:
        raise UsageError(f"{where}: the range is empty (min {low:g} is not below max {high:g})")
    if kind.endswith("log_uniform_values") and low <= 0:
        raise UsageError(f"{where}: min {low:g} must be above 0 for {kind}")
    if kind.endswith("log_uniform") and high > 300:
        raise UsageError(f"{where}: {kind} takes exponents of e, max {high:g} is too large; use log_uniform_values")
    if kind == "int_uniform" and not (low.is_integer() and high.is_integer()):
        raise UsageError(f"{where}: int_uniform takes whole numbers, not {low:g} and {high:g}")
