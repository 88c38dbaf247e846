"""Jobs of a real Slurm: several tasks train, a job before its limit goes on to the same bits, an array encodes.

Skipped where Slurm is not installed (Debian: `apt-get install slurm-wlm munge`).
"""

import os
import sys
import time
from pathlib import Path

import forking
import pytest
import runs
import slurm_cluster

from emonet_lightning.attempts import ATTEMPTS_FILE
from emonet_lightning.io import sha256_file

SCRIPTS = Path(__file__).parents[2] / "slurm"
pytestmark = pytest.mark.skipif(
    bool(slurm_cluster.missing()), reason=f"not installed: {', '.join(slurm_cluster.missing())} (slurm-wlm, munge)"
)


@pytest.fixture(scope="module")
def cluster():
    """A Slurm with two nodes."""
    with slurm_cluster.started() as found:
        yield found


def variables():
    """Of a job: this Python, an address that is one, a port of its own."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    port = str(slurm_cluster.free_port())
    return {**forking.ONE_THREAD, "PATH": path, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}


@pytest.fixture(scope="module")
def words(scenes):
    """A fit of two processes that add up their gradients, without a number of devices: the script gives it."""
    chosen = [
        word for word in scenes["cached"].words[1:] if not word.startswith(("--trainer.devices", "--trainer.max_ep"))
    ]
    return [*chosen, "--model.parallel=ddp", "--trainer.max_epochs=60"]


def train(cluster, words, out, *options):
    """Submit a training of two tasks; returns the job and its log."""
    log = out.parent / f"{out.name}.log"
    given = ["--out", str(out), *words]
    return cluster.submit(SCRIPTS / "train.sbatch", given, log, *options, variables=variables()), log


def until(condition, timeout=120):
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "not within its time"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def uninterrupted(cluster, words, tmp_path_factory):
    """A training of two tasks on one node that nothing happened to, and its log."""
    out = tmp_path_factory.mktemp("jobs") / "whole"
    job, log = train(cluster, words, out, "--ntasks-per-node=2")
    assert cluster.wait(job) == ["COMPLETED"], log.read_text()[-3000:]
    return out, log.read_text()


def test_two_tasks_train_one_run(uninterrupted):
    out, said = uninterrupted
    assert "parallel: 2 processes, they share each step (DDP)" in said
    assert (out / "DONE").is_file()
    assert runs.steps_logged(out) == 299  # the last of 300, counted from 0


def test_a_job_before_its_limit_is_requeued_and_ends_with_the_same_bits(cluster, words, uninterrupted, tmp_path):
    out = tmp_path / "run"
    job, log = train(cluster, words, out, "--ntasks-per-node=2")
    until(lambda: runs.newest(out) >= 5)
    cluster.call("scancel", "--signal=USR1", job)
    assert cluster.wait(job) == ["COMPLETED"], log.read_text()[-3000:]
    said = log.read_text()
    (line,) = [line for line in said.splitlines() if "asking Slurm" in line]
    assert f"{out}: interrupted by SIGUSR1 " in line
    assert line.endswith(f"asking Slurm to put job {job} back into the queue")
    assert cluster.state(job)["Restarts"] == "1"
    assert "unfinished; going on from" in said
    assert runs.differences(out, uninterrupted[0]) == []
    assert len((out / ATTEMPTS_FILE).read_text().splitlines()) == 4, "two starts and two ends"


def test_a_job_that_is_not_requeued_fails_aloud(cluster, words, tmp_path):
    out = tmp_path / "run"
    job, log = train(cluster, words, out, "--ntasks-per-node=2", "--no-requeue")
    until(lambda: runs.newest(out) >= 5)
    cluster.call("scancel", "--signal=USR1", job)
    assert cluster.wait(job) == ["FAILED"]
    (line,) = [line for line in log.read_text().splitlines() if line.startswith("error:")]
    assert line.startswith(f"error: Slurm did NOT requeue job {job} (")
    assert line.endswith("submit the same command again")
    assert cluster.state(job)["ExitCode"] == "78:0"
    assert runs.newest(out) >= 5
    assert runs.damaged(out) == []


def test_an_array_of_four_encodes_the_bytes_of_one_process(cluster, small_sets, encoder_options, tmp_path):
    encoder = [word.replace("--model.encoder", "--encoder") for word in encoder_options]
    given = [str(small_sets["big"]), *encoder, "--views=4", "--augmentation.hflip=0.5", "--device=cpu"]
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    code, said = forking.run(["embed", *given, f"--cache_dir={alone}"], 120)
    assert code == 0, said
    words = [*given, f"--cache_dir={shared}"]
    job = cluster.submit(
        SCRIPTS / "embed.sbatch", words, tmp_path / "embed-%a.log", "--gpus-per-task=0", variables=variables()
    )
    assert cluster.wait(job) == ["COMPLETED"] * 4
    logs = [(tmp_path / f"embed-{task}.log").read_text() for task in range(4)]
    assert all("160 encoded here" in log for log in logs), logs
    assert [f"share {task} of 4 (task {task} of a Slurm array)" in log for task, log in enumerate(logs)] == [True] * 4
    one, four = (
        {str(path.relative_to(place)): sha256_file(path) for path in sorted(place.rglob("*")) if path.is_file()}
        for place in (alone, shared)
    )
    assert four == one
    assert sum(name.endswith(".safetensors") for name in one) == 4


@pytest.mark.slow
def test_two_nodes_read_the_cache_from_their_own_disk(cluster, words, uninterrupted, scenes, tmp_path):
    (cache,) = [Path(word.partition("=")[2]) for word in words if word.startswith("--data.cache_dir=")]
    given = [word for word in words if not word.startswith("--data.cache_dir=")]
    out, stage = tmp_path / "run", tmp_path / "stage $(touch stage_canary)"
    log = tmp_path / "two.log"
    own = {**variables(), "EMONET_CACHE": str(cache), "EMONET_STAGE": str(stage)}
    options = ["--nodes=2", "--ntasks-per-node=1"]
    job = cluster.submit(
        SCRIPTS / "train.sbatch", ["--out", str(out), *given], log, *options, variables=own
    )  # fmt: skip
    assert cluster.wait(job) == ["COMPLETED"], log.read_text()[-3000:]
    assert "images/s" not in log.read_text(), "encoded again: the staged cache was not read"
    assert list(stage.rglob("*.safetensors"))
    assert not list(tmp_path.rglob("*canary"))
    heads = [(place / "heads.safetensors").read_bytes() for place in (out, uninterrupted[0])]
    assert heads[0] == heads[1]
