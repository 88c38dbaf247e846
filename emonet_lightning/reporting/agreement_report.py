"""agreement.md with its figures, from the content of agreement.json; nothing is measured here.

For readers who see it first: every table says how it is to be read, every metric states its rule.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from emonet_lightning.io import atomic_write, make_folder
from emonet_lightning.reporting import agreement_tables as tables
from emonet_lightning.reporting.agreement_tables import headline_table
from emonet_lightning.reporting.markdown import literal
from emonet_lightning.taxonomy import Taxonomy

__all__ = ["REPORT_FILE", "headline_table", "write_agreement_report"]

REPORT_FILE = "agreement.md"

_READING = (
    "Raters looked at each face and rated how strongly it *appears* to express each emotion: perceived emotion, which "
    "need not be what the person felt. Nobody's rating is the truth, so a system is judged by how well it agrees with "
    "the raters. The first row of a table, in bold, is the raters' agreement with each other: {human}. A system can "
    "come out above it without knowing more than a rater does: it may predict what raters say on average, where a "
    "rater has one opinion.",
    "Each number is a mean over emotions, `[low, high]` its {level} interval over {num_draws} draws of {unit}s. An "
    "emotion for which a figure is not defined (all ratings alike, say) is counted under 'not defined'; the rule of "
    "the metric says whether it is left out or counts as 0. A figure whose key begins with `oracle_` has seen the "
    "ratings that it is judged on: an upper bound, not what a system reaches on new images. Systems of kind 'trivial' "
    "never look at a face; a system that is not above them shows no sign of having learnt anything. † marks a value "
    "outside its own interval: with few images or rare emotions the draws lose pairs of raters, or lie to one side of "
    "the sample; the interval then shows how far the figure varies, not where it lies.",
)

_NO_EVIDENCE = (
    "Read as: the first minus the second, both on the same draws. 'Not separated' means that the interval holds 0: "
    "these images do not show which is higher. It is no evidence that both agree with the raters to the same degree."
)


def write_agreement_report(
    out_dir: Path, found: Mapping[str, Any], taxonomy: Taxonomy, *, notes: Sequence[str] = ()
) -> list[Path]:
    """Write `agreement.md` and its figures (`figures/*.png`, `figures/*.pdf`); equal content gives equal bytes.

    Args:
        out_dir: folder; created where there is none.
        found: content of agreement.json.
        taxonomy: that of the ratings.
        notes: sentences added to those in `found`.

    Returns:
        Paths written, `agreement.md` first.

    Raises:
        OutputError: the folder cannot be written.
    """
    # here: matplotlib loads slowly
    from emonet_lightning.reporting import agreement_emotions, agreement_figures, agreement_heatmap, drawing

    out_dir = Path(out_dir)
    make_folder(out_dir / "figures")
    drawn = {"systems": agreement_figures.overview(found)}
    drawn |= {f"emotions_{metric}": agreement_emotions.by_emotion(found, metric) for metric in found["headline"]}
    drawn["pairwise_kappa"] = agreement_heatmap.heatmap(found)
    drawn["alpha"] = agreement_emotions.alpha(found)
    drawn["groups"] = agreement_figures.by_group(found, found["pairwise"]["metric"])
    if found.get("reliability"):
        scale = taxonomy.dimensions[0]
        drawn["reliability"] = agreement_figures.reliability(found, scale.low, scale.high)
    paths = [path for name, figure in drawn.items() for path in drawing.save(figure, out_dir / "figures", name)]
    report = out_dir / REPORT_FILE
    atomic_write(report, "\n\n".join(_sections(found, set(drawn), notes)) + "\n")
    return [report, *paths]


def _sections(found: Mapping[str, Any], drawn: set[str], notes: Sequence[str]) -> Iterable[str]:
    yield f"# Agreement with the raters of {literal(found['ratings']['name'])}"
    yield "## How to read this"
    human = "not known here, it takes two raters" if found["ratings"]["num_raters"] < 2 else _human_rows(found)
    bootstrap = found["bootstrap"]
    for paragraph in _READING:
        yield paragraph.format(
            human=human, level=f"{bootstrap['level']:.0%}", num_draws=bootstrap["num_draws"], unit=bootstrap["unit"]
        )
    yield "## Ratings"
    yield "\n".join(_ratings(found))
    yield "## Systems and humans"
    yield "![Headline metrics of systems and humans](figures/systems.png)"
    for metric in found["headline"]:
        yield f"### {literal(tables.title_of(found, metric))}"
        yield f"`{metric}`: {_rule(found, metric)}."
        yield tables.headline_markdown(found, metric)
    if found.get("over_raters"):
        yield from _over_raters(found)
    yield from _differences(found)
    yield from _against_humans(found)
    yield from _emotions(found, drawn)
    yield from _pairs(found)
    if found.get("released_protocol"):
        yield from _released(found)
    if (found.get("humans") or {}).get("per_rater"):
        yield "## Each rater"
        yield "A rater against the other raters, mean over emotions."
        yield tables.raters_markdown(found)
    yield "## All metrics"
    yield "Mean over all emotions (↓: lower is better); intervals, differences and emotions are in `agreement.json`."
    yield tables.metrics_markdown(found)
    yield "\n".join(f"- `{key}` ({literal(metric['name'])}): {_rule(found, key)}." for key, metric in _ruled(found))
    every = [*notes, *(note for name in tables.ranked(found) for note in _notes_of(found, name))]
    if every:
        yield "## Notes"
        yield "\n".join(f"- {literal(note)}" for note in every)


def _human_rows(found: Mapping[str, Any]) -> str:
    humans = list(dict.fromkeys(tables.human_of(found, metric) for metric in found["headline"]))
    names = [literal(tables.title_of(found, key)) for key in humans]
    return ", ".join(names)


def _ratings(found: Mapping[str, Any]) -> Iterable[str]:
    ratings, reliable, per_image = found["ratings"], found["reliable"], found["ratings"]["raters_per_image"]
    names = [emotion["name"] for emotion in found["taxonomy"]["emotions"]]
    by_slug = {emotion["slug"]: emotion["name"] for emotion in found["taxonomy"]["emotions"]}
    yield f"- {ratings['num_images']} images, {ratings['num_raters']} raters, {ratings['num_ratings']} ratings"
    yield (
        f"- raters per image: {per_image['mean']:.3g} on average, {per_image['min']} to {per_image['max']}; "
        f"levels {ratings['low']:g} to {ratings['high']:g}"
    )
    yield f"- taxonomy {literal(found['taxonomy']['name'])}: {len(names)} emotion(s)"
    listed = ", ".join(literal(by_slug.get(slug, slug)) for slug in reliable["emotions"]) or "none"
    yield (
        f"- reliable emotions ({tables.title_of(found, reliable['metric'])} of the raters at least "
        f"{reliable['threshold']:g}): {len(reliable['emotions'])} of {len(names)}: {listed}"
    )
    bootstrap = found["bootstrap"]
    yield (
        f"- bootstrap: {bootstrap['num_draws']} draws of {bootstrap['num_units']} {bootstrap['unit']}s, "
        f"seed {bootstrap['seed']}, percentile interval"
    )
    if found.get("present_threshold") is not None:
        yield f"- an emotion counts as present where the mean rating is at least {found['present_threshold']:g}"
    yield from (f"- {literal(note)}" for note in ratings["notes"])


def _over_raters(found: Mapping[str, Any]) -> Iterable[str]:
    drawn = found["over_raters"]
    yield f"### {literal(tables.title_of(found, drawn['metric']))}, raters drawn"
    yield (
        f"The intervals above speak of other images and these {drawn['num_raters']} raters; here they are over "
        f"{drawn['num_draws']} draws of raters on these images: how far the figure depends on who rated."
    )
    yield tables.over_raters_markdown(found)


def _differences(found: Mapping[str, Any]) -> Iterable[str]:
    differences = found.get("differences") or {}
    if not differences.get("of"):
        return
    subject = differences["subject"]
    yield f"## {literal(subject)} compared, paired"
    yield f"{literal(subject)} minus each other system, headline metrics. {_NO_EVIDENCE}"
    order = ["humans", *tables.ranked(found)]
    yield from _by_metric(found, differences["of"], f"{literal(subject)} minus", order)


def _against_humans(found: Mapping[str, Any]) -> Iterable[str]:
    if not found.get("against_humans"):
        return
    yield "## Systems against the humans, paired"
    yield f"Each system minus the human figure of the metric, headline metrics. {_NO_EVIDENCE}"
    yield from _by_metric(found, found["against_humans"], "system minus humans", tables.ranked(found))


def _by_metric(
    found: Mapping[str, Any], entries: Sequence[Mapping[str, Any]], what: str, order: Sequence[str]
) -> Iterable[str]:
    for metric in found["headline"]:
        if not any(entry["metric"] == metric for entry in entries):
            continue
        yield f"### {literal(tables.title_of(found, metric))}"
        own = [entry for entry in entries if entry["metric"] == metric]
        yield tables.differences_markdown(found, own, what, order)
        if any(entry.get("same_images") is False for entry in own):
            yield "† the two were not scored on the same images."


def _emotions(found: Mapping[str, Any], drawn: set[str]) -> Iterable[str]:
    yield "## Emotions"
    yield "Sorted by the raters' alpha: where raters disagree with each other, no system can agree with all of them."
    yield "![Krippendorff's alpha per emotion](figures/alpha.png)"
    for metric in found["headline"]:
        yield f"![{tables.title_of(found, metric)} per emotion](figures/emotions_{metric}.png)"
    yield tables.emotions_markdown(found, found["headline"][0])
    if "reliability" in drawn:
        yield "![Human rating at each score](figures/reliability.png)"
        yield (
            "Above the dashed line raters rate higher than the system scores. The steeper the points rise, the more "
            "a score says; scores on another scale (0..1, say) leave the line without being wrong in order."
        )


def _pairs(found: Mapping[str, Any]) -> Iterable[str]:
    yield "## Pairs of annotators"
    yield "![Score by group](figures/groups.png)"
    yield "![Pairwise kappa, humans first](figures/pairwise_kappa.png)"
    yield (
        "A pair's kappa on an emotion is not defined where both give one level throughout (0/0) or share fewer than "
        "two images with values on the scale. Such values are left out of means and counted here."
    )
    yield tables.undefined_markdown(found)


def _released(found: Mapping[str, Any]) -> Iterable[str]:
    yield "## The released protocol"
    yield (
        "The table of the published analysis: scores over emotions, mean of the pairwise kappas with the humans. Its "
        "test (Mann-Whitney U of a system's kappas with humans against those among humans) calls a system a possible "
        "annotator where p > 0.05. A large p is no evidence of equality, and a system that agrees *better* than humans "
        "gets a small one."
    )
    yield tables.released_markdown(found)
    if found.get("group_tests"):
        yield "Groups of annotators compared on all their values (as released: values drawn one by one, 1000 draws)."
        yield tables.groups_markdown(found)


def _rule(found: Mapping[str, Any], metric: str) -> str:
    own = found["metrics"][metric]
    better = "" if own.get("higher_is_better", True) else " (lower is better)"
    return literal(own.get("rule") or own["name"]).rstrip(".") + better


def _ruled(found: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    return list(found["metrics"].items())


def _notes_of(found: Mapping[str, Any], name: str) -> list[str]:
    return [f"{name}: {note}" for note in found["systems"][name].get("notes", ())]
