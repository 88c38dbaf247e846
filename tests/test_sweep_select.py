"""Choosing heads of a sweep: what is chosen, by which images, and that it can be tested as a run."""

import json

import numpy as np
import pytest
import torch
from sweep_files import QUICK, write_sweep

from emonet_lightning.bundle import HeadsBundle
from emonet_lightning.cli import main
from emonet_lightning.sweeping.record import Record


@pytest.fixture(scope="module")
def swept(tmp_path_factory, small_sets, encoder_options):
    """Six trials, of two widths and of two numbers of layers."""
    folder = tmp_path_factory.mktemp("swept")
    words = ["--data=SyntheticFaces", f"--data.path={small_sets['big']}", *encoder_options, *QUICK]
    words += [f"--data.cache_dir={folder / 'cache'}", "--model.dropout=0"]
    parameters = {"model.widths": {"values": ["[8]", "[4]", "[8, 4]"]}, "model.lr": {"values": [1e-2, 3e-2]}}
    path = write_sweep(folder / "s.yaml", words, parameters, "grid")
    assert main(["sweep", "run", str(path), "--stacked", f"--out={folder / 'out'}"]) == 0
    return folder / "out"


def test_each_emotions_head_comes_from_the_trial_that_is_best_at_it(swept, small_sets, tmp_path, capsys):
    assert main(["sweep", "select", str(swept), f"--out={tmp_path / 'heads'}", "--num_draws=50"]) == 0
    said = capsys.readouterr()
    content = json.loads((tmp_path / "heads" / "selection.json").read_text())
    left_out = {0: "2 of 6", 1: "4 of 6"}
    whole = HeadsBundle.load(tmp_path / "heads")
    assert f"{left_out[len(whole.heads.widths) - 1]} trials have heads that fit into no bundle" in said.err
    kind = [trial for trial in Record(swept).trials if len(HeadsBundle.load(trial.folder(swept)).heads.widths) == 1]
    if len(whole.heads.widths) == 2:
        kind = [trial for trial in Record(swept).trials if trial not in kind]
    bundles = {trial.number: HeadsBundle.load(trial.folder(swept)) for trial in kind}
    features = torch.randn(30, whole.heads.in_features, generator=torch.Generator().manual_seed(0))
    scores = whole.scores(features)
    for head, (slug, one) in enumerate(content["emotions"].items()):
        assert torch.allclose(scores[:, head], bundles[one["trial"]].scores(features)[:, head], atol=1e-5)
        best = [bundle.training["best"][slug] for bundle in bundles.values()]
        judged = [each["score"] for each in best if each["by"] == "own"]
        assert not judged or one["score"] == pytest.approx(max(judged), abs=1e-6)
    assert len({one["trial"] for one in content["emotions"].values()}) > 1
    assert 0 < content["luck"] < 0.5
    # what was chosen is a run: its validation says the same, and it can be tested
    assert main(["validate", "--run", str(tmp_path / "heads"), f"--out={tmp_path / 'val'}"]) == 0
    own = json.loads((tmp_path / "val" / "results.json").read_text())["val/score"]
    assert own == pytest.approx(content["score"], abs=1e-6)
    judged = ["--data=ExpertRatings", f"--data.path={small_sets['hq']}", "--figures=false"]
    assert main(["test", "--run", str(tmp_path / "heads"), f"--out={tmp_path / 'test'}", *judged]) == 0


def test_all_heads_of_the_best_trial(swept, tmp_path, capsys):
    out = tmp_path / "heads"
    assert main(["sweep", "select", str(swept), f"--out={out}", "--by=trial", "--num_draws=50"]) == 0
    content = json.loads((out / "selection.json").read_text())
    (number,) = {one["trial"] for one in content["emotions"].values()}
    found, own = HeadsBundle.load(out), HeadsBundle.load(Record(swept).trials[number].folder(swept))
    for name, tensor in own.heads.state_dict().items():
        assert torch.equal(found.heads.state_dict()[name], tensor)
    by_emotion = np.mean([one["score"] for one in content["emotions"].values() if one["score"] is not None])
    assert content["score"] == pytest.approx(by_emotion, abs=1e-6)
    # a later choice takes its place
    assert main(["sweep", "select", str(swept), f"--out={out}", "--num_draws=50"]) == 0
    assert json.loads((out / "selection.json").read_text())["by"] == "emotion"
    capsys.readouterr()
    assert main(["sweep", "select", str(swept), f"--out={swept}"]) == 2
    assert "holds something else than a choice of heads" in capsys.readouterr().err
    assert main(["sweep", "select", str(tmp_path), f"--out={tmp_path / 'x'}"]) == 66
