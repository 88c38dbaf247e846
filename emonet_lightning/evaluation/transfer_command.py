"""The command `evaluate transfer`: emotion heads against the classes of another dataset, from scores or from images."""

from pathlib import Path
from typing import Any, Literal

from emonet_lightning.errors import UsageError
from emonet_lightning.evaluation.transfer_input import Values
from emonet_lightning.evaluation.transfer_protocol import run_transfer
from emonet_lightning.faces.crops import CropOptions
from emonet_lightning.io import make_folder, write_json
from emonet_lightning.options import pairs

RESULT_FILE = "transfer.json"


def transfer_command(
    out: str,
    scores: list[str] | None = None,
    images: str | None = None,
    set: str | None = None,
    run: str | None = None,
    heads: str | None = None,
    map: str | None = None,
    taxonomy: str = "emonet40",
    values: Values = "scores",
    neutral_means: str | None = None,
    labels: str | None = None,
    label_column: str | None = None,
    groups: str | None = None,
    only: dict[str, str] | str | None = None,
    num_folds: int = 5,
    faces: Literal["off", "largest"] = "off",
    crop: CropOptions = CropOptions(),
    no_face: Literal["skip", "whole"] = "skip",
    on_error: Literal["stop", "skip"] = "stop",
    weights: str | None = None,
    device: str = "auto",
    num_threads: int | None = None,
    num_draws: int = 500,
    num_permutations: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    progress: bool = True,
) -> None:
    """Judge emotion heads by the classes of another dataset: from files of scores, or from the images themselves.

    From files (`--scores FILE --map MAP`): the released any-hit rule and stricter ones. From images (`--images FOLDER
    --set SET --run RUN`): the same beside calibrated heads and linear probes on the same frozen features, always
    judged on persons held out; the distance of the heads to the probe is the headline, and it is looked whether the
    classes are told by framing or background already. Writes transfer.json (every
    figure with n, interval and what shuffled labels reach), transfer.md and figures.

    Args:
        out: folder for the report.
        scores: file of scores: the released JSON lines, or a table that `predict` wrote (.csv, .parquet, .jsonl).
            May be given several times, as NAME=FILE; systems are compared on the images that all have.
        images: folder of a set of real faces, in place of `scores`.
        set: how that set lies: `affectnet`, `ck_plus`, `faces`, `fer2013`, `ferd`, `folders`, `raf_db`, a YAML file
            of your own (keys: see the shipped face_sets/shipped/folders.yaml), or a CSV file with columns image (path
            below the folder), class, person and groups.
        run: with images, the run folder that holds the heads.
        heads: folder of exported heads, or of released .pth files (instead of `run`).
        map: `ferd`, `affectnet`, `emotions`, or a YAML file that maps emotions to classes of your own (keys: see the
            shipped taxonomies/maps/ferd.yaml). Images: default is what the set says.
        taxonomy: `emonet40`, or the YAML file of your own emotions that the heads were trained on (with images the
            heads say it themselves).
        values: what a table's columns hold, as in `predict --values`; `mean_subtracted` also for scores that are to be
            compared as they are. Released lines say it themselves.
        neutral_means: means that raw scores are taken from: `released`, or a JSON or YAML file `slug: mean`. Released
            lines are read with the released ones by default; with images, those of the heads are used.
        labels: CSV file with columns image and label, instead of what the map says.
        label_column: column of the score file that holds the class, instead of what the map says.
        groups: CSV file with columns image and group (person); groups are then drawn in place of images.
        only: with images, `COLUMN=VALUE,...`: other images are left out.
        num_folds: with images, folds of persons; fewer where there are too few persons.
        faces: with images, `off` scores whole ones, as most released sets hold faces cut out already; `largest` cuts
            out the largest face of each, as `predict` does.
        crop: how faces are found and cut out.
        no_face: an image without a face is left out (`skip`) or scored `whole`; the report says how many.
        on_error: with images, `stop` at an unreadable one, or `skip` it and say so in the report.
        weights: with images, where the encoder's weight file is now.
        device: with images, auto, cpu, cuda or cuda:N.
        num_threads: with images, threads that decode; default: one per core.
        num_draws: bootstrap draws.
        num_permutations: shuffles of the labels that show chance.
        seed: of draws, shuffles, folds and random scores.
        level: coverage of the intervals.
        progress: show a bar while images are encoded.

    Raises:
        UsageError: options that do not fit each other.
        MissingInputError: a file, map or image that is not there.
        DataError: wrong content; names the file, line, head or class, and the remedy.
        OutputError: the folder cannot be written.
    """
    from rich.console import Console

    from emonet_lightning.reporting import image_transfer_report, transfer_report

    drawn: dict[str, Any] = {
        "num_draws": num_draws, "num_permutations": num_permutations, "seed": seed, "level": level
    }  # fmt: skip
    report: Any
    if images is None:
        if scores is None or map is None:
            raise UsageError("evaluate transfer: give --scores FILE --map MAP, or --images FOLDER --set SET --run RUN")
        _refuse(
            "--images",
            set=set,
            faces=None if faces == "off" else faces,
            run=run,
            heads=heads,
            only=only,
            weights=weights,
        )
        report = transfer_report
        content = run_transfer(
            _named(scores),
            map,
            taxonomy=taxonomy,
            values=values,
            neutral_means=neutral_means,
            labels=labels,
            label_column=label_column,
            groups=groups,
            **drawn,
        )
    else:
        from emonet_lightning.face_sets.transfer import run_image_transfer

        _refuse(
            "--scores",
            scores=scores,
            taxonomy=None if taxonomy == "emonet40" else taxonomy,
            values=None if values == "scores" else values,
            neutral_means=neutral_means,
            labels=labels,
            label_column=label_column,
            groups=groups,
        )
        if set is None or (run is None) == (heads is None):
            raise UsageError("evaluate transfer --images: give --set SET, and either --run DIR or --heads DIR")
        report = image_transfer_report
        content = run_image_transfer(
            Path(images),
            set,
            str(run or heads),
            faces=faces,
            crop=crop,
            no_face=no_face,
            map=map,
            only=pairs("only", only) or {},
            num_folds=num_folds,
            skip=on_error == "skip",
            weights=weights,
            device=device,
            num_threads=num_threads,
            progress=progress,
            **drawn,
        )
    folder = make_folder(out)
    write_json(folder / RESULT_FILE, content)
    report.write_report(folder, content)
    console = Console()
    console.print(report.console_table(content))
    console.print(f"{folder / 'transfer.md'}, {folder / RESULT_FILE}", highlight=False, markup=False, soft_wrap=True)


def _refuse(needs: str, **given: Any) -> None:
    for option, value in given.items():
        if value is not None:
            raise UsageError(f"--{option.replace('_', '-')}: only with {needs}; leave one of them out")


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
