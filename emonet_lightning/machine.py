"""What this machine and this Slurm job offer: devices, cores, disks, allocation. Looks, never changes anything."""

import contextlib
import os
import re
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from emonet_lightning.errors import EnvironmentProblem, UsageError

if TYPE_CHECKING:
    import torch

Status = Literal["ok", "note", "warning", "fail"]
MIN_FREE_GB = 2.0


@dataclass(frozen=True)
class Finding:
    """One line of the report; only `fail` means that `fit` cannot run."""

    check: str
    status: Status
    value: str
    remedy: str = ""


def check_devices() -> Iterator[Finding]:
    """Report each GPU, or why there is none."""
    import torch

    if not torch.cuda.is_available():
        if shutil.which("nvidia-smi") and torch.version.cuda is None:
            yield Finding("gpu", "warning", "a driver, but torch is a CPU build", "install torch from the CUDA index")
        elif shutil.which("nvidia-smi"):
            visible = os.environ.get("CUDA_VISIBLE_DEVICES", "not set")
            yield Finding(
                "gpu",
                "warning",
                f"a driver, but torch {torch.__version__} sees no GPU (CUDA_VISIBLE_DEVICES {visible})",
                "compare the driver's CUDA version in nvidia-smi; under Slurm ask for --gpus-per-node",
            )
        else:
            yield Finding("gpu", "note", "none: fit runs on the CPU")
        return
    for index in range(torch.cuda.device_count()):
        name = f"gpu {index}"
        try:
            free, total = torch.cuda.mem_get_info(index)
            torch.ones(8, device=f"cuda:{index}").sum().item()
        except RuntimeError as error:
            yield Finding(name, "fail", f"does not compute: {one_line(error)}", "choose others: CUDA_VISIBLE_DEVICES")
            continue
        value = f"{torch.cuda.get_device_name(index)}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free"
        busy = free < 0.5 * total
        yield Finding(name, "warning" if busy else "ok", value, "somebody else uses it" if busy else "")


def check_cores() -> Iterator[Finding]:
    """Report the cores that this process may use."""
    allotted = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    asked = os.environ.get("SLURM_CPUS_PER_TASK")
    value = f"{allotted} of {os.cpu_count()} cores"
    if asked and allotted < int(asked):
        yield Finding(
            "cores",
            "warning",
            f"{value}, Slurm allotted {asked} a task",
            "srun does not inherit it: export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK",
        )
    elif os.environ.get("SLURM_JOB_ID") and not asked:
        yield Finding("cores", "warning", f"{value}, --cpus-per-task not given", "give #SBATCH --cpus-per-task")
    else:
        yield Finding(
            "cores", "ok", value + (f", OMP_NUM_THREADS {t}" if (t := os.environ.get("OMP_NUM_THREADS")) else "")
        )


def check_disks(cache_dir: str | None) -> Iterator[Finding]:
    """Report free space and write permission of the folders that a run writes to."""
    from huggingface_hub.constants import HF_HUB_CACHE

    for name, folder, needed in (
        ("working folder", Path.cwd(), True),
        ("embedding cache", Path(cache_dir) if cache_dir else None, True),
        ("hub cache", Path(HF_HUB_CACHE), False),
    ):
        if folder is None:
            continue
        existing = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
        value = f"{folder}: {shutil.disk_usage(existing).free / 1e9:.1f} GB free"
        try:
            with tempfile.TemporaryFile(dir=existing):
                pass
        except OSError as error:
            yield Finding(
                name,
                "fail" if needed else "warning",
                f"{folder}: not writable ({error.strerror})",
                "choose another folder" if needed else "set HF_HOME to a folder of yours",
            )
            continue
        short = shutil.disk_usage(existing).free < MIN_FREE_GB * 1e9
        yield Finding(name, "warning" if short else "ok", value, "make room" if short else "")


def check_slurm() -> Iterator[Finding]:
    """Report whether the job's layout is one that Lightning accepts, and whether it can be requeued."""
    variable = os.environ.get
    job = variable("SLURM_JOB_ID")
    if job is None:
        yield Finding("slurm", "note", "not in a job" + ("; sbatch is here" if shutil.which("sbatch") else ""))
        return
    tasks, nodes = int(variable("SLURM_NTASKS", "1")), int(variable("SLURM_NNODES", "1"))
    per_node = variable("SLURM_NTASKS_PER_NODE")
    value = f"job {job}: {nodes} nodes, {tasks} tasks"
    if tasks > 1 and per_node is None:
        yield Finding("slurm", "fail", f"{value}, --ntasks-per-node not given", "give #SBATCH --ntasks-per-node=<GPUs>")
    elif per_node is not None and int(per_node) * nodes != tasks:
        yield Finding(
            "slurm", "fail", f"{value}, but {per_node} a node", "make --ntasks-per-node times --nodes equal --ntasks"
        )
    else:
        yield Finding("slurm", "ok", value + (f", {per_node} a node" if per_node else ""))
    gpus = variable("SLURM_GPUS_ON_NODE")
    if gpus and per_node and gpus.isdigit() and int(gpus) != int(per_node):
        yield Finding("slurm gpus", "warning", f"{gpus} GPUs for {per_node} tasks a node", "use one task a GPU")
    yield _signal_finding(job)
    head = re.match(r"([^,\[]+)(?:\[(\d+))?", variable("SLURM_JOB_NODELIST", ""))
    if nodes > 1 and head and not variable("MASTER_ADDR"):
        host = head[1] + (head[2] or "")
        if not _resolves(host):
            yield Finding("slurm head node", "fail", f"{host} has no address here", "export MASTER_ADDR=<its address>")


def _signal_finding(job: str) -> Finding:
    """Find `--signal` in the job's script: no environment variable carries it."""
    remedy = "give #SBATCH --signal=SIGUSR1@120, so that the run saves and requeues before its time limit"
    try:
        command = ["scontrol", "write", "batch_script", job, "-"]
        script = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return Finding("slurm signal", "note", "the job has no script to look into", remedy)
    found = re.search(r"^#SBATCH\s+--signal[= ](\S+)", script, re.MULTILINE)
    if found is None:
        return Finding("slurm signal", "warning", "the script asks for no signal before the time limit", remedy)
    if not re.fullmatch(r"(R:)?(SIG)?USR1@\d+", found[1].split("#")[0]):
        return Finding("slurm signal", "warning", f"--signal={found[1]}, fit listens to SIGUSR1 of its tasks", remedy)
    return Finding("slurm signal", "ok", f"--signal={found[1]}")


def _resolves(host: str, timeout: float = 3.0) -> bool:
    outcome: list[bool] = []

    def ask() -> None:
        with contextlib.suppress(OSError):
            socket.getaddrinfo(host, None)
            outcome.append(True)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(timeout)
    return bool(outcome)


def one_line(error: BaseException) -> str:
    """Return an error's text without line breaks, at most 200 characters."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def torch_device(name: str) -> "torch.device":
    """Return the device that an option names: `auto`, `cpu`, `cuda` or `cuda:N`.

    Raises:
        UsageError: it names none.
        EnvironmentProblem: this machine has none of that kind or number.
    """
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"device '{name}' is unknown; use auto, cpu, cuda or cuda:N") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise EnvironmentProblem(f"device '{name}': this machine has {torch.cuda.device_count()} CUDA devices; use cpu")
    return device
