"""How steps are taken: many in one call, each head by its own options, finished heads out of the stack."""

import json

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from small_runs import FORTY, Log, fit, heads_of, newest, same, trainer

from emonet_lightning.batch import PairBatch
from emonet_lightning.callbacks import BestHeads, RunLogger
from emonet_lightning.cli import main
from emonet_lightning.errors import UsageError
from emonet_lightning.objective import HeadOptions, Remaining
from emonet_lightning.parallel import step_cost
from emonet_lightning.sample_ledger import SampleLedger
from emonet_lightning.saving import IntervalCheckpoint
from emonet_lightning.schedule import bounded_steps


class Calls(Callback):
    """How many steps each call took, and the count that the Trainer shows after it."""

    def __init__(self):
        self.sizes, self.counted, self.rates = [], [], []

    def on_train_batch_end(self, trainer, module, outputs, batches, batch_idx):
        self.sizes.append(len(batches))
        self.counted.append(trainer.global_step)
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])


@pytest.mark.parametrize("limits", [{}, {"max_steps": 11}, {"limit_train_batches": 4}])
def test_any_number_of_steps_a_call_trains_to_the_same_bits(model, big, limits, tmp_path):
    runs = {}
    for steps in (1, 3, 64):
        log, calls = Log(), Calls()
        module = model(dropout=0.5, steps_per_call=steps)
        run = fit(module, big(batch_size=17), 2, [log, calls], logger=RunLogger(tmp_path / str(steps)), **limits)
        assert run.global_step == calls.counted[-1]
        runs[steps] = (heads_of(module), log.lines, run.global_step, calls.rates[-1])
        assert max(calls.sizes) == min(steps, limits.get("limit_train_batches", 8))
    expected = {"max_steps": 11, "limit_train_batches": 8}.get(*limits, 16) if limits else 16
    for steps in (3, 64):
        assert same(runs[1][0], runs[steps][0])
        assert runs[1][1:] == runs[steps][1:]
        written = [(tmp_path / name / "metrics.jsonl").read_bytes() for name in ("1", str(steps))]
        assert written[0] == written[1]
    assert runs[1][2] == expected


@pytest.mark.parametrize(
    ("option", "value"), [("val_check_interval", 2), ("log_every_n_steps", 7), ("limit_train_batches", 0.5)]
)
def test_trainer_options_that_count_calls_are_refused_by_name(
    model, big, option, value, small_sets, encoder_options, capsys
):
    with pytest.raises(UsageError, match=f"trainer.{option}: {value} .*model.steps_per_call: 1"):
        fit(model(steps_per_call=4), big(), **{option: value})
    words = ["fit", "--data=SyntheticFaces", f"--data.path={small_sets['big']}", *encoder_options]
    assert main([*words, "--model.steps_per_call=4", f"--trainer.{option}={value}"]) == 2
    assert f"error: trainer.{option}: {value}" in capsys.readouterr().err


def test_a_call_is_cut_to_a_second():
    assert bounded_steps(64, 1e-4) == 64
    assert bounded_steps(64, 0.1) == 10
    assert bounded_steps(64, 3.0) == 1


def test_an_emotion_has_its_own_rate_decay_or_none_at_all(model, big):
    slugs, names = FORTY.slugs, FORTY.names
    own = {
        names[0]: HeadOptions(frozen=True),
        slugs[1]: HeadOptions(lr=1e-5),
        slugs[2]: HeadOptions(weight_decay=0.9),
        slugs[3]: HeadOptions(lr=3e-2, weight_decay=0.3),
    }
    module, plain = model(per_emotion=own), model()
    slow, decayed, both = model(lr=1e-5), model(weight_decay=0.9), model(lr=3e-2, weight_decay=0.3)
    start = heads_of(module)
    for each in (module, plain, slow, decayed, both):
        fit(each, big(), 2)
    for name, value in heads_of(module).items():
        assert torch.equal(value[0], start[name][0])
        # a head trains as in a run where all heads have its options
        for head, same_options in ((1, slow), (2, decayed), (3, both)):
            assert torch.allclose(value[head], heads_of(same_options)[name][head], rtol=1e-4, atol=1e-6), (name, head)
        assert torch.equal(value[4:], heads_of(plain)[name][4:])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"Angr": HeadOptions(lr=1e-3)}, "unknown emotion 'Angr'.*Anger"),
        ({"Anger": HeadOptions(lr=-1.0)}, "model.per_emotion.Anger.lr: -1.0 must be"),
        ({"Anger": HeadOptions(), "anger": HeadOptions()}, "named twice"),
    ],
)
def test_wrong_options_of_an_emotion_are_refused_by_name(model, options, message):
    with pytest.raises(UsageError, match=message):
        model(per_emotion=options)


