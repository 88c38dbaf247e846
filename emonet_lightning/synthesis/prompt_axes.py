"""Axes and wordings of prompts: the shipped ones, or those of a YAML file of the same shape as `prompts.yaml`.

A wording must name every axis that varies: an axis that no prompt mentions cannot change a picture, and a table that
calls it balanced would mislead.
"""

import re
import string
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any, NamedTuple

from emonet_lightning.errors import DataError, UsageError, nearest
from emonet_lightning.taxonomy import Taxonomy
from emonet_lightning.yaml_files import parse_yaml, read_yaml

EMOTION, TEMPLATE = "emotion", "template"
RESERVED = (
    "id", "cell", "prompt", "prompted", "keyword", "keywords", "replicate", "seed", "design", TEMPLATE,
    "model", "revision", "pipeline", "scheduler", "steps", "guidance", "attempt", "negative_prompt", "dtype", "file",
)  # fmt: skip
"""Names of a design's other fields, which no axis may have."""
_KEYS = ("axes", "templates")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_MAX_LEVELS = 10_000


class Axis(NamedTuple):
    """One factor of the design."""

    name: str
    levels: tuple[str, ...]


class PromptSpec(NamedTuple):
    """What a design varies: `axes` holds the emotion first and the wording last."""

    taxonomy: Taxonomy
    axes: tuple[Axis, ...]
    templates: Mapping[str, str]
    """Wording by name, those in use only."""

    def prompt(self, levels: Mapping[str, str]) -> str:
        """Return the prompt of one cell, given the level of each axis by name."""
        emotion = self.taxonomy.dimensions[self.taxonomy.index(levels[EMOTION])]
        keywords = emotion.keywords or (emotion.name,)
        words = {"keywords": ", ".join(keywords), "keyword": keywords[0]}
        return self.templates[levels[TEMPLATE]].format_map({**levels, **words})


def load_prompts(
    taxonomy: Taxonomy,
    file: str | None = None,
    templates: Sequence[str] = (),
    only: Sequence[str] = (),
) -> PromptSpec:
    """Read axes and wordings.

    Args:
        taxonomy: its emotions are the first axis.
        file: YAML file of axes and templates of one's own; None takes the shipped ones.
        templates: names of wordings, or a text with slots; none takes `binary`, or all of the file's.
        only: `AXIS=LEVEL,LEVEL` restricts an axis.

    Raises:
        UsageError: an unknown wording, axis or level.
        DataError: the file does not describe axes, or a wording has an unknown slot or lacks an axis.
        MissingInputError: no such file.
    """
    shipped = parse_yaml((resources.files(__package__) / "prompts.yaml").read_bytes(), "prompts.yaml")
    where = file or "prompts.yaml"
    own: Any = read_yaml(file) if file else {}
    if not isinstance(own, dict) or (file and not own):
        raise DataError(f"{where}: a mapping with 'axes' or 'templates' is needed")
    for key in own.keys() - set(_KEYS):
        raise DataError(f"{where}: unknown key '{key}'; {nearest(str(key), _KEYS)}")
    given = _axes(own["axes"], where, taxonomy) if "axes" in own else {}
    axes = {EMOTION: tuple(taxonomy.names[: taxonomy.num_emotions])}
    axes |= given if any(name != EMOTION for name in given) else _axes(shipped["axes"], where, taxonomy) | given
    axes = _restricted(axes, only, taxonomy)
    known = _wordings(own["templates"], where) if "templates" in own else shipped["templates"]
    chosen = _chosen(known, templates, () if "templates" in own else ("binary",))
    for name, text in chosen.items():
        _check_slots(name, text, axes)
    found = tuple(Axis(name, levels) for name, levels in axes.items())
    return PromptSpec(taxonomy, (*found, Axis(TEMPLATE, tuple(chosen))), chosen)


