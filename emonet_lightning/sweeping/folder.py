"""The folder of a sweep: a copy of its file, what decides its trials, their record. It holds one sweep, ever."""

from dataclasses import dataclass
from pathlib import Path

from emonet_lightning.errors import DataError, MissingInputError, UsageError
from emonet_lightning.io import atomic_write, make_folder, read_bytes, read_json, remove_temporary, write_json
from emonet_lightning.sweeping.sweep_file import SweepFile

SWEEP_FILE, ABOUT_FILE = "sweep.yaml", "sweep.json"


@dataclass(frozen=True)
class About:
    """What decides the trials of a sweep, beside its file.

    Attributes:
        seed: of proposals.
        trains: digest of what its first trial trains.
        trials: how many were asked for last.
    """

    seed: int
    trains: str
    trials: int


def begin(folder: Path, sweep: SweepFile, about: About) -> None:
    """Make a folder that of a sweep, or look whether it is that of this one.

    Raises:
        UsageError: it is that of another sweep, seed or training, or of something else.
        OutputError: it cannot be written.
    """
    make_folder(folder)
    remove_temporary(folder)
    if (folder / ABOUT_FILE).is_file():
        before, known = read(folder)
        if before.digest != sweep.digest:
            raise UsageError(
                f"{folder}: holds the sweep of another file ({folder / SWEEP_FILE} differs from {sweep.path}); "
                "choose another --out"
            )
        if before.one_at_a_time != sweep.one_at_a_time:
            raise UsageError(
                f"{folder}: holds a sweep with --one_at_a_time={str(before.one_at_a_time).lower()}; give the same, or "
                "choose another --out"
            )
        if known.seed != about.seed:
            raise UsageError(
                f"{folder}: holds a sweep with --seed {known.seed}, now it is {about.seed}; use one of them"
            )
        if known.trains != about.trains:
            raise UsageError(
                f"{folder}: its trials trained something else before: a configuration that {sweep.path} names, or a "
                "variable in it, has changed; choose another --out, or bring it back"
            )
    elif any(path.name not in (SWEEP_FILE, ".lock") for path in folder.iterdir()):
        raise UsageError(f"{folder}: holds something else than a sweep; choose another --out")
    atomic_write(folder / SWEEP_FILE, sweep.content)
    content = {"file": str(sweep.path), "sha256": sweep.digest, "seed": about.seed, "trains": about.trains}
    write_json(folder / ABOUT_FILE, {**content, "trials": about.trials, "one_at_a_time": sweep.one_at_a_time})


def read(folder: Path) -> tuple[SweepFile, About]:
    """Return the sweep that a folder holds.

    Raises:
        MissingInputError: it holds none.
        DataError: what says so is damaged.
    """
    if not (folder / ABOUT_FILE).is_file():
        raise MissingInputError(f"{folder}: no {ABOUT_FILE}: not the folder of a sweep; name the --out of `sweep run`")
    found = read_json(folder / ABOUT_FILE)
    try:
        about = About(int(found["seed"]), str(found["trains"]), int(found["trials"]))
        digest, one_at_a_time = str(found["sha256"]), bool(found.get("one_at_a_time"))
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{folder / ABOUT_FILE}: is no record of a sweep; bring back a good copy") from error
    path = folder / SWEEP_FILE
    sweep = SweepFile.parse(read_bytes(path, digest), path)
    return sweep.changing_one() if one_at_a_time else sweep, about
