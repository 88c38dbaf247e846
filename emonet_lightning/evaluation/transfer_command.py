"""The command `evaluate transfer`: scores of emotions against the classes of another dataset."""

from pathlib import Path

from emonet_lightning.errors import UsageError
from emonet_lightning.evaluation.transfer_input import Values
from emonet_lightning.evaluation.transfer_protocol import run_transfer
from emonet_lightning.io import make_folder, write_json

RESULT_FILE = "transfer.json"


def transfer_command(
    scores: list[str],
    map: str,
    out: str,
    taxonomy: str = "emonet40",
    values: Values = "scores",
    neutral_means: str | None = None,
    labels: str | None = None,
    label_column: str | None = None,
    groups: str | None = None,
    num_draws: int = 500,
    num_permutations: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> None:
    """Judge scores of emotions by the classes of another dataset: the released any-hit rule and stricter ones.

    Writes transfer.json (every figure with n, interval and what shuffled labels reach), transfer.md and figures.

    Args:
        scores: file of scores: the released JSON lines, or a table that `predict` wrote (.csv, .parquet, .jsonl).
            May be given several times, as NAME=FILE; systems are compared on the images that all have.
        map: `ferd`, `affectnet`, or a YAML file that maps emotions to classes of your own (keys: see the shipped
            taxonomies/maps/ferd.yaml).
        out: folder for the report.
        taxonomy: `emonet40`, or the YAML file of your own emotions that the heads were trained on.
        values: what a table's columns hold, as in `predict --values`; `mean_subtracted` also for scores that are to be
            compared as they are. Released lines say it themselves.
        neutral_means: means that raw scores are taken from: `released`, or a JSON or YAML file `slug: mean`. Released
            lines are read with the released ones by default.
        labels: CSV file with columns image and label, instead of what the map says.
        label_column: column of the score file that holds the class, instead of what the map says.
        groups: CSV file with columns image and group (person); groups are then drawn in place of images.
        num_draws: bootstrap draws.
        num_permutations: shuffles of the labels that show chance.
        seed: of draws, shuffles and random scores.
        level: coverage of the intervals.

    Raises:
        UsageError: options that do not fit each other.
        MissingInputError: a file or map that is not there.
        DataError: wrong content; names the line, the head or class, and the remedy.
        OutputError: the folder cannot be written.
    """
    from rich.console import Console

    from emonet_lightning.reporting.transfer_report import console_table, write_report

    content = run_transfer(
        _named(scores),
        map,
        taxonomy=taxonomy,
        values=values,
        neutral_means=neutral_means,
        labels=labels,
        label_column=label_column,
        groups=groups,
        num_draws=num_draws,
        num_permutations=num_permutations,
        seed=seed,
        level=level,
    )
    folder = make_folder(out)
    write_json(folder / RESULT_FILE, content)
    write_report(folder, content)
    console = Console()
    console.print(console_table(content))
    console.print(f"{folder / 'transfer.md'}, {folder / RESULT_FILE}", highlight=False, markup=False, soft_wrap=True)


def _named(scores: list[str]) -> dict[str, Path]:
    """Read words `FILE` or `NAME=FILE`."""
    found: dict[str, Path] = {}
    for word in scores:
        name, equals, path = word.partition("=")
        if not equals or Path(word).is_file():
            name, path = Path(word).stem, word
        if not name or not path:
            raise UsageError(f"--scores {word}: write FILE or NAME=FILE")
        if name in found:
            raise UsageError(f"--scores {word}: two systems are named '{name}'; give each its own, as NAME=FILE")
        found[name] = Path(path)
    return found