def _axes(content: Any, where: str, taxonomy: Taxonomy) -> dict[str, tuple[str, ...]]:
    if not isinstance(content, dict) or not content:
        raise DataError(f"{where}: 'axes' must map names to lists of levels, as `light: [daylight, candle light]`")
    axes = {}
    for name, levels in content.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise DataError(f"{where}: axis {name!r}: use lower-case letters, digits and '_', beginning with a letter")
        if name in RESERVED:
            raise DataError(f"{where}: axis '{name}' has the name of a field that every prompt has; name it otherwise")
        if not isinstance(levels, list) or not levels or not all(isinstance(level, str | int) for level in levels):
            raise DataError(f"{where}: axis '{name}' must be a list of at least one level, each text or a whole number")
        texts = tuple(str(level).strip() for level in levels)
        if name == EMOTION:
            texts = tuple(taxonomy.names[taxonomy.index(text, f"{where}: axis 'emotion'")] for text in texts)
        double = next((text for text in texts if texts.count(text) > 1), None)
        if double is not None:
            raise DataError(f"{where}: axis '{name}' has '{double}' twice; keep one")
        if "" in texts or len(texts) > _MAX_LEVELS:
            raise DataError(f"{where}: axis '{name}': levels must be 1 to {_MAX_LEVELS:,} texts that are not empty")
        axes[name] = texts
    return axes


def _restricted(
    axes: dict[str, tuple[str, ...]], only: Sequence[str], taxonomy: Taxonomy
) -> dict[str, tuple[str, ...]]:
    result = dict(axes)
    for word in only:
        name, equals, given = word.partition("=")
        name = name.strip()
        if not equals or not given.strip():
            raise UsageError(f"--only {word}: write --only AXIS=LEVEL,LEVEL")
        if name not in axes:
            raise UsageError(f"--only {word}: unknown axis '{name}'; {nearest(name, axes)}")
        spelling = {level.casefold(): level for level in axes[name]}
        wanted = []
        for part in (part.strip() for part in given.split(",")):
            level = spelling.get(part.casefold())
            if level is None and name == EMOTION:
                level = taxonomy.names[taxonomy.index(part, "--only emotion")]
            if level is None or level not in axes[name]:
                raise UsageError(f"--only {word}: axis '{name}' has no level '{part}'; {nearest(part, axes[name])}")
            wanted.append(level)
        result[name] = tuple(level for level in axes[name] if level in wanted)
    return result


def _wordings(content: Any, where: str) -> dict[str, str]:
    if not isinstance(content, dict) or not content:
        raise DataError(f"{where}: 'templates' must map names to texts with slots, as `plain: photo of {{emotion}}`")
    for name, text in content.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name) or not isinstance(text, str) or not text.strip():
            raise DataError(f"{where}: template {name!r}: a lower-case name and a text with slots are needed")
    return {name: " ".join(text.split()) for name, text in content.items()}


def _chosen(known: Mapping[str, str], wanted: Sequence[str], default: Sequence[str]) -> dict[str, str]:
    chosen: dict[str, str] = {}
    for word in wanted or default or known:
        if word in known:
            chosen[word] = known[word]
        elif "{" in word:
            chosen[f"given_{len(chosen) + 1}"] = " ".join(word.split())
        else:
            raise UsageError(
                f"--templates: unknown '{word}'; {nearest(word, known)} (or give a text with slots, as '{{emotion}}')"
            )
    return chosen


def _check_slots(name: str, text: str, axes: Mapping[str, tuple[str, ...]]) -> None:
    """Refuse a wording with a slot that nothing fills, or without one for an axis that varies."""
    slots = [*axes, "keywords", "keyword"]
    try:
        parts = list(string.Formatter().parse(text))
    except ValueError as error:
        raise DataError(f"template '{name}': {error}; write a slot as {{age}}, a brace itself as {{{{") from None
    used = set()
    for _, slot, form, conversion in parts:
        if slot is None:
            continue
        if form or conversion or slot not in slots:
            raise DataError(f"template '{name}': unknown slot '{{{slot}}}'; {nearest(slot, slots)}")
        used.add(EMOTION if slot in ("keywords", "keyword") else slot)
    for axis, levels in axes.items():
        if axis not in used and len(levels) > 1:
            slot = "keywords" if axis == EMOTION else axis
            raise DataError(
                f"template '{name}': has no slot for axis '{axis}', so its {len(levels)} levels would give one prompt; "
                f"add {{{slot}}}, or take one level by --only {axis}=..."
            )
