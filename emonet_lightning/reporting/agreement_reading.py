"""What the agreement report says about its own figures: how they are to be read, and where they mislead."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from emonet_lightning.reporting.agreement_tables import OTHER_IMAGES, SMALLEST_TIE_SPREAD
from emonet_lightning.reporting.agreement_values import (
    OFF_SCALE,
    compared_key,
    human_of,
    is_partial,
    names_of,
    per_emotion,
    title_of,
    well_defined,
)
from emonet_lightning.reporting.markdown import literal

RESPONSIBLE_USE = (
    "Perceived emotion, as raters see it; says nothing about what a person feels; not for decisions about persons; "
    "emotion recognition at work and in education is banned in the EU (AI Act, Article 5)."
)
NO_EVIDENCE = (
    "Read as: the first minus the second, both on the same draws. 'Not separated' means that the interval holds 0: "
    "these images do not show which is higher. It is no evidence that both agree with the raters to the same degree."
)
HIGHEST_OF_MANY = "The highest of many is flattered: part of what puts a system first on an emotion is luck."
FEW_RATERS = (
    "{num_raters} raters are few: such an interval is too narrow. Images are held fixed; neither this nor the interval "
    "above covers new images and new raters."
)
_TENTATIVE = 0.667
"""Krippendorff's least alpha for tentative conclusions."""
_ORACLE = (
    "A figure whose key begins with `oracle_` has used the ratings that it is judged on: not what a system reaches on "
    "new images, and no bound. Equal scores are told apart by the order of images, so a system with few distinct "
    "values depends on that order and can come out below its unbinned kappa; its interval does not include this"
)


def how_to_read(found: Mapping[str, Any]) -> Iterable[str]:
    """Return paragraphs that stand before the tables; their marks and words are explained here and only here."""
    bootstrap, systems = found["bootstrap"], found["systems"].values()
    level = f"{bootstrap['level']:.0%}"
    human = "not known here, it takes two raters" if found["ratings"]["num_raters"] < 2 else _human_rows(found)
    yield RESPONSIBLE_USE
    yield (
        "Raters looked at each face and rated how strongly it *appears* to express each emotion. Nobody's rating is "
        "the truth, so a system is judged by how well it agrees with the raters. The first row of a table, in bold, is "
        f"the raters' agreement with each other: {human}. A system can come out above it without knowing more than a "
        "rater does: it may predict what raters say on average, where a rater has one opinion. Systems of kind "
        "'trivial' never look at a face; a system that is not above them shows no sign of having learnt anything."
    )
    yield (
        f"Each number is a mean over emotions, `[low, high]` its {level} interval over {bootstrap['num_draws']} draws "
        f"of {bootstrap['unit']}s. An emotion for which a figure is not defined (all ratings alike, say) is counted "
        "under 'not defined'; the rule of the metric says whether it is left out or counts as 0."
    )
    spread = ", so the standard deviation over random orders is given" if _has_spread(found) else ""
    yield _ORACLE + spread + "."
    yield (
        f"Intervals are {level} each, not jointly: of {round(1 / (1 - bootstrap['level']))} comparisons without a true "
        "difference about one is called above or below. Name the comparison that you care about beforehand."
    )
    yield "\n".join(f"- {line}" for line in _marks(found, any(own.get("off_scale") for own in systems)))


def _human_rows(found: Mapping[str, Any]) -> str:
    humans = dict.fromkeys(human_of(found, metric) for metric in found["headline"])
    return ", ".join(literal(title_of(found, key)) for key in humans)


def _has_spread(found: Mapping[str, Any]) -> bool:
    spreads = (own.get("tie_spread") or {} for own in found["systems"].values())
    return any(spread.get(key, 0) > SMALLEST_TIE_SPREAD for spread in spreads for key in ("all", "reliable", "rest"))


def _marks(found: Mapping[str, Any], has_off_scale: bool) -> Iterable[str]:
    yield (
        "† the draws lie to one side of the sample: the interval is off centre or too narrow. Such a difference is "
        "called above or below only if the interval reflected about it excludes 0 too."
    )
    yield f"{OTHER_IMAGES} the two were not scored on the same images."
    partial = [name for name in found["systems"] if is_partial(found, name)]
    count = found["systems"][partial[0]]["num_emotions_scored"] if partial else "n"
    yield (
        f"({count}) behind a name: the emotions that the system has scored; behind a value: those in the mean, where "
        "others have more. Not on all emotions; compare it only by the paired table, which takes the emotions of both."
    )
    if has_off_scale:
        yield (
            f"{OFF_SCALE}: all scores lie within 0..1, in fractions, and levels go to {found['ratings']['high']:g}: "
            "taken as levels they would say nothing about the system. Figures that need no levels stand; with scores "
            "brought to the levels (`--rescale`) the others can be had."
        )


