"""The report holds the run's own figures and survives whatever a run lacks."""

import io
import json
import math
import shutil

import numpy as np
import pytest
from matplotlib.image import imread
from rich.console import Console

from emonet_lightning.errors import DataError
from emonet_lightning.evaluation.benchmark import judge
from emonet_lightning.evaluation.trivial import trivial_systems
from emonet_lightning.ratings.panel import Panel, SystemScores
from emonet_lightning.reporting.run_record import RunRecord
from emonet_lightning.reporting.run_report import final_table, write_report
from emonet_lightning.taxonomy import Taxonomy


def judged(taxonomy, scores, ratings, prompted=None, num_draws=20):
    """Agreement of scores [N, K] with ratings [N, R, K]."""
    given = ~np.isnan(ratings).all(axis=2)
    images = [str(i) for i in range(len(scores))]
    raters = [f"r{r}" for r in range(ratings.shape[1])]
    order = np.where(given, np.cumsum(given, axis=1) - 1, -1)
    panel = Panel("made up", images, raters, ratings, order, prompted)
    model = SystemScores("model", scores)
    return judge(panel, [model, *trivial_systems(panel, taxonomy.slugs, subject=model)], taxonomy, num_draws=num_draws)


def write_metrics(folder, taxonomy, num_epochs=4, score=True):
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for epoch in range(num_epochs):
        line = {"step": 10 * (epoch + 1), "epoch": epoch, "train/loss": 9.0 - epoch}
        if score:
            peak = 1 - abs(epoch - 2) / 10  # epoch 2 is best
            line["val/score"] = 0.5 * peak
            line |= {f"val/score/{slug}": peak * k / len(taxonomy) for k, slug in enumerate(taxonomy.slugs)}
        lines.append(json.dumps(line))
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def emonet():
    return Taxonomy.load("emonet40")


@pytest.fixture(scope="module")
def tested(tmp_path_factory, emonet):
    """A two-stage run with a rated test set: folder and the arguments of its report."""
    run_dir = tmp_path_factory.mktemp("run")
    rng = np.random.default_rng(0)
    for stage in ("pretrain", "finetune"):
        write_metrics(run_dir / stage, emonet)
    truth = rng.random((60, 40))
    ratings = np.clip(np.round(7 * truth[:, None] + rng.normal(0, 1, (60, 3, 40))), 0, 7)
    ratings[:, :, 5] = 0
    scores = truth + rng.normal(0, 0.2, truth.shape)
    agreement = judged(emonet, scores, ratings, prompted=[emonet.slugs[k] for k in truth.argmax(axis=1)])
    (run_dir / "finetune" / "results.json").write_text(
        json.dumps(
            {
                "test/kappa_round": 0.456,
                "test/kappa_round/num_defined": 39,
                **{f"test/kappa_round/{slug}": 0.1 for slug in emonet.slugs},
            }
        )
    )
    heads = {
        "best": {
            slug: {"epoch": k % 4, "score": 0.5, "by": "own" if k < 30 else "overall"}
            for k, slug in enumerate(emonet.slugs)
        },
        "constant_heads": ["awe"],
    }
    return run_dir, {"heads": heads, "agreement": agreement, "notes": ["Real photographs were not tested."]}


@pytest.fixture(scope="module")
def report(tested, emonet):
    run_dir, arguments = tested
    return write_report(run_dir, ["pretrain", "finetune"], emonet, **arguments).read_text()


def text_of(table):
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(table)
    return console.export_text()


def test_report_of_a_two_stage_run_names_stages_systems_emotions_heads_and_gaps(tested, report, emonet):
    arguments = tested[1]
    assert "| pretrain | 40 | 4 | 9.000 | 6.000 | 0.500 | 2 |" in report
    assert "| `test/kappa_round` | 0.456 | 39 |" in report
    assert "test/kappa_round/" not in report
    subject = arguments["agreement"]["systems"]["model"]["metrics"]["spearman"]["sets"]["all"]
    assert f"| **model** | {subject['value']:.3f} | {subject['low']:.3f} .. {subject['high']:.3f} |" in report
    assert "| prompted label (reference) |" in report
    assert "**1 dead or constant** (the same score for every validation sample): Awe." in report
    assert "Heads are from epochs (number of heads): 0 (10), 1 (10), 2 (10), 3 (10)." in report
    assert report.count(" (overall) |") == 10
    for name in emonet.names:
        assert f"| {name} |" in report
    assert "No figure for 1 of 40 (undefined here): Affection." in report
    assert "Real photographs were not tested." in report


