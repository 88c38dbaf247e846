"""agreement.md with its figures, from the content of agreement.json; nothing is measured here.

For readers who see it first: every table says how it is to be read, every metric states its rule.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from emonet_lightning.io import atomic_write, make_folder
from emonet_lightning.reporting import agreement_annotators as annotators
from emonet_lightning.reporting import agreement_reading as reading
from emonet_lightning.reporting import agreement_tables as tables
from emonet_lightning.reporting.agreement_tables import headline_table
from emonet_lightning.reporting.agreement_values import FEWEST_IN_BIN, compared_key, ranked, subsets, title_of
from emonet_lightning.reporting.markdown import literal
from emonet_lightning.taxonomy import Taxonomy

__all__ = ["REPORT_FILE", "agreement_text", "headline_table", "write_agreement_report"]

REPORT_FILE = "agreement.md"


def write_agreement_report(
    out_dir: Path, found: Mapping[str, Any], taxonomy: Taxonomy, *, notes: Sequence[str] = (), figures: bool = True
) -> list[Path]:
    """Write `agreement.md` and its figures (`figures/*.png`, `figures/*.pdf`); equal content gives equal bytes.

    Args:
        out_dir: folder; created where there is none.
        found: content of agreement.json.
        taxonomy: that of the ratings.
        notes: sentences added to those in `found`.
        figures: draw them; without, the text names none.

    Returns:
        Paths written, `agreement.md` first.

    Raises:
        OutputError: the folder cannot be written.
    """
    out_dir = Path(out_dir)
    paths = _draw(out_dir / "figures", found, taxonomy) if figures else []
    report = out_dir / REPORT_FILE
    atomic_write(report, agreement_text(found, notes, figures=figures))
    return [report, *paths]


def _draw(folder: Path, found: Mapping[str, Any], taxonomy: Taxonomy) -> list[Path]:
    # here: matplotlib loads slowly
    from emonet_lightning.reporting import agreement_emotions, agreement_figures, agreement_heatmap, drawing

    make_folder(folder)
    drawn = {"systems": agreement_figures.overview(found)}
    drawn |= {f"emotions_{metric}": agreement_emotions.by_emotion(found, metric) for metric in found["headline"]}
    drawn["pairwise_kappa"] = agreement_heatmap.heatmap(found)
    drawn["alpha"] = agreement_emotions.alpha(found)
    drawn["groups"] = agreement_figures.by_group(found, found["pairwise"]["metric"])
    if found.get("reliability"):
        scale = taxonomy.dimensions[0]
        drawn["reliability"] = agreement_figures.reliability(found, scale.low, scale.high)
    else:  # of an earlier report with systems
        for stale in folder.glob("reliability.*"):
            stale.unlink()
    return [path for name, figure in drawn.items() for path in drawing.save(figure, folder, name)]


def agreement_text(found: Mapping[str, Any], notes: Sequence[str] = (), *, figures: bool = True) -> str:
    """Return the text of `agreement.md`; see `write_agreement_report`."""
    return "\n\n".join(part for part in _sections(found, notes) if figures or not part.startswith("![")) + "\n"


def _sections(found: Mapping[str, Any], notes: Sequence[str]) -> Iterable[str]:
    yield f"# Agreement with the raters of {literal(found['ratings']['name'])}"
    yield "## How to read this"
    yield from reading.how_to_read(found)
    yield "## Ratings"
    yield "\n".join(f"- {line}" for line in reading.ratings(found))
    yield "## Systems and humans"
    yield "![Headline metrics of systems and humans](figures/systems.png)"
    for metric in found["headline"]:
        yield f"### {literal(title_of(found, metric))}"
        yield f"`{metric}`: {_rule(found, metric)}."
        yield from reading.beside_humans(found, [metric])
        yield tables.headline_markdown(found, metric)
    if found.get("over_raters"):
        yield from _over_raters(found)
    yield from _differences(found)
    yield from _against_humans(found)
    yield from _emotions(found)
    yield from _pairs(found)
    if found.get("released_protocol"):
        yield from annotators.released(found)
    if (found.get("humans") or {}).get("per_rater"):
        yield "## Each rater"
        for subset, size in subsets(found).items():
            yield f"A rater against the other raters, mean over emotions: {subset} {size}."
            yield annotators.raters_markdown(found, subset)
    yield "## All metrics"
    yield "Mean over all emotions with its interval (↓: lower is better); single emotions are in `agreement.json`."
    for family, metrics in tables.metric_families(found).items():
        yield f"### {family}"
        yield from reading.beside_humans(found, metrics)
        yield tables.metrics_markdown(found, metrics)
    yield "### Rules"
    yield "\n".join(
        f"- `{key}` ({literal(metric['name'])}): {_rule(found, key)}." for key, metric in found["metrics"].items()
    )
    every = [*notes, *(note for name in ranked(found) for note in _notes_of(found, name))]
    if every:
        yield "## Notes"
        yield "\n".join(f"- {literal(note)}" for note in every)


def _over_raters(found: Mapping[str, Any]) -> Iterable[str]:
    drawn = found["over_raters"]
    yield f"### {literal(title_of(found, drawn['metric']))}, raters drawn"
    yield (
        f"The intervals above speak of other images and these {drawn['num_raters']} raters; here they are over "
        f"{drawn['num_draws']} draws of raters on these images: how far the figure depends on who rated. "
        + reading.FEW_RATERS.format(num_raters=drawn["num_raters"])
    )
    yield tables.over_raters_markdown(found)
    if differences := tables.over_raters_differences(found):
        yield f"Each system minus the humans, on the same draws of raters. {reading.NO_EVIDENCE}"
        yield tables.differences_markdown(found, differences, "system minus humans, raters drawn", ranked(found))


def _differences(found: Mapping[str, Any]) -> Iterable[str]:
    differences = found.get("differences") or {}
    if not differences.get("of"):
        return
    subject = differences["subject"]
    yield f"## {literal(subject)} compared, paired"
    yield f"{literal(subject)} minus each other system, headline metrics. {reading.NO_EVIDENCE}"
    order = ["humans", *ranked(found)]
    yield from _by_metric(found, found["headline"], differences["of"], f"{literal(subject)} minus", order)


def _against_humans(found: Mapping[str, Any]) -> Iterable[str]:
    if not found.get("against_humans"):
        return
    compared = [key for metric in found["headline"] if (key := compared_key(found, metric)) is not None]
    yield "## Systems against the humans, paired"
    yield (
        "Each system minus the human figure of the metric, headline metrics; where a rater is compared with one rater "
        f"fewer than a system is, so is the system here (left out). {reading.NO_EVIDENCE}"
    )
    yield from _by_metric(found, compared, found["against_humans"], "system minus humans", ranked(found))


def _by_metric(
    found: Mapping[str, Any],
    metrics: Sequence[str],
    entries: Sequence[Mapping[str, Any]],
    what: str,
    order: Sequence[str],
) -> Iterable[str]:
    for metric in metrics:
        if own := [entry for entry in entries if entry["metric"] == metric]:
            yield f"### {literal(title_of(found, metric))}"
            yield tables.differences_markdown(found, own, what, order)


def _emotions(found: Mapping[str, Any]) -> Iterable[str]:
    yield "## Emotions"
    yield "Sorted by the raters' alpha: where raters disagree with each other, no system can agree with all of them."
    yield "![Krippendorff's alpha per emotion](figures/alpha.png)"
    for metric in found["headline"]:
        yield f"![{title_of(found, metric)} per emotion](figures/emotions_{metric}.png)"
    yield reading.HIGHEST_OF_MANY
    yield tables.emotions_markdown(found, found["headline"][0])
    if found.get("reliability"):
        yield "![Human rating at each score](figures/reliability.png)"
        yield (
            "Above the dashed line raters rate higher than the system scores. The steeper the points rise, the more "
            "a score says; scores on another scale (0..1, say) leave the line without being wrong in order. "
            f"Bins of fewer than {FEWEST_IN_BIN} ratings are left out."
        )


def _pairs(found: Mapping[str, Any]) -> Iterable[str]:
    yield "## Pairs of annotators"
    yield "![Score by group](figures/groups.png)"
    yield "![Pairwise kappa, humans first](figures/pairwise_kappa.png)"
    yield (
        "A pair's kappa on an emotion is not defined where both give one level throughout (0/0) or share fewer than "
        "two images with values on the scale. Such values are left out of means and counted here."
    )
    yield annotators.undefined_markdown(found)


def _rule(found: Mapping[str, Any], metric: str) -> str:
    own = found["metrics"][metric]
    better = "" if own.get("higher_is_better", True) else " (lower is better)"
    return literal(own.get("rule") or own["name"]).rstrip(".") + better


def _notes_of(found: Mapping[str, Any], name: str) -> list[str]:
    return [f"{name}: {note}" for note in found["systems"][name].get("notes", ())]
