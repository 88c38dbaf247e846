"""Contrast questions: each emotion's fixed partner, asked about the same image as a check on yes-saying."""

from importlib import resources
from pathlib import Path
from typing import Any

from emonet_lightning.errors import DataError
from emonet_lightning.taxonomy import Taxonomy
from emonet_lightning.yaml_files import parse_yaml, read_yaml

RELEASED, NONE = "released", "none"


def contrast_pairs(source: str, taxonomy: Taxonomy) -> dict[str, str]:
    """Return each emotion's partner, by slug; empty for `none`.

    Args:
        source: `released` (the 20 pairs of the released BINARY set), `none`, or a YAML file `pairs: [[A, B], ...]`.
        taxonomy: the emotions; `released` needs all 40.

    Raises:
        MissingInputError: no such file.
        DataError: no list of pairs, an unknown emotion, or one that stands in two pairs or beside itself.
    """
    if source == NONE:
        return {}
    if source == RELEASED:
        file = resources.files("emonet_lightning") / "taxonomies" / "released_contrast_pairs.yaml"
        content = parse_yaml(file.read_bytes(), "released contrast pairs")
        where = "contrasts 'released' (name a file of your own pairs with --contrasts FILE, or none)"
    else:
        content, where = read_yaml(Path(source)), source
    partner: dict[str, str] = {}
    for pair in _pairs(content, where):
        first, second = (taxonomy.slugs[taxonomy.index(str(name), where)] for name in pair)
        for one, other in ((first, second), (second, first)):
            if one == other or one in partner:
                raise DataError(f"{where}: '{one}' has two partners, or is its own; each emotion stands in one pair")
            partner[one] = other
    return partner


def _pairs(content: Any, where: str) -> list[list[Any]]:
    pairs = content.get("pairs") if isinstance(content, dict) else None
    if not isinstance(pairs, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
        raise DataError(f"{where}: a list 'pairs' of [EMOTION, EMOTION] is needed")
    return pairs
