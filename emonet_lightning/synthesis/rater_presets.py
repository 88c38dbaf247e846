"""Populations of simulated raters: how the people of one differ from each other, and from one answer to the next.

`embedded` rates the embedded sets. `released` is fitted to the statistics of the released ratings and votes by
`emonet_lightning.synthesis.fit_experts`, which writes `released_raters.yaml`.
"""

from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emonet_lightning.errors import UsageError, nearest
from emonet_lightning.synthesis.expressions import load_expressions
from emonet_lightning.yaml_files import parse_yaml

Array = NDArray[np.float64]
RELEASED_FILE = "released_raters.yaml"


@dataclass(frozen=True, eq=False)
class RaterPreset:
    """A population of raters. Evidence for an emotion is 0 (not there) to about 1; pairs are ends of a uniform draw."""

    leniency: float = 0.0
    """Standard deviation, over raters, of a shift of all evidence."""
    scale: float = 0.0
    """Standard deviation, over raters, of the logarithm of the factor on intensities."""
    noise: tuple[float, float] = (0.0, 0.0)
    """Standard deviation of perceived actions; plays no part where the truth is a table of intensities."""
    doubt: tuple[float, float] = (0.0, 0.0)
    """Standard deviation of what the same evidence means to a rater from one time to the next."""
    attention: tuple[float, float] = (1.0, 1.0)
    """Probability of noticing an emotion that is there."""
    threshold: tuple[float, float] = (0.0, 0.0)
    """Evidence below which a rater leaves an emotion at 0."""
    taste: float | Array = 0.0
    """Standard deviation, over raters, of the shift of one emotion's evidence; one number or [K]."""
    confusion: tuple[float, float] = (0.0, 0.0)
    """Share of an emotion's evidence that goes to emotions with a similar display."""
    mood: float = 0.0
    """Standard deviation of a shift of all evidence from one image to the next: how many sliders are moved."""
    lapse: tuple[float, float] = (0.0, 0.0)
    """Share of images on which the sliders are moved without looking: as many, but of any emotions."""
    curve: float = 0.8
    """Exponent from evidence to intensity."""
    reach: Array | None = None
    """Evidence from the threshold to full intensity [K], so that levels of emotions that are rated rarely are no higher
    than of others; by default intensity is evidence as it is, whatever the threshold."""
    level_noise: float = 0.8
    """Standard deviation of the chosen level, in levels."""
    slip: float = 0.03
    """Share of votes where the other key was hit."""
    asked: float | Array = 0.10
    """How much the question about the prompted emotion itself suggests a yes (evidence); one number or [K]."""
    doubt_factor: Array | None = None
    """Multiplies doubt [K]: emotions whose displays are read differently each time."""
    threshold_shift: Array | None = None
    """Added to the threshold [K]: emotions that are rated rarely."""
    strict: Array | None = None
    """Evidence wanted before a yes [K]; by default that of the table of displays."""
    vote_doubt: float | None = None
    """Standard deviation of evidence in votes, whose only bias is then `vote_leniency`; by default all is as in
    ratings."""
    vote_leniency: tuple[float, ...] = ()
    """Shift of the evidence in votes, by rater; 0 where there are more raters."""
    is_balanced: bool = False
    """Draw shifts that have mean 0 and just these standard deviations over the raters, whatever the seed."""


EMBEDDED = RaterPreset(
    leniency=0.03,
    scale=0.20,
    noise=(0.08, 0.15),
    doubt=(0.03, 0.11),
    attention=(0.75, 0.95),
    threshold=(0.08, 0.20),
    taste=0.07,
)
"""Raters of the embedded sets: they agree more than real experts do (interval alpha 0.43 against 0.19)."""


def load_preset(name: str) -> RaterPreset:
    """Return the preset `embedded` or `released`.

    Raises:
        UsageError: no preset of this name.
    """
    if name not in ("embedded", "released"):
        raise UsageError(f"--preset '{name}': no such raters; {nearest(name, ('embedded', 'released'))}")
    return EMBEDDED if name == "embedded" else released()[0]


@cache
def released() -> tuple[RaterPreset, Array]:
    """Return the fitted preset, and the rate at which each emotion is there in its table of truth [K]."""
    text = (resources.files("emonet_lightning.synthesis") / RELEASED_FILE).read_text()
    return preset_of(parse_yaml(text, RELEASED_FILE))


def preset_of(content: dict[str, Any]) -> tuple[RaterPreset, Array]:
    """Build a preset and the rates of its truth from the content of `released_raters.yaml`."""
    slugs = load_expressions().slugs
    emotions: dict[str, Any] = {
        key: np.array([content["emotions"][slug][key] for slug in slugs]) for key in PER_EMOTION
    }
    people: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in content["people"].items()
    }
    rates = emotions.pop("rate")
    return RaterPreset(**people, **emotions, is_balanced=True), rates


PER_EMOTION = ("rate", "doubt_factor", "threshold_shift", "reach", "taste", "strict", "asked")
"""What `released_raters.yaml` says of each emotion."""
