"""The figures of the benchmark: for each its name, its rule in a sentence, and the human figure to read it beside."""

from typing import NamedTuple


class Metric(NamedTuple):
    """One figure."""

    name: str
    rule: str
    human: str | None
    """Key of the raters' own figure that stands beside it."""
    higher_is_better: bool = True
    constant_as_zero: bool = False
    """A system whose scores of an emotion are all equal has no value there and counts as 0 in means over emotions."""


_KAPPA = "quadratically weighted Cohen's kappa"
_OTHERS = "humans: each rater with the others, mean over raters"
_CONSTANT = "a constant system counts as 0, emotions whose ratings are constant are left out"

METRICS: dict[str, Metric] = {
    "oracle_kappa_binned": Metric(
        "binned kappa (oracle)",
        f"{_KAPPA} with single ratings, pooled over the raters of an image; scores binned per emotion to the levels of "
        "the rounded mean rating of these very images (an oracle: an upper bound), refitted in every draw; ties by "
        "image order; humans: all pairs of raters of an image, pooled",
        "kappa_pooled",
    ),
    "kappa_binned_heldout": Metric(
        "binned kappa (held out)",
        f"{_KAPPA} as oracle_kappa_binned, but the cut points are fitted on one half of the images and scored on the "
        "other, both ways, and averaged",
        "kappa_pooled",
    ),
    "kappa_truncate": Metric(
        "kappa (truncate)",
        f"{_KAPPA} with each rater, mean over raters; scores truncated toward zero, levels outside the scale leave the "
        f"table with their pair (the released analysis); pairs of two constants are undefined and left out; {_OTHERS}",
        "kappa_truncate",
    ),
    "kappa_round": Metric(
        "kappa (round)",
        f"{_KAPPA} with each rater, mean over raters; scores rounded to the nearest level and clipped to the scale; "
        f"{_OTHERS}",
        "kappa_round",
    ),
    "kappa_pooled_round": Metric(
        "pooled kappa (round)",
        f"{_KAPPA} with single ratings, pooled over the raters of an image; scores rounded and clipped as they are; "
        "humans: all pairs of raters of an image, pooled",
        "kappa_pooled",
    ),
    "spearman": Metric(
        "Spearman", f"rank correlation with the mean rating; {_CONSTANT}; {_OTHERS}", "spearman", constant_as_zero=True
    ),
    "spearman_median": Metric(
        "Spearman (median)",
        f"rank correlation with the median rating, as released; {_CONSTANT}; {_OTHERS}",
        "spearman_median",
        constant_as_zero=True,
    ),
    "pearson": Metric(
        "Pearson",
        f"linear correlation with the mean rating; {_CONSTANT}; {_OTHERS}",
        "pearson",
        constant_as_zero=True,
    ),
    "pearson_median": Metric(
        "Pearson (median)",
        f"linear correlation with the median rating; {_CONSTANT}; {_OTHERS}",
        "pearson_median",
        constant_as_zero=True,
    ),
    "mae": Metric("MAE", f"mean absolute error to the mean rating, in levels; {_OTHERS}", "mae", False),
    "rmse": Metric("RMSE", f"root mean squared error to the mean rating, in levels; {_OTHERS}", "rmse", False),
    "average_precision": Metric(
        "average precision",
        f"area under precision and recall of 'mean rating at least the threshold of presence'; {_OTHERS}",
        "average_precision",
    ),
    "auroc": Metric(
        "AUROC", f"area under the ROC of 'mean rating at least the threshold of presence'; {_OTHERS}", "auroc"
    ),
}
"""Figures of a system."""

HUMAN_METRICS: dict[str, Metric] = {
    "kappa_pooled": Metric(
        "pooled kappa",
        f"{_KAPPA} of all pairs of raters of an image, pooled: the anchor of the binned kappas; which rater of a pair "
        "comes first follows the order in the file",
        None,
    ),
    "alpha_interval": Metric("alpha (interval)", "Krippendorff's alpha with squared differences of levels", None),
    "alpha_ordinal": Metric("alpha (ordinal)", "Krippendorff's alpha on the order of levels", None),
    "alpha_nominal": Metric("alpha (nominal)", "Krippendorff's alpha on equal or unequal levels", None),
}
"""Figures that only raters have, beside their values of `METRICS`."""

HEADLINE = ("oracle_kappa_binned", "kappa_truncate", "spearman")
RELIABLE_ALPHA = 0.3
