"""The page that a demonstration ends with: what was made, what came out, and every report behind it, in one file."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from emonet_lightning.demo.command import PAGE_FILE, SETS, Plan
from emonet_lightning.evaluation.association import spearman
from emonet_lightning.evaluation.bootstrap import draws, interval
from emonet_lightning.evaluation.columns import column_mean, mean_rating
from emonet_lightning.io import atomic_write, make_folder, read_json
from emonet_lightning.ratings.panel_files import read_panel
from emonet_lightning.ratings.systems import read_scores
from emonet_lightning.reporting.html_page import Chapter, html_page
from emonet_lightning.reporting.markdown import number, table
from emonet_lightning.synthesis.expressions import load_expressions
from emonet_lightning.taxonomy import Taxonomy

_NUM_DRAWS = 500
_TITLE = "From prompts to a blind study"
_LAW = (
    "Scores are **perceived** emotion: what raters see in a face, not what a person feels. The faces are drawn, the "
    "experts and judges are simulated: nothing here is a figure about people, it shows that the chain works. Emotion "
    "recognition at work and in education is banned in the EU (AI Act, Article 5(1)(f))."
)
_SETS = {"big": "pre-training, labels by a simulated machine", "binary": "fine-tuning, experts' yes and no",
         "hq": "test, rated 0..7 by four of eight experts each"}  # fmt: skip


def write_page(plan: Plan, seconds: Mapping[str, float]) -> None:
    """Write `report.html` from the files of all steps.

    Args:
        plan: of the demonstration.
        seconds: that each step took, by its title.

    Raises:
        MissingInputError: a file of a step is not there any more.
    """
    figures = make_folder(plan.out / "figures")
    atomic_write(figures / "faces.png", _sheet(plan))
    analysis = plan.out / "6-study" / "analysis"
    chapters = [
        Chapter("What was done", "\n\n".join(_summary(plan, seconds)), plan.out),
        Chapter("Faces, one for each emotion", "![Drawn faces](figures/faces.png)", plan.out),
        Chapter("Heads beside experts", "![Systems and experts](figures/systems.png)", plan.run),
        Chapter("Blind study", "![Preferred, by emotion](figures/preference_emotions.png)", analysis),
        Chapter("Balance of the prompts", "\n\n".join(_balance(plan)), plan.out / "1-design", folded=True),
        *(
            Chapter(title, (folder / name).read_text(), folder, folded=True)
            for title, folder, name in (
                ("The votes, in full", plan.out / "3-annotation" / "votes", "votes.md"),
                ("The training, in full", plan.run, "report.md"),
                ("Heads beside experts, in full", plan.run, "agreement.md"),
                ("The blind study, in full", analysis, "preference.md"),
            )
        ),
    ]
    atomic_write(plan.out / PAGE_FILE, html_page(_TITLE, chapters))


def _summary(plan: Plan, seconds: Mapping[str, float]) -> Iterator[str]:
    yield _LAW
    yield table(("set", "faces", "for"), [(name, f"{plan.counts[name]:,}", _SETS[name]) for name in SETS])
    results = read_json(plan.run / "results.json")
    yield (
        f"Tested on {plan.counts['hq']} faces of persons that no training saw. Mean over emotions, with the 95 % "
        "interval over images; the last row is one expert with the others."
    )
    figures = {"Spearman with the mean rating": "spearman", "AUROC": "auroc", "average precision": "average_precision"}
    yield table(
        ("", *figures),
        [
            (who, *(_with_interval(results, f"test/{prefix}{name}") for name in figures.values()))
            for who, prefix in (("heads", ""), ("one expert", "rater_"))
        ],
    )
    yield (
        "Here, unlike with people, it is known what each face was drawn to show. Spearman with these intensities, mean "
        "over emotions:"
    )
    yield table(("", "Spearman with the drawn intensities"), list(_against_truth(plan).items()))
    study = read_json(plan.out / "6-study" / "analysis" / "preference.json")
    yield _preference(study)
    yield table(("step", "seconds"), [(title, f"{value:.0f}") for title, value in seconds.items()])


def _with_interval(results: Mapping[str, Any], name: str) -> str:
    low, high = results.get(f"{name}/low"), results.get(f"{name}/high")
    value = number(results.get(name))
    return value if low is None or high is None else f"{value} [{number(low)}, {number(high)}]"


def _against_truth(plan: Plan) -> dict[str, str]:
    """Compare heads and experts with what the test faces were drawn to show: value and interval over images."""
    faces, taxonomy = plan.faces("hq"), Taxonomy.load("emonet40")
    columns = [load_expressions().slugs.index(slug) for slug in taxonomy.slugs]
    panel, _ = read_panel(plan.out / "3-annotation" / "ratings.csv", taxonomy)
    place = {record["id"]: row for row, record in enumerate(faces.prompts.records)}
    truth = faces.intensities()[np.ix_([place[image] for image in panel.images], columns)]
    heads = read_scores(plan.out / "6-study" / "scores.csv", taxonomy, panel.images, "heads").scores
    weights = draws(len(truth), _NUM_DRAWS, plan.seed)
    told = {}
    for name, scores in (("heads", heads), ("mean of four experts", mean_rating(panel.values))):
        values = column_mean(spearman(scores, truth, weights), axis=1)
        low, high = interval(values)
        told[name] = f"{values[0]:.3f} [{low:.3f}, {high:.3f}]"
    single = []
    for rater in range(len(panel.raters)):
        rows = panel.order[:, rater] >= 0
        if rows.sum() > 2:
            single.append(float(column_mean(spearman(panel.values[rows, rater], truth[rows]))))
    told["one expert alone"] = f"{np.mean(single):.3f} (mean of {len(single)})"
    return told


def _preference(study: Mapping[str, Any]) -> str:
    overall = study["overall"]

    def percent(found: Mapping[str, float]) -> str:
        return f"{100 * found['low']:.1f}, {100 * found['high']:.1f}"

    return (
        f"**Blind study:** the heads' list was preferred to the experts' median in {100 * overall['value']:.1f} % of "
        f"n = {overall['n']:,} comparisons ({overall['num_images']} images, {overall['num_judges']} judges); 95 % "
        f"intervals: [{percent(overall['clustered'])}] for other images and judges, [{percent(overall)}] for these "
        "alone (Wilson)."
    )


def _balance(plan: Plan) -> Iterator[str]:
    for name in SETS:
        yield f"**{name}**: {plan.counts[name]:,} prompts"
        yield f"![Images of each pair of levels]({name}.balance.png)"


def _sheet(plan: Plan) -> bytes:
    """Draw the first face of each emotion in the set that experts rated."""
    from emonet_lightning.reporting.face_sheets import Cell, Sheet, draw_sheet

    faces = plan.faces("hq")
    first: dict[str, int] = {}
    for index, record in enumerate(faces.prompts.records):
        first.setdefault(record["prompted"], index)
    taxonomy = Taxonomy.load("emonet40")
    cells = [
        Cell(taxonomy.names[taxonomy.slugs.index(slug)], faces.params(first[slug]))
        for slug in load_expressions().slugs
        if slug in first
    ]
    return draw_sheet(Sheet("Drawn for the prompts of the test set", 8, cells), 128)
