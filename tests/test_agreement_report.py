"""The report of agreement: humans first, intervals beside figures, differences in words, drawn whatever is lacking."""

import io
import re

import pytest
from agreement_content import SYSTEMS, agreement_content, small_taxonomy, tables_of
from matplotlib.image import imread
from rich.console import Console

from emonet_lightning.errors import OutputError
from emonet_lightning.reporting import agreement_emotions
from emonet_lightning.reporting.agreement_report import headline_table, write_agreement_report
from emonet_lightning.reporting.agreement_values import NOT_SEPARATED, ranked, verdict
from emonet_lightning.reporting.drawing import HUMAN, short
from emonet_lightning.reporting.markdown import number
from emonet_lightning.taxonomy import Taxonomy

FIGURES = {
    "systems",
    "emotions_oracle_kappa_binned",
    "emotions_kappa_truncate",
    "emotions_spearman",
    "pairwise_kappa",
    "alpha",
    "groups",
    "reliability",
}


@pytest.fixture(scope="module")
def emonet():
    return Taxonomy.load("emonet40")


@pytest.fixture(scope="module")
def content(emonet):
    return agreement_content(emonet)


@pytest.fixture(scope="module")
def written(tmp_path_factory, content, emonet):
    folder = tmp_path_factory.mktemp("report")
    return folder, write_agreement_report(folder, content, emonet, notes=["Hume Face* was multiplied by 7 | as asked."])


@pytest.fixture(scope="module")
def report(written):
    return (written[0] / "agreement.md").read_text()


def console_text(table, width=140):
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(table)
    return console.export_text()


def test_report_and_every_figure_are_written_as_png_and_pdf(written):
    folder, paths = written
    assert paths[0] == folder / "agreement.md"
    assert {path.name for path in paths[1:]} == {f"{name}.{ending}" for name in FIGURES for ending in ("png", "pdf")}
    for path in paths[1:]:
        assert path.read_bytes().startswith(b"\x89PNG" if path.suffix == ".png" else b"%PDF-")
        if path.suffix == ".png":
            assert imread(path).std() > 0.01, f"{path.name} is blank"
    assert not [path for path in folder.rglob("*") if path.is_file() and path not in paths]


def test_equal_content_gives_equal_bytes(tmp_path):
    taxonomy = small_taxonomy(tmp_path, 3)
    one, other = (
        write_agreement_report(
            tmp_path / name, agreement_content(taxonomy, raters=2, systems=SYSTEMS[:1], trivial=[]), taxonomy
        )
        for name in ("one", "other")
    )
    for path, again in zip(one, other, strict=True):
        assert path.read_bytes() == again.read_bytes(), path.name


def test_every_figure_of_the_folder_is_shown_in_the_report_and_no_other(report, written):
    shown = set(re.findall(r"\]\(figures/(\w+)\.png\)", report))
    assert shown == FIGURES


def test_tables_are_well_formed_whatever_names_hold(report):
    tables = list(tables_of(report))
    assert len(tables) > 10
    for table in tables:
        assert set(table[1]) == {"---"}
        assert {len(row) for row in table} == {len(table[0])}, table[0]
    assert r"Hume Face\*" in report
    assert "Hume Face*" not in report
    assert r"by 7 \| as asked" in report


def test_headline_tables_have_humans_first_then_systems_best_first_then_trivial_ones(report, content):
    headline = [table for table in tables_of(report) if "emotions averaged" in table[0]]
    assert len(headline) == len(content["headline"])
    for table in headline:
        names = [row[0] for row in table[2:]]
        assert names[0].startswith("**Human raters**")
        assert re.fullmatch(r"\*\*-?\d\.\d{3} \[-?\d\.\d{3}, -?\d\.\d{3}\]\*\*", table[2][1])
        trivial = [name for name in names if name.endswith(("(trivial)", "(reference)"))]
        assert names[-len(trivial) :] == trivial
        assert names[-1] == "prompted label (reference)"
    values = [float(row[1].split(" ")[0].strip("†")) for row in headline[0][3 : 3 + len(SYSTEMS)]]
    assert values == sorted(values, reverse=True)


def test_undefined_figures_are_dashes_and_counted(report):
    table = [table for table in tables_of(report) if "emotions averaged" in table[0]][1]
    row = next(row for row in table if row[0].startswith("all-zero"))
    assert row[1:4] == ["-", "-", "-"]
    assert row[5].startswith("40 / ")
    pairs = next(table for table in tables_of(report) if table[0][0] == "annotator" and "with humans" in table[0][1])
    assert next(row for row in pairs if row[0] == "all-zero")[1] == "320 of 320"
    assert "None" not in report
    assert "nan" not in report.casefold().split()


