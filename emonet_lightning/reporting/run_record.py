"""RunRecord: what a run's folder says about the run, in the form that report and console table read.

Pieces may be missing (no test set, no raters, a run stopped in its first epoch): what is not there is left out or NaN,
and `missing` says so in words.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from emonet_lightning.io import read_bytes, read_json
from emonet_lightning.packing.ledger import use_of_run
from emonet_lightning.taxonomy import Taxonomy

Array = NDArray[np.float64]
METRICS_FILE = "metrics.jsonl"
RESULTS_FILE = "results.json"
MANIFEST_FILE = "manifest.json"
LOSS = "train/loss"
SCORE = "val/score"
NUM_DEFINED = "num_defined"
RATER = "one rater with the others"
# metric, its name, and what to read it beside
_TEST_METRICS = (
    ("spearman", "Spearman", "rater_spearman", RATER),
    ("average_precision", "Average precision", "positive_share", "share of yes, the level of chance"),
)


class SystemRow(NamedTuple):
    """One system's mean Spearman on the test set; None where undefined."""

    name: str
    is_subject: bool
    is_reference: bool
    value: float | None
    low: float | None
    high: float | None
    num_undefined: int
    difference: Mapping[str, Any] | None
    """Subject minus this system: `difference`, `low`, `high`; None for the subject itself."""


class Best(NamedTuple):
    """The highest value of a series and where it was."""

    value: float
    step: int
    epoch: int | None


class EmotionFigures(NamedTuple):
    """One figure per dimension, and what stands beside it; NaN where unknown."""

    title: str
    values: Array
    low: Array
    high: Array
    beside: Array
    beside_name: str
    on_test: bool

    def order(self) -> list[int]:
        """Columns with a figure, highest first."""
        return [int(k) for k in np.argsort(-self.values, kind="stable") if not np.isnan(self.values[k])]


@dataclass
class StageRecord:
    """The logged lines of one stage, in order of steps."""

    name: str
    lines: list[dict[str, Any]]
    results: dict[str, Any] = field(default_factory=dict)
    """What its heads got on test, where they were tested."""

    def test_figure(self) -> tuple[str, float] | None:
        """Return key and value of the main test metric, None if there was no test."""
        keys = (f"test/{metric}" for metric, *_ in _TEST_METRICS)
        return next(((key, float(self.results[key])) for key in keys if _is_number(self.results.get(key))), None)

    def series(self, key: str) -> tuple[Array, Array]:
        """Return steps and finite values logged under `key` (two empty arrays if none)."""
        points = [(line["step"], line[key]) for line in self.lines if _is_number(line.get(key))]
        table = np.array(points, dtype=np.float64).reshape(-1, 2)
        return table[:, 0], table[:, 1]

    def best(self, key: str) -> Best | None:
        """Return the first highest value under `key`, None if nothing was logged."""
        known = [line for line in self.lines if _is_number(line.get(key))]
        if not known:
            return None
        line = max(known, key=lambda line: line[key])
        return Best(float(line[key]), int(line["step"]), line.get("epoch"))

    @property
    def num_steps(self) -> int:
        """Last logged step."""
        return int(self.lines[-1]["step"]) if self.lines else 0

    @property
    def num_epochs(self) -> int:
        """Epochs begun, as far as logged."""
        epochs = [line["epoch"] for line in self.lines if _is_number(line.get("epoch"))]
        return int(max(epochs)) + 1 if epochs else 0


