"""report.md of a run with its figures, and the final table on the console; both from the run's files.

Nothing here is measured anew: a figure in the report can be found in `metrics.jsonl`, `results.json`, the manifest or
`agreement.json`. Reading is `run_record.py`, drawing `run_figures.py`.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.table import Table

from emonet_lightning.io import atomic_write
from emonet_lightning.reporting.agreement_tables import headline_table
from emonet_lightning.reporting.run_record import LOSS, RATER, SCORE, EmotionFigures, RunRecord, StageRecord
from emonet_lightning.taxonomy import Taxonomy

REPORT_FILE = "report.md"
_ENDS = 5  # best and worst emotions shown by name


def write_report(
    run_dir: Path,
    stages: Sequence[str],
    taxonomy: Taxonomy,
    *,
    heads: Mapping[str, Any] | None = None,
    agreement: Mapping[str, Any] | None = None,
    notes: Sequence[str] = (),
    figures: bool = True,
) -> Path:
    """Write `report.md` and its PNG figures into a run's folder, from the files there.

    Args:
        run_dir: the run; stage `s` lies in `run_dir/s`, or in `run_dir` where there is no such folder.
        stages: names of the stages, in order.
        taxonomy: names and families of the columns.
        heads: best epochs and constant heads; see `RunRecord.read`.
        agreement: content of `agreement.json`, where a rated set was tested.
        notes: sentences on what was not measured, added to those found here.
        figures: draw them; without, the text names none.

    Returns:
        Path of `report.md`.

    Raises:
        OutputError: the folder cannot be written.
        DataError: a file of the run is not JSON.
    """
    run_dir = Path(run_dir)
    record = RunRecord.read(run_dir, stages, taxonomy, heads=heads, agreement=agreement, notes=notes)
    emotions = record.emotions()
    pictures = _draw(record, emotions) if figures else {}
    for name, content in pictures.items():
        atomic_write(run_dir / "figures" / name, content)
    path = run_dir / REPORT_FILE
    sections = [part for part in _sections(record, emotions, set(pictures)) if figures or not part.startswith("![")]
    atomic_write(path, "\n\n".join(sections) + "\n")
    return path


def _draw(record: RunRecord, emotions: EmotionFigures | None) -> dict[str, bytes]:
    from emonet_lightning.reporting import run_figures  # here, so that commands without a report do not load matplotlib

    pictures = {}
    if any(stage.lines for stage in record.stages):
        pictures["curves.png"] = run_figures.curves(record.stages, record.taxonomy)
    if emotions is not None:
        pictures["emotions.png"] = run_figures.emotion_bars(emotions, record.taxonomy)
    return pictures


def _sections(record: RunRecord, emotions: EmotionFigures | None, pictures: set[str]) -> Iterable[str]:
    yield f"# Run {record.name}"
    yield (
        f"Taxonomy {record.taxonomy.name}: {record.taxonomy.num_emotions} emotion(s)"
        + (
            f" and {extras} extra dimension(s)."
            if (extras := len(record.taxonomy) - record.taxonomy.num_emotions)
            else "."
        )
    )
    yield "## Training"
    header = ("stage", "steps", "epochs", "first loss", "last loss", "best validation score", "at epoch", "on test")
    yield _table(header, [_stage_row(stage) for stage in record.stages])
    if "curves.png" in pictures:
        yield "![Training loss and validation score over steps](figures/curves.png)"
    results = record.summary_results()
    if results:
        yield "## Results"
        rows = [(f"`{key}`", _number(value), "" if count is None else str(count)) for key, value, count in results]
        yield _table(("figure", "value", "mean over emotions"), rows)
    if record.test_use:
        yield f"Honest testing: {record.test_use}."
    if record.agreement:
        yield from _systems(record)
    if emotions is not None:
        yield "## Emotions"
        yield f"{emotions.title}. {_ends(record, emotions)}".rstrip()
        yield "![Figure per emotion, sorted](figures/emotions.png)"
        yield from _emotion_table(record, emotions)
    yield "## Heads"
    yield from _heads(record)
    missing = record.missing()
    if missing:
        yield "## Not measured"
        yield "\n".join(f"- {sentence}" for sentence in missing)


def _stage_row(stage: StageRecord) -> tuple[str, ...]:
    losses = stage.series(LOSS)[1]
    best = stage.best(SCORE)
    first, last = (_number(losses[0]), _number(losses[-1])) if len(losses) else ("-", "-")
    score, epoch = (_number(best.value), "-" if best.epoch is None else str(best.epoch)) if best else ("-", "-")
    tested = stage.test_figure()
    on_test = f"{_number(tested[1])} ({tested[0].removeprefix('test/')})" if tested else "-"
    return stage.name, str(stage.num_steps), str(stage.num_epochs), first, last, score, epoch, on_test


def _systems(record: RunRecord) -> Iterable[str]:
    assert record.agreement is not None
    bootstrap, subject = record.agreement["bootstrap"], record.agreement["differences"]["subject"]
    level = f"{bootstrap['level']:.0%}"
    yield "## Systems compared"
    rows = []
    for row in record.systems():
        interval = _interval({"low": row.low, "high": row.high})
        gap = row.difference
        paired = (_number(gap["difference"]), _interval(gap)) if gap else ("", "")
        name = f"**{row.name}**" if row.is_subject else _label(row.name, row.is_reference)
        rows.append((name, _number(row.value), interval, *paired, str(row.num_undefined or "")))
    raters = record.raters()
    if raters is not None:
        rows.append((RATER, _number(raters["value"]), _interval(raters), "", "", ""))
    yield _table(
        ("system", "Spearman", f"{level} interval", f"{subject} minus it", f"{level} interval", "undefined"), rows
    )
    yield "![Systems with intervals](figures/systems.png)"
    yield (
        f"Spearman: {record.agreement['metrics']['spearman']['rule']}. {record.agreement['ratings']['num_images']} "
        f"samples; intervals from {bootstrap['num_draws']} draws of {bootstrap['unit']}s, seed {bootstrap['seed']}, "
        "the same for all systems. All figures, by emotion and against each rater: [agreement.md](agreement.md)."
    )


def _label(name: str, is_reference: bool) -> str:
    return f"{name} (reference)" if is_reference else name


def _ends(record: RunRecord, emotions: EmotionFigures) -> str:
    order, names = emotions.order(), record.taxonomy.names
    if len(order) <= 2 * _ENDS:
        return ""
    best, worst = (
        ", ".join(f"{names[k]} {_number(emotions.values[k])}" for k in part)
        for part in (order[:_ENDS], order[: -_ENDS - 1 : -1])
    )
    return f"Best: {best}. Worst: {worst}."


def _emotion_table(record: RunRecord, emotions: EmotionFigures) -> Iterable[str]:
    order, chosen = emotions.order(), record.heads.get("best") or {}
    header = ["emotion", "family", "figure", "interval", emotions.beside_name, "head from epoch"]
    kappas = []
    for key, name in (("test/kappa_truncate", "kappa with raters"), ("test/rater_kappa_truncate", "raters' kappa")):
        values = record.by_slug(key, record.results)
        if values is not None:
            header.append(name)
            kappas.append(values)
    rows = []
    for k in order + [k for k in range(len(record.taxonomy)) if k not in set(order)]:
        dimension = record.taxonomy.dimensions[k]
        interval = _interval({"low": emotions.low[k], "high": emotions.high[k]})
        epoch = _epoch(chosen.get(dimension.slug) or {})
        figures = (_number(emotions.values[k]), interval, _number(emotions.beside[k]), epoch)
        rows.append([dimension.name, dimension.family or "", *figures, *(_number(values[k]) for values in kappas)])
    kept = [i for i in range(len(header)) if i in (0, 2) or any(row[i] not in ("", "-") for row in rows)]
    yield _table([header[i] for i in kept], [[row[i] for i in kept] for row in rows])
    if any(choice.get("by") == "overall" for choice in chosen.values()):
        yield "(overall): too few positives or negatives in validation to choose by, so the epoch best overall counts."


def _epoch(choice: Mapping[str, Any]) -> str:
    if choice.get("epoch") is None:
        return ""
    return f"{choice['epoch']}" if choice.get("by", "own") == "own" else f"{choice['epoch']} ({choice['by']})"


def _heads(record: RunRecord) -> Iterable[str]:
    names = dict(zip(record.taxonomy.slugs, record.taxonomy.names, strict=True))
    constant = record.heads.get("constant_heads")
    if constant:
        listed = ", ".join(names.get(slug, slug) for slug in constant)
        yield f"**{len(constant)} dead or constant** (the same score for every validation sample): {listed}."
    elif constant is not None:
        yield "No head is dead or constant: each gives validation samples different scores."
    else:
        yield "Whether heads are dead or constant was not checked."
    chosen = [choice for choice in (record.heads.get("best") or {}).values() if choice.get("epoch") is not None]
    if not chosen:
        yield "Which epoch each head is from was not recorded."
        return
    counts = Counter(choice["epoch"] for choice in chosen)
    listed = ", ".join(f"{epoch} ({count})" for epoch, count in sorted(counts.items()))
    yield f"Heads are from epochs (number of heads): {listed}."


def final_table(
    run_dir: Path,
    stages: Sequence[str],
    taxonomy: Taxonomy,
    *,
    heads: Mapping[str, Any] | None = None,
    agreement: Mapping[str, Any] | None = None,
    notes: Sequence[str] = (),
) -> Group:
    """Return the console's closing tables: stages, results, best and worst emotions, systems beside raters.

    Arguments as above.
    """
    record = RunRecord.read(Path(run_dir), stages, taxonomy, heads=heads, agreement=agreement, notes=notes)
    table = Table(title=f"Run {record.name}", title_justify="left", title_style="bold", caption=record.test_use or None)
    table.add_column("figure")
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for stage in record.stages:
        best = stage.best(SCORE)
        if best is not None:
            where = f"step {best.step}" if best.epoch is None else f"epoch {best.epoch}"
            table.add_row(f"{stage.name}: best validation score", _number(best.value), where)
        tested = stage.test_figure()
        if tested is not None and len(record.stages) > 1:
            table.add_row(f"{stage.name}: {tested[0]}", _number(tested[1]), "")
    table.add_section()
    for key, value, count in record.summary_results() if not agreement else []:  # else in the second table
        table.add_row(key, _number(value), "" if count is None else f"mean over {count}")
    table.add_section()
    emotions = record.emotions()
    order = emotions.order() if emotions is not None else []
    for k in order if len(order) <= 6 else [*order[:3], *order[-3:]]:
        assert emotions is not None
        beside = _interval({"low": emotions.low[k], "high": emotions.high[k]})
        table.add_row(taxonomy.names[k], _number(emotions.values[k]), beside)
    if record.heads.get("constant_heads"):
        table.add_row("dead or constant heads", str(len(record.heads["constant_heads"])), "", style="bold red")
    return Group(table, headline_table(agreement)) if agreement else Group(table)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _number(value: float | None) -> str:
    return "-" if value is None or value != value else f"{value:.3f}" if abs(value) < 1000 else f"{value:.4g}"


def _interval(found: Mapping[str, float | None]) -> str:
    low, high = _number(found["low"]), _number(found["high"])
    return "" if "-" in (low, high) else f"{low} .. {high}"
