"""The command `demo`: the whole chain at small size, each step by the command that does it at any size."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

from emonet_lightning import interruption
from emonet_lightning.errors import InterruptedRunError, UsageError
from emonet_lightning.folder_lock import claimed
from emonet_lightning.io import atomic_write, make_folder, read_json, write_json
from emonet_lightning.messages import say
from emonet_lightning.yaml_files import dump_yaml

STATE_FILE, PAGE_FILE = "demo.json", "report.html"
SETS = ("big", "binary", "hq")
_SPLITS = {"big": {"train": 0.9, "val": 0.1}, "binary": {"train": 0.7, "val": 0.3}}


class Plan(NamedTuple):
    """What a demonstration makes, and where."""

    out: Path
    counts: dict[str, int]
    seed: int
    experts: str
    epochs: int

    def design(self, name: str) -> Path:
        """Return the prompts of a set."""
        return self.out / "1-design" / f"{name}.jsonl"

    def faces(self, name: str) -> Any:
        """Return a set's faces, as they are drawn."""
        from emonet_lightning.synthesis.designed_faces import DesignedFaces
        from emonet_lightning.synthesis.prompts import read_prompts

        return DesignedFaces(read_prompts(self.design(name)), labelled=name == "big", name=f"demo-{name}")

    @property
    def run(self) -> Path:
        """Folder of the training."""
        return self.out / "5-run"


def demo_command(
    out: str,
    big: int = 2400,
    binary: int = 1200,
    hq: int = 400,
    epochs: int = 10,
    experts: Literal["released", "embedded"] = "released",
    seed: int = 0,
) -> None:
    """Run the whole chain at small size, and write one page about it: `report.html`, to be opened or mailed.

    Designs balanced prompts, draws a face for each, lets simulated experts vote and rate, derives labels, trains both
    stages, tests, and puts the heads' answers beside the experts' before judges who do not know whose they are. The
    same command goes on where it was stopped.

    Args:
        out: folder; each step has one of its own in it.
        big: faces with generated labels, to pre-train on.
        binary: faces that experts answer yes or no to.
        hq: faces that experts rate 0..7, to test on.
        epochs: of the first stage; the second has half as many.
        experts: `released` disagree as the experts of the released data do, `embedded` much less.
        seed: of prompts, people and training.
    """
    counts = dict(zip(SETS, (big, binary, hq), strict=True))
    for name, least in (("big", 80), ("binary", 80), ("hq", 40)):
        if counts[name] < least:
            raise UsageError(f"--{name} {counts[name]}: at least {least}, each emotion is asked for")
    if epochs < 1 or seed < 0:
        raise UsageError(f"--epochs {epochs} --seed {seed}: at least 1 and 0")
    plan = Plan(make_folder(out), counts, seed, experts, epochs)
    options = {"counts": counts, "seed": seed, "experts": experts, "epochs": epochs}
    with claimed(plan.out, "another demonstration runs in this folder"):
        state = _state(plan.out, options)
        for number, (title, step) in enumerate(STEPS, 1):
            if str(number) in state["seconds"]:
                continue
            if interruption.requested():
                raise InterruptedRunError(f"{out}: interrupted before step {number}; the same command goes on")
            say(f"{number} of {len(STEPS)}: {title}")
            started = time.monotonic()
            step(plan)
            state["seconds"][str(number)] = round(time.monotonic() - started, 1)
            write_json(plan.out / STATE_FILE, state)
        from emonet_lightning.demo.page import write_page

        write_page(plan, {title: state["seconds"][str(number)] for number, (title, _) in enumerate(STEPS, 1)})
    print(plan.out / PAGE_FILE)


def _state(out: Path, options: dict[str, Any]) -> dict[str, Any]:
    if not (out / STATE_FILE).is_file():
        if any(path.name != ".lock" for path in out.iterdir()):
            raise UsageError(f"{out}: holds something else than a demonstration; choose another --out")
        state = {"options": options, "seconds": {}}
        write_json(out / STATE_FILE, state)
        return state
    state = read_json(out / STATE_FILE)
    if state.get("options") != options:
        raise UsageError(
            f"{out}: holds a demonstration with {json.dumps(state.get('options'))}; give the same options, or another "
            "--out"
        )
    return state


