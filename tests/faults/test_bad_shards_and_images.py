"""Bad shards and images: rows 1 to 44 of bad inputs, refused in one line that names them or taken as declared."""

import bad_images
import bad_packed_sets
import bad_shards
import pytest
from bad_inputs import ROWS, Place
from campaign import run_campaign

PARTS = (bad_shards, bad_packed_sets, bad_images)
"""Each enters its rows."""


@pytest.fixture
def place_of(tmp_path, small_sets, encoder_options):
    def make(number):
        folder = tmp_path / str(number)
        folder.mkdir()
        return Place(folder, small_sets, encoder_options)

    return make


def test_bad_shards_and_images_are_refused_in_one_line_or_taken_as_declared(place_of, full):
    own = {part.__name__ for part in PARTS}
    names = [name for name, found in ROWS.items() if found.do.__module__ in own and (full or found.quick)]
    numbers = {name: number for number, name in enumerate(names)}

    def trial(name):
        wrong = ROWS[name].do(place_of(numbers[name]))
        return {"ok": wrong is None, "wrong": wrong}

    tally = run_campaign("bad_shards_and_images", names, trial, full=full)
    assert tally.failed == []
