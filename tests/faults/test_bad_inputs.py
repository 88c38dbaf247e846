"""Bad inputs of every kind: refused in one line that names them, or taken with a warning or a count."""

import re

import bad_annotations
import bad_caches
import bad_checkpoints
import bad_configs
import bad_images
import bad_machines
import bad_packed_sets
import bad_shards
import pytest
from bad_inputs import NOT_HERE, ROWS, Place
from campaign import run_campaign

PARTS = (
    bad_shards, bad_packed_sets, bad_images, bad_annotations, bad_configs, bad_checkpoints, bad_caches, bad_machines,
)  # fmt: skip
"""Each enters its rows."""


def number(name):
    """Of a row in the catalogue."""
    return int(re.match(r"row-(\d+) ", name)[1])


def chosen(full):
    """Every row, or the first quick one of every other number."""
    if full:
        return sorted(ROWS)
    quick = [name for name in sorted(ROWS) if ROWS[name].quick]
    return list({number(name): name for name in reversed(quick)}.values())[::-2]


@pytest.fixture
def place_of(tmp_path, small_sets, encoder_options):
    def make(index):
        folder = tmp_path / str(index)
        folder.mkdir()
        return Place(folder, small_sets, encoder_options)

    return make


def test_bad_inputs_are_refused_in_one_line_or_taken_with_a_word(place_of, full):
    names = chosen(full)
    indices = {name: index for index, name in enumerate(names)}

    def trial(name):
        wrong = ROWS[name].do(place_of(indices[name]))
        return {"ok": wrong is None, "wrong": wrong}

    tally = run_campaign("bad_inputs", names, trial, full=full)
    assert tally.failed == []


def test_every_number_of_the_catalogue_has_a_row_or_a_reason_why_not():
    assert {number(name) for name in ROWS} | set(NOT_HERE) == set(range(1, 146))
