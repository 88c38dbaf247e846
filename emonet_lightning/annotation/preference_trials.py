"""The commands `preference simulate` and `preference power`: a study is tried on simulated judges beforehand."""

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np

from emonet_lightning.annotation.pairs import read_pairs
from emonet_lightning.annotation.preference import read_key, system_named
from emonet_lightning.annotation.preference_answers import COLUMNS
from emonet_lightning.annotation.preference_judges import Judges, assign, choose, log_odds_of, power
from emonet_lightning.errors import UsageError
from emonet_lightning.io import atomic_write
from emonet_lightning.messages import say
from emonet_lightning.options import pairs as named_values
from emonet_lightning.progress import progress_bar


def simulate_command(
    pairs: str,
    key: str,
    out: str,
    preference: float | None = None,
    strengths: dict[str, float] | str | None = None,
    judges: int = 4,
    per_pair: int | None = None,
    image_sd: float = 0.5,
    judge_sd: float = 0.3,
    side: float = 0.0,
    careless: float = 0.0,
    seed: int = 0,
) -> None:
    """Let simulated judges answer a study, to try its analysis before people are asked.

    Args:
        pairs: pairs file of the study.
        key: its key.
        out: CSV file of answers.
        preference: share of comparisons in which the second of two systems is preferred to the first.
        strengths: log-odds of each system, as `--strengths experts=0.8,model=0`; for more than two.
        judges: how many.
        per_pair: judges of a pair; all by default.
        image_sd: standard deviation of the preference's log-odds over images.
        judge_sd: the same over judges.
        side: log-odds of choosing left where both lists are as good.
        careless: share of answers given by a coin.
        seed: of everything.
    """
    shown = read_pairs(Path(pairs))
    secret = read_key(Path(key), Path(pairs))
    names = list(secret["systems"])
    per_pair = judges if per_pair is None else per_pair
    _check_judges(judges, per_pair, image_sd, judge_sd, careless, seed)
    given = named_values("strengths", strengths)
    if (given is None) == (preference is None) or (preference is not None and len(names) != 2):
        raise UsageError("give --preference (of two systems) or --strengths NAME=LOG_ODDS,..., one of both")
    values = np.zeros(len(names))
    if preference is not None:
        _check_share(preference)
        values[1] = log_odds_of(preference, float(np.hypot(image_sd, judge_sd)))
    for name, value in (given or {}).items():
        values[system_named(name, names, "--strengths")] = _number(value, f"--strengths {name}={value}")
    rng = np.random.default_rng(seed)
    pair, rater = assign(len(shown), per_pair, judges, rng)
    of = [secret["pairs"][name] for name in shown]
    images = sorted({entry["image"] for entry in of})
    place = {name: n for n, name in enumerate(images)}
    left, right = (np.array([names.index(entry[side_]) for entry in of])[pair] for side_ in ("left", "right"))
    image = np.array([place[entry["image"]] for entry in of])[pair]
    people = Judges(judges, image_sd, judge_sd, side, careless)
    chose_left = choose(left, right, image, rater, values, people, rng)
    seconds = rng.lognormal(1.8, 0.5, len(pair))
    ids = list(shown)
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(COLUMNS)
    for n in np.argsort(rater, kind="stable"):
        who, said = f"judge-{rater[n] + 1}", "left" if chose_left[n] else "right"
        rows.writerow([ids[pair[n]], who, said, f"{seconds[n]:.2f}"])
    atomic_write(out, text.getvalue())
    say(f"{len(pair)} simulated answers: {out}")


def power_command(
    preference: float,
    out: str | None = None,
    images: list[int] | None = None,
    judges: int = 4,
    per_image: int = 1,
    image_sd: float = 0.5,
    judge_sd: float = 0.3,
    side: float = 0.0,
    width: float = 0.1,
    power_wanted: float = 0.8,
    num_studies: int = 200,
    num_draws: int = 200,
    seed: int = 0,
    level: float = 0.95,
    progress: bool = True,
) -> None:
    """Tell before a study how many images it needs, by simulating it: width of the intervals, power, coverage.

    Every simulated study has new images and new judges. Power is the share of studies whose interval leaves out one
    half.

    Args:
        preference: the share that may be true, such as 0.4.
        out: folder of `power.json` and its figure; without it the table is only printed.
        images: numbers of images to try; 50, 100, 250, 500 and 1000 by default.
        judges: how many there are.
        per_image: judges of an image.
        image_sd: standard deviation of the preference's log-odds over images.
        judge_sd: the same over judges; with few of them this is what limits a study.
        side: log-odds of choosing left where both lists are as good.
        width: wanted width of the interval.
        power_wanted: wanted power.
        num_studies: simulated studies of each size.
        num_draws: bootstrap draws in each.
        seed: of everything.
        level: coverage of the intervals.
        progress: show a progress bar.
    """
    from emonet_lightning.reporting.preference_power import write_power

    _check_share(preference)
    _check_judges(judges, per_image, image_sd, judge_sd, 0.0, seed)
    sizes = sorted(set(images or [50, 100, 250, 500, 1000]))
    if sizes[0] < 2 or num_studies < 2 or num_draws < 2 or not 0 < level < 1:
        raise UsageError("--images, --num_studies and --num_draws are at least 2, --level lies between 0 and 1")
    people = Judges(judges, image_sd, judge_sd, side)
    with progress_bar("simulating", len(sizes) * num_studies, "studies", progress) as advance:
        rows = power(
            preference,
            sizes,
            per_image,
            people,
            num_studies=num_studies,
            num_draws=num_draws,
            seed=seed,
            level=level,
            advance=advance,
        )
    found: dict[str, Any] = {
        "preference": preference,
        "per_image": per_image,
        "judges": people._asdict(),
        "level": level,
        "num_studies": num_studies,
        "wanted": {"width": width, "power": power_wanted},
        "sizes": rows,
    }
    write_power(found, None if out is None else Path(out))


def _check_share(preference: float) -> None:
    if not 0 < preference < 1:
        raise UsageError(f"--preference {preference}: a share between 0 and 1 is needed")


def _check_judges(judges: int, per_pair: int, image_sd: float, judge_sd: float, careless: float, seed: int) -> None:
    if not 1 <= per_pair <= judges:
        raise UsageError(f"{per_pair} judges for one pair, of {judges}: each judge answers a pair once; add judges")
    if min(image_sd, judge_sd) < 0 or not 0 <= careless <= 1 or seed < 0:
        raise UsageError("--image_sd, --judge_sd and --seed begin at 0, --careless lies in 0..1")


def _number(text: str, option: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise UsageError(f"{option}: a number is needed")
    return value
