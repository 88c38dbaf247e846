"""evaluate generators: planted artefacts are exposed by name, what is not there is not; names, matrix, command."""

import json

import numpy as np
import pytest
from toy_faces import TAXONOMY as FORTY
from toy_faces import Listed, encoded, pack_toy

from emonet_lightning.cli import main
from emonet_lightning.errors import DataError, UsageError
from emonet_lightning.evaluation.artefacts import artefact_reliance, shuffle
from emonet_lightning.evaluation.generator_shift import folds_of, probe_generators, transfer_matrix
from emonet_lightning.packing.samples import RawSample
from emonet_lightning.robustness.generator_names import codes_of, generators_of
from emonet_lightning.robustness.generator_sets import Measured
from emonet_lightning.robustness.generators_command import judge_generators
from emonet_lightning.robustness.picture_sets import PictureSet, read_pictures

NAMES = ["flux", "midjourney", "sdxl"]
EMOTIONS = [{"slug": slug, "name": name} for slug, name in zip(FORTY.slugs, FORTY.names, strict=True)]
PLANTED = FORTY.slugs.index("awe")


class Made:
    """Pictures of three generators; features 0 to 2 tell the generator, the others the emotions, all with noise."""

    def __init__(self, seed=0, artefact=2.0, num=360, num_emotions=40):
        rng = np.random.default_rng(seed)
        self.groups = np.arange(num) // 2
        self.codes = rng.integers(0, 3, num // 2)[self.groups]
        self.labels = np.maximum(rng.normal(size=(num, num_emotions)), 0)
        self.labels[:, 5] += 0.8 * (self.codes == 1)  # one generator really shows more of an emotion
        mixing = rng.normal(size=(num_emotions, 60)) / 4
        artefacts = artefact * np.eye(3)[self.codes]
        self.features = np.hstack([artefacts + rng.normal(size=(num, 3)), self.labels @ mixing])
        self.features += 0.3 * rng.normal(size=self.features.shape)
        weights = np.vstack([np.zeros((3, num_emotions)), np.linalg.pinv(mixing)])
        weights[0, PLANTED] = 1.5  # the head's weight on what tells the first generator
        self.scores = self.features @ weights

    def measured(self):
        return Measured(NAMES, self.codes, self.groups, self.features, self.labels, {"truth": "planted"})


def test_the_head_whose_weight_hangs_on_an_artefact_is_exposed_by_name_and_no_other():
    found = judge_generators(Made().measured(), Made().scores, EMOTIONS, num_draws=10, num_permutations=1000)
    worst = found["reliance"][0]
    assert worst["slug"] == "awe"
    assert worst["high"] == "flux"
    assert worst["p_holm"] < 0.05
    assert worst["excess"] > 0.2
    assert [entry["slug"] for entry in found["reliance"] if entry["p_holm"] < 0.05] == ["awe"]
    assert worst["probe"] > 3 * worst["probe_chance"]
    assert found["probe"]["accuracy"]["value"] > 0.7
    assert found["probe"]["accuracy"]["chance"]["p"] < 0.01


def test_without_an_artefact_no_head_is_accused_and_the_probe_is_at_chance():
    made = Made(seed=1, artefact=0.0)
    flat = np.random.default_rng(9).normal(size=(360, 60))
    reliance = artefact_reliance(made.scores, made.labels, made.codes, made.groups, NAMES, num_permutations=1000)
    assert min(entry["p_holm"] for entry in reliance) > 0.05
    probe, _ = probe_generators(flat, made.codes, made.groups, NAMES, num_draws=10, num_permutations=200)
    assert probe["accuracy"]["chance"]["p"] > 0.05


def test_what_a_generator_really_shows_more_of_is_taken_out_with_the_labels():
    made = Made()
    with_labels, without = (
        artefact_reliance(made.scores, labels, made.codes, made.groups, NAMES, num_permutations=300)[5]
        for labels in (made.labels, None)
    )
    assert without["beyond_labels"] == without["generator"] == with_labels["generator"]
    assert without["p"] < 0.01
    assert with_labels["beyond_labels"] < 0.3 * without["beyond_labels"]
    assert with_labels["p"] > 0.05


def test_share_of_variance_is_eta_squared_of_an_analysis_of_variance():
    made = Made()
    entry = artefact_reliance(made.scores, None, made.codes, made.groups, NAMES, num_permutations=2)[PLANTED]
    y = made.scores[:, PLANTED]
    between = sum((made.codes == g).sum() * (y[made.codes == g].mean() - y.mean()) ** 2 for g in range(3))
    assert entry["generator"] == pytest.approx(between / ((y - y.mean()) ** 2).sum())


def test_shuffles_keep_a_group_whole_or_stay_within_it():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(20), 3)
    pure = rng.integers(0, 2, 20)[groups]
    shuffled = shuffle(pure, groups, rng)
    assert (shuffled.reshape(20, 3) == shuffled.reshape(20, 3)[:, :1]).all()
    assert (shuffled != pure).any()
    mixed = np.tile([0, 1, 1], 20)
    shuffled = shuffle(mixed, groups, rng).reshape(20, 3)
    assert (np.sort(shuffled, axis=1) == [0, 1, 1]).all()
    assert (shuffled != [0, 1, 1]).any()


