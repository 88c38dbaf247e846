"""A Slurm of one's own for a while: controller, two virtual nodes and their authentication, all in one folder."""

import contextlib
import getpass
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

MUNGE = os.geteuid() == 0
"""Whether authentication is by munge; Slurm without it lets everybody be whom they say, and needs no rights."""
PROGRAMS = (*(["munged"] if MUNGE else []), "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "scancel")
NODES = ("n1", "n2")
_CONFIGURATION = """
ClusterName=faults
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
AuthType=auth/{kind}
CredType=cred/{kind}
AuthInfo={socket}cred_expire=5
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0,sched_min_interval=0
MpiDefault=none
SwitchType=switch/none
SlurmdParameters=config_overrides
KillWait=5
MinJobAge=600
ReturnToService=2
JobRequeue=1
MailProg=/bin/true
RebootProgram=/bin/true
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=8 RealMemory=64000
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=8 RealMemory=64000
PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
"""
SMALLER = ["--gpus-per-node=0", "--cpus-per-task=1", "--mem=100M"]
"""Options of sbatch for these nodes, which have no GPUs."""


def missing() -> list[str]:
    """Programs of Slurm that this machine lacks."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    return [name for name in PROGRAMS if shutil.which(name, path=path) is None]


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Cluster:
    """A Slurm that runs.

    Args:
        folder: with its configuration and logs.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
        self.environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf"), "PATH": path}
        for name in [name for name in self.environment if name.startswith(("SLURM_", "SBATCH_", "SRUN_"))]:
            if name != "SLURM_CONF":
                del self.environment[name]

    def call(self, *words: str, check: bool = True, timeout: float = 60, **variables: str) -> str:
        """Run a program of Slurm; returns what it printed."""
        environment = {**self.environment, **variables}
        done = subprocess.run(words, capture_output=True, text=True, env=environment, timeout=timeout, check=False)
        assert not check or done.returncode == 0, f"{words}: {done.stderr}"
        return (done.stdout + done.stderr).strip()

    def submit(
        self, script: Path, words: Sequence[str], log: Path, *options: str, variables: Mapping[str, str] | None = None
    ) -> str:
        """Submit a script; returns the job's id."""
        chosen = ["--parsable", f"--output={log}", "--chdir", str(log.parent), *SMALLER, *options]
        return self.call("sbatch", *chosen, str(script), *words, **(variables or {})).partition(";")[0]

    def state(self, job: str) -> dict[str, str]:
        """What Slurm knows of a job, by name; of an array, of its first task."""
        said = self.call("scontrol", "-o", "show", "job", job, check=False).splitlines()
        return dict(word.partition("=")[::2] for word in said[0].split() if "=" in word) if said else {}

    def states(self, job: str) -> list[str]:
        """States of all tasks of a job."""
        said = self.call("scontrol", "-o", "show", "job", job, check=False).splitlines()
        return [word.partition("=")[2] for line in said for word in line.split() if word.startswith("JobState=")]

    def wait(self, job: str, timeout: float = 240) -> list[str]:
        """Wait until a job, and what it is requeued as, has ended; returns the states of its tasks.

        Raises:
            TimeoutError: it has not by then; it is cancelled.
        """
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            found = self.states(job)
            if found and not {*found} & {"PENDING", "RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED", "REQUEUED"}:
                return found
            time.sleep(0.3)
        self.call("scancel", job, check=False)
        raise TimeoutError(f"job {job} has not ended after {timeout:.0f} s: {self.state(job)}")


@contextlib.contextmanager
def started() -> Iterator[Cluster]:
    """Start a Slurm, and end it with all of its jobs."""
    usual = tempfile.gettempdir()
    folder = Path(tempfile.mkdtemp(prefix="slurm-", dir=usual if len(usual) < 40 else "/tmp"))  # of a socket: short
    folder.chmod(0o755)
    cluster = Cluster(folder)
    try:
        _start(cluster)
        yield cluster
    finally:
        _stop(cluster)
        shutil.rmtree(folder, ignore_errors=True)


def _start(cluster: Cluster) -> None:
    folder, host = cluster.folder, socket.gethostname().partition(".")[0]
    (folder / "state").mkdir()
    for node in NODES:
        (folder / f"spool-{node}").mkdir()
    text = _CONFIGURATION.format(
        folder=folder,
        host=host,
        user=getpass.getuser(),
        ports=[free_port() for _ in range(3)],
        kind="munge" if MUNGE else "none",
        socket=f"socket={folder / 'munge.socket'}," if MUNGE else "",
    )
    (folder / "slurm.conf").write_text(text)
    if MUNGE:
        _start_munge(cluster)
    cluster.call("slurmctld", "-c")
    for node in NODES:
        cluster.call("slurmd", "-N", node, "-c")
    deadline = time.monotonic() + 30
    while cluster.call("sinfo", "-h", "-N", "-o", "%T", check=False).split() != ["idle"] * len(NODES):
        assert time.monotonic() < deadline, (folder / "slurmctld.log").read_text()[-2000:]
        time.sleep(0.1)


def _start_munge(cluster: Cluster) -> None:
    folder = cluster.folder
    (folder / "munge.key").write_bytes(secrets.token_bytes(1024))
    (folder / "munge.key").chmod(0o400)
    files = {"key-file": "munge.key", "socket": "munge.socket", "pid-file": "munged.pid", "log-file": "munged.log"}
    files["seed-file"] = "munge.seed"
    cluster.call("munged", "--force", *(f"--{name}={folder / file}" for name, file in files.items()))


def _stop(cluster: Cluster) -> None:
    with contextlib.suppress(Exception):
        jobs = cluster.call("squeue", "-h", "-o", "%A", check=False).split()
        if jobs:
            cluster.call("scancel", "--signal=KILL", *jobs, check=False)
            cluster.call("scancel", *jobs, check=False)
            time.sleep(1)
    for name in (*(f"slurmd-{node}.pid" for node in NODES), "slurmctld.pid", "munged.pid"):
        with contextlib.suppress(OSError, ValueError):
            os.kill(int((cluster.folder / name).read_text()), 15)
    time.sleep(0.2)
