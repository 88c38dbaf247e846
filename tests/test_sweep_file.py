"""Sweep files: what is read of them, what is refused in one line, and that the shipped ones fit the command line."""

import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from sweep_files import QUICK, SHIPPED, shipped, write_sweep

from emonet_lightning.cli import main
from emonet_lightning.encoders import EncoderSpec, feature_dim
from emonet_lightning.errors import EmoNetError
from emonet_lightning.sweeping.checks import check_sweep
from emonet_lightning.sweeping.distributions import Parameter
from emonet_lightning.sweeping.early import compare
from emonet_lightning.sweeping.proposals import propose
from emonet_lightning.sweeping.record import FINISHED, Rung, Trial
from emonet_lightning.sweeping.sweep_file import Hyperband, SweepFile

ROOT = SHIPPED.parent
LR = {"model.lr": {"distribution": "log_uniform_values", "min": 1e-4, "max": 1e-1}}


@pytest.fixture
def words(small_sets, encoder_options):
    return ["--data=SyntheticFaces", f"--data.path={small_sets['big']}", *encoder_options, *QUICK]


@pytest.fixture
def places(monkeypatch, tmp_path, small_sets, small_encoder):
    """What the shipped files read from the environment."""
    for name, path in small_sets.items():
        (tmp_path / name).symlink_to(path)
    monkeypatch.setenv("EMONET_DATA", str(tmp_path))
    monkeypatch.setenv("EMONET_ENCODER", str(small_encoder))
    monkeypatch.chdir(ROOT)


# -- reading ----------------------------------------------------------------------------------------------------------


def test_words_of_a_point_are_those_of_wandb(tmp_path):
    sweep = SweepFile.read(write_sweep(tmp_path / "s.yaml", ["--a=1"], {"b": {"values": [True, [8, 4], 0.1, "x"]}}))
    assert [sweep.fit_words({"b": value})[-1] for value in sweep.parameters[0].values] == [
        "--b=True", "--b=[8, 4]", "--b=0.1", "--b=x",
    ]  # fmt: skip
    assert sweep.fit_words({"b": 1, "c": 2}) == ["--a=1", "--b=1", "--c=2"]


@pytest.mark.parametrize(
    ("content", "low", "middle", "high"),
    [
        ({"min": 2, "max": 5}, 2, 4, 5),
        ({"min": 0.0, "max": 4}, 0.0, 2.0, 4.0),
        ({"distribution": "log_uniform_values", "min": 1e-4, "max": 1e-2}, 1e-4, 1e-3, 1e-2),
        ({"distribution": "log_uniform", "min": 0, "max": 2}, 1.0, np.e, np.e**2),
        ({"distribution": "q_uniform", "min": 0, "max": 1, "q": 0.25}, 0.0, 0.5, 1.0),
        ({"distribution": "q_log_uniform_values", "min": 1, "max": 64, "q": 8}, 0, 8, 64),
        ({"values": ["a", "b", "c"]}, "a", "b", "c"),
        ({"value": 3}, 3, 3, 3),
    ],
)
def test_positions_are_quantiles(content, low, middle, high):
    parameter = Parameter.read("p", content, "f")
    found = [parameter.at(position) for position in (0.0, 0.5, 1.0)]
    assert found == (pytest.approx([low, middle, high]) if isinstance(low, int | float) else [low, middle, high])
    assert isinstance(found[0], type(low))


def test_a_bell_has_its_median_in_the_middle():
    normal = Parameter.read("p", {"distribution": "normal", "mu": 1.0, "sigma": 2.0}, "f")
    assert normal.at(0.5) == pytest.approx(1.0)
    assert normal.at(0.8413447) == pytest.approx(3.0, abs=1e-5)
    assert np.isfinite([normal.at(0.0), normal.at(1.0)]).all()
    assert Parameter.read("p", {"distribution": "log_normal"}, "f").at(0.5) == pytest.approx(1.0)


def test_rungs_are_those_of_wandb():
    assert Hyperband.read({"type": "hyperband", "min_iter": 3}, "f").rungs[:4] == (3, 9, 27, 81)
    assert Hyperband.read({"type": "hyperband", "max_iter": 27, "s": 2, "eta": 3}, "f").rungs == (3, 9)
    assert Hyperband.read({"type": "hyperband", "max_iter": 9, "s": 5, "eta": 3}, "f").rungs == (1, 3)