# -- the steps --------------------------------------------------------------------------------------------------------


def _design(plan: Plan) -> None:
    from emonet_lightning.synthesis.design_command import design_command

    for place, name in enumerate(SETS):
        design_command(plan.counts[name], str(plan.design(name)), seed=3 * plan.seed + place)


def _draw(plan: Plan) -> None:
    from emonet_lightning.packing.shards import pack
    from emonet_lightning.taxonomy import Taxonomy

    for name in SETS:
        folder = plan.out / ("4-sets" if name == "big" else "2-faces") / name
        cores = max(1, min(8, len(os.sched_getaffinity(0))))
        pack(plan.faces(name), folder, Taxonomy.load("emonet40"), splits=_SPLITS[name] if name == "big" else None,
             num_processes=cores, hash_near_duplicates=False)  # fmt: skip


def _annotate(plan: Plan) -> None:
    from emonet_lightning.demo.study import write_ratings, write_votes
    from emonet_lightning.evaluation.votes_command import votes_command

    folder = make_folder(plan.out / "3-annotation")
    write_votes(plan.faces("binary"), folder / "votes.csv", plan.experts, plan.seed)
    write_ratings(plan.faces("hq"), folder / "ratings.csv", plan.experts, plan.seed)
    votes_command(str(folder / "votes.csv"), str(folder / "votes"))


def _label(plan: Plan) -> None:
    from emonet_lightning.packing.commands import pack_command

    answers, sets = plan.out / "3-annotation", plan.out / "4-sets"
    for name, labels in (("binary", "votes.csv"), ("hq", "ratings.csv")):
        pack_command(
            str(plan.out / "2-faces" / name), str(sets / name), labels=str(answers / labels),
            splits=_SPLITS.get(name), sealed=name == "hq", near_duplicates="ignore", name=f"demo-{name}",
        )  # fmt: skip


def _train(plan: Plan) -> None:
    from emonet_lightning.stages import fit

    def stage(name: str, module: str, path: str, lr: float, epochs: int) -> dict[str, Any]:
        data = {"class_path": module, "init_args": {"path": str(plan.out / "4-sets" / path), "batch_size": 256}}
        return {"name": name, "overrides": {"data": data, "model": {"lr": lr}, "trainer": {"max_epochs": epochs}}}

    config = {
        "seed_everything": plan.seed,
        "model": {"encoder": {"name": "embedded"}, "widths": "small"},
        "trainer": {"devices": 1},
        "test_data": {"class_path": "ExpertRatings", "init_args": {"path": str(plan.out / "4-sets" / "hq")}},
        "neutral": "embedded:neutral",
        "stages": [
            stage("pretrain", "SyntheticFaces", "big", 1e-3, plan.epochs),
            stage("finetune", "ExpertBinary", "binary", 1e-4, max(1, plan.epochs // 2)),
        ],
    }
    atomic_write(plan.out / "fit.yaml", dump_yaml(config))
    fit(["--config", str(plan.out / "fit.yaml"), "--out", str(plan.run)])


def _study(plan: Plan) -> None:
    from emonet_lightning.annotation.preference_commands import analyse_command, design_command
    from emonet_lightning.demo.study import write_choices
    from emonet_lightning.predict import predict_command

    folder, sealed = make_folder(plan.out / "6-study"), make_folder(plan.out / "7-sealed-key")
    scores = str(folder / "scores.csv")
    predict_command(str(plan.out / "4-sets" / "hq"), scores, run=str(plan.run), values="mean_subtracted")
    pairs, key = str(folder / "pairs.jsonl"), str(sealed / "key.json")
    ratings = str(plan.out / "3-annotation" / "ratings.csv")
    design_command(ratings, pairs, key, system=[f"heads={scores}"], seed=plan.seed)
    write_choices(plan.faces("hq"), Path(pairs), folder / "choices.csv", plan.seed)
    analyse_command(str(folder / "choices.csv"), pairs, key, str(folder / "analysis"))


STEPS: tuple[tuple[str, Callable[[Plan], None]], ...] = (
    ("design balanced prompts", _design),
    ("draw a face for each", _draw),
    ("experts vote and rate", _annotate),
    ("answers become labels", _label),
    ("train both stages and test", _train),
    ("blind study", _study),
)
