"""The figures of the benchmark: for each its name, its rule in a sentence, and the human figure to read it beside."""

from typing import NamedTuple


class Metric(NamedTuple):
    """One figure."""

    name: str
    rule: str
    human: str | None
    """Key of the raters' own figure that stands beside it."""
    higher_is_better: bool = True
    against_humans: str | None = None
    """Key of the figure that is like for like with the human one; None: no comparison is made."""
    own_scale: bool = False
    """Needs scores on the scale of the ratings."""
    constant_as_zero: bool = False
    """A system whose scores of an emotion are all equal has no value there and counts as 0 in means over emotions."""


_KAPPA = "quadratically weighted Cohen's kappa"
_EACH = "humans: each rater with the others, mean over raters"
_OTHERS = f"{_EACH}, so with one rater fewer than a system: not like for like"
_CONSTANT = "a constant system counts as 0, emotions whose ratings are constant are left out"
_PRESENT = "'mean rating at least the threshold of presence'"
_LEFT_OUT = (
    "against the mean of all raters but one, on the images of that one, mean over raters: like for like with the "
    "human figure"
)

METRICS: dict[str, Metric] = {
    "oracle_kappa_binned": Metric(
        "binned kappa (oracle)",
        f"{_KAPPA} with single ratings, pooled over the raters of an image; scores binned per emotion to the levels of "
        "the rounded mean rating of these very images (an oracle), refitted in every draw; equal scores in the order "
        "of images, which are sorted by name, or by row of the index map; humans: all pairs of raters of an image, "
        "pooled",
        "kappa_pooled",
        against_humans="oracle_kappa_binned",
    ),
    "kappa_binned_heldout": Metric(
        "binned kappa (held out)",
        f"{_KAPPA} with single ratings, pooled over the raters of an image; cut points between the levels are fitted "
        "on one half of the images and applied to the other, both ways, and the two averaged; humans: all pairs of "
        "raters of an image, pooled",
        "kappa_pooled",
        against_humans="kappa_binned_heldout",
    ),
    "kappa_truncate": Metric(
        "kappa (truncate)",
        f"{_KAPPA} with each rater, mean over raters; scores truncated toward zero, levels outside the scale leave the "
        f"table with their pair (the released analysis); pairs of two constants are undefined and left out; {_EACH}",
        "kappa_truncate",
        against_humans="kappa_truncate",
        own_scale=True,
    ),
    "kappa_round": Metric(
        "kappa (round)",
        f"{_KAPPA} with each rater, mean over raters; scores rounded to the nearest level and clipped to the scale; "
        f"{_EACH}",
        "kappa_round",
        against_humans="kappa_round",
        own_scale=True,
    ),
    "kappa_pooled_round": Metric(
        "pooled kappa (round)",
        f"{_KAPPA} with single ratings, pooled over the raters of an image; scores rounded and clipped as they are; "
        "humans: all pairs of raters of an image, pooled",
        "kappa_pooled",
        against_humans="kappa_pooled_round",
        own_scale=True,
    ),
    "spearman": Metric(
        "Spearman",
        f"rank correlation with the mean rating; {_CONSTANT}; {_OTHERS}",
        "spearman",
        against_humans="spearman_left_out",
        constant_as_zero=True,
    ),
    "spearman_left_out": Metric(
        "Spearman (left out)",
        f"rank correlation {_LEFT_OUT}; {_CONSTANT}",
        "spearman",
        against_humans="spearman_left_out",
        constant_as_zero=True,
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
    "mae": Metric("MAE", f"mean absolute error to the mean rating, in levels; {_OTHERS}", "mae", False, own_scale=True),
    "rmse": Metric(
        "RMSE", f"root mean squared error to the mean rating, in levels; {_OTHERS}", "rmse", False, own_scale=True
    ),
    "average_precision": Metric(
        "average precision",
        f"area under precision and recall of {_PRESENT}; {_OTHERS}",
        "average_precision",
        against_humans="average_precision_left_out",
    ),
    "average_precision_left_out": Metric(
        "average precision (left out)",
        f"area under precision and recall of {_PRESENT}, {_LEFT_OUT}",
        "average_precision",
        against_humans="average_precision_left_out",
    ),
    "auroc": Metric(
        "AUROC",
        f"area under the ROC of {_PRESENT}; {_OTHERS}",
        "auroc",
        against_humans="auroc_left_out",
    ),
    "auroc_left_out": Metric(
        "AUROC (left out)",
        f"area under the ROC of {_PRESENT}, {_LEFT_OUT}",
        "auroc",
        against_humans="auroc_left_out",
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