# -- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"method": "bayse"}, r"method 'bayse' is unknown; did you mean 'bayes'"),
        ({"early_terminat": {}}, r"unknown key 'early_terminat' of a sweep; did you mean 'early_terminate'"),
        ({"metric": {"goal": "maximize"}}, r"metric: name what is optimised"),
        ({"metric": {"name": "val/score", "goal": "max"}}, r"metric\.goal: 'max' is unknown"),
        ({"command": ["python", "train.py", "${args}"]}, r"command: does not run `python -m emonet_lightning fit`"),
        ({"command": ["python", "-m", "emonet_lightning", "fit"]}, r"command: needs \$\{args\} once"),
        ({"early_terminate": {"type": "hyperband"}}, r"early_terminate: give min_iter, or max_iter and s"),
        ({"early_terminate": {"type": "hyperband", "min_iter": 0}}, r"min_iter: 0 must be a whole number of at least"),
        ({"early_terminate": {"type": "hyperband", "min_iter": 1, "eta": 1}}, r"eta: 1 must be a number above 1"),
        ({"run_cap": 0}, r"run_cap: 0 must be"),
        ({"parameters": {}}, r"'parameters' is empty"),
        ({"parameters": {"model.lr": {"values": []}}}, r"parameters\.model\.lr: 'values' is empty"),
        ({"parameters": {"model.lr": {"values": [1, 1]}}}, r"parameters\.model\.lr: value 1 stands twice"),
        ({"parameters": {"model.lr": {"min": 0.2, "max": 0.1}}}, r"parameters\.model\.lr: the range is empty"),
        ({"parameters": {"model.lr": {"min": 0.1, "max": 0.1}}}, r"parameters\.model\.lr: the range is empty"),
        ({"parameters": {"model.lr": {"min": 0.1}}}, r"parameters\.model\.lr: 'max' is missing"),
        ({"parameters": {"model.lr": {"min": 1, "max": 2, "distribution": "unifrm"}}}, r"did you mean 'uniform'"),
        ({"parameters": {"model.lr": {"vals": [1]}}}, r"unknown key 'vals'; did you mean 'values'"),
        ({"parameters": {"model": {"parameters": {}}}}, r"write it with dots \(model\.KEY\)"),
        ({"method": "grid", "parameters": {"model.lr": {"min": 0.1, "max": 0.2}}}, r"a grid needs values"),
    ],
)
def test_a_file_that_is_wrong_by_itself_is_one_line(keys, says, tmp_path, capsys):
    content = yaml.safe_load(write_sweep(tmp_path / "s.yaml", [], LR).read_text())
    (tmp_path / "s.yaml").write_text(yaml.safe_dump({**content, **keys}))
    assert main(["sweep", "run", str(tmp_path / "s.yaml"), "--trials=2", f"--out={tmp_path / 'out'}"]) in (2, 65)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert re.search(says, said), said
    assert str(tmp_path / "s.yaml") in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("word", "parameters", "metric", "says"),
    [
        ("", {"model.drpout": {"values": [0.1]}}, "val/score", r"unknown option 'model\.drpout'; .*'model\.dropout'"),
        ("--modle.lr=1", LR, "val/score", r"unknown option 'modle\.lr'"),
        (
            "",
            {"model.dropout": {"min": 0.1, "max": 1.5}},
            "val/score",
            r"parameters\.model\.dropout: model\.dropout: 1",
        ),
        ("", {"model.loss": {"values": ["mse", "msle"]}}, "val/score", r"parameters\.model\.loss: .*msle"),
        ("", LR, "val/scores", r"metric\.name: 'val/scores' is never logged by fit; did you mean 'val/score'"),
        ("", LR, "test/spearman", r"metric\.name: 'test/spearman' is of the test set"),
        ("--data.val_split=test", LR, "val/score", r"data\.val_split: 'test' is the test split"),
        (
            "",
            {"data.val_split": {"values": ["val", "test"]}},
            "val/score",
            r"data\.val_split: 'test' is the test split",
        ),
        ("--test_data=ExpertRatings --test_data.path=hq", LR, "val/score", r"test_data is set: .* never looks"),
        ("", {"out": {"values": ["a"]}}, "val/score", r"parameters\.out: each trial has 'out' of its own"),
        ("--resume=never", LR, "val/score", r"command: each trial has 'resume' of its own"),
        ("--trainer.devices=2", LR, "val/score", r"trainer\.devices: 2: each trial trains on one device"),
        ("--data.path=nowhere", LR, "val/score", r"the first trial: .*nowhere"),
        ("--trainer.accelerator=gpu", LR, "val/score", r"--workers 1: more than the 0 GPUs here|No supported gpu"),
    ],
)
def test_a_sweep_that_no_trial_could_run_is_refused_before_the_first(word, parameters, metric, says, tmp_path, words):
    keys = {"metric": {"name": metric, "goal": "maximize"}}
    path = write_sweep(tmp_path / "s.yaml", [*words, *word.split()], parameters, **keys)
    with pytest.raises(EmoNetError) as error:
        check_sweep(SweepFile.read(path), 1)
    assert re.search(says, str(error.value)), error.value
    assert "\n" not in str(error.value)
    assert "workers" in says or str(error.value).startswith(str(path))


