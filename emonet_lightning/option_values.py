"""Values that an option may have, looked at before anything is built: finite, in range, local.

The parser has compared types; here a number that fits its type is compared with what it can mean.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from emonet_lightning.errors import UsageError
from emonet_lightning.local_paths import refuse_address

INFINITY = math.inf
MAX_SEED = 2**32 - 1


class Range(NamedTuple):
    """Numbers that an option may have."""

    low: float
    high: float = INFINITY
    above: bool = False
    """Whether `low` itself is too little."""
    below: bool = False
    """Whether `high` itself is too much."""

    def holds(self, value: float) -> bool:
        """Whether a number is among them."""
        return (self.low < value if self.above else self.low <= value) and (
            value < self.high if self.below else value <= self.high
        )

    def missed_by(self, value: float) -> str:
        """What a number that is not among them should be."""
        too_little = value < self.low or (self.above and value == self.low)
        if too_little:
            return f"{'above' if self.above else 'at least'} {_plain(self.low)}"
        return f"{'below' if self.below else 'at most'} {_plain(self.high)}"


def _plain(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:g}"


_SHARE, _OPEN_SHARE, _COUNT, _AT_LEAST_ONE = Range(0, 1), Range(0, 1, above=True), Range(0, 1e12), Range(1, 1e12)
_POSITIVE = Range(0, 1e12, above=True)
_RATE = Range(0, 1e4, above=True)
_NOT_NEGATIVE = Range(0, 1e12)
_DROPOUT = Range(0, 1, below=True)
_SEED = Range(0, MAX_SEED)
_DATA = r"(?:data|test_data)\.init_args\."
_PART = rf"{_DATA}(?:parts\[\d+\]\.)?"
RANGES: tuple[tuple[str, Range], ...] = (
    (r"seed_everything", _SEED),
    (r"num_draws", Range(1, 1e6)),
    (r"checkpoint_every", _NOT_NEGATIVE),
    (r"max_stuck_restarts", _COUNT),
    (r"best_heads\.patience", _COUNT),
    (r"model\.widths\[\d+\]", Range(1, 65536)),
    (r"model\.dropout(?:\[\d+\])?", _DROPOUT),
    (r"model\.huber_delta|model\.adam_eps", _POSITIVE),
    (r"model\.max_positive_weight", Range(1, 1e12)),
    (r"model\.(?:per_emotion\..+\.)?lr", _RATE),
    (r"model\.(?:per_emotion\..+\.)?weight_decay", Range(0, 1e4)),
    (r"model\.warmup_share", _SHARE),
    (r"model\.final_lr_share", _SHARE),
    (r"model\.clip_norm", _NOT_NEGATIVE),
    (r"model\.steps_per_call", Range(1, 1e6)),
    (r"model\.encoder\.size", Range(8, 8192)),
    (r"model\.encoder\.crop_pct", _OPEN_SHARE),
    (r"model\.encoder\.mean\[\d+\]", _SHARE),
    (r"model\.encoder\.std\[\d+\]", Range(0, 10, above=True)),
    (rf"{_DATA}train_share", _OPEN_SHARE),
    (rf"{_DATA}parts\[\d+\]\.train_share", _SHARE),  # of one of several sets, which may be there to validate
    (rf"{_PART}(?:yes|no)_value", Range(-1e6, 1e6)),
    (rf"{_DATA}batch_size", Range(1, 1e9)),
    (rf"{_DATA}seed|{_DATA}fold_seed", _SEED),
    (rf"{_DATA}views", Range(1, 1e4)),
    (rf"{_DATA}num_workers", Range(0, 4096)),
    (rf"{_DATA}num_threads", Range(1, 4096)),
    (rf"{_DATA}num_folds", Range(0, 1e6)),
    (rf"{_DATA}fold", _COUNT),
    (rf"{_DATA}val_share", Range(0, 1, below=True)),
    (rf"{_DATA}max_bad_fraction", _SHARE),
    (rf"{_DATA}augmentation\.rotation", Range(0, 180)),
    (rf"{_DATA}augmentation\.\w+", _SHARE),
    (r"trainer\.devices", Range(-1, 4096)),
    (r"trainer\.num_nodes", Range(1, 65536)),
    (r"trainer\.(?:max_epochs|max_steps|num_sanity_val_steps|min_epochs|min_steps)", Range(-1, 1e12)),
    (r"trainer\.limit_\w+_batches|trainer\.overfit_batches", _COUNT),
    (r"trainer\.val_check_interval", _POSITIVE),
    (r"trainer\.(?:check_val_every_n_epoch|accumulate_grad_batches)", _AT_LEAST_ONE),
    (r"trainer\.(?:log_every_n_steps|fast_dev_run|reload_dataloaders_every_n_epochs|gradient_clip_val)", _COUNT),
)
_COMPILED = [(re.compile(pattern), allowed) for pattern, allowed in RANGES]
_NO_ZERO = re.compile(r"trainer\.(?:devices|max_epochs)")
_LOCAL = re.compile(r"(?:model|data|test_data|best_heads|out|neutral|ckpt_path|trainer\.default_root_dir)(?:\.|$)")
_NAMES = re.compile(r"\.class_path$|\.revision$")


def check_values(config: Mapping[str, Any], never_null: Callable[[str], bool] = lambda field: False) -> None:
    """Refuse values that no run can mean.

    Args:
        config: the parsed configuration of a run, as primitives.
        never_null: whether an option needs a value; the parser takes null for any.

    Raises:
        UsageError: the first number that is not finite or out of range, or address in place of a path, with its field.
    """
    for section in ("model", "trainer", "best_heads"):
        if not isinstance(config.get(section), Mapping):
            raise UsageError(f"{section}: is a section of options, not {config.get(section)!r}")
    for field, value in _leaves(config):
        if isinstance(value, bool):
            continue
        if value is None and never_null(field):
            raise UsageError(f"{_shown(field)}: is empty (null); give it a value or leave it out")
        if isinstance(value, int | float):
            _check_number(field, value)
        elif isinstance(value, str):
            if "\x00" in value:
                raise UsageError(f"{_shown(field)}: holds a NUL character")
            if _LOCAL.match(field) and not _NAMES.search(field):
                refuse_address(value, _shown(field))


def _check_number(field: str, value: float) -> None:
    if not math.isfinite(value):
        raise UsageError(f"{_shown(field)}: {value} must be a finite number")
    for pattern, allowed in _COMPILED:
        if pattern.fullmatch(field):
            if not allowed.holds(value):
                raise UsageError(f"{_shown(field)}: {value} must be {allowed.missed_by(value)}")
            break
    if value == 0 and _NO_ZERO.fullmatch(field):
        raise UsageError(f"{_shown(field)}: 0 would train nothing; name a number of at least 1, or leave it out")


def _leaves(content: Any, field: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(content, Mapping):
        for key, value in content.items():
            yield from _leaves(value, f"{field}.{key}" if field else str(key))
    elif isinstance(content, list | tuple):
        for position, value in enumerate(content):
            yield from _leaves(value, f"{field}[{position}]")
    else:
        yield field, content


def _shown(field: str) -> str:
    """The field as it is given on a command line."""
    return field.replace(".init_args", "")
