"""What the agreement report says against its own figures: bias, other scales, few emotions, many comparisons."""

import io
import re

import matplotlib.colors
import pytest
from agreement_content import OFF_SCALE, SYSTEMS, agreement_content, small_taxonomy, tables_of
from rich.console import Console

from emonet_lightning.reporting import agreement_emotions, agreement_figures, agreement_heatmap
from emonet_lightning.reporting.agreement_report import agreement_text, headline_table, write_agreement_report
from emonet_lightning.reporting.agreement_values import NOT_SEPARATED, verdict
from emonet_lightning.reporting.drawing import GREY
from emonet_lightning.reporting.markdown import estimate
from emonet_lightning.taxonomy import Taxonomy


@pytest.fixture(scope="module")
def content():
    return agreement_content(Taxonomy.load("emonet40"))


@pytest.fixture(scope="module")
def report(content):
    return agreement_text(content)


@pytest.mark.parametrize(
    ("difference", "low", "high", "word"),
    [
        (0.03, 0.01, 0.07, NOT_SEPARATED),  # reflected: -0.01 to 0.05
        (0.05, 0.01, 0.07, "above"),  # 0.03 to 0.09
        (-0.03, -0.07, -0.01, NOT_SEPARATED),
        (-0.05, -0.07, -0.01, "below"),
        (0.05, -0.01, 0.07, NOT_SEPARATED),  # 0.03 to 0.11, but its own interval holds 0
    ],
)
def test_a_biased_difference_is_separated_only_where_the_reflected_interval_excludes_zero_too(
    difference, low, high, word
):
    entry = {"difference": difference, "low": low, "high": high, "is_biased": True}
    assert verdict(entry) == word
    unbiased = "above" if low > 0 else "below" if high < 0 else NOT_SEPARATED
    assert verdict({**entry, "is_biased": False}) == unbiased


def test_a_difference_off_scale_has_neither_verdict_nor_interval(report):
    assert verdict({"difference": 0.2, "low": 0.1, "high": 0.3, "off_scale": True}) == "off scale"
    off = [row for table in tables_of(report) for row in table if "off scale" in row and "verdict, all" in table[0]]
    assert len(off) == 3 * len(OFF_SCALE)  # subject, humans and humans over raters, kappa (truncate) only
    assert all(row[1::2] == ["-", "-", "-"] for row in off)


def test_each_mark_has_one_meaning_and_is_explained_once_before_the_tables(report):
    lines = report.splitlines()
    rows = [line for line in lines if line.startswith("|")]
    other_images, off_centre = ([line for line in rows if mark in line] for mark in "‡†")
    assert other_images
    assert off_centre
    assert all("Hume" in line for line in other_images)
    assert all("Qwen" in line for line in off_centre)
    for mark, meaning in (("‡", "not scored on the same images"), ("†", "off centre or too narrow")):
        (explained,) = [place for place, line in enumerate(lines) if line.startswith(f"- {mark} ")]
        assert meaning in lines[explained]
        assert explained < lines.index(rows[0])


def test_a_value_outside_its_own_interval_is_marked():
    assert estimate({"value": 0.459, "low": 0.421, "high": 0.451}) == "0.459† [0.421, 0.451]"
    assert estimate({"value": 0.42, "low": 0.421, "high": 0.451}).startswith("0.420† ")
    assert "†" not in estimate({"value": 0.44, "low": 0.421, "high": 0.451})
    assert "†" not in estimate({"value": 0.44, "low": None, "high": None})
    assert estimate({"value": 0.44, "low": 0.42, "high": 0.45, "is_biased": True}) == "0.440† [0.420, 0.450]"


def test_a_system_with_fewer_emotions_shows_their_number_and_no_title_claims_all(report, content):
    table = next(table for table in tables_of(report) if "emotions averaged" in table[0])
    (row,) = [row for row in table if row[0].startswith("Hume")]
    assert row[0] == r"Hume Face\* (30)"
    assert re.fullmatch(r"-?\d\.\d{3} \(30\) \[.*\]", row[1])
    assert not any("(" in row[1] for row in table[2:] if not row[0].startswith("Hume"))
    assert "compare it only by the paired table" in report
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(headline_table(content))
    assert "mean over at most 40 emotion(s)" in console.export_text()

    figure = agreement_figures.overview(content)
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert "Hume Face* (30)" in labels
    assert {"Random Baseline", "random (trivial)"} <= set(labels)
    hollow = {
        labels[int(line.get_ydata()[0])]
        for line in figure.axes[0].lines
        if line.get_marker() in ("o", "D") and line.get_markerfacecolor() == "white"
    }
    assert hollow == {"Hume Face* (30)"}
    assert "at most 40 emotion(s), hollow: over fewer" in figure.get_suptitle()


def test_an_emotion_that_nobody_has_a_figure_for_marks_no_system(tmp_path):
    found = agreement_content(small_taxonomy(tmp_path, 5), systems=SYSTEMS[:2], trivial=["random"])
    for owner in (found["humans"], *found["systems"].values()):
        for metric in owner["metrics"].values():
            metric["sets"]["all"]["num_emotions"] = 4
    table = next(table for table in tables_of(agreement_text(found)) if "emotions averaged" in table[0])
    assert not [row for row in table[2:] if "(" in row[1]]
    title = agreement_figures.overview(found).get_suptitle()
    assert "at most 5" in title
    assert "hollow" not in title


