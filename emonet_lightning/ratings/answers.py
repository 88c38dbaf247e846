"""Answers about one image as people store them: dicts, Python literals, JSON, cells of a table."""

import ast
import json
import math
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from emonet_lightning.errors import DataError
from emonet_lightning.ratings.long_form import Kind
from emonet_lightning.taxonomy import Taxonomy, slugify

GENERATED = "generated"
"""Rater of answers that name none."""
_MAX_LITERAL = 1_000_000  # characters: ast.literal_eval on more can exhaust the stack
_EXTRA_DIMENSIONS = frozenset({"arousal", "valence", "dominance", "emotional_vulnerability"})
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_YES_NO = {"True": True, "true": True, "TRUE": True, "False": False, "false": False, "FALSE": False}
_RATER_KEYS, _ANSWER_KEYS = ("annotator", "rater"), ("annotations", "ratings", "label", "labels")
_VALUE_KEYS = ("rating", "value", "score", "intensity")


class Answers(NamedTuple):
    """All answers about one image."""

    kind: Kind
    ratings: dict[str, dict[str, float]]
    """Rater -> {slug: value}."""


def is_number(text: str) -> bool:
    """Whether a cell is an ASCII number, with a point as decimal mark if any."""
    return _NUMBER.fullmatch(text) is not None


def parse_value(text: str, where: str) -> float | bool | None:
    """Read one cell: an ASCII number, a yes or no (`True`, `False`), or None where it is empty.

    Raises:
        DataError: anything else, such as '3,5' or 'nan'.
    """
    if text == "":
        return None
    if text in _YES_NO:
        return _YES_NO[text]
    if not is_number(text):
        raise DataError(f"{where}: '{text[:40]}' is not a number; write digits with a decimal point, or leave it empty")
    return float(text)


def find_dimension(name: str, taxonomy: Taxonomy, where: str) -> int | None:
    """Return the column of an emotion, or None for a released extra dimension that the taxonomy does not have.

    Raises:
        DataError: neither; offers the nearest names.
    """
    short = slugify(name.rsplit("|", 1)[-1].strip())
    if short not in taxonomy.slugs and (name.startswith("Extra Dimensions|") or short in _EXTRA_DIMENSIONS):
        return None
    return taxonomy.index(name, where)


def parse_answers(value: Any, taxonomy: Taxonomy, where: str) -> Answers:
    """Read the answers about one image in any of the released forms.

    Understood are a dict, its literal or its JSON: `{name: value}`, `{name: {rating, reasoning}}`,
    `{rater: {name: value}}`, a list of these, `{emotions: {...}, extra_dimensions: {...}}`, and lists of
    `{annotator, annotations}`. Names may be display names, slugs, aliases or `Family|Emotion`. Extra dimensions that
    the taxonomy does not have are left out.

    Args:
        value: as stored.
        taxonomy: columns.
        where: file and sample, for errors.

    Returns:
        `binary` where all answers are yes or no; `rated` where raters are named; else `dense`.

    Raises:
        DataError: unreadable, an unknown emotion, a value that is no number, or two different answers of one rater.
    """
    raters: dict[str, dict[str, float]] = {}
    yes_no: set[bool] = set()
    found = _load(value, where)
    try:
        by_rater = _by_rater(found, where)
    except (TypeError, ValueError, AttributeError) as error:  # something else where a dict or a name should be
        raise DataError(f"{where}: annotations of an unknown form: '{_ends(str(found))}'") from error
    for rater, answers in by_rater:
        given = raters.setdefault(rater, {})
        for name, answer in answers.items():
            column = find_dimension(str(name), taxonomy, where)
            number = _number(answer, f"{where}: '{name}'")
            if column is None or number is None:
                continue
            slug = taxonomy.slugs[column]
            yes_no.add(isinstance(number, bool))
            if given.setdefault(slug, float(number)) != float(number):
                raise DataError(f"{where}: rater '{rater}' answered '{name}' twice and differently; keep one answer")
    if len(yes_no) > 1:
        raise DataError(f"{where}: mixes yes or no with ratings; give one kind per set")
    if yes_no == {True}:
        return Answers("binary", raters)
    return Answers("dense" if set(raters) <= {GENERATED} else "rated", raters)


def check_kind(answers: Answers, kind: Kind, where: str) -> None:
    """Refuse yes or no in a set of ratings, and the reverse.

    Raises:
        DataError: names the sample and the option.
    """
    if answers.ratings and (answers.kind == "binary") != (kind == "binary"):
        raise DataError(f"{where}: answers of kind '{answers.kind}' in a set of kind '{kind}'; name it with --kind")


class Answered(NamedTuple):
    """Answers of one rater about one image, as arrays."""

    rater: str
    columns: NDArray[np.int64]
    """Columns of the taxonomy [n], each once."""
    values: NDArray[np.float64]
    """[n]."""
    yes_no: bool


