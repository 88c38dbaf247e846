"""What the parser of options may do: which classes a value can name, and how text in values and files is read.

A configuration names classes to build. Only those of the project, of Lightning's plug-in points and of torch.nn can be
named, and the name is compared before anything is imported.
"""

from typing import Any

import jsonargparse
import yaml

from emonet_lightning.errors import EmoNetError
from emonet_lightning.yaml_files import parse_yaml

_LIGHTNING = ("callbacks", "loggers", "strategies", "profilers", "plugins", "accelerators")
ALLOWED = [
    *(
        f"emonet_lightning.{name}"
        for name in ("callbacks", "data", "encoder_sources", "module", "objective", "tracking", "transforms")
    ),
    *(f"lightning.pytorch.{name}" for name in _LIGHTNING),
    *(f"lightning.fabric.{name}" for name in ("accelerators", "loggers", "plugins", "strategies")),
    "torch.nn",
    "torch.optim",
]
"""Where classes and functions that a value names must come from."""


class _RefusedYAML(yaml.YAMLError):
    """The parser knows errors of YAML alone."""


def limit_parsing() -> None:
    """Set them for this process; to be called after Lightning's command line was imported, which sets its own."""
    jsonargparse.set_parsing_settings(
        docstring_parse_attribute_docstrings=True,
        config_read_mode_fsspec_enabled=False,  # Lightning turns it on: --config s3://... would be fetched
        instantiate_subclass_spec_in_any=False,
        config_read_mode_urls_enabled=False,
        import_path_denylist=["*"],
        import_path_allowlist=ALLOWED,
    )
    for mode in ("yaml", "omegaconf+"):
        jsonargparse.set_loader(mode, _load, exceptions=(yaml.YAMLError,))


def _load(text: str) -> Any:
    """Read a value or a file, with the strictness of all YAML here."""
    if not text.strip():
        return text
    try:
        value = parse_yaml(text, "value", finite=False)  # the option's name is told where its range is looked at
    except EmoNetError as error:
        raise _RefusedYAML(str(error)) from error
    # `{a, b}` and `a:` are text that happens to be YAML
    if isinstance(value, dict) and value and all(inner is None for inner in value.values()):
        bare = set(text.strip(" {}").replace(" ", "").split(","))
        if bare == set(value) or (len(value) == 1 and text.strip() == f"{next(iter(value))}:"):
            return text
    return value
