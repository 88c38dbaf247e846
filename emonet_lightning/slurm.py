"""A run as a job of Slurm: its processes are those that Slurm started, and it asks to be started again.

Slurm sends SIGUSR1 some time before a job's limit (`--signal=USR1@grace`). The run stops at its next safe place, saves,
and asks for its own job to be put back into the queue. What is refused is said, and ends with an error: a job that
everybody believes to be queued is lost without a sign.
"""

import contextlib
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import Any

from emonet_lightning import interruption
from emonet_lightning.errors import EmoNetError, EnvironmentProblem, InterruptedRunError, UsageError
from emonet_lightning.messages import is_first_process, say

_JOB = re.compile(r"[1-9][0-9]{0,17}(_[0-9]{1,9})?")
_TRIES = 3
_TIMEOUT = 20.0  # seconds for one answer; a controller that is busy takes several
_PAUSE = 2.0
_INTERACTIVE = ("bash", "interactive")  # names of jobs in which Lightning leaves Slurm alone


def requeue(why: str) -> None:
    """Put this job back into Slurm's queue; nothing outside of Slurm.

    The first process asks. The others wait meanwhile: srun may take the end of one of them for a failure, and end the
    first one before it has asked. What it says, it says before: a job that is requeued is ended at once.

    Args:
        why: said in the job's log.

    Raises:
        EnvironmentProblem: it was refused, or there is nobody to ask.
    """
    if "SLURM_JOB_ID" not in os.environ:
        return
    if not is_first_process():
        # ended before by Slurm, in order: srun ends with the highest code of all tasks, and that is the first one's
        with _on_terminate(lambda *_: os._exit(InterruptedRunError.exit_code)):
            time.sleep(_TRIES * (_TIMEOUT + _PAUSE))
        return
    job = job_id()
    say(f"{why}; asking Slurm to put job {job} back into the queue")
    problem = ""
    with _on_terminate(signal.SIG_IGN):  # the job's own end must not end the question; scontrol inherits this
        for number in range(_TRIES):
            if number:
                time.sleep(_PAUSE)
            problem = _ask(job)
            if not problem:
                return
    raise EnvironmentProblem(
        f"Slurm did NOT requeue job {job} ({problem}); what was done is saved: submit the same command again"
    )


@contextlib.contextmanager
def requeued() -> Iterator[None]:
    """Put this job back into the queue where Slurm's signal before the limit stops what is done within.

    Raises:
        EnvironmentProblem: it was refused, or there is nobody to ask.
    """
    try:
        yield
    except EmoNetError as error:
        # of several processes one says why; in the others it is not this error's kind, but its exit code
        if error.exit_code == InterruptedRunError.exit_code and interruption.requested() == "SIGUSR1":
            requeue(str(error))
        raise


def job_id() -> str:
    """Return this job's id as Slurm's commands take it, of an array with the number in it.

    Raises:
        EnvironmentProblem: what the environment holds is no id.
    """
    array, number = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    job = os.environ.get("SLURM_JOB_ID", "") if array is None or number is None else f"{array}_{number}"
    if not _JOB.fullmatch(job):
        raise EnvironmentProblem(f"SLURM_JOB_ID: {job!r} is not the id of a job; Slurm cannot be asked to requeue it")
    return job


def _ask(job: str) -> str:
    """Ask once; returns what is wrong, empty if nothing."""
    try:
        done = subprocess.run(
            ["scontrol", "requeue", job],
            capture_output=True, text=True, errors="replace", timeout=_TIMEOUT, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"scontrol gave no answer within {_TIMEOUT:.0f} s"
    except OSError as error:
        return f"scontrol: {error.strerror or error}"
    said = " ".join((done.stderr or done.stdout).split())[:200]
    if done.returncode == 0 or "pending" in said.lower():  # an earlier question was heard after all
        return ""
    return said or f"scontrol ended with {done.returncode}"


@contextlib.contextmanager
def _on_terminate(handler: Any) -> Iterator[None]:
    """Answer SIGTERM in another way, where this thread may say so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


# -- the processes that Slurm started --------------------------------------------------------------------------------


def check_launch() -> None:
    """Refuse a start in which Slurm's processes cannot find each other: they would wait for hours.

    Raises:
        UsageError: the tasks were not started by srun, or not laid out by node.
        EnvironmentProblem: the job has no id.
    """
    tasks = _tasks()
    if tasks < 2:
        return
    if "SLURM_STEP_ID" not in os.environ:
        raise UsageError(f"Slurm gave this job {tasks} tasks, but one process was started; start it by srun")
    if "SLURM_NTASKS_PER_NODE" not in os.environ:
        raise UsageError(f"Slurm started {tasks} tasks by --ntasks; give --nodes and --ntasks-per-node in its place")
    job_id()  # Lightning makes a port of it


def check_tasks(num_devices: int, num_nodes: int) -> None:
    """Refuse a Trainer whose processes are not the tasks that Slurm started.

    Args:
        num_devices: of the Trainer, on each node.
        num_nodes: of the Trainer.

    Raises:
        UsageError: the numbers differ; names both.
    """
    tasks = _tasks()
    if tasks and tasks != num_devices * num_nodes:
        nodes = number("SLURM_NNODES") or 1
        raise UsageError(
            f"trainer.devices x trainer.num_nodes: {num_devices} x {num_nodes} are not the {tasks} tasks that Slurm "
            f"started; give --trainer.devices {max(tasks // nodes, 1)} --trainer.num_nodes {nodes}, or ask Slurm for "
            f"--nodes={num_nodes} --ntasks-per-node={num_devices}"
        )


def _tasks() -> int:
    """How many tasks Slurm started together; 0 where Lightning does not look at them."""
    if os.environ.get("SLURM_JOB_NAME") in _INTERACTIVE:
        return 0
    return number("SLURM_NTASKS")


def array_share(rank: int | None, world_size: int | None) -> tuple[int, int, str]:
    """Return rank and number of the processes that share a work by files alone, and where these are from.

    Args:
        rank: as given; default: of a Slurm array, the task's place in it.
        world_size: as given; default: of a Slurm array, its number of tasks.

    Raises:
        UsageError: a rank outside of 0..world_size - 1.
    """
    source = "as given"
    task = os.environ.get("SLURM_ARRAY_TASK_ID")
    if rank is None and world_size is None and task is not None:
        first, count = number("SLURM_ARRAY_TASK_MIN"), number("SLURM_ARRAY_TASK_COUNT")
        rank, world_size = number("SLURM_ARRAY_TASK_ID") - first, count
        source = f"task {task} of a Slurm array"
    rank, world_size = rank or 0, 1 if world_size is None else world_size
    if not 0 <= rank < world_size:
        gapless = "; number the array without gaps, e.g. --array=0-7" if source != "as given" else ""
        raise UsageError(
            f"rank is {rank}; it must lie in 0..{world_size - 1} (world_size is {world_size}, {source}){gapless}"
        )
    return rank, world_size, source


def number(name: str) -> int:
    """Return a number that Slurm sets; 0 where it is not set.

    Raises:
        UsageError: it is none.
    """
    text = os.environ.get(name, "")
    if text and not re.fullmatch("[0-9]{1,9}", text):
        raise UsageError(f"{name}: {text!r} is not a number")
    return int(text or 0)
