"""From a command line to the arguments of each stage.

Configuration files are merged in order, then a stage's overrides, then options of the command line: the later wins.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from emonet_lightning.errors import DataError, UsageError, nearest
from emonet_lightning.local_paths import refuse_address
from emonet_lightning.yaml_files import dump_yaml, parse_yaml, read_yaml

EMBEDDED_CONFIG = resources.files("emonet_lightning") / "assets" / "quickstart.yaml"
_STAGE_KEYS = {"name", "overrides"}


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
        """Arguments for the parser without `--run` and `--out`."""
        return [word for config in self.configs for word in ("--config", config)] + self.rest


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
        read = [parse_yaml(EMBEDDED_CONFIG.read_bytes(), sources[0])]
    else:
        sources = list(options.configs)
        read = []
        for path in sources:
            refuse_address(path, "--config")
            read.append(read_yaml(path))
    contents = [_mapping(content, source) for content, source in zip(read, sources, strict=True)]
    stages: Any = None
    for content in contents:
        stages = content.pop("stages", stages)
    base = [word for content in contents for word in ("--config", dump_yaml(content))]
    if not stages:
        return [Stage(None, [*base, *options.rest])]
    return [
        Stage(name, [*base, "--config", dump_yaml(overrides), *options.rest])
        for name, overrides in _checked(stages, sources[-1])
    ]


def _checked(stages: Any, source: str) -> list[tuple[str, dict[str, Any]]]:
    if not isinstance(stages, list) or not all(isinstance(stage, dict) for stage in stages):
        raise DataError(f"{source}: 'stages' must be a list of {{name, overrides}}")
    found: list[tuple[str, dict[str, Any]]] = []
    for stage in stages:
        for key in stage.keys() - _STAGE_KEYS:
            raise UsageError(f"{source}: unknown key '{key}' in a stage; {nearest(str(key), _STAGE_KEYS)}")
        name = str(stage.get("name", ""))
        if not name or "/" in name or name.startswith(".") or name in {known for known, _ in found}:
            raise DataError(f"{source}: each stage needs its own 'name', usable as a folder; got '{name}'")
        found.append((name, to_nested(stage.get("overrides") or {})))
    return found


def to_nested(overrides: dict[str, Any]) -> dict[str, Any]:
    """Turn dotted keys (`model.lr: 1e-4`) into nested mappings."""
    nested: dict[str, Any] = {}
    for key, value in overrides.items():
        place = nested
        *parents, last = str(key).split(".")
        for parent in parents:
            place = place.setdefault(parent, {})
        if isinstance(value, dict) and isinstance(place.get(last), dict):
            place[last].update(value)
        else:
            place[last] = value
    return nested


def _mapping(content: Any, source: str) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise DataError(f"{source}: a configuration is a mapping, this is {type(content).__name__}")
    return content
