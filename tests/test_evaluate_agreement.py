"""`evaluate agreement` as its user runs it, on a made-up file in the released layout."""

import csv
import json
import subprocess
import sys

import numpy as np
import pytest
from made_up_hq import SYSTEMS, write_hq_csv
from sklearn.metrics import cohen_kappa_score

from emonet_lightning.cli import main
from emonet_lightning.evaluation.check_released import compare_published
from emonet_lightning.ratings.panel import slots
from emonet_lightning.ratings.panel_files import read_panel
from emonet_lightning.taxonomy import Taxonomy

QUIET = ("--progress", "false")


@pytest.fixture(scope="module")
def hq(tmp_path_factory):
    return write_hq_csv(tmp_path_factory.mktemp("hq") / "hq.csv", seed=0, num_images=120)


@pytest.fixture(scope="module")
def judged(hq, tmp_path_factory):
    out = tmp_path_factory.mktemp("judged")
    assert (
        main(["evaluate", "agreement", "--ratings", str(hq.path), "--out", str(out), "--num-draws", "20", *QUIET]) == 0
    )
    return out


def fails(capsys, code, *words):
    capsys.readouterr()
    assert main(["evaluate", "agreement", *map(str, words), *QUIET]) == code
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith("error: ")
    assert not any("Traceback" in line for line in lines)
    return lines[-1]


def test_the_folder_holds_json_tables_and_figures(judged):
    found = json.loads((judged / "agreement.json").read_text())
    assert [name for name, system in found["systems"].items() if system["kind"] == "system"] == list(SYSTEMS)
    assert {"all-zero", "oracle mean", "random"} <= found["systems"].keys()
    report = (judged / "agreement.md").read_text()
    for name in ("systems", "pairwise_kappa", "alpha", "groups", "reliability", "emotions_oracle_kappa_binned"):
        for suffix in ("png", "pdf"):
            assert (judged / "figures" / f"{name}.{suffix}").stat().st_size > 5000
        assert f"figures/{name}.png" in report
    assert "emotions that a rater left untouched count as 0" in report


def test_kappa_truncate_is_that_of_the_released_analysis(hq, judged):
    """Rules of the released notebook, one call of scikit-learn per pair: truncated, outside 0..7 dropped."""
    panel, systems = read_panel(hq.path, Taxonomy.load("emonet40"))
    found = json.loads((judged / "agreement.json").read_text())
    for name, column in (("Empathic Insight Face Small", 0), ("Gemini 2.0 Flash ZS", 31)):
        scores = next(system.scores for system in systems if system.name == name)[:, column]
        kappas = []
        for rater in range(len(panel.raters)):
            rating = panel.values[:, rater, column]
            both = ~np.isnan(scores) & ~np.isnan(rating)
            pair = np.trunc(scores[both]).astype(int), rating[both].astype(int)
            with np.errstate(invalid="ignore"):
                kappas.append(cohen_kappa_score(*pair, weights="quadratic", labels=list(range(8))))
        value = found["systems"][name]["metrics"]["kappa_truncate"]["per_emotion"]["value"][column]
        assert value == pytest.approx(np.nanmean(kappas), abs=1e-10)


