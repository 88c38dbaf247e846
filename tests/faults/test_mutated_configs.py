"""Mutants of every shipped configuration, parsed and looked at: no traceback, no hang, none taken wrongly."""

import contextlib
import io
import os
import random
import signal
from pathlib import Path

import pytest
from campaign import ROOT, run_campaign
from config_mutations import mutate

from emonet_lightning.composition import EMBEDDED_CONFIG, Options, compose
from emonet_lightning.errors import EmoNetError
from emonet_lightning.packing.shards import pack
from emonet_lightning.preflight import check_run
from emonet_lightning.run_cli import EmoNetCLI
from emonet_lightning.synthesis.faces import RenderedFaces
from emonet_lightning.taxonomy import Taxonomy

SECONDS = 20
"""After which a trial hangs."""
CONFIGS = sorted(path.stem for path in (ROOT / "configs").glob("*.yaml"))


class _Own(RenderedFaces):
    """Faces with labels on three emotions only."""

    def __getitem__(self, index):
        sample = super().__getitem__(index)
        kept = {"labeller": {slug: float((index + k) % 8) for k, slug in enumerate(("anger", "elation", "sadness"))}}
        return sample._replace(ratings=kept, prompted=None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, small_sets, small_encoder):
    """A folder with all that the configurations name, as their variables say, in which no trial may leave a file."""
    folder = tmp_path_factory.mktemp("data")
    for name, path in small_sets.items():
        (folder / name).symlink_to(path)
    taxonomy = folder / "emotions.yaml"
    taxonomy.write_text("name: mine\nemotions: [Anger, Elation, Sadness]\n")
    splits = {"train": 0.6, "val": 0.2, "test": 0.2}
    pack(_Own("big", count=60), folder / "own", Taxonomy.load(str(taxonomy)), splits=splits,
         hash_near_duplicates=False, progress=False)  # fmt: skip
    named = {"DATA": folder, "ENCODER": small_encoder, "TAXONOMY": taxonomy, "DEBUG_DATA": folder / "big"}
    with pytest.MonkeyPatch.context() as patch:
        for name, path in named.items():
            patch.setenv(f"EMONET_{name}", str(path))
        patch.chdir(folder)
        yield folder


def look_at(path: Path, judged: bool) -> None:
    """Parse a configuration and look at what it asks for, as `fit` and `test` do before anything else."""
    options = Options([str(path)])
    if judged:
        stage = EmoNetCLI(["test", *options.rest_with_configs()], dry=True)
        stage.build_data()[0].open("test")
        return
    check_run([EmoNetCLI(["fit", *stage.arguments], dry=True) for stage in compose(options)])


def test_mutated_configurations(folder, full):
    texts = {name: (ROOT / "configs" / f"{name}.yaml").read_text() for name in CONFIGS}
    texts["embedded"] = EMBEDDED_CONFIG.read_text()

    def run(trial):
        name, number = trial.split(" ")
        mutant = mutate(texts[name], random.Random(f"{name} {number}"))
        path = folder / "mutant.yaml"
        path.write_bytes(mutant.text)
        said, error, kind = io.StringIO(), "", "taken"
        before = signal.signal(signal.SIGALRM, _hangs)
        signal.alarm(SECONDS)
        try:
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                look_at(path, judged=name == "test_hq")
        except EmoNetError as refusal:
            kind, error = "refused", str(refusal)
            if refusal.exit_code not in (2, 65, 66) or not error.strip() or len(error) > 1000:
                kind = f"refused with {refusal.exit_code}"
        except TimeoutError:
            kind = "hang"
        except BaseException as fault:
            kind, error = "traceback", f"{type(fault).__name__}: {fault}"
        finally:
            signal.alarm(0)
            signal.signal(signal.SIGALRM, before)
        left = [found for found in os.listdir(folder) if found == "CANARY"]
        wanted = "taken" if mutant.valid else "refused"
        return {"ok": kind == wanted and not left, "kind": kind, "valid": mutant.valid, "what": mutant.what[:300],
                "error": error[:600]}  # fmt: skip

    count = 10_000 if full else 60
    names = sorted(texts)
    trials = [f"{names[n % len(names)]} {n // len(names)}" for n in range(count)]
    tally = run_campaign("mutated_configs", trials, run, full=full)
    assert {outcome["valid"] for outcome in tally.outcomes if "valid" in outcome} == {True, False}
    assert tally.failed == []


def _hangs(number, frame):
    raise TimeoutError