def test_a_sweep_on_a_sealed_set_is_refused(tmp_path, words, small_sets):
    sealed = ["--data=ExpertRatings", f"--data.path={small_sets['hq']}"]
    path = write_sweep(tmp_path / "s.yaml", [*words[2:], *sealed], LR)
    with pytest.raises(EmoNetError, match="this set is sealed"):
        check_sweep(SweepFile.read(path), 1)


def test_more_workers_than_gpus_are_refused(tmp_path, words, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    sweep = SweepFile.read(write_sweep(tmp_path / "s.yaml", [*words, "--trainer.accelerator=auto"], LR))
    assert check_sweep(sweep, 2).gpus == ["5", "7"]
    with pytest.raises(EmoNetError, match="--workers 3: more than the 2 GPUs here"):
        check_sweep(sweep, 3)


# -- proposals --------------------------------------------------------------------------------------------------------


def test_a_grid_has_every_point_once(tmp_path):
    parameters = {"a": {"values": [1, 2, 3]}, "b": {"min": 4, "max": 5}, "c": {"value": "x"}}
    sweep = SweepFile.read(write_sweep(tmp_path / "s.yaml", [], parameters, "grid"))
    points = [propose(sweep, 0, number, [])[0] for number in range(sweep.grid_size())]
    assert [(p["a"], p["b"], p["c"]) for p in points] == [(a, b, "x") for a in (1, 2, 3) for b in (4, 5)]


def test_one_factor_at_a_time_is_the_baseline_and_each_other_value_alone_with_every_seed(tmp_path):
    parameters = {"a": {"values": [1, 2, 3]}, "seed_everything": {"values": [7, 8]}, "b": {"values": ["x", "y"]}}
    sweep = SweepFile.read(write_sweep(tmp_path / "s.yaml", [], parameters, "grid")).changing_one()
    points = [tuple(propose(sweep, 0, number, [])[0].values()) for number in range(sweep.grid_size())]
    assert points == [(a, seed, b) for a, b in ((1, "x"), (2, "x"), (3, "x"), (1, "y")) for seed in (7, 8)]
    with pytest.raises(EmoNetError, match="method random: --one_at_a_time is for listed values"):
        SweepFile.read(write_sweep(tmp_path / "r.yaml", [], parameters)).changing_one()


def test_a_random_trial_is_a_function_of_seed_and_number(tmp_path):
    sweep = SweepFile.read(write_sweep(tmp_path / "s.yaml", [], LR))
    points = [propose(sweep, 3, number, [])[0]["model.lr"] for number in range(200)]
    assert propose(sweep, 3, 150, [Trial(0, {}, {})])[0]["model.lr"] == points[150]
    assert len(set(points)) == 200
    assert propose(sweep, 4, 150, [])[0]["model.lr"] != points[150]
    assert abs(np.mean(np.log10(points)) + 2.5) < 0.15  # the middle of 1e-4 .. 1e-1


def test_bayes_proposes_the_same_from_the_same_record_and_finds_the_peak(tmp_path):
    parameters = {**LR, "model.widths": {"values": ["[8]", "[16]"]}}
    sweep = SweepFile.read(write_sweep(tmp_path / "s.yaml", [], parameters, "bayes"))
    trials: list[Trial] = []
    for number in range(40):
        point, positions = propose(sweep, 0, number, trials)
        assert propose(sweep, 0, number, list(trials)) == (point, positions)
        score = -abs(np.log10(point["model.lr"]) + 2) - (point["model.widths"] == "[8]")
        trials.append(Trial(number, point, positions, FINISHED, score, 0))
    assert len({trial.parameters["model.lr"] for trial in trials}) == 40
    late = [trial.score for trial in trials[20:]]
    assert np.median(late) > np.median([trial.score for trial in trials[:10]])
    assert max(late) > -0.1


# -- early termination ------------------------------------------------------------------------------------------------


def _stopped_by_wandb(own, everybody, rung, eta, strict):
    """The rule of W&B's own scheduler (`hyperband_stopping.py` of the package `sweeps`), of what is to be minimised."""
    at = [line[rung] for line in everybody if len(line) > rung]
    threshold = sorted(at)[int(len(at) / eta)]
    return (own[rung] if strict else min(own[: rung + 1])) > threshold


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("maximise", [False, True])
def test_a_trial_is_stopped_where_wandb_stops_it(strict, maximise):
    random = np.random.default_rng(0)
    early = Hyperband((2, 5), 3.0, strict)
    known: list[Trial] = []
    lines: list[list[float]] = []
    outcomes = set()
    for number in range(30):
        line = random.normal(size=6).cumsum().tolist()
        trial, values = Trial(number, {}, {}), [(epoch, -x if maximise else x) for epoch, x in enumerate(line)]
        lines.append(line)
        for rung in early.rungs:
            found = compare(early, trial, known, values, maximise)
            assert found is not None
            assert found.rung == rung
            reached = [
                other
                for other, before in zip(lines, [*known, trial], strict=True)
                if before is trial or rung in before.rungs
            ]
            assert found.kept is not _stopped_by_wandb(line, reached, rung, 3.0, strict)
            trial.rungs[rung] = found
            outcomes.add((rung, found.kept))
            if not found.kept:
                assert compare(early, trial, known, values, maximise) is None
                break
        known.append(trial)
    assert outcomes == {(rung, kept) for rung in early.rungs for kept in (False, True)}


def test_a_trial_is_not_compared_before_its_rung():
    early = Hyperband((2,), 3.0, False)
    assert compare(early, Trial(0, {}, {}), [], [(0, 1.0), (1, 2.0)], True) is None
    assert compare(early, Trial(0, {}, {}), [], [(0, 1.0), (1, 3.0), (2, 2.0)], True) == Rung(2, 2.0, True, 3.0, 1)


# -- the shipped files ------------------------------------------------------------------------------------------------

NAMES = sorted(path.name for path in SHIPPED.glob("*.yaml"))


def test_all_promised_sweeps_are_there():
    names = ("ablation", "augment", "encoder", "heads", "labels", "loss", "optim", "seeds", "stages")
    assert [f"{name}.yaml" for name in names] == NAMES
    for name in NAMES:
        sweep = SweepFile.read(SHIPPED / name)
        assert (sweep.metric, sweep.maximise) == ("val/score", True)
        texts = [path.read_text() for path in (SHIPPED / name, *(SHIPPED / "stages").glob("*.yaml"))]
        path = "embedded:big" if name == "ablation.yaml" else "${oc.env:EMONET_DATA,data}/"
        assert all(path in text for text in (texts[1:] if name == "stages.yaml" else texts[:1]))
        assert name in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("name", NAMES)
def test_every_key_of_a_shipped_sweep_is_one_of_the_command_line(name, tmp_path, places, encoder_options):
    values = {"model.encoder.name": ["embedded"]}
    words = ["--model.encoder.weights=null"] if name == "encoder.yaml" else encoder_options
    check_sweep(SweepFile.read(shipped(name, tmp_path, words, values, both=False)), 1)


@pytest.mark.parametrize("name", SweepFile.read(SHIPPED / "encoder.yaml").parameters[1].values)
def test_every_encoder_of_the_sweep_can_be_built(name):
    """Without weights or network: on the meta device."""
    assert feature_dim(EncoderSpec(name)) >= 512


def test_stages_of_a_sweep_all_validate_on_binary():
    for path in sorted((SHIPPED / "stages").glob("*.yaml")):
        last = yaml.safe_load(path.read_text())["stages"][-1]["overrides"]["data"]["init_args"]
        used = last["parts"][-1]["path"] if "parts" in last else last["path"]
        assert Path(used).name == "binary", path
