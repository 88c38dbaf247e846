"""Ratings of people from a file: on the levels, each once, and in the order in which they stand there."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from emonet_lightning.errors import DataError, UsageError
from emonet_lightning.ratings.cells import Cells
from emonet_lightning.taxonomy import Taxonomy

Untouched = Literal["zero", "missing"]


class _Given(NamedTuple):
    """What people answered: n answers in m sheets."""

    sheet_row: NDArray[np.int64]
    """Row of the table [m]."""
    pair: NDArray[np.int64]
    """Image times number of raters, plus rater [m]."""
    sheet: NDArray[np.int64]
    """Index into the sheets [n]."""
    rater: NDArray[np.int64]
    """Index into `Cells.raters` [n]."""
    column: NDArray[np.int64]
    value: NDArray[np.float64]


def people_of(
    cells: Cells,
    people: Sequence[int],
    place: NDArray[np.int64],
    num_images: int,
    taxonomy: Taxonomy,
    factors: NDArray[np.float64],
    untouched: Untouched | None,
) -> tuple[NDArray[np.float64], NDArray[np.int64], list[str]]:
    """Return what people answered.

    Args:
        cells: of the file.
        people: indices into `cells.raters`.
        place: of each of the file's images among the panel's [len(cells.images)].
        num_images: N.
        taxonomy: K columns.
        factors: of each of `cells.raters`, multiplies the values.
        untouched: see `read_panel`.

    Returns:
        Values [N, R, K], the rater's place among those of the image [N, R], and notes on what was normalised.

    Raises:
        DataError: a rating outside the levels, two different answers of one rater, or ratings on 0..1 only.
        UsageError: `untouched` is zero where 0 is no level.
    """
    rater_of = np.full(len(cells.raters), -1, dtype=np.int64)
    rater_of[list(people)] = np.arange(len(people))
    is_theirs = rater_of[cells.sheet_rater] >= 0
    sheets, answers = np.flatnonzero(is_theirs), np.flatnonzero(is_theirs[cells.sheet])
    rater = cells.sheet_rater[cells.sheet[answers]]
    given = _Given(
        sheet_row=cells.sheet_row[sheets],
        pair=place[cells.image[cells.sheet_row[sheets]]] * len(people) + rater_of[cells.sheet_rater[sheets]],
        sheet=np.searchsorted(sheets, cells.sheet[answers]),
        rater=rater,
        column=cells.column[answers],
        value=cells.value[answers] * factors[rater],
    )
    notes = [
        f"ratings of '{cells.raters[rater]}' are multiplied by {factors[rater]:g}, as asked for"
        for rater in people
        if factors[rater] != 1
    ]
    notes += _check_levels(cells, given, factors, taxonomy) + _check_repeats(cells, given, taxonomy)
    values = np.full((num_images * len(people), len(taxonomy)), np.nan)
    values[given.pair[given.sheet], given.column] = given.value
    present, first = np.unique(given.pair, return_index=True)
    if _is_zero(untouched, cells, taxonomy):
        emotions = values[present, : taxonomy.num_emotions]
        values[present, : taxonomy.num_emotions] = np.nan_to_num(emotions, nan=0.0)
        if filled := int(np.isnan(emotions).sum()):
            notes.append(f"{filled} ratings of emotions that a rater left untouched count as 0")
    order = np.full(len(values), -1, dtype=np.int64)
    by_image = np.lexsort((first, present // len(people)))
    image = present[by_image] // len(people)
    order[present[by_image]] = np.arange(len(image)) - np.searchsorted(image, image)
    shape = (num_images, len(people))
    return values.reshape(*shape, len(taxonomy)), order.reshape(shape), notes


def _is_zero(untouched: Untouched | None, cells: Cells, taxonomy: Taxonomy) -> bool:
    low = taxonomy.dimensions[0].low
    if untouched == "zero" and low != 0:
        raise UsageError(
            f"{cells.table.path}: --untouched zero, but the levels of '{taxonomy.name}' begin at {low:g}; "
            "set --untouched missing"
        )
    return untouched == "zero" or (untouched is None and cells.layout == "annotations" and low == 0)


def _check_levels(cells: Cells, given: _Given, factors: NDArray[np.float64], taxonomy: Taxonomy) -> list[str]:
    """Refuse ratings outside the levels, and a rater who answers on 0..1; count ratings between two levels."""
    low = np.array([dimension.low for dimension in taxonomy.dimensions])
    high = np.array([dimension.high for dimension in taxonomy.dimensions])
    outside = np.flatnonzero((given.value < low[given.column]) | (given.value > high[given.column]))
    if len(outside):
        bad = outside[0]
        dimension = taxonomy.dimensions[given.column[bad]]
        raise DataError(
            f"{_where(cells, given, bad)}: rating {given.value[bad]:.10g} of '{cells.raters[given.rater[bad]]}' on "
            f"'{dimension.name}' is outside {dimension.low:g}..{dimension.high:g}; correct it"
        )
    is_between = given.value != np.rint(given.value)
    scale = taxonomy.dimensions[0]
    if scale.low <= 0 and scale.high > 1:
        is_emotion = given.column < taxonomy.num_emotions
        for rater in np.unique(given.rater[is_between]):
            mine = is_emotion & (given.rater == rater)
            if factors[rater] == 1 and given.value[mine].max(initial=0) <= 1 and is_between[mine].any():
                who = cells.raters[rater]
                raise DataError(
                    f"{cells.table.path}: all ratings of '{who}' lie within 0..1, the scale is {scale.low:g}.."
                    f"{scale.high:g}; stretch them with --rescale '{{\"{who}\": {scale.high:g}}}'"
                )
    count = int(is_between.sum())
    return [f"{count} ratings lie between two levels"] if count else []


def _check_repeats(cells: Cells, given: _Given, taxonomy: Taxonomy) -> list[str]:
    """Refuse a rater who answered twice and differently; count answers that are only repeated."""
    cell = given.pair[given.sheet] * len(taxonomy) + given.column
    unique, first, group = np.unique(cell, return_index=True, return_inverse=True)
    differs = np.flatnonzero(given.value != given.value[first][group])
    if len(differs):
        bad, other = differs[0], first[group[differs[0]]]
        raise DataError(
            f"{_where(cells, given, bad)}: '{cells.raters[given.rater[bad]]}' rated "
            f"'{taxonomy.names[given.column[bad]]}' of image '{_image(cells, given, given.sheet[bad])}' twice and "
            f"differently ({given.value[bad]:g}, and {given.value[other]:g} in {cells.table.unit} "
            f"{cells.table.lines[given.sheet_row[given.sheet[other]]]}); keep one"
        )
    if cells.layout == "long":
        repeats = len(cell) - len(unique)
        return [f"{repeats} ratings that repeat the rater's own are counted once"] if repeats else []
    size = np.bincount(unique // len(taxonomy), minlength=int(given.pair.max(initial=0)) + 1)
    smaller = np.flatnonzero(np.bincount(given.sheet, minlength=len(given.pair)) < size[given.pair])
    if len(smaller):
        sheet = smaller[0]
        other = next(s for s in np.flatnonzero(given.pair == given.pair[sheet]) if s != sheet)
        raise DataError(
            f"{cells.table.where(int(given.sheet_row[max(sheet, other)]))}: image '{_image(cells, given, sheet)}' is "
            f"rated twice by one rater, on other emotions in {cells.table.unit} "
            f"{cells.table.lines[given.sheet_row[min(sheet, other)]]}; keep one row"
        )
    repeats = len(given.pair) - len(np.unique(given.pair))
    return [f"{repeats} rows that repeat the rater's own are counted once"] if repeats else []


def _where(cells: Cells, given: _Given, answer: int) -> str:
    return cells.table.where(int(given.sheet_row[given.sheet[answer]]))


def _image(cells: Cells, given: _Given, sheet: int) -> str:
    return cells.images[cells.image[given.sheet_row[sheet]]]