def test_a_users_own_scores_stand_first_and_are_compared_with_all_others(hq, tmp_path):
    taxonomy = Taxonomy.load("emonet40")
    panel, _ = read_panel(hq.path, taxonomy)
    mean = np.nanmean(panel.values, axis=1)
    with (tmp_path / "own.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["image", *taxonomy.slugs])
        writer.writerows([image, *row] for image, row in zip(panel.images, mean, strict=True))
    with (tmp_path / "prompts.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows(
            [("image", "emotion"), *((image, taxonomy.names[i % 40]) for i, image in enumerate(panel.images))]
        )
    with (tmp_path / "groups.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows(
            [("image", "person"), *((image, f"p{i % 30}") for i, image in enumerate(panel.images))]
        )
    words = ("--ratings", hq.path, "--system", f"mean of all={tmp_path / 'own.csv'}", "--num-draws", 5)
    words = (*words, "--prompts", tmp_path / "prompts.csv", "--groups", tmp_path / "groups.csv")
    assert main(["evaluate", "agreement", *map(str, words), "--out", str(tmp_path / "out"), *QUIET]) == 0
    found = json.loads((tmp_path / "out" / "agreement.json").read_text())
    assert next(iter(found["systems"])) == found["differences"]["subject"] == "mean of all"
    spearman = found["systems"]["mean of all"]["metrics"]["spearman"]["sets"]["all"]
    assert spearman["value"] == pytest.approx(1)
    assert found["systems"]["prompted label"]["kind"] == "reference"
    assert found["bootstrap"]["unit"] == "group"
    assert found["bootstrap"]["num_units"] == 30


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ((), 2, "--out"),
        (("--out", "{tmp}/out", "--system", "no-equals-sign"), 2, "NAME=FILE"),
        (("--out", "{tmp}/out", "--system", "a={tmp}/absent.csv"), 66, "no such file"),
        (("--out", "{tmp}/out", "--subject", "Empathic Insight Face Smal"), 2, "'Empathic Insight Face Small'"),
        (("--out", "{tmp}/out", "--rescale", "Hume Fac*=7"), 65, "'Hume Face*'"),
        (("--out", "{tmp}/out", "--rescale", "Hume Face*=much"), 2, "NAME=FACTOR"),
        (("--out", "{tmp}/out", "--num-draws", "1"), 2, "at least 2 draws"),
        (("--out", "{tmp}/out", "--level", "95"), 2, "between 0 and 1"),
        (("--out", "{tmp}/out", "--index-map", "{tmp}/absent.json"), 66, "no such file"),
        (("--out", "{tmp}/out", "--missing", "nought"), 2, "missing"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line_and_writes_nothing(hq, tmp_path, capsys, words, code, message):
    words = [word.format(tmp=tmp_path) for word in words]
    assert message in fails(capsys, code, "--ratings", hq.path, *words)
    assert not (tmp_path / "out").exists()


def test_one_name_for_two_systems_is_refused(hq, tmp_path, capsys):
    (tmp_path / "own.csv").write_text("image,Anger\n")
    panel, _ = read_panel(hq.path, Taxonomy.load("emonet40"))
    (tmp_path / "own.csv").write_text("image,Anger\n" + "".join(f"{image},1\n" for image in panel.images))
    words = ("--ratings", hq.path, "--out", tmp_path / "out", "--system")
    # figures are kept by name: a system called as a trivial one would take its place, or lose its own
    for name in ("GPT-4o ZS", "random", "human-1", "humans"):
        line = fails(capsys, 2, *words, f"{name}={tmp_path / 'own.csv'}")
        assert f"'{name}': two systems or raters of this name" in line
    assert "write NAME=FILE" in fails(capsys, 2, *words, f" ={tmp_path / 'own.csv'}")
    assert "--seed -1" in fails(capsys, 2, *words[:-1], "--seed", "-1")
    assert not (tmp_path / "out").exists()


# -- published figures -----------------------------------------------------------------------------------------------


def pooled_kappa(pairs):
    """Quadratic kappa of concatenated pairs, by its table."""
    table = np.zeros((8, 8))
    np.add.at(table, tuple(np.concatenate(pairs, axis=1).astype(int)), 1)
    table /= table.sum()
    expected = np.outer(table.sum(1), table.sum(0))
    weight = (np.arange(8)[:, None] - np.arange(8)) ** 2
    return 1 - (weight * table).sum() / (weight * expected).sum()


def binned(scores, gold):
    known = ~np.isnan(scores)
    levels, counts = np.unique(np.round(gold[known]), return_counts=True)
    result, place = np.full(len(scores), np.nan), 0
    order = np.flatnonzero(known)[np.argsort(scores[known].astype(np.float32), kind="stable")]
    for level, count in zip(levels, counts, strict=True):
        result[order[place : place + count]] = level
        place += count
    return result


@pytest.fixture(scope="module")
def published(hq):
    """Figures of the made-up file in the form of the published ones, one emotion and pair after another."""
    taxonomy = Taxonomy.load("emonet40")
    panel, systems = read_panel(hq.path, taxonomy, untouched="missing", duplicates="last")
    by_slot = slots(panel)
    alpha, anchor = [], []
    for k in range(40):
        units = [row[~np.isnan(row)] for row in panel.values[..., k]]
        units = [unit for unit in units if len(unit) > 1]
        within = sum(2 * ((unit[:, None] - unit) ** 2).sum() / 2 / (len(unit) - 1) for unit in units)
        every = np.concatenate(units)
        between = ((every[:, None] - every) ** 2).sum() / (len(every) - 1)
        alpha.append(1 - within / between)
        given = [by_slot[:, [s, t], k].T for s in range(4) for t in range(s + 1, 4)]
        anchor.append(pooled_kappa([pair[:, ~np.isnan(pair).any(0)] for pair in given]))
    alpha, anchor = np.array(alpha), np.array(anchor)
    reliable = alpha >= 0.3
    small = next(system.scores for system in systems if system.name == "Empathic Insight Face Small")
    gold = np.nanmean(panel.values, axis=1)
    kappa = []
    for k in range(40):
        level = binned(small[:, k], gold[:, k])
        pairs = [np.stack([level, by_slot[:, s, k]]) for s in range(4)]
        kappa.append(pooled_kappa([pair[:, ~np.isnan(pair).any(0)] for pair in pairs]))
    kappa = np.array(kappa)
    present = np.array([(row > 0).sum() for image in panel.values for row in image if not np.isnan(row).all()])
    return (panel, systems, taxonomy), {
        "ratings": {"images": 120, "raters": 8, "ratings_per_image": 4},
        "alpha_interval": {
            "tolerance": 1e-9,
            "emotions": {slug: alpha[k] for k, slug in enumerate(taxonomy.slugs)},
            "mean": alpha.mean(),
            "mean_tolerance": 1e-9,
        },
        "kappa_pooled": {
            "tolerance": 1e-9,
            "all": anchor.mean(),
            "reliable": anchor[reliable].mean(),
            "rest": anchor[~reliable].mean(),
        },
        "oracle_kappa_binned": {
            "tolerance": 1e-9,
            "systems": {"Empathic Insight Face Small": {"all": kappa.mean(), "reliable": kappa[reliable].mean()}},
            "trivial_tolerance": 1,
            "trivial": {"random": {"all": 0.0}},
        },
        "spearman": {  # of too few images (fewer than 100), and of a system that is not there
            "tolerance": 1,
            "systems": {"Gemini 2.5 Pro 03-25 ZS": {"all": 0.0}, "Nobody": {"all": 0.0}},
        },
        "present_emotions": {"mean": present.mean(), "std": present.std(), "tolerance": 1e-9},
    }


def test_published_figures_are_reached_by_the_publications_own_rules(published):
    case, figures = published
    checks = compare_published(*case, figures)
    unknown = [check for check in checks if check.computed is None]
    assert [check.what for check in unknown] == ["Gemini 2.5 Pro 03-25 ZS, all", "Nobody, all"]
    assert [check for check in checks if check.computed is not None and not check.is_hit] == []
    assert len(checks) == 3 + 41 + 3 + 3 + 2 + 2


def test_a_published_figure_that_is_missed_is_seen(published):
    case, figures = published
    figures = {**figures, "kappa_pooled": {**figures["kappa_pooled"], "rest": figures["kappa_pooled"]["rest"] + 1e-4}}
    missed = [check for check in compare_published(*case, figures) if check.computed is not None and not check.is_hit]
    assert [check.what for check in missed] == ["raters, rest"]


def test_check_released_prints_computed_beside_published_and_fails_on_a_miss(hq, capsys):
    assert main(["evaluate", "agreement", "--ratings", str(hq.path), "--check-released", *QUIET]) == 65
    output = capsys.readouterr()
    assert "published figures are missed" in output.err.splitlines()[-1]
    assert "0.4683" in output.out
    assert "MISS" in output.out


# -- full size -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_released_size_stays_under_four_gigabytes(tmp_path):
    made = write_hq_csv(tmp_path / "hq.csv", seed=0)
    code = (
        "import resource, sys, time; from emonet_lightning.cli import main; started = time.monotonic(); "
        f"code = main(['evaluate', 'agreement', '--ratings', {str(made.path)!r}, '--out', {str(tmp_path / 'out')!r}]); "
        "print(code, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, time.monotonic() - started)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    exit_code, peak, seconds = found.stdout.strip().splitlines()[-1].split()
    print(f"\nevaluate agreement at the released size: {float(seconds):.0f} s, {int(peak) / 2**30:.2f} GiB")
    assert exit_code == "0"
    assert int(peak) < 4 * 2**30