def test_images_scored_stand_beside_the_headline_figures_and_ties_beside_the_oracle(report):
    headline = [table for table in tables_of(report) if "emotions averaged" in table[0]]
    for place, table in enumerate(headline):
        column = table[0].index("images scored per emotion")
        images = {row[0]: row[column] for row in table[2:]}
        assert images["GPT-4o ZS"] == "1432-1611"
        assert images["Random Baseline"] == "2500"
        assert ("sd over orders of equal scores" in table[0]) == (place == 0)
    assert {row[0]: row[-1] for row in headline[0]}["Claude 3.7 MS"] == "0.0012 / 0.0040 / 0.0010"
    assert "upper bound" not in report
    assert "and no bound" in report


def test_scores_on_another_scale_are_no_numbers_where_levels_are_needed(report, content):
    section = report[report.index("### Kappas") :]
    kappas = next(tables_of(section))
    for name in (r"Hume Face\* (30)", "random (trivial)"):
        (row,) = [row for row in kappas if row[0] == name]
        assert [cell == "off scale" for cell in row[1:]] == [title == "kappa (truncate)" for title in kappas[0][1:]]

    figure = agreement_emotions.by_emotion(content, "kappa_truncate")
    assert not [text for text in figure.legends[0].get_texts() if "Hume" in text.get_text()]
    assert "not drawn: 2 off scale" in [text.get_text() for text in figure.legends[0].get_texts()]
    printed = agreement_heatmap.heatmap(content)
    names = content["pairwise"]["annotators"]
    rows = {names[round(text.get_position()[1])] for text in printed.axes[0].texts}
    assert rows.isdisjoint(OFF_SCALE)
    assert "Random Baseline" in rows
    assert any("off scale" in text.get_text() for text in printed.legends[0].get_texts())


def test_what_misleads_is_said_before_the_tables(report):
    before = report[: report.index("\n|")]
    assert "says nothing about what a person feels; not for decisions about persons" in before
    assert "banned in the EU (AI Act, Article 5)" in before
    assert "of 20 comparisons without a true difference about one is called above or below" in before
    assert "Name the comparison that you care about beforehand" in before
    assert "conclusions is 0.667: 0 of 40 reach it" in before
    assert "the human figure of this set is flattered" in before
    assert "uncertain, their interval holds 0.3:" in before
    for word in (
        "The highest of many is flattered",
        "8 raters are few",
        "these p are too small",
        "itself would not pass",
    ):
        assert word in report


def test_leave_one_out_is_said_where_humans_stand_beside_systems(report):
    spearman = report[report.index("### Spearman\n") :]
    assert "one rater fewer than a system is; the paired table compares like with like" in spearman[:300]
    errors = report[report.index("### Errors") :]
    assert "a system below the human row is not better than raters" in errors[:400]
    compared = report[report.index("## Systems against the humans, paired") : report.index("## Emotions")]
    assert "### Spearman (left out)" in compared
    assert "MAE" not in compared


def test_older_content_still_renders(tmp_path):
    taxonomy = small_taxonomy(tmp_path, 3)
    lost = {"bias", "is_biased", "off_scale", "tie_spread", "images_per_emotion", "against_humans", "own_scale"}
    lost |= {"uncertain", "num_present", "same_images"}

    def older(value):
        if isinstance(value, dict):
            return {key: older(own) for key, own in value.items() if key not in lost}
        return [older(own) for own in value] if isinstance(value, list) else value

    found = older(agreement_content(taxonomy, raters=3, systems=SYSTEMS[2:5], trivial=["random"]))
    assert "None" not in write_agreement_report(tmp_path, found, taxonomy)[0].read_text()


def test_trivial_systems_are_grey_in_every_figure_and_bins_of_few_ratings_are_left_out(content):
    groups = agreement_figures.by_group(content, "kappa_truncate")
    labels = [label.get_text().split("\n")[0] for label in groups.axes[0].get_yticklabels()]
    assert "Empathic Insight Face (the release's 'Our Models')" in labels
    colours = [patch.get_edgecolor()[:3] for patch in groups.axes[0].patches]
    assert labels[-1] == "Trivial"
    assert colours[-1] == matplotlib.colors.to_rgb(GREY) != colours[-2]
    few = {name: {**own, "n": [19, 20, *own["n"][2:]]} for name, own in content["reliability"].items()}
    figure = agreement_figures.reliability({**content, "reliability": few}, 0.0, 7.0)
    drawn = len(figure.axes[0].collections[0].get_offsets())
    assert drawn == len(content["reliability"][SYSTEMS[0]]["n"]) - 1
    assert "first 12 of 18 by the headline" in figure.get_suptitle()


def test_scores_above_the_scale_are_inside_the_axes_and_the_legend_inside_the_figure(content):
    name = SYSTEMS[0]
    own = content["reliability"][name]
    high = {**own, "bin_mean_score": [*own["bin_mean_score"][:-1], 7.6], "n": [100] * len(own["n"])}
    figure = agreement_figures.reliability({**content, "reliability": {name: high}}, 0.0, 7.0)
    assert figure.axes[0].get_xlim()[1] > 7.6
    figure.draw_without_rendering()
    (legend,) = figure.legends
    assert legend.get_window_extent().width < figure.bbox.width
