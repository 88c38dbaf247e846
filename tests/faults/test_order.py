"""What a run is really fed: the same rows in the same global batches, whatever processes and workers there are."""

import json
import shutil

import forking
import moments
import pytest
from campaign import run_campaign

ROWS, BATCH, EPOCHS = 120, 52, 3
"""The last batch of an epoch is short, and processes have unequal shares of it."""


@pytest.fixture
def fed(scenes, place):
    """Rows of each global batch of a run: `fed("images", processes, workers)`."""

    def run(mode, processes, workers):
        out, note = place / f"fed {mode} {processes} {workers}", place / "fed"
        shutil.rmtree(out, ignore_errors=True)
        scene = scenes["images" if mode == "images" else "cached"]
        words = [
            *scene.words, f"--data.batch_size={BATCH}", f"--trainer.max_epochs={EPOCHS}", f"--out={out}",
            f"--trainer.devices={processes}", f"--data.num_workers={workers}", "--model.parallel=ddp",
        ]  # fmt: skip
        environment = {**scene.environment, moments.CONSUMED: str(note)}
        if processes == 1:
            children = [forking.start(words, env=environment, target=moments.consumed)]
        else:
            words.append("--trainer.strategy=ddp")
            children = forking.start_all(words, environment, [{}] * processes, [moments.consumed] * processes)
        codes = [child.wait(240) for child in children]
        assert codes == [0] * processes, children[0].said()[-500:]
        shares = [
            [json.loads(line) for line in (place / f"fed.{rank}").read_text().splitlines()] for rank in range(processes)
        ]
        assert len({len(share) for share in shares}) == 1
        # process r has rows r, r + processes, ... of each global batch
        return [
            [steps[0][0], [row for column in zip(*(rows for _, rows in steps), strict=True) for row in column]]
            for steps in zip(*shares, strict=True)
        ]

    return run


def test_processes_and_workers_do_not_change_what_is_trained_on(fed, full):
    expected = fed("cached", 1, 0)
    for epoch in range(EPOCHS):
        rows = [row for number, batch in expected if number == epoch for row in batch if row >= 0]
        assert len(rows) == len(set(rows)) == ROWS

    def run(trial):
        mode, processes, workers = trial.split(" ")
        found = fed(mode, int(processes), int(workers))
        return {"ok": found == expected, "batches": len(found), "rows": sum(len(batch) for _, batch in found)}

    trials = ["cached 2 0", "images 1 2"]
    if full:
        trials = ["cached 2 0", "cached 4 0", *(f"images {p} {w}" for p in (1, 2, 4) for w in range(5))]
    tally = run_campaign("order", trials, run, full=full)
    assert tally.failed == []