class Finish(Callback):
    """Some heads finish after the first epoch."""

    def __init__(self, heads):
        self.heads = heads

    def on_validation_end(self, trainer, module):
        if trainer.current_epoch == 0 and not trainer.sanity_checking:
            module.finish(self.heads)


@pytest.mark.parametrize("sparse", [False, True])
def test_finished_heads_leave_the_stack_and_the_others_train_on_to_the_same_weights(model, big, binary, sparse):
    done, still = list(range(0, 40, 2)), list(range(1, 40, 2))
    options = {"loss": "coral", "imbalance": "balanced"}
    data = binary if sparse else big
    whole, first, shrunk = model(**options), model(**options), model(**options)
    fit(whole, data(), 4)
    fit(first, data(), 4, [Finish([])], limit_train_batches=None)
    after_one = []

    class Keep(Finish):
        def on_validation_end(self, trainer, module):
            if trainer.current_epoch == 0:
                after_one.append(heads_of(module))
            super().on_validation_end(trainer, module)

    run = fit(shrunk, data(), 4, [Keep(done)])
    assert len(run.optimizers[0].param_groups[0]["params"][0]) == len(still)
    for name, value in heads_of(shrunk).items():
        assert torch.equal(value[done], after_one[0][name][done]), name
        assert torch.allclose(value[still], heads_of(whole)[name][still], rtol=1e-4, atol=1e-6), name


def test_pairs_that_a_worker_made_before_their_head_finished_are_left_out(model):
    head, num_labels = torch.tensor([0, 0, 1, 3, 3, 3]), torch.tensor([2.0, 1, 0, 3, *[0] * 36])
    offs = num_labels.cumsum(0).int()
    inputs, target = torch.randn(6, 256), torch.rand(6)
    batch = PairBatch(inputs, target, head, offs, torch.arange(6), num_labels, 6, (2, *range(4, 40)))
    module = model()
    few = Remaining.of(module.heads, module.objective, [0, *range(2, 40)])
    narrow = few.kept.narrow(batch)
    expected = module.objective(module.heads, inputs, batch)[few.kept.columns]
    assert torch.allclose(few.objective(few.heads, narrow.inputs, narrow), expected, atol=1e-6)
    assert narrow.idle == (1, *range(3, 39))


def test_a_run_with_finished_heads_goes_on_from_its_checkpoint(model, big, tmp_path):
    class Stop(Callback):
        def on_train_epoch_start(self, trainer, module):
            if trainer.current_epoch == 2:
                raise RuntimeError("power cut")

    def run(name, *callbacks, ckpt_path=None):
        checkpoint = IntervalCheckpoint(tmp_path / name, 0)
        module = model()
        fit(module, big(), 4, [Finish(list(range(30))), checkpoint, *callbacks], ckpt_path=ckpt_path)
        return heads_of(module)

    whole = run("whole")
    with pytest.raises(RuntimeError, match="power cut"):
        run("stopped", Stop())
    assert same(run("stopped", ckpt_path=newest(tmp_path / "stopped")), whole)
    alone = type(model()).load_from_checkpoint(newest(tmp_path / "stopped"), weights_only=True)  # no Trainer
    assert same(heads_of(alone), whole)
    assert alone.finished == list(range(30))


def test_patience_ends_a_head_and_with_the_last_one_the_run(model, big, tmp_path):
    best = BestHeads(patience=2)
    best.folder = tmp_path
    module = model(lr=1e-9)  # nothing gets better
    run = fit(module, big(), 50, [best])
    assert run.current_epoch <= 6
    assert module.finished == list(range(40))
    assert (tmp_path / "manifest.json").is_file()
    with pytest.raises(UsageError, match=r"best_heads\.patience: -1"):
        BestHeads(patience=-1)


