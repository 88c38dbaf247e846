"""From a command line to the arguments of each stage.

Configuration files are merged in order, then a stage's overrides, then options of the command line, then those for one
stage (`--stages.NAME.KEY=VALUE`): the later wins.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from emonet_lightning.errors import DataError, MissingInputError, UsageError, nearest
from emonet_lightning.local_paths import refuse_address
from emonet_lightning.yaml_files import dump_yaml, parse_yaml, read_yaml

EMBEDDED_CONFIG = resources.files("emonet_lightning") / "assets" / "quickstart.yaml"
_STAGE_KEYS = {"name", "overrides"}
_STAGE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_OF_STAGE = "--stages."
_SECTIONS = {"model", "data", "trainer", "best_heads"}


@dataclass
class Options:
    """What the stage machinery itself reads from a command line; `rest` goes to the parser as it is."""

    configs: list[str] = field(default_factory=list)
    out: str | None = None
    run: str | None = None
    rest: list[str] = field(default_factory=list)

    @classmethod
    def split(cls, argv: list[str]) -> "Options":
        """Take `--config`, `--out` and `--run` out of a command line (`--key value` or `--key=value`)."""
        options = cls()
        words: Iterator[str] = iter(argv)
        for word in words:
            key, given, value = word.partition("=")
            if key not in ("--config", "-c", "--out", "--run"):
                options.rest.append(word)
                continue
            if not given:
                value = next(words, "")
            if not value or value.startswith("--"):
                raise UsageError(f"{key}: a path is missing after it")
            if key in ("--config", "-c"):
                options.configs.append(value)
            elif key == "--out":
                options.out = value
            else:
                options.run = value
        return options

    @property
    def name(self) -> str:
        """Name of the configuration, for the run folder."""
        return Path(self.configs[0]).stem if self.configs else "quickstart"

    def rest_with_configs(self) -> list[str]:
        """Arguments for the parser without `--run` and `--out`; the files are read, the parser gets their content."""
        return [word for path in self.configs for word in ("--config", dump_yaml(read_config(path)))] + self.rest


@dataclass(frozen=True)
class Stage:
    """One ordinary run."""

    name: str | None
    """None for a run of a single, unnamed stage."""
    arguments: list[str]


def compose(options: Options) -> list[Stage]:
    """Return the stages that a command line asks for; without a configuration, those of the embedded default.

    Raises:
        MissingInputError: a configuration file does not exist.
        DataError: it is not YAML, or `stages` is not a list of {name, overrides}.
    """
    named = ("--data", "--data.class_path", "--print_config", "--help", "-h")
    if not options.configs and not any(word.split("=")[0] in named for word in options.rest):
        sources = ["embedded default"]
        contents = [_checked_config(parse_yaml(EMBEDDED_CONFIG.read_bytes(), sources[0]), sources[0])]
    else:
        sources = options.configs
        contents = [read_config(path) for path in sources]
    stages: Any = None
    given = False
    for content in contents:
        given |= "stages" in content
        stages = content.pop("stages", stages)
    base = [word for content in contents for word in ("--config", dump_yaml(content))]
    checked = _checked(stages, sources[-1]) if given else []
    rest, own = _of_stages(options.rest, [name for name, _ in checked])
    if not given:
        return [Stage(None, [*base, *rest])]
    return [Stage(name, [*base, "--config", dump_yaml(overrides), *rest, *own[name]]) for name, overrides in checked]


def _of_stages(words: list[str], names: list[str]) -> tuple[list[str], dict[str, list[str]]]:
    """Take `--stages.NAME.KEY=VALUE` out of a command line: what is left, and the options of each stage alone.

    Raises:
        UsageError: no stage of that name, or a value that is not behind `=`.
    """
    rest: list[str] = []
    own: dict[str, list[str]] = {name: [] for name in names}
    for word in words:
        if not word.startswith(_OF_STAGE):
            rest.append(word)
            continue
        option = word.removeprefix(_OF_STAGE)
        key = option.partition("=")[0]
        # a name may hold a dot: the longest that fits
        name = max((name for name in names if key.startswith(f"{name}.")), key=len, default=None)
        if name is None:
            asked = key.partition(".")[0]
            known = nearest(asked, names) if names else "the run has no stages"
            raise UsageError(f"{_OF_STAGE}{key}: no stage '{asked}'; {known}")
        if "=" not in option:
            raise UsageError(f"{_OF_STAGE}{key}: write its value behind it, as {_OF_STAGE}{key}=VALUE")
        own[name].append(f"--{option.removeprefix(f'{name}.')}")
    return rest, own


def read_config(path: str) -> dict[str, Any]:
    """Read a configuration file.

    Raises:
        UsageError: the path is a URL.
        MissingInputError: no such file.
        DataError: not YAML of the strict kind, or not a mapping of sections.
    """
    refuse_address(path, "--config")
    if not Path(path).is_file():
        what = "is a folder, not a" if Path(path).is_dir() else "no such"
        raise MissingInputError(f"{path}: {what} configuration file")
    return _checked_config(read_yaml(path), path)


def _checked_config(content: Any, source: str) -> dict[str, Any]:
    if content is None:
        raise DataError(f"{source}: is empty; a configuration is a mapping")
    if not isinstance(content, dict):
        raise DataError(f"{source}: a configuration is a mapping, this is {type(content).__name__}")
    content = to_nested(content, source)
    for section in _SECTIONS & content.keys():
        if content[section] is None:
            raise DataError(f"{source}: '{section}' is empty; give it options or leave it out")
        if section != "data" and not isinstance(content[section], dict):
            raise DataError(f"{source}: '{section}' is a mapping of options, not {content[section]!r}")
    return content


def _checked(stages: Any, source: str) -> list[tuple[str, dict[str, Any]]]:
    if not isinstance(stages, list) or not stages or not all(isinstance(stage, dict) for stage in stages):
        raise DataError(f"{source}: 'stages' must be a list of {{name, overrides}}")
    found: list[tuple[str, dict[str, Any]]] = []
    for stage in stages:
        for key in map(str, stage.keys() - _STAGE_KEYS):
            raise UsageError(f"{source}: unknown key '{key}' in a stage; {nearest(key, _STAGE_KEYS)}")
        name = stage.get("name", "")
        if not isinstance(name, str) or not _STAGE_NAME.fullmatch(name) or name in {known for known, _ in found}:
            raise DataError(
                f"{source}: each stage needs its own 'name', usable as a folder (letters, digits, _ - .); got '{name}'"
            )
        overrides = stage.get("overrides")
        if not isinstance(overrides, dict | None):
            raise DataError(f"{source}: stage '{name}': 'overrides' must be a mapping of options")
        found.append((name, _checked_config(overrides or {}, f"{source}: stage '{name}'")))
    return found


def to_nested(options: dict[str, Any], source: str) -> dict[str, Any]:
    """Turn dotted keys (`model.lr: 1e-4`) into nested mappings.

    Raises:
        DataError: a key that is no text, or an option that is given in two ways.
    """
    nested: dict[str, Any] = {}
    for key, value in options.items():
        if not isinstance(key, str) or not all(key.split(".")):
            raise DataError(f"{source}: '{key}' is not the name of an option")
        *parents, last = key.split(".")
        if isinstance(value, dict) and "." in key:
            value = to_nested(value, source)
        _merge(nested, [*parents, last], value, f"{source}: {key}")
    return nested


def _merge(place: dict[str, Any], path: list[str], value: Any, what: str) -> None:
    first, *rest = path
    if rest:
        inner = place.setdefault(first, {})
        if not isinstance(inner, dict):
            raise DataError(f"{what}: '{first}' is given in two ways; keep one")
        _merge(inner, rest, value, what)
    elif first not in place:
        place[first] = dict(value) if isinstance(value, dict) else value
    elif isinstance(place[first], dict) and isinstance(value, dict):
        for key, inner in value.items():
            _merge(place[first], [key], inner, what)
    else:
        raise DataError(f"{what}: is given in two ways; keep one")
