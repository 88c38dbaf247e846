"""The points of a grid: every combination, or the first value of each parameter and one other at a time.

A pure function of the number of a trial. The last parameter changes fastest; of points that change one factor, the seed
does, so that a design that was stopped halfway has whole levels.
"""

import math
from collections.abc import Sequence
from typing import Any

from emonet_lightning.sweeping.distributions import Parameter
from emonet_lightning.sweeping.points import SEED


def size(parameters: Sequence[Parameter], one_at_a_time: bool) -> int:
    """Return how many points there are.

    Args:
        parameters: whose values can all be counted.
        one_at_a_time: the first value of each, and one other at a time, with every seed.
    """
    if not one_at_a_time:
        return math.prod(len(_values(parameter)) for parameter in parameters)
    seeds, others = _split(parameters)
    return (1 + sum(len(_values(parameter)) - 1 for parameter in others)) * math.prod(len(_values(p)) for p in seeds)


def point(parameters: Sequence[Parameter], one_at_a_time: bool, number: int) -> dict[str, Any]:
    """Return the values at a number below `size`."""
    found: dict[str, Any] = {}
    if not one_at_a_time:
        for parameter in reversed(parameters):
            number, place = divmod(number, len(_values(parameter)))
            found[parameter.name] = _values(parameter)[place]
    else:
        seeds, others = _split(parameters)
        for parameter in seeds:
            number, place = divmod(number, len(_values(parameter)))
            found[parameter.name] = _values(parameter)[place]
        found |= {parameter.name: _values(parameter)[0] for parameter in others}
        changes = [(parameter.name, value) for parameter in others for value in _values(parameter)[1:]]
        if number > 0:
            name, value = changes[number - 1]
            found[name] = value
    return {parameter.name: found[parameter.name] for parameter in parameters}


def _split(parameters: Sequence[Parameter]) -> tuple[list[Parameter], list[Parameter]]:
    """Return the seed, if it is swept, and the factors."""
    return [p for p in parameters if p.name == SEED], [p for p in parameters if p.name != SEED]


def _values(parameter: Parameter) -> tuple[Any, ...]:
    values = parameter.choices()
    assert values is not None, parameter.name
    return values