def ratings(found: Mapping[str, Any]) -> Iterable[str]:
    """Return lines on what was rated, by whom, and how well raters agree."""
    rated, per_image = found["ratings"], found["ratings"]["raters_per_image"]
    yield f"{rated['num_images']} images, {rated['num_raters']} raters, {rated['num_ratings']} ratings"
    yield (
        f"raters per image: {per_image['mean']:.3g} on average, {per_image['min']} to {per_image['max']}; "
        f"levels {rated['low']:g} to {rated['high']:g}"
    )
    yield f"taxonomy {literal(found['taxonomy']['name'])}: {len(found['taxonomy']['emotions'])} emotion(s)"
    yield from _reliable(found)
    if pairs := (found.get("humans") or {}).get("undefined_pairs"):
        total, apart, constant = (int(sum(pairs[key])) for key in ("num_pairs", "apart", "constant"))
        yield (
            f"pairs of raters without a kappa, over all emotions: {apart + constant} of {total} ({constant} where both "
            f"gave one and the same level throughout, {apart} that share fewer than two images); left out of means"
        )
    bootstrap = found["bootstrap"]
    yield (
        f"bootstrap: {bootstrap['num_draws']} draws of {bootstrap['num_units']} {bootstrap['unit']}s, "
        f"seed {bootstrap['seed']}, percentile interval"
    )
    if found.get("present_threshold") is not None:
        present = "; `humans.num_present` of `agreement.json` counts such images per emotion"
        counted = (found.get("humans") or {}).get("num_present") is not None
        yield (
            f"an emotion counts as present where the mean rating is at least {found['present_threshold']:g}"
            f"{present if counted else ''}"
        )
    yield from (literal(note) for note in rated["notes"])


def _reliable(found: Mapping[str, Any]) -> Iterable[str]:
    reliable, total = found["reliable"], len(found["taxonomy"]["emotions"])
    title, threshold = title_of(found, reliable["metric"]), f"{reliable['threshold']:g}"
    listed = ", ".join(map(literal, names_of(found, reliable["emotions"]))) or "none"
    count = f"{len(reliable['emotions'])} of {total}"
    yield f"reliable emotions, {title} of the raters at least {threshold}: {count}: {listed}"
    alpha = well_defined(per_emotion(found, None, reliable["metric"], "value"))
    yield (
        f"'reliable' is the follow-up study's word for alpha at least {threshold}; the customary minimum for tentative "
        f"conclusions is {_TENTATIVE}: {sum(value >= _TENTATIVE for value in alpha)} of {total} reach it. Membership "
        "is taken from these same ratings, so the human figure of this set is flattered"
    )
    if reliable.get("uncertain") is not None:
        uncertain = ", ".join(map(literal, names_of(found, reliable["uncertain"]))) or "none"
        yield f"uncertain, their interval holds {threshold}: {len(reliable['uncertain'])} of {total}: {uncertain}"


def beside_humans(found: Mapping[str, Any], metrics: Sequence[str]) -> list[str]:
    """Return what must be said where a human row stands beside systems on these metrics."""
    unlike = [key for key in metrics if human_of(found, key) is not None and compared_key(found, key) != key]
    said = []
    if unlike:
        which = ", ".join(literal(title_of(found, key)) for key in unlike)
        like = "no difference from humans is given"
        if all(compared_key(found, key) and key in found["headline"] for key in unlike):
            like = "the paired table compares like with like (left out)"
        elif any(compared_key(found, key) for key in unlike):
            like = "only '(left out)' compares like with like"
        said.append(f"{which}: a rater is compared with one rater fewer than a system is; {like}.")
    if any(not found["metrics"][key].get("higher_is_better", True) for key in unlike):
        said.append(
            "Errors: a single rating has more spread than any constant: a system below the human row is not better "
            "than raters."
        )
    return said