def test_figures_are_pictures_with_ink_and_are_those_that_the_report_shows(tested, report):
    run_dir = tested[0]
    written = sorted(path.name for path in (run_dir / "figures").iterdir())
    assert written == ["curves.png", "emotions.png"]
    for name in written:
        assert f"(figures/{name})" in report
        picture = imread(run_dir / "figures" / name)
        assert picture.shape[1] > 900
        assert 0.01 < (picture[..., :3].min(axis=2) < 0.6).mean() < 0.5


def test_the_report_of_the_same_run_is_the_same_bytes(tested, report, emonet):
    run_dir, arguments = tested

    def content():
        return {path: path.read_bytes() for path in run_dir.glob("**/*") if path.is_file()}

    first = content()
    write_report(run_dir, ["pretrain", "finetune"], emonet, **arguments)
    assert content() == first


def test_emotions_are_sorted_best_first_with_the_undefined_last(tested, report, emonet):
    run_dir, arguments = tested
    emotions = RunRecord.read(run_dir, ["pretrain", "finetune"], emonet, **arguments).emotions()
    figures = [emotions.values[k] for k in emotions.order()]
    assert figures == sorted(figures, reverse=True)
    assert len(figures) == 39
    table = report[report.index("| emotion |") :]
    rows = [line.split(" | ")[0].removeprefix("| ") for line in table.splitlines()[2:42]]
    assert rows == [emonet.names[k] for k in emotions.order()] + ["Affection"]


def test_console_table_shows_stages_results_systems_and_extremes(tested, emonet):
    run_dir, arguments = tested
    text = text_of(final_table(run_dir, ["pretrain", "finetune"], emonet, **arguments))
    for expected in ("pretrain: best validation score", "epoch 2", "Human raters", "model permuted", "constant heads"):
        assert expected in text
    subject = arguments["agreement"]["systems"]["model"]["metrics"]["spearman"]["sets"]["all"]
    mark = "†" if subject["is_biased"] else ""
    assert f"{subject['value']:.3f}{mark} [{subject['low']:.3f}," in text


def test_a_test_without_raters_has_its_results_in_the_console_table(tmp_path, emonet):
    write_metrics(tmp_path, emonet)
    (tmp_path / "results.json").write_text(json.dumps({"test/average_precision": 0.456}))
    text = text_of(final_table(tmp_path, ["fit"], emonet))
    assert "test/average_precision" in text
    assert "0.456" in text


def test_a_one_stage_run_without_test_or_raters_says_what_is_not_measured(tmp_path, emonet):
    write_metrics(tmp_path, emonet)
    report = write_report(tmp_path, ["fit"], emonet).read_text()
    assert "| fit | 40 | 4 |" in report
    assert "Best validation score of stage fit" in report
    assert "Nothing was tested on held-out ratings" in report
    assert "No other system was run" in report
    assert "was not checked" in report
    assert not (tmp_path / "figures" / "systems.png").exists()


def test_a_binary_test_shows_average_precision_beside_the_share_of_yes(tmp_path, emonet):
    precision = {f"test/average_precision/{slug}": 0.7 for slug in emonet.slugs}
    share = {f"test/positive_share/{slug}": 0.25 for slug in emonet.slugs[:39]}
    (tmp_path / "results.json").write_text(json.dumps(precision | share))
    report = write_report(tmp_path, ["fit"], emonet).read_text()
    assert "| emotion | family | figure | share of yes, the level of chance |" in report
    assert "| Amusement | Positive High-Energy Emotions | 0.700 | 0.250 |" in report