def test_a_generator_that_shows_emotions_by_other_features_costs_agreement_when_left_out():
    rng = np.random.default_rng(0)
    codes, groups = np.repeat([0, 1, 2], 80), np.arange(240) // 2
    labels = rng.normal(size=(240, 6))
    mixing = rng.normal(size=(6, 20))
    features = labels @ mixing + 0.3 * rng.normal(size=(240, 20))
    features[codes == 2] = labels[codes == 2] @ rng.normal(size=(6, 20)) + 0.3 * rng.normal(size=(80, 20))
    found = transfer_matrix(features, labels, codes, groups, NAMES, num_draws=30, own=labels)
    assert found["drop"][2]["low"] > 0.3
    assert abs(found["drop"][0]["difference"]) < 0.1
    assert found["matrix"][0][1]["value"] > 0.9
    assert found["matrix"][0][2]["value"] < 0.5 < found["matrix"][2][2]["value"]
    assert found["heads"][2]["value"] == pytest.approx(1)
    assert found["num_training"] == 64


def test_folds_keep_groups_whole_and_refuse_a_generator_of_a_few():
    made = Made()
    folds = folds_of(made.codes, made.groups, 5, 0, NAMES)
    assert sorted(np.concatenate(folds).tolist()) == list(range(360))
    for one in folds:
        assert not set(made.groups[one]) & set(made.groups[np.setdiff1d(np.arange(360), one)])
    with pytest.raises(DataError, match="generator 'sdxl': 2 images"):
        folds_of(np.r_[np.zeros(20, int), np.ones(20, int), 2, 2], np.arange(42), 5, 0, NAMES)


def named(*names, packed=None):
    return PictureSet(None, list(names), [], None, None, None, packed, list(range(len(names))))


def test_released_names_say_their_generator_and_others_are_left_out(tmp_path):
    pictures = named("mj_data_12.jpg", "hq/flux_prompt_9_1.png", "juggernaut-xl-v8-prompt-5_3.jpg", "my_flux_1.jpg")
    found, where = generators_of(pictures, None, None, None)
    assert found == ["midjourney", "flux", "sdxl", None]
    names, codes, rows = codes_of(found, where)
    assert names == ["flux", "midjourney", "sdxl"]
    assert codes.tolist() == [1, 0, 2]
    assert rows.tolist() == [0, 1, 2]
    (tmp_path / "own.yaml").write_text("one: '^a'\ntwo: '^b'\n")
    assert generators_of(named("a1", "b1"), None, None, str(tmp_path / "own.yaml"))[0] == ["one", "two"]
    (tmp_path / "own.yaml").write_text("one: '(['\n")
    with pytest.raises(DataError, match="no regular expression"):
        generators_of(named("a1"), None, None, str(tmp_path / "own.yaml"))
    with pytest.raises(DataError, match="two are needed"):
        codes_of(["flux", "flux", None], "names")
    with pytest.raises(UsageError, match="give one of"):
        generators_of(named("a"), "a.csv", "model", None)
    with pytest.raises(UsageError, match="no packed set"):
        generators_of(named("a"), None, "model", None)


def test_packed_records_say_their_generator_their_labels_and_their_groups(tmp_path):
    samples = [
        RawSample(
            key=f"face{n}", image=encoded(n), ratings={"generated": {"awe": float(n)}}, prompted="awe",
            group=f"p{n // 2}", meta={"model": "xl" if n % 2 else "flux"},
        )
        for n in range(4)
    ]  # fmt: skip
    pack_toy(tmp_path / "set", Listed(*samples), splits={"train": 1.0})
    pictures = read_pictures(str(tmp_path / "set"), FORTY)
    assert generators_of(pictures, None, "model", None)[0] == [
        "xl" if int(name[-1]) % 2 else "flux" for name in pictures.names
    ]
    assert pictures.truth[:, PLANTED].tolist() == [float(name[-1]) for name in pictures.names]
    assert pictures.groups == [f"p{int(name[-1]) // 2}" for name in pictures.names]
    with pytest.raises(DataError, match="has no 'maker'"):
        generators_of(pictures, None, "maker", None)


def run(*words):
    quick = ["--progress=false", "--num-draws=10", "--num-permutations=60"]
    return main(["evaluate", "generators", *quick, *map(str, words)])


def test_the_command_writes_a_report_on_styles_of_the_renderer(untrained_heads, tmp_path, capsys):
    out = tmp_path / "out"
    words = ["--heads", untrained_heads, "--out", out, "--styles=plain,grainy", "--num-persons=4", "--size=64"]
    assert run(*words) == 0
    content, text = json.loads((out / "generators.json").read_text()), (out / "generators.md").read_text()
    assert [(entry["name"], entry["num_images"], entry["num_groups"]) for entry in content["generators"]] == [
        ("plain", 24, 4), ("grainy", 24, 4)
    ]  # fmt: skip
    assert content["probe"]["accuracy"]["value"] > 0.55
    assert content["transfer"]["num_training"] == 18
    assert len(content["reliance"]) == 6
    assert "Perceived emotion" in text
    assert " 4 persons or prompts are few: intervals from draws of them are too narrow." in text
    assert {path.stem for path in (out / "figures").iterdir()} == {"transfer", "probe", "reliance"}
    assert "probe names" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--styles=plain,foggy"], 2, "no 'foggy'"),
        (["--styles=plain"], 2, "two are needed"),
        (["--patterns=a.yaml"], 2, "give --images"),
        (["--num-folds=1"], 2, "at least 2 persons"),
        (["--images=nowhere"], 66, "no such file or folder"),
    ],
)
def test_wrong_options_are_told_in_one_line(untrained_heads, tmp_path, capsys, words, code, said):
    assert run("--heads", untrained_heads, "--out", tmp_path / "out", *words) == code
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