class AnswerReader:
    """Reads the answers about many images: `parse_answers`, quick where rows name the same emotions."""

    def __init__(self, taxonomy: Taxonomy) -> None:
        self._taxonomy = taxonomy
        self._columns = {slug: column for column, slug in enumerate(taxonomy.slugs)}
        self._known: dict[tuple[str, ...], NDArray[np.int64]] = {}

    def read(self, value: Any, where: str) -> Iterator[Answered]:
        """Yield the answers of each rater (`GENERATED` where none is named); arguments as for `parse_answers`."""
        if isinstance(value, str) and (flat := flat_numbers(value)):
            names = tuple(flat)
            if (columns := self._known.get(names)) is None:
                found = [find_dimension(name, self._taxonomy, where) for name in names]
                columns = self._known[names] = np.array([-1 if column is None else column for column in found])
            values, kept = np.fromiter(flat.values(), dtype=np.float64, count=len(flat)), columns >= 0
            if len(set(columns[kept].tolist())) == kept.sum():
                yield Answered(GENERATED, columns[kept], values[kept], False)
                return
        answers = parse_answers(value, self._taxonomy, where)
        for rater, given in answers.ratings.items():
            columns = np.array([self._columns[slug] for slug in given], dtype=np.int64)
            yield Answered(rater, columns, np.array(list(given.values()), dtype=np.float64), answers.kind == "binary")


def flat_numbers(text: str) -> dict[str, float] | None:
    """Read the common literal `{'name': number, ...}` as JSON, with the other quotes, 6 times as fast as `ast` does.

    Returns:
        What `ast.literal_eval` returns, or None for anything that is not such a literal.
    """
    if "\\" in text or len(text) > _MAX_LITERAL:
        return None
    try:
        found = json.loads(text if '"' in text else text.replace("'", '"'), object_pairs_hook=_Pairs)
    except (ValueError, RecursionError):
        return None
    if type(found) is not _Pairs:
        return None
    flat = dict(found.pairs)
    if len(flat) != len(found.pairs) or not {int, float}.issuperset(map(type, flat.values())):
        return None
    return flat if all(map(is_finite, flat.values())) else None


def is_finite(number: float) -> bool:
    """Whether a number is finite as a float."""
    try:
        return math.isfinite(number)
    except OverflowError:  # a whole number of more than 308 digits
        return False


class _Pairs:
    """An object's names and values, also of names that stand in it twice."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        self.pairs = pairs


def _load(value: Any, where: str) -> Any:
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    if not isinstance(value, str):
        return value
    if len(value) > _MAX_LITERAL:
        raise DataError(f"{where}: annotations of {len(value)} characters; at most {_MAX_LITERAL} are read")

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        _refuse_twice((name for name, _ in pairs), where)
        return dict(pairs)

    try:
        return json.loads(value, object_pairs_hook=once)
    except (ValueError, RecursionError):
        pass
    try:
        tree = ast.parse(value.strip(), mode="eval")
        found = ast.literal_eval(tree)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise DataError(f"{where}: annotations are neither JSON nor a Python literal: '{_ends(value)}'") from error
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            _refuse_twice((key.value for key in node.keys if isinstance(key, ast.Constant)), where)
    return found


def _refuse_twice(names: Iterable[Any], where: str) -> None:
    seen = set()
    for name in names:
        if name in seen:
            raise DataError(f"{where}: '{name}' is answered twice; keep one answer")
        seen.add(name)


def _ends(text: str) -> str:
    """Start and end of a text on one line: damage is often at the end."""
    line = " ".join(text.split())
    return line if len(line) <= 90 else f"{line[:50]} ... {line[-30:]}"


def _by_rater(value: Any, where: str) -> list[tuple[str, dict[Any, Any]]]:
    if isinstance(value, list) and value and all(isinstance(item, tuple) and len(item) == 2 for item in value):
        value = dict(value)  # how Arrow returns a map
    if isinstance(value, dict):
        return _from_dict(value)
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise DataError(f"{where}: annotations must be a dict or a list of dicts, not {type(value).__name__}")
    result = []
    for number, item in enumerate(value, 1):
        rater = next((str(item[key]) for key in _RATER_KEYS if item.get(key) is not None), None)
        answers = next((item[key] for key in _ANSWER_KEYS if key in item), None)
        score = next((item[key] for key in _VALUE_KEYS if key in item), None)
        if rater is not None and answers is not None:
            result.append((rater, dict(answers)))
        elif "emotion" in item and score is not None:
            result.append((rater or GENERATED, {item["emotion"]: score}))
        else:
            found = _from_dict(item)
            result += [(f"rater-{number}" if rater == GENERATED else rater, answers) for rater, answers in found]
    return result


def _from_dict(value: dict[Any, Any]) -> list[tuple[str, dict[Any, Any]]]:
    value = {name: answer for name, answer in value.items() if answer is not None}
    if isinstance(value.get("emotions"), dict):
        extras = value.get("extra_dimensions") or {}
        return [(GENERATED, {**value["emotions"], **{f"Extra Dimensions|{name}": v for name, v in extras.items()}})]
    nested = [isinstance(answer, dict) and not any(key in answer for key in _VALUE_KEYS) for answer in value.values()]
    if value and all(nested):
        return [(str(rater), dict(answers)) for rater, answers in value.items()]
    return [(GENERATED, value)]


def _number(answer: Any, where: str) -> float | bool | None:
    if isinstance(answer, dict):
        if not any(key in answer for key in _VALUE_KEYS):
            raise DataError(f"{where}: no rating in '{_ends(str(answer))}'; name it '{_VALUE_KEYS[0]}'")
        answer = next(answer[key] for key in _VALUE_KEYS if key in answer)
    if isinstance(answer, str):
        answer = parse_value(answer, where)
    if answer is None or isinstance(answer, bool):
        return answer
    if not isinstance(answer, int | float) or not is_finite(answer):
        raise DataError(f"{where}: {_ends(repr(answer))} is not a finite number; correct it or leave the emotion out")
    return float(answer)