@pytest.mark.parametrize("stages", [[], ["fit"], ["pretrain", "finetune"]])
def test_an_empty_run_folder_gives_a_report_that_says_so(tmp_path, emonet, stages):
    report = write_report(tmp_path, stages, emonet).read_text()
    assert "logged nothing" in report
    assert "![" not in report
    text_of(final_table(tmp_path, stages, emonet))


def test_a_run_without_validation_says_that_no_epoch_could_be_chosen(tmp_path, emonet):
    write_metrics(tmp_path, emonet, score=False)
    report = write_report(tmp_path, ["fit"], emonet).read_text()
    assert "no best epoch could be chosen" in report
    assert (tmp_path / "figures" / "curves.png").exists()


def test_a_resumed_run_counts_each_step_once_and_half_a_line_is_left_out(tmp_path, emonet):
    lines = [
        {"step": 10, "epoch": 0, "train/loss": 3.0},
        {"step": 20, "epoch": 1, "train/loss": 2.0, "val/score": math.nan},
        {"step": 20, "epoch": 1, "train/loss": 1.5, "val/score": None},
        {"step": 30, "epoch": 2, "val/score": 0.25},
    ]
    text = "\n".join(json.dumps(line) for line in lines) + '\n{"step": 40, "epo'
    (tmp_path / "metrics.jsonl").write_text(text)
    stage = RunRecord.read(tmp_path, ["fit"], emonet).stages[0]
    assert [part.tolist() for part in stage.series("train/loss")] == [[10, 20], [3.0, 1.5]]
    assert stage.best("val/score") == (0.25, 30, 2)
    assert "0.250" in write_report(tmp_path, ["fit"], emonet).read_text()


@pytest.mark.parametrize("num_emotions", [1, 2, 100])
def test_other_taxonomies_from_one_to_a_hundred_emotions_are_drawn(tmp_path, num_emotions):
    families = 9 if num_emotions == 100 else 0
    entries = [
        f"{{name: 'Emotion {k} | of a long kind', slug: e{k}" + (f", family: F{k % families}}}" if families else "}")
        for k in range(num_emotions)
    ]
    (tmp_path / "own.yaml").write_text("levels: [1, 7]\nemotions:\n" + "".join(f"  - {entry}\n" for entry in entries))
    own = Taxonomy.load(str(tmp_path / "own.yaml"))
    write_metrics(tmp_path, own)
    scores = np.random.default_rng(0).random((12, num_emotions))
    agreement = judged(own, scores, np.round(1 + 6 * scores)[:, None], num_draws=5)
    report = write_report(tmp_path, ["fit"], own, agreement=agreement).read_text()
    assert f"| Emotion {num_emotions - 1} \\| of a long kind |" in report
    assert "how far raters agree with each other is unknown" in report
    assert imread(tmp_path / "figures" / "emotions.png").shape[0] > 25 * num_emotions


def test_extra_dimensions_have_rows_but_no_part_in_the_comparison(tested, tmp_path):
    run_dir, arguments = tested
    run_dir = shutil.copytree(run_dir, tmp_path / "run")
    taxonomy = Taxonomy.load("emonet40", extra_dimensions=True)
    report = write_report(run_dir, ["pretrain", "finetune"], taxonomy, **arguments).read_text()
    assert "40 emotion(s) and 4 extra dimension(s)" in report
    assert "No figure for 5 of 44" in report


def test_results_that_are_not_json_are_an_error_naming_the_file(tmp_path, emonet):
    (tmp_path / "results.json").write_text("{broken")
    with pytest.raises(DataError, match=r"results\.json"):
        write_report(tmp_path, ["fit"], emonet)


def test_each_stage_shows_what_its_own_heads_got_on_test(tmp_path):
    taxonomy = Taxonomy.load("emonet40")
    for stage, value in (("first", 0.125), ("second", 0.375)):
        (tmp_path / stage).mkdir()
        (tmp_path / stage / "metrics.jsonl").write_text('{"step": 1, "epoch": 0, "val/score": 0.5}\n')
        (tmp_path / stage / "results.json").write_text(json.dumps({"test/spearman": value}))
    report = write_report(tmp_path, ["first", "second"], taxonomy).read_text()
    assert "0.125 (spearman)" in report
    assert "0.375 (spearman)" in report
