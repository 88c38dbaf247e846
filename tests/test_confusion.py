"""Confusion of neighbours: a planted fused pair is found and nothing else; figures against other ways to have them."""

import json

import numpy as np
import planted_panels as planted
import pytest
from scipy.stats import rankdata, spearmanr
from sklearn.covariance import LedoitWolf
from toy_faces import encoded

from emonet_lightning.cli import main
from emonet_lightning.errors import DataError
from emonet_lightning.evaluation.bootstrap import draws
from emonet_lightning.evaluation.confusion import judge_confusion
from emonet_lightning.evaluation.emotion_correlations import (
    centred_ranks,
    correlations,
    partial_correlations,
    shrinkage_of,
)
from emonet_lightning.evaluation.emotion_trees import compare_trees, leaves, tree_of
from emonet_lightning.evaluation.taxonomy_overlap import by_relation, shared_keywords
from emonet_lightning.evaluation.telling_apart import told_apart
from emonet_lightning.taxonomy import Taxonomy

SPEC = planted.taxonomy(
    "Anger", "Disgust", "Fear", "Joy", "Awe", "Pride", keywords={"Anger": ["fury", "loathing"], "Disgust": ["Loathing"]}
)
A, B = 0, 4  # what the system fuses: Anger and Awe


def scene(seed, num_images=300, fused=True, noise=1.0):
    """Emotions of a common cause, raters with noise, and a system that gives Awe the scores of Anger."""
    rng = np.random.default_rng(seed)
    truth = 3 + 0.6 * rng.normal(size=(num_images, 1)) + rng.normal(size=(num_images, len(SPEC)))
    scores = truth + 0.3 * rng.normal(size=truth.shape)
    if fused:
        scores[:, B] = scores[:, A] + 0.3 * rng.normal(size=num_images)
    return planted.panel(truth, rng, noise=noise), planted.system(scores)


def judged(*parts, spec=SPEC, **options):
    return judge_confusion(*parts, spec, **{"num_draws": 100, **options})


@pytest.mark.parametrize("seed", range(3))
def test_a_fused_pair_comes_first_and_alone(seed):
    found = judged(*scene(seed))
    worst = found["pairs"][0]
    assert (worst["first"], worst["second"]) == ("anger", "awe")
    assert worst["is_fused"]
    assert found["num_fused"] == 1
    rest = [pair["correlation"]["excess"] for pair in found["pairs"][1:]]
    assert rest == sorted(rest, reverse=True)
    assert worst["correlation"]["system"] > 0.9
    assert worst["correlation"]["low"] > 0.3
    assert worst["correlation"]["p_holm"] < 0.001
    assert worst["partial"]["difference"] > 0.3
    assert worst["told_apart"]["system"] < 0.2 < worst["told_apart"]["raters"]


@pytest.mark.parametrize("seed", range(3))
def test_less_noise_than_the_raters_have_is_no_confusion(seed):
    """Scores of a system that knows the truth go together more than noisy ratings do."""
    found = judged(*scene(seed, fused=False, noise=2.0))
    assert max(pair["correlation"]["excess"] for pair in found["pairs"]) > 0.1
    assert found["num_fused"] == found["num_blurred"] == 0


def test_a_pair_that_is_mixed_a_little_is_blurred_not_fused():
    made, scored = scene(0, 1500, fused=False)
    scored.scores[:, B] = 0.4 * scored.scores[:, A] + np.random.default_rng(9).normal(size=1500)
    found = judged(made, scored)
    worst = found["pairs"][0]
    assert (worst["first"], worst["second"], worst["is_blurred"], worst["is_fused"]) == ("anger", "awe", True, False)
    assert found["num_fused"] == 0


def test_a_system_of_noise_alone_fuses_nothing():
    made, scored = scene(0)
    noise = planted.system(np.random.default_rng(1).normal(size=scored.scores.shape))
    found = judged(made, noise)
    assert found["num_fused"] == found["num_blurred"] == 0


def test_noise_that_hides_that_one_emotion_excludes_another_is_no_confusion():
    rng = np.random.default_rng(0)
    truth = 3 + 2 * (np.arange(6) == rng.integers(0, 6, 1500)[:, None]) + 0.3 * rng.normal(size=(1500, 6))
    found = judged(planted.panel(truth, rng, noise=0.3), planted.system(truth + 1.5 * rng.normal(size=truth.shape)))
    worst = found["pairs"][0]["correlation"]
    assert worst["raters"] < -0.1
    assert worst["system"] - worst["raters"] > 0.1
    assert worst["excess"] == pytest.approx(worst["system"])
    assert found["num_fused"] == found["num_blurred"] == 0


