"""`validate --run` and `test --run`: the heads that the run kept, with its own encoder and columns."""

import json
import shutil

import numpy as np
import pytest

from emonet_lightning.cli import main

QUIET = ["--trainer.enable_progress_bar=false", "--figures=false", "--trainer.accelerator=cpu", "--num_draws=20"]


@pytest.fixture(scope="module")
def run(tmp_path_factory, small_sets, encoder_options):
    """A finished run of four epochs without a test set."""
    out = tmp_path_factory.mktemp("run") / "run"
    words = ["--data=SyntheticFaces", f"--data.path={small_sets['big']}", "--data.batch_size=40"]
    options = ["--model.widths=[8]", "--model.lr=0.03", "--trainer.devices=1", "--trainer.max_epochs=4"]
    assert main(["fit", *words, *options, *QUIET, *encoder_options, f"--out={out}"]) == 0
    return out


def test_validation_finds_the_score_that_chose_each_emotions_heads(run, tmp_path):
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert main(["validate", f"--run={run}", *QUIET, f"--out={tmp_path}"]) == 0
    found = json.loads((tmp_path / "results.json").read_text())
    best = json.loads((run / "manifest.json").read_text())["training"]["best"]
    assert len({choice["epoch"] for choice in best.values()}) > 1
    for slug, choice in best.items():
        if choice["score"] is not None:
            assert found[f"val/score/{slug}"] == pytest.approx(choice["score"], abs=1e-6), slug
    defined = [value for key, value in found.items() if key.startswith("val/score/")]
    assert found["val/score"] == pytest.approx(np.mean(defined))
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_results_of_another_set_are_added_to_the_run(run, small_sets, tmp_path):
    copied = tmp_path / "run"
    shutil.copytree(run, copied)
    rated = ["--data=ExpertRatings", f"--data.path={small_sets['hq']}"]
    assert main(["test", f"--run={copied}", *rated, *QUIET]) == 0
    assert main(["validate", f"--run={copied}", *QUIET]) == 0
    found = json.loads((copied / "results.json").read_text())
    assert {
        "test/spearman",
        "test/rater_kappa_truncate",
        "test/spearman/low",
        "test/spearman/anger",
        "val/score",
    } <= found.keys()
    assert found["test/num_samples"] == 150
    assert (copied / "heads.safetensors").read_bytes() == (run / "heads.safetensors").read_bytes()


def test_binary_answers_are_judged_by_average_precision(run, small_sets, tmp_path):
    binary = ["--data=ExpertBinary", f"--data.path={small_sets['binary']}", "--data.test_split=train"]
    assert main(["test", f"--run={run}", *binary, *QUIET, f"--out={tmp_path}"]) == 0
    found = json.loads((tmp_path / "results.json").read_text())
    assert 0 < found["test/average_precision"] <= 1
    assert "test/spearman" not in found
    assert not (tmp_path / "agreement.json").exists()


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ([], 65, "no rows in split 'test'; the set has {'train': 120, 'val': 40}"),
        (["--model.lrr=1"], 2, "unknown option 'model.lrr'; did you mean 'model.lr'"),
        (["--model.encoder.interpolation=bilinear"], 65, "these heads were trained on encoder"),
        (["--model.widths=[9]"], 65, "do not fit this model's"),
        (["--model.loss=bce"], 2, "these heads' scores are a 'identity' of their outputs"),
    ],
)
def test_what_does_not_fit_the_run_is_refused(run, tmp_path, capsys, words, code, message):
    assert main(["test", f"--run={run}", *QUIET, *words, f"--out={tmp_path / 'out'}"]) == code
    assert message in capsys.readouterr().err.strip().splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_damaged_heads_are_refused(run, tmp_path, capsys):
    copied = tmp_path / "run"
    shutil.copytree(run, copied)
    content = bytearray((copied / "heads.safetensors").read_bytes())
    content[-100] ^= 1
    (copied / "heads.safetensors").write_bytes(content)
    assert main(["validate", f"--run={copied}", *QUIET]) == 65
    assert "heads.safetensors: content changed" in capsys.readouterr().err
    assert not (copied / "results.json").exists()


def test_a_set_named_as_test_data_is_the_one_that_is_judged(run, small_sets, tmp_path):
    words = ["--test_data=ExpertBinary", f"--test_data.path={small_sets['binary']}", "--test_data.test_split=val"]
    assert main(["test", f"--run={run}", *words, *QUIET, f"--out={tmp_path}"]) == 0
    assert "test/average_precision" in json.loads((tmp_path / "results.json").read_text())


def test_a_test_on_another_set_leaves_no_figures_of_the_first(run, small_sets, tmp_path):
    rated = ["--data=ExpertRatings", f"--data.path={small_sets['hq']}"]
    binary = ["--data=ExpertBinary", f"--data.path={small_sets['binary']}", "--data.test_split=val"]
    for words, expected in ((rated, "test/spearman"), (binary, "test/positive_share")):
        assert main(["test", f"--run={run}", *words, *QUIET, f"--out={tmp_path}"]) == 0
        found = json.loads((tmp_path / "results.json").read_text())
        assert {key for key in found if key in ("test/spearman", "test/positive_share")} == {expected}
        assert (tmp_path / "agreement.json").exists() == (words is rated)


def test_heads_of_another_taxonomy_are_refused_in_one_line(run, small_sets, tmp_path, capsys):
    (tmp_path / "two.yaml").write_text("emotions: [Anger, Elation]\n")
    words = [f"--model.taxonomy={tmp_path / 'two.yaml'}", "--data=ExpertRatings", f"--data.path={small_sets['hq']}"]
    assert main(["test", f"--run={run}", *words, *QUIET, f"--out={tmp_path / 'out'}"]) == 65
    assert "another taxonomy or order" in capsys.readouterr().err.strip().splitlines()[-1]


def test_validation_prints_its_own_figures_only(run, tmp_path, capsys):
    capsys.readouterr()
    assert main(["validate", f"--run={run}", *QUIET, f"--out={tmp_path}"]) == 0
    assert json.loads(capsys.readouterr().out).keys() == {"val/score", "val/num_constant_heads"}


@pytest.mark.parametrize("command", ["test", "validate"])
def test_help_is_help(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert not stopped.value.code
    assert "--data" in capsys.readouterr().out


def test_the_number_of_draws_is_an_option(run, small_sets, tmp_path, capsys):
    rated = ["--data=ExpertRatings", f"--data.path={small_sets['hq']}"]
    assert main(["test", f"--run={run}", *rated, *QUIET[:2], "--num_draws=7", f"--out={tmp_path}"]) == 0
    assert json.loads((tmp_path / "agreement.json").read_text())["bootstrap"]["num_draws"] == 7
    assert main(["test", f"--run={run}", *rated, *QUIET[:2], "--num_draws=0", f"--out={tmp_path / 'none'}"]) == 2
    assert "num_draws" in capsys.readouterr().err.strip().splitlines()[-1]