@pytest.mark.parametrize("options", [{}, {"val_check_interval": 2}], ids=str)
def test_workers_leave_out_the_pairs_of_finished_heads(model, big, capsys, options):
    runs = []
    for workers in (0, 2):
        module = model(standardise=False)
        data = big(mode="images", sampling="balanced", batch_size=400, num_workers=workers)
        fit(module, data, 2, [Finish(range(30)), SampleLedger()], limit_train_batches=4, **options)
        runs.append(heads_of(module))
        assert "epoch 1: 400 samples expected = 400 used + 0 skipped" in capsys.readouterr().err, workers
    assert same(*runs)


def test_bfloat16_products_train_float32_weights_and_are_named_in_the_record(model, big):
    exact, rough = model(), model(heads_dtype="bfloat16")
    for module in (exact, rough):
        fit(module, big(), 3)
    assert {value.dtype for value in heads_of(rough).values()} == {torch.float32}
    assert rough.to_bundle().training["heads_dtype"] == "bfloat16"
    inputs = big()
    inputs.setup("fit")
    scores = [module.eval().scores(inputs.features[0][:64]).detach().numpy() for module in (exact, rough)]
    assert np.corrcoef(scores[0].ravel(), scores[1].ravel())[0, 1] > 0.99
    assert not np.array_equal(*scores)


@pytest.mark.parametrize(("seconds", "epochs"), [(0, [0, 1, 2, 3]), (3600, [0, 3])])
def test_checkpoints_come_at_intervals_the_first_and_the_last_always(model, big, tmp_path, seconds, epochs):
    saved = []

    class Watch(IntervalCheckpoint):
        def save(self, trainer):
            saved.append(trainer.current_epoch)
            return super().save(trainer)

    best = BestHeads()
    best.folder = tmp_path
    fit(model(), big(), 4, [best, Watch(tmp_path / "checkpoints", seconds)])
    assert saved == epochs
    assert len(list((tmp_path / "checkpoints").glob("best_heads-*"))) <= 4
    assert len(list((tmp_path / "checkpoints").glob("*.ckpt"))) == 2
    stored = torch.load(newest(tmp_path / "checkpoints"), weights_only=True)["callbacks"]["BestHeads"]["file"]
    assert (tmp_path / "checkpoints" / stored["name"]).is_file()


def test_what_was_logged_after_the_checkpoint_is_logged_once(tmp_path):
    logger = RunLogger(tmp_path)
    for epoch in range(4):
        if epoch == 2:
            sizes = logger.sizes()
        logger.log_metrics({"train/loss": 1.0, "time/train_seconds": 2.0, "epoch": epoch}, step=epoch)
    logger.cut(sizes)
    for name in ("metrics.jsonl", "timing.jsonl"):
        assert [json.loads(line)["epoch"] for line in (tmp_path / name).read_text().splitlines()] == [0, 1]


def test_small_steps_are_taken_alone_and_large_ones_shared():
    large, small = 73_482_280, 6_069_800
    assert step_cost(small, 1024, 8, 1, "cuda", "bfloat16").replicated
    assert not step_cost(large, 8192, 8, 1, "cuda", "float32").replicated
    # the network between machines makes sharing dearer, more rows make it cheaper
    within, between = (step_cost(large, 4096, 16, nodes, "cuda", "float32") for nodes in (1, 2))
    assert between.shared > within.shared
    assert between.alone == within.alone
    few, many = (step_cost(large, rows, 8, 1, "cuda", "float32") for rows in (256, 65536))
    assert few.replicated
    assert not many.replicated


def test_one_process_needs_no_strategy_of_ours(model):
    assert not getattr(trainer().strategy, "replicated", False)
    assert model().finished == []


def test_seeding_a_step_leaves_nothing_behind_for_devices_that_are_not_there(model, big):
    """`torch.manual_seed` queues a call and its stack trace for every kind of device, each time."""
    queued = len(torch.cuda._queued_calls)
    fit(model(), big(), 1)
    assert len(torch.cuda._queued_calls) <= queued + 2, "once for the run is Lightning's"