def test_correlations_are_spearmans_and_partial_ones_those_of_scikit_learn():
    made, scored = scene(1, 90)
    target = made.values.mean(axis=1)
    found = judged(made, scored)
    for name, values in (("raters", target), ("system", scored.scores)):
        assert found["correlations"][name] == pytest.approx(spearmanr(values).statistic, abs=1e-9)
        ranks = centred_ranks(values)
        model = LedoitWolf().fit(ranks / ranks.std(axis=0))
        assert found["partial"]["shrinkage"][name] == pytest.approx(model.shrinkage_)
        precision = np.linalg.inv(model.covariance_)
        scale = np.sqrt(np.diag(precision))
        expected = -precision / np.outer(scale, scale)
        np.fill_diagonal(expected, 1)
        assert found["partial"][name] == pytest.approx(expected, abs=1e-9)


def test_draws_of_images_are_as_if_images_were_repeated():
    values = np.random.default_rng(0).integers(0, 5, (40, 4)).astype(float)
    ranks, weights = centred_ranks(values), draws(40, 5, 0)
    found = correlations(ranks, weights)
    for draw in range(6):
        repeated = np.repeat(ranks, weights[draw].astype(int), axis=0)
        assert found[draw] == pytest.approx(np.corrcoef(repeated.T), abs=1e-9)
    constant = correlations(np.column_stack([ranks[:, 0], np.zeros(40)]), weights)
    assert np.isnan(constant[:, 0, 1]).all()
    assert np.isnan(partial_correlations(constant, shrinkage_of(ranks))).all()


def test_telling_apart_is_the_correlation_of_differences_rater_by_rater():
    made, scored = scene(2, 60)
    values = made.values.copy()
    values[:20, 0] = np.nan  # unequal numbers of raters
    ranks, weights = centred_ranks(scored.scores), draws(60, 3, 0)
    found = told_apart(ranks, values, weights)
    i, j = np.triu_indices(len(SPEC), 1)
    for draw in range(4):
        system, raters = [], []
        for rater in range(4):
            rows = np.flatnonzero(~np.isnan(values[:, rater, 0]))
            others = np.nanmean(np.delete(values, rater, axis=1)[rows], axis=1)
            own, rated, target = (
                part / part.std(axis=0)
                for part in (ranks[rows], rankdata(values[rows, rater], axis=0), rankdata(others, axis=0))
            )
            repeated = np.repeat(np.arange(len(rows)), weights[draw, rows].astype(int))
            for part, result in ((own, system), (rated, raters)):
                gap, asked = ((x[:, i] - x[:, j])[repeated] for x in (part, target))
                result.append([np.corrcoef(gap[:, p], asked[:, p])[0, 1] for p in range(len(i))])
        assert found.system[draw] == pytest.approx(np.mean(system, axis=0), abs=1e-9)
        assert found.raters[draw] == pytest.approx(np.mean(raters, axis=0), abs=1e-9)