def test_differences_are_put_in_words_that_never_claim_equality(report):
    words = set()
    for table in tables_of(report):
        columns = [i for i, cell in enumerate(table[0]) if cell.startswith("verdict")]
        words |= {row[i] for row in table[2:] for i in columns}
    assert words == {"above", NOT_SEPARATED, "off scale"}
    assert not re.search(r"\bequal to\b|\bsame as\b|\bequivalent\b", report)
    assert "no evidence" in report


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [(0.01, 0.02, "above"), (-0.02, -0.01, "below"), (-0.01, 0.01, NOT_SEPARATED), (0.0, 0.1, NOT_SEPARATED)],
)
def test_a_difference_is_separated_only_where_its_interval_excludes_zero(low, high, word):
    assert verdict({"difference": (low + high) / 2, "low": low, "high": high}) == word
    assert verdict({"difference": None, "low": None, "high": None}) == "not defined"


def test_only_headline_metrics_are_compared_in_tables(report, content):
    compared = [table for table in tables_of(report) if any(cell.startswith("verdict") for cell in table[0])]
    assert len(compared) == 2 * len(content["headline"]) + 1  # and over draws of raters


def test_numbers_are_rounded_without_a_negative_zero():
    assert [number(value) for value in (-0.0001, 0.0004, -0.0006, None, float("nan"))] == [
        "0.000",
        "0.000",
        "-0.001",
        "-",
        "-",
    ]
    assert number(-0.0001, sign=True) == "0.000"


def test_systems_are_sorted_downwards_where_a_lower_figure_is_better(content):
    turned = {**content, "headline": ["mae"]}
    systems = [name for name in ranked(turned) if content["systems"][name]["kind"] == "system"]
    values = [content["systems"][name]["metrics"]["mae"]["sets"]["all"]["value"] for name in systems]
    assert values == sorted(values)


def test_emotion_figure_names_every_emotion_and_keeps_the_human_colour_for_humans(content, emonet):
    figure = agreement_emotions.by_emotion(content, "spearman")
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert sorted(labels) == sorted(short(name) for name in emonet.names)
    entries = {text.get_text(): handle for text, handle in zip(*_legend_of(figure), strict=True)}
    names = [name.removesuffix(" (30)") for name in entries]
    coloured = {
        name: handle.get_color() for name, handle in zip(names, entries.values(), strict=True) if name in SYSTEMS
    }
    assert len(coloured) == len(set(coloured.values())) == 6
    assert HUMAN not in coloured.values()
    assert entries["Human raters: one rater against the others"].get_color() == HUMAN
    assert "12 other systems, trivial ones included" in entries


def _legend_of(figure):
    legend = figure.legends[0]
    return legend.get_texts(), legend.legend_handles


def test_labels_of_a_figure_do_not_overlap(content):
    figure = agreement_emotions.by_emotion(content, "spearman")
    figure.draw_without_rendering()
    boxes = [label.get_window_extent() for label in figure.axes[0].get_yticklabels()]
    legend = figure.legends[0].get_window_extent()
    for k, box in enumerate(boxes):
        assert box.x0 >= 0
        assert not any(box.overlaps(other) for other in boxes[k + 1 :])
        assert not box.overlaps(legend)


@pytest.mark.parametrize(
    "case",
    [
        {"count": 1, "systems": ["mine"], "trivial": []},
        {"count": 3, "systems": [], "trivial": [], "raters": 2},
        {"count": 2, "systems": ["mine"], "trivial": ["random"], "raters": 1},
        {"count": 3, "systems": SYSTEMS[:2], "trivial": [], "raters": 3, "defined": False},
        {"count": 5, "systems": ["price $_$", "_", "<b>|`*"], "trivial": []},
    ],
    ids=["one emotion", "no systems", "one rater", "nothing defined", "odd names"],
)
def test_report_is_whole_for_small_and_empty_cases(case, tmp_path, recwarn):
    taxonomy = small_taxonomy(tmp_path, case.pop("count"))
    content = agreement_content(taxonomy, **case)
    paths = write_agreement_report(tmp_path / "out", content, taxonomy)
    text = paths[0].read_text()
    assert not recwarn.list, [str(warning.message) for warning in recwarn.list]
    for table in tables_of(text):
        assert {len(row) for row in table} == {len(table[0])}
    assert "None" not in text
    assert all(path.stat().st_size > 0 for path in paths)
    assert "Human raters" in console_text(headline_table(content))


def test_console_table_shows_humans_first_and_names_as_they_are(content):
    lines = console_text(headline_table(content)).splitlines()
    rows = [line.split("│")[1:-1] for line in lines if line.startswith("│")]
    assert rows[0][0].strip() == "Human raters"
    assert len(rows) == 1 + len(content["systems"])
    assert any(row[0].strip() == "Hume Face* (30)" for row in rows)
    assert re.fullmatch(r"-?\d\.\d{3} \[-?\d\.\d{3},-?\d\.\d{3}\]", rows[1][1].strip())


def test_folder_that_cannot_be_written_is_one_line(content, emonet, tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(OutputError, match="taken"):
        write_agreement_report(tmp_path / "taken", content, emonet)
