"""Bad inputs 44 to 145: refused in one line that names them, or taken with a warning or a count."""

import bad_annotations
import bad_caches
import bad_checkpoints
import bad_configs
import bad_machines
import pytest
from bad_inputs import ROWS, Place
from campaign import run_campaign

PARTS = (bad_annotations, bad_configs, bad_checkpoints, bad_caches, bad_machines)
"""Each enters its rows."""


@pytest.fixture
def place_of(tmp_path, small_sets, encoder_options):
    def make(number):
        folder = tmp_path / str(number)
        folder.mkdir()
        return Place(folder, small_sets, encoder_options)

    return make


def test_bad_inputs_are_refused_in_one_line_or_taken_with_a_word(place_of, full):
    names = [name for name, found in ROWS.items() if full or found.quick]
    numbers = {name: number for number, name in enumerate(names)}

    def trial(name):
        wrong = ROWS[name].do(place_of(numbers[name]))
        return {"ok": wrong is None, "wrong": wrong}

    tally = run_campaign("bad_inputs", names, trial, full=full)
    assert tally.failed == []
