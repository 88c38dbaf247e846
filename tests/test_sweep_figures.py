"""What the figures of a sweep show."""

import pytest
from sweep_files import write_sweep

from emonet_lightning.sweeping.figures import importance
from emonet_lightning.sweeping.proposals import propose
from emonet_lightning.sweeping.record import FINISHED, Trial
from emonet_lightning.sweeping.sweep_file import SweepFile


@pytest.mark.parametrize("one_at_a_time", [True, False])
def test_importance_is_the_variance_that_a_parameter_explains(tmp_path, one_at_a_time):
    """Planted: `much` moves the score by 0.4, `little` by 0.1, `nothing` only by chance."""
    levels = {"much": [3, 1, 2], "little": ["a", "b"], "nothing": [True, False], "seed_everything": [0, 1, 2]}
    path = write_sweep(tmp_path / "s.yaml", [], {name: {"values": found} for name, found in levels.items()}, "grid")
    sweep = SweepFile.read(path)
    sweep = sweep.changing_one() if one_at_a_time else sweep
    trials = []
    for number in range(sweep.grid_size()):
        point, positions = propose(sweep, 0, number, [])
        score = -0.2 * point["much"] - 0.1 * (point["little"] == "b") + 0.01 * point["seed_everything"]
        trials.append(Trial(number, point, positions, FINISHED, score, 0))
    axes = importance(sweep, trials).axes[0]
    names = [label.get_text() for label in axes.get_yticklabels()]
    shares = dict(zip(names, [bar.get_width() for bar in axes.patches], strict=True))
    assert names[-2:] == ["little", "much"]
    assert shares["much"] > 2 * shares["little"] > 0
    assert shares["nothing"] < 0.05
    assert sum(shares.values()) == pytest.approx(1)