@dataclass
class RunRecord:
    """A run: stages, results, heads, and how systems agree with raters where that was tested."""

    name: str
    taxonomy: Taxonomy
    stages: list[StageRecord]
    results: dict[str, float] = field(default_factory=dict)
    heads: Mapping[str, Any] = field(default_factory=dict)
    agreement: Mapping[str, Any] | None = None
    notes: Sequence[str] = ()
    test_use: str = ""
    """How often the test split was used so far; empty where there was no test."""

    @classmethod
    def read(
        cls,
        run_dir: Path,
        stages: Sequence[str],
        taxonomy: Taxonomy,
        *,
        heads: Mapping[str, Any] | None = None,
        agreement: Mapping[str, Any] | None = None,
        notes: Sequence[str] = (),
    ) -> "RunRecord":
        """Read a run's folder.

        Args:
            run_dir: the run. A stage lies in `run_dir/<stage>`; a stage without such a folder lies in `run_dir` itself.
            stages: names, in order.
            taxonomy: names of the columns.
            heads: `best` {slug: {epoch, score, by}} where `by` is `own` (the emotion's best epoch), `overall` or
                `last`, and `constant_heads` [slugs]; each may be absent. By default the `training` entry of the last
                stage's `manifest.json`.
            agreement: content of `agreement.json`, where a rated set was tested.
            notes: further sentences on what was not measured.

        Raises:
            DataError: a file is there and is not JSON.
        """
        run_dir = Path(run_dir)
        folders = [run_dir / stage if (run_dir / stage).is_dir() else run_dir for stage in stages] or [run_dir]
        results: dict[str, float] = {}
        manifest: dict[str, Any] = {}
        for folder in [*folders, run_dir]:
            results |= _read_if_there(folder / RESULTS_FILE)
            manifest = _read_if_there(folder / MANIFEST_FILE) or manifest
        return cls(
            name=run_dir.resolve().name,
            taxonomy=taxonomy,
            stages=[
                StageRecord(name, _read_lines(folder / METRICS_FILE), _read_if_there(folder / RESULTS_FILE))
                for name, folder in zip(stages or [run_dir.resolve().name], folders, strict=True)
            ],
            results={key: float(value) for key, value in results.items() if _is_number(value)},
            heads=heads if heads is not None else manifest.get("training") or {},
            agreement=agreement,
            notes=notes,
            test_use=use.sentence() if (use := use_of_run(run_dir)) else "",
        )

    def summary_results(self) -> list[tuple[str, float, int | None]]:
        """Return key, value and number of emotions behind it of the results that are not of a single dimension."""
        single = {*self.taxonomy.slugs, NUM_DEFINED, "low", "high", "reliable"}
        found = []
        for key, value in sorted(self.results.items()):
            if key.rsplit("/", 1)[-1] not in single:
                count = self.results.get(f"{key}/{NUM_DEFINED}")
                found.append((key, value, None if count is None else int(count)))
        return found

    def emotions(self) -> EmotionFigures | None:
        """Return the main figure per dimension: of the test set, else of validation; None if there is neither."""
        size = len(self.taxonomy)
        unknown = np.full(size, np.nan)
        if self.agreement:
            subject = self.agreement["systems"][self.agreement["differences"]["subject"]]
            found = subject["metrics"]["spearman"]["per_emotion"]
            values, low, high = (_column(found[key], size) for key in ("value", "low", "high"))
            raters = _column(self.agreement["humans"]["metrics"]["spearman"]["per_emotion"]["value"], size)
            return EmotionFigures("Spearman with the raters' mean on test", values, low, high, raters, RATER, True)
        for metric, name, other, other_name in _TEST_METRICS:
            tested = self.by_slug(f"test/{metric}", self.results)
            if tested is not None:
                beside = self.by_slug(f"test/{other}", self.results)
                beside = unknown if beside is None else beside
                return EmotionFigures(f"{name} on test", tested, unknown, unknown, beside, other_name, True)
        for stage in reversed(self.stages):
            best = {f"{SCORE}/{slug}": stage.best(f"{SCORE}/{slug}") for slug in self.taxonomy.slugs}
            validated = self.by_slug(SCORE, {key: found.value for key, found in best.items() if found})
            if validated is not None:
                title = f"Best validation score of stage {stage.name} (epoch chosen by it)"
                return EmotionFigures(title, validated, unknown, unknown, unknown, "", False)
        return None

    def systems(self) -> list[SystemRow]:
        """Return the systems of the test, in the order in which they were judged."""
        if not self.agreement:
            return []
        compared = self.agreement["differences"]
        gaps = {g["system"]: g for g in compared["of"] if (g["metric"], g["set"]) == ("spearman", "all")}
        rows = []
        for name, system in self.agreement["systems"].items():
            found = system["metrics"]["spearman"]["sets"]["all"]
            rows.append(
                SystemRow(
                    name,
                    name == compared["subject"],
                    system["kind"] == "reference",
                    found["value"],
                    found["low"],
                    found["high"],
                    found["num_undefined"],
                    gaps.get(name),
                )
            )
        return rows

    def raters(self) -> Mapping[str, Any] | None:
        """Return `value`, `low` and `high` of one rater with the others, None where it is undefined."""
        if not self.agreement:
            return None
        found = self.agreement["humans"]["metrics"]["spearman"]["sets"]["all"]
        return None if found["value"] is None else found

    def by_slug(self, prefix: str, figures: Mapping[str, float]) -> Array | None:
        """Return the figures `prefix/slug` of all dimensions [K], None if there is not one."""
        values = np.array([figures.get(f"{prefix}/{slug}", np.nan) for slug in self.taxonomy.slugs])
        return None if np.isnan(values).all() else values

    def missing(self) -> list[str]:
        """Return sentences on what this run did not measure."""
        found = list(self.notes)
        for stage in self.stages:
            if not stage.lines:
                found.append(f"Stage {stage.name} logged nothing.")
            elif not len(stage.series(SCORE)[1]):
                found.append(
                    f"Stage {stage.name} has no validation score: no curve, and no best epoch could be chosen."
                )
        emotions = self.emotions()
        if emotions is None or not emotions.on_test:
            source = "" if emotions is None else ": the figures per emotion are those of validation"
            found.append(f"Nothing was tested on held-out ratings{source}.")
        if emotions is not None:
            names = [self.taxonomy.names[k] for k in np.flatnonzero(np.isnan(emotions.values))]
            if names:
                found.append(
                    f"No figure for {len(names)} of {len(self.taxonomy)} (undefined here): {', '.join(names)}."
                )
        if not self.agreement:
            found.append("No other system was run on the test samples, so there is nothing to compare with.")
        elif self.raters() is None:
            found.append("The ratings are one per sample: how far raters agree with each other is unknown.")
        return found


def _column(values: Sequence[float | None] | None, size: int) -> Array:
    """Return values as [size], None and what lacks at the end (extra dimensions) as NaN."""
    column = np.full(size, np.nan)
    known = [np.nan if value is None else float(value) for value in (values or [])][:size]
    column[: len(known)] = known
    return column


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _read_if_there(path: Path) -> dict[str, Any]:
    content = read_json(path) if path.is_file() else {}
    return content if isinstance(content, dict) else {}


def _read_lines(path: Path) -> list[dict[str, Any]]:
    """Merge lines by step: a resumed run repeats steps (the later line wins), a killed one ends in half a line."""
    merged: dict[int, dict[str, Any]] = {}
    for text in read_bytes(path).decode(errors="replace").splitlines() if path.is_file() else []:
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            continue
        if isinstance(line, dict) and _is_number(line.get("step")):
            merged[int(line["step"])] = {**merged.get(int(line["step"]), {}), **line}
    return [merged[step] for step in sorted(merged)]
