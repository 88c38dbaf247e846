"""Data modules: which rows, labels and sets a run gets."""

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint
from small_runs import Log, fit, heads_of

from emonet_lightning.data.datamodules import CombinedFaces, ExpertBinary, ExpertRatings, Part, SyntheticFaces
from emonet_lightning.errors import DataError, UsageError


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


def test_a_set_of_a_combination_may_be_there_to_validate_only(small_sets, spec):
    parts = [Part(str(small_sets["big"])), Part(str(small_sets["binary"]), train_share=0)]
    data = CombinedFaces(parts, encoder=spec, batch_size=50)
    data.open("fit")
    assert len(data.rows["train"]) == 120
    assert len(data.rows["val"]) == 30
    assert data.rows["val"].min() >= 160
    alone = CombinedFaces([Part(str(small_sets["big"]), train_share=0)], encoder=spec)
    with pytest.raises(DataError, match="no rows in split 'train'"):
        alone.open("fit")


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


def test_one_training_row_has_no_deviation_to_standardise_by(model, big):
    with pytest.raises(UsageError, match=r"needs two training rows, there is one; set model\.standardise: false"):
        fit(model(), big(train_share=0.001))


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


def seen_batches(module, data, epochs=1, **options):
    """Batches of a run by call."""

    class Watch(Callback):
        def __init__(self):
            self.calls = []

        def on_train_batch_start(self, trainer, module, batches, batch_idx):
            self.calls.append(batches)

    watch = Watch()
    fit(module, data, epochs, [watch], **options)
    return watch.calls


def test_few_labels_are_computed_as_pairs_and_train_the_heads_that_whole_rows_train(
    model, small_sets, spec, monkeypatch, capsys
):
    def run():
        data = ExpertBinary(str(small_sets["binary"]), encoder=spec, batch_size=30)
        module = model()
        fit(module, data, 2)
        return heads_of(module)

    sparse = run()
    assert "3 an epoch of 30 rows, of which only labelled pairs are computed" in capsys.readouterr().err
    monkeypatch.setattr("emonet_lightning.data.loading.SPARSE", 0)
    full = run()
    assert "3 an epoch of 30 rows\n" in capsys.readouterr().err
    for name, value in full.items():  # where a gradient is next to nothing, Adam's first steps are its sign's
        torch.testing.assert_close(sparse[name], value, rtol=1e-4, atol=5e-6)


def test_balanced_sampling_draws_pairs_and_the_plan_says_so(model, small_sets, spec, capsys):
    data = ExpertBinary(str(small_sets["binary"]), encoder=spec, batch_size=80, sampling="balanced")
    calls = seen_batches(model(), data, 2)
    count = data.train_labels().mask.sum(0)
    assert len(calls) == 2 * data.num_steps == 2 * -(-int(count.sum()) // 80)
    for (batch,) in calls:
        assert batch.num_labels.tolist() == np.minimum(count, 2).tolist()
    assert f"an epoch of {np.minimum(count, 2).sum()} pairs, balanced: 2 a head" in capsys.readouterr().err


def test_a_call_of_several_steps_counts_steps_and_has_the_batches_of_one_by_one(model, big, capsys):
    one = [batch for call in seen_batches(model(), big(batch_size=20), 2, limit_train_batches=3) for batch in call]
    calls = seen_batches(model(steps_per_call=2), big(batch_size=20), 2, limit_train_batches=3)
    assert [len(call) for call in calls] == [2, 1, 2, 1]
    assert "; 2 steps a call" in capsys.readouterr().err
    for batch, other in zip(one, (batch for call in calls for batch in call), strict=True):
        assert torch.equal(batch.key, other.key)
        assert torch.equal(batch.inputs, other.inputs)


def test_a_mapped_run_is_that_in_memory_and_keeps_its_order_when_it_goes_on_in_memory(model, big, monkeypatch, capsys):
    monkeypatch.setattr("emonet_lightning.data.feeding.BLOCK_ROWS", 7)
    monkeypatch.setattr("emonet_lightning.data.sampling.WINDOW_BLOCKS", 3)
    mapped = big(features_on="mapped")
    calls = seen_batches(model(), mapped)
    assert mapped.features is None
    out = capsys.readouterr().err
    assert "memory-mapped" in out
    assert "shuffled within windows of" in out
    plain = big()
    assert [batch.key.tolist() for (batch,) in seen_batches(model(), plain)] != [b.key.tolist() for (b,) in calls]
    assert "0.1 MB in memory" in capsys.readouterr().err
    assert plain.state_dict() == {"by_blocks": False, "left_out": []}
    later = big()
    later.setup("fit")
    later.load_state_dict(mapped.state_dict())
    for (batch,), (other,) in zip(calls, later.train_dataloader(), strict=True):
        assert torch.equal(batch.key, other.key)
        assert torch.equal(batch.inputs, other.inputs)
    for one, other in zip(mapped.feature_statistics(True), plain.feature_statistics(True), strict=True):
        assert torch.equal(one, other)


def test_heads_left_out_leave_the_pairs_of_a_run(small_sets, spec):
    data = ExpertBinary(str(small_sets["binary"]), encoder=spec, batch_size=30)
    data.setup("fit")
    loader = data.train_dataloader()
    data.leave_out(range(20))
    assert all((batch.head >= 20).all() and len(batch.head) for (batch,) in loader)


def test_a_run_stopped_within_an_epoch_goes_on_with_the_next_batch(model, small_sets, spec, tmp_path):
    def data():
        return ExpertBinary(str(small_sets["binary"]), encoder=spec, batch_size=20)

    def keys(calls):
        return [batch.key.tolist() for call in calls for batch in call]

    whole = keys(seen_batches(model(), data(), 2))
    fit(model(), data(), 1, [ModelCheckpoint(tmp_path, every_n_train_steps=3, filename="within")])
    assert len(whole) == 2 * 5
    later = seen_batches(model(), data(), 2, ckpt_path=tmp_path / "within.ckpt")
    assert keys(later) == whole[3:]