@pytest.mark.parametrize("fused", [True, False])
def test_where_nobody_rated_two_emotions_a_fused_pair_is_one_whose_difference_says_little(fused):
    made, scored = scene(3)
    if not fused:  # goes together more than the ratings do, but half of the difference is there
        own = scene(3, fused=False)[1].scores
        scored.scores[:, B] = (own[:, A] + own[:, B]) / 2
        scored.scores[:, A] = (3 * own[:, A] + own[:, B]) / 4
    values = np.full((300, 24, 6), np.nan)
    for rater in range(24):  # four for each emotion
        values[:, rater, rater % 6] = made.values[:, rater // 6, rater % 6]
    apart = made._replace(values=values, raters=[f"r{n}" for n in range(24)])
    found = judged(apart, scored)
    assert found["num_raters_told_apart"] == 0
    assert found["pairs"][0]["told_apart"]["raters"] is None
    assert (found["pairs"][0]["first"], found["pairs"][0]["second"]) == ("anger", "awe")
    assert found["pairs"][0]["correlation"]["p_holm"] < 0.01
    assert found["pairs"][0]["is_fused"] == fused


def test_trees_of_the_same_blocks_are_alike_and_of_others_not():
    blocks = np.repeat([0, 1, 2], 4)
    rng = np.random.default_rng(0)
    noise = rng.uniform(-0.05, 0.05, (2, 12, 12))
    one, two = (
        np.clip(np.where(blocks[:, None] == blocks, 0.8, 0.1) + (n + n.T) / 2 + 0.5 * np.eye(12), -1, 1) for n in noise
    )
    families = [f"family {block}" for block in blocks]
    alike = compare_trees(one, two, families)
    assert alike["num_clusters"] == 3
    assert alike["adjusted_rand"] == {"raters_system": 1, "raters_families": 1, "system_families": 1}
    assert alike["cophenetic"] > 0.9
    assert alike["p"] < 0.01
    order = rng.permutation(12)
    other = compare_trees(one, two[np.ix_(order, order)], families)
    assert other["adjusted_rand"]["raters_system"] < 0.5
    assert other["p"] > 0.01
    assert sorted(leaves(tree_of(one))) == list(range(12))


def test_the_released_taxonomy_shares_seven_keywords():
    dimensions = Taxonomy.load("emonet40").dimensions
    words = shared_keywords(dimensions)
    found = sorted(word for a in range(40) for b in range(a) for word in words[a][b])
    assert found == sorted(
        ["laughter", "bliss", "self-consciousness", "pessimism", "disorientation", "malicious envy", "loathing"]
    )
    first = by_relation(dimensions, {"ones": np.ones((40, 40))})[0]
    assert first == {"relation": "shared keyword", "num_pairs": 7, "ones": 1.0}


def test_constant_and_missing_columns_are_left_out_and_said():
    made, scored = scene(4, 100)
    scored.scores[:, 2] = 1.5
    scored.scores[:, 3] = np.nan
    scored.scores[:7, 1] = np.nan
    made.values[..., 5] = 0
    found = judged(made, scored)
    assert [emotion["slug"] for emotion in found["emotions"]] == ["anger", "disgust", "awe"]
    assert {one["slug"]: one["reason"] for one in found["left_out"]} == {
        "fear": "all scores are 1.5", "joy": "no scores", "pride": "all ratings are 0",
    }  # fmt: skip
    assert (found["num_images"], found["num_incomplete"]) == (93, 7)
    scored.scores[:, [0, 1]] = 0
    with pytest.raises(DataError, match="1 emotions that vary"):
        judged(made, scored)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("confusion")
    made, scored = scene(5, 60)
    planted.write_ratings(folder / "ratings.csv", made, SPEC)
    planted.write_columns(folder / "mine.csv", made.images, dict(zip(SPEC.names, scored.scores.T, strict=True)))
    planted.write_taxonomy(folder / "six.yaml", SPEC)
    (folder / "faces" / "in").mkdir(parents=True)
    for number, name in enumerate(made.images):
        (folder / "faces" / "in" / f"{name}.jpg").write_bytes(encoded(number))
    return folder


def words(folder, **options):
    given = {
        "ratings": folder / "ratings.csv", "system": f"mine={folder / 'mine.csv'}", "taxonomy": folder / "six.yaml",
        "num_draws": 50, "progress": "false", "pairs": 3, "examples": 1, **options,
    }  # fmt: skip
    return ["evaluate", "confusion", *(f"--{key}={value}" for key, value in given.items() if value is not None)]


def test_the_command_shows_the_pair_its_faces_and_what_the_taxonomy_says(written, tmp_path, capsys):
    assert main(words(written, out=tmp_path, images=written / "faces")) == 0
    assert "Anger - Awe" in capsys.readouterr().out
    found = json.loads((tmp_path / "confusion.json").read_text())
    report = (tmp_path / "confusion.md").read_text()
    assert "| **Anger - Awe** | fused |" in report
    example = found["pairs"][0]["examples"]["first"][0]
    assert example["ratings"][0] > example["ratings"][1]
    assert found["overlap"]["shared_keywords"][0][1] == ["loathing"]
    for name in ("correlations", "partial_correlations", "dendrograms", "worst_pairs", "overlap", "examples"):
        assert (tmp_path / "figures" / f"{name}.png").stat().st_size > 5000
        assert f"figures/{name}.png" in report


def test_two_emotions_of_ones_own_make_a_report_without_trees(written, tmp_path):
    (tmp_path / "two.yaml").write_text("name: two\nlevels: [0, 7]\nemotions: [Anger, Awe]\n")
    lines = (written / "ratings.csv").read_text().splitlines()
    kept = [line for line in lines if line.split(",")[2] in ("emotion", "Anger", "Awe")]
    (tmp_path / "ratings.csv").write_text("\n".join(kept) + "\n")
    scores = [line.split(",") for line in (written / "mine.csv").read_text().splitlines()]
    (tmp_path / "mine.csv").write_text("\n".join(f"{row[0]},{row[1]},{row[5]}" for row in scores) + "\n")
    options = {"ratings": tmp_path / "ratings.csv", "system": f"mine={tmp_path / 'mine.csv'}"}
    assert main(words(written, out=tmp_path / "out", taxonomy=tmp_path / "two.yaml", **options)) == 0
    report = (tmp_path / "out" / "confusion.md").read_text()
    assert "Two emotions make no tree" in report
    assert "Anger more than Awe: face-" in report


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        ({"system": None}, 2, "holds no system"),
        ({"images": "nowhere"}, 66, "nowhere: no such folder of images"),
        ({"examples": 9}, 2, "1 to 6 examples"),
        ({"system": "mine"}, 2, "the file of ratings holds no system"),
    ],
)
def test_what_does_not_fit_is_one_line(written, tmp_path, capsys, options, code, said):
    assert main(words(written, out=tmp_path / "out", **options)) == code
    assert said in capsys.readouterr().err


def test_an_image_that_is_not_there_is_named(written, tmp_path, capsys):
    (tmp_path / "faces").mkdir()
    (tmp_path / "faces" / "other.jpg").write_bytes(encoded(0))
    assert main(words(written, out=tmp_path / "out", images=tmp_path / "faces")) == 66
    assert "no image 'face-" in capsys.readouterr().err
    assert not (tmp_path / "out" / "confusion.md").exists()
