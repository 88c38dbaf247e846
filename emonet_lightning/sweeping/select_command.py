"""The command `sweep select`: heads of a sweep's best trial, or of each emotion's best trial, as one run to test."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from emonet_lightning.bundle import MANIFEST_FILE, HeadsBundle
from emonet_lightning.errors import DataError, UsageError
from emonet_lightning.evaluation.columns import Array
from emonet_lightning.io import atomic_write, make_folder, write_json
from emonet_lightning.judging import judged_config, run_config
from emonet_lightning.messages import say
from emonet_lightning.same_run import RUN_FILE
from emonet_lightning.sweeping.ablation import optimism
from emonet_lightning.sweeping.finished import TrialRun, finished_trials
from emonet_lightning.sweeping.selection import (
    Candidate,
    best_configuration,
    best_per_emotion,
    combined,
    of_one_kind,
)
from emonet_lightning.sweeping.validation import Judged, score_trials
from emonet_lightning.yaml_files import dump_yaml

SELECTION_FILE = "selection.json"


def sweep_select_command(
    folder: str, out: str, by: Literal["emotion", "trial"] = "emotion", num_draws: int = 200, seed: int = 0
) -> None:
    """Take the best heads of a sweep, chosen on its validation images alone, for one test.

    All finished trials are scored again on the validation images of the first one. Writes `heads.safetensors`,
    `manifest.json`, `run.yaml` and `selection.json` into a folder that `test --run`, `predict --run` and `export --run`
    take. The validation figures of what was chosen flatter: what is expected to be luck is printed beside them.

    Args:
        folder: of the sweep, the --out of `sweep run`.
        out: folder of the heads, new or that of an earlier choice.
        by: each emotion's head from the trial that is best at it, or all heads from the best trial.
        num_draws: of images, to tell the luck in the choice.
        seed: of these draws.

    Raises:
        UsageError: no trial has finished.
        DataError: trials that were validated on other images, or trained on another encoder's features.
    """
    for option, value, least in (("num_draws", num_draws, 2), ("seed", seed, 0)):
        if value < least:
            raise UsageError(f"--{option} {value}: must be at least {least}")
    place, target = Path(folder), Path(out)
    runs, seen = finished_trials(place)
    if not runs:
        raise UsageError(f"{folder}: no trial has finished yet; see `sweep status`")
    if target.is_dir() and any(target.iterdir()) and not (target / SELECTION_FILE).is_file():
        raise UsageError(f"{target}: holds something else than a choice of heads; choose another --out")
    judged = score_trials([run.folder for run in runs], runs[0].folder, num_draws, seed)
    candidates = [_candidate(run, judged, number) for number, run in enumerate(runs)]
    chosen, judged = _choose(candidates, judged, by)
    bundle = combined(chosen) if by == "emotion" else HeadsBundle.load(best_configuration(candidates).folder)
    base = run_config(best_configuration(list(chosen.values())).folder)
    content = _content(chosen, {run.number: run.point for run in runs}, judged, by, seen)
    make_folder(target)
    (target / MANIFEST_FILE).unlink(missing_ok=True)  # of an earlier choice, until all of this one is there
    write_json(target / SELECTION_FILE, content)
    config = judged_config(base)
    config["model"]["widths"] = list(bundle.heads.widths)
    atomic_write(target / RUN_FILE, dump_yaml(config))
    bundle.save(target)
    print(
        f"{target}: heads of {len({one.number for one in chosen.values()})} of {seen} trials, by {by}: {judged.metric} "
        f"{content['score']:.4f} on the {judged.num_images} validation images that chose them, of which "
        f"{content['luck']:.4f} is luck; `test --run {target}` says what they are worth"
    )


def _candidate(run: TrialRun, judged: Judged, place: int) -> Candidate:
    """Return a trial with its scores on the images that all trials are judged by."""
    bundle = HeadsBundle.load(run.folder)
    best = bundle.training.get("best") or {}
    names = bundle.taxonomy.slugs[: bundle.taxonomy.num_emotions]
    if set(names) - best.keys():
        raise DataError(f"{run.folder}/{MANIFEST_FILE}: does not say how its heads were chosen; train the trial again")
    values = judged.by_emotion[place][:, 0]
    own = {
        slug: {**best[slug], "score": float(value), "by": best[slug]["by"] if np.isfinite(value) else "none"}
        for slug, value in zip(names, values, strict=True)
    }
    others = {slug: best[slug] for slug in bundle.taxonomy.slugs if slug not in own and slug in best}
    return Candidate(run.number, run.folder, float(judged.values[place][0]), {**own, **others})


def _choose(
    candidates: Sequence[Candidate], judged: Judged, by: Literal["emotion", "trial"]
) -> tuple[dict[str, Candidate], Judged]:
    """Return the trial of each emotion, and how those that it was chosen from scored."""
    overall = best_configuration(candidates)
    if by == "trial":
        return dict.fromkeys(overall.best, overall), judged
    groups = of_one_kind(candidates)
    picked = [best_per_emotion(group) for group in groups]
    means = [float(np.nanmean([one.best[slug]["score"] for slug, one in each.items()])) for each in picked]
    first = int(np.argmax(means))
    left_out = len(candidates) - len(groups[first])
    if left_out:
        say(
            f"{left_out} of {len(candidates)} trials have heads that fit into no bundle with the chosen ones (another "
            "number of layers, loss or scaling of features); they were left out"
        )
    kept = {one.number for one in groups[first]}
    places = [place for place, one in enumerate(candidates) if one.number in kept]
    return picked[first], judged._replace(
        values=[judged.values[place] for place in places], by_emotion=[judged.by_emotion[place] for place in places]
    )


def _content(
    chosen: Mapping[str, Candidate], points: Mapping[int, Any], judged: Judged, by: str, num_trials: int
) -> dict[str, Any]:
    scored = {slug: one.best[slug]["score"] for slug, one in chosen.items() if one.best[slug]["by"] != "none"}
    if by == "trial":
        score, luck = next(iter(chosen.values())).score, optimism(np.stack(judged.values)).expected
    else:
        values: Array = np.stack(judged.by_emotion)  # [T, K, 1+B]
        known = np.isfinite(values).all(axis=(0, 2))
        score = float(np.mean(list(scored.values()))) if scored else float("nan")
        luck = float(np.mean([optimism(values[:, head]).expected for head in np.flatnonzero(known)]))
    return {
        "by": by,
        "metric": judged.metric,
        "score": score,
        "luck": luck,
        "num_trials": num_trials,
        "num_images": judged.num_images,
        "emotions": {slug: {"trial": one.number, "score": one.best[slug]["score"]} for slug, one in chosen.items()},
        "trials": {str(number): points[number] for number in sorted({one.number for one in chosen.values()})},
    }
