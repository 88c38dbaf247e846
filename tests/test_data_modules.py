"""Data modules: which rows, labels and sets a run gets."""

import numpy as np
import pytest
from small_runs import Log, fit

from emonet_lightning.data.datamodules import CombinedFaces, ExpertBinary, ExpertRatings, Part, SyntheticFaces
from emonet_lightning.errors import DataError


def test_parts_of_a_combination_keep_their_own_rules(model, small_sets, spec):
    parts = [Part(str(small_sets["big"])), Part(str(small_sets["binary"]), consensus="mean", yes_value=5.0)]
    data = CombinedFaces(parts, encoder=spec, batch_size=50)
    log = Log()
    fit(model(), data, 1, [log])
    labels = data.train_labels()
    assert len(labels.target) == 120 + 90
    assert labels.mask[:120].all()
    assert set(labels.mask[120:].sum(1).tolist()) == {2}
    assert labels.target[120:].max() == 5
    assert data.score_metric == "average_precision"
    assert set(data.rows["val"].tolist()) <= set(range(160, 280))
    assert data.features.shape[1] == 280
    assert "val/score" in log.lines[0]


def test_folds_are_the_same_for_every_seed_and_a_person_is_in_one(small_sets, spec):
    def rows(seed, fold, cls=SyntheticFaces):
        data = cls(str(small_sets["big"]), encoder=spec, seed=seed, num_folds=4, fold=fold, val_share=0.25)
        data.setup("fit")
        return data

    tested = []
    for fold in range(4):
        data = rows(0, fold)
        groups = np.array(data.sets[0].groups)
        found = [set(groups[data.rows[name]].tolist()) for name in ("train", "val", "test")]
        assert not found[0] & found[1]
        assert not found[0] & found[2]
        assert not found[1] & found[2]
        assert sum(len(data.rows[name]) for name in ("train", "val", "test")) == 160
        tested += data.rows["test"].tolist()
        other = rows(9, fold)
        for name in ("train", "val", "test"):
            np.testing.assert_array_equal(data.rows[name], other.rows[name])
    assert sorted(tested) == list(range(160))


def test_a_batch_larger_than_the_set_is_reduced_with_a_warning(model, big):
    data = big(batch_size=1000)
    with pytest.warns(UserWarning, match="1000 is more than the 120 training rows; reduced to 120"):
        run = fit(model(), data)
    assert run.global_step == 1


def test_a_sealed_set_and_a_set_of_another_kind_are_refused_before_anything_is_encoded(
    model, small_sets, spec, tmp_path, monkeypatch
):
    def build(cls, name):
        return cls(str(small_sets[name]), encoder=spec, cache_dir=str(tmp_path))

    with pytest.raises(DataError, match="this set is sealed, for testing only"):
        fit(model(), build(ExpertRatings, "hq"))
    with pytest.raises(DataError, match=r"kind 'binary', SyntheticFaces reads 'dense'; .*class_path: ExpertBinary"):
        fit(model(), build(SyntheticFaces, "binary"))
    with pytest.raises(DataError, match=r"kind 'dense', ExpertBinary reads 'binary'; .*class_path: SyntheticFaces"):
        fit(model(), build(ExpertBinary, "big"))
    assert not list(tmp_path.iterdir())


def test_every_rater_of_a_test_set_is_kept_apart(small_sets, spec):
    data = ExpertRatings(str(small_sets["hq"]), encoder=spec)
    data.setup("test")
    found = data.test_data()
    assert found.ratings.shape == (150, 8, 40)
    assert (~np.isnan(found.ratings).any(2)).sum(1).tolist() == [4] * 150
    np.testing.assert_allclose(found.truth, np.nanmean(found.ratings, axis=1))
    assert found.num_filled == np.count_nonzero(~np.isnan(found.ratings)) - len(data.sets[0].ratings().value)
