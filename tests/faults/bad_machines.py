"""Bad machines: rows 129 to 145."""

import json
import resource
import socket
from collections.abc import Sequence

from bad_inputs import NOT_HERE, Place, refused, row, run_apart, run_bound, taken

NOT_HERE[139] = (
    "a broken torchvision is looked at by `doctor` (tests/test_doctor.py); it cannot be installed beside a good one"
)
NOT_HERE[130] = "a W&B service that dies in the middle of a run: test_wandb_mirror.py"
NOT_HERE[145] = "order is by step everywhere; nothing reads a clock but waiting times, which use the monotonic one"
OFFLINE = "--trainer.logger=WandbLogger"


def limited(argv: Sequence[str], **limits: int) -> int:
    for name, value in limits.items():
        resource.setrlimit(getattr(resource, name), (value, value))
    from emonet_lightning.cli import main

    return main(list(argv))


def with_few_files(argv: Sequence[str]) -> int:
    return limited(argv, RLIMIT_NOFILE=64)


def with_small_files(argv: Sequence[str]) -> int:
    import signal

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # then writing more is an error of the operating system
    return limited(argv, RLIMIT_FSIZE=20_000)


@row(129, "W&B without a key", quick=False)
def _(place: Place) -> str | None:
    told = run_apart(place.fit(OFFLINE), env={"WANDB_API_KEY": "", "HOME": str(place.folder), "WANDB_MODE": ""})
    wrong = taken(told)
    lines = (place.out / "metrics.jsonl").read_text().splitlines() if (place.out / "metrics.jsonl").is_file() else []
    return wrong or (None if any("train/loss" in line for line in lines) else "no metrics")


@row(131, "encoder that is not here, without a network", quick=False)
def _(place: Place) -> str | None:
    words = [word for word in place.fit() if "encoder" not in word]
    told = run_apart([*words, "--model.encoder.name=timm/vit_so400m_patch16_siglip_384.v2_webli"],
                     env={"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(place.folder)})  # fmt: skip
    return refused(
        told, "environment", r"is not reachable .*fetch encoder timm/vit_so400m_patch16_siglip_384", place.out
    )


@row(132, "invalid token of the hub is not printed", quick=False)
def _(place: Place) -> str | None:
    token = "hf_" + "Q" * 34
    words = [word for word in place.fit() if "encoder" not in word]
    environment = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(place.folder), "HF_TOKEN": token}
    told = run_apart([*words, "--model.encoder.name=timm/vit_so400m_patch16_siglip_384.v2_webli"], env=environment)
    wrong = refused(told, "environment", r"is not reachable", place.out)
    return "the token was printed" if token in told.stderr + told.stdout else wrong


@row(133, "disk full in the middle of a checkpoint", quick=False)
def _(place: Place) -> str | None:
    told = run_apart(place.fit(), target=with_small_files)
    wrong = refused(told, "io", r"cannot be written \(File too large\)|free")
    if wrong:
        return wrong
    if left := [path.name for path in place.out.rglob("*.tmp")]:
        return f"left {left}"
    return taken(run_apart(place.fit()))


@row(134, "output folder that cannot be written")
def _(place: Place) -> str | None:
    return refused(run_apart(place.fit("--out=/proc/run")), "io", r"/proc/run.*cannot be written")


@row(134, "output folder that may not be written", quick=False)
def _(place: Place) -> str | None:
    place.out.mkdir(mode=0o555)
    return refused(run_bound(place.fit()), "io", r"out.*cannot be written", place.out)


@row(135, "temporary folder that is not there")
def _(place: Place) -> str | None:
    return taken(run_apart(place.fit(), env={"TMPDIR": "/nowhere/tmp"}))


@row(136, "images made by workers", quick=False)
def _(place: Place) -> str | None:
    return taken(run_apart(place.fit("--data.mode=images", "--data.num_workers=2", "--model.standardise=false")))


@row(137, "64 open files", quick=False)
def _(place: Place) -> str | None:
    told = run_apart(place.fit(), target=with_few_files)
    return taken(told) if told.code == 0 else refused(told, "io", r"[Tt]oo many open files")


@row(138, "guard against code in files switched off")
def _(place: Place) -> str | None:
    told = run_apart(place.fit(), env={"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"})
    return refused(told, "environment", r"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", place.out)


@row(140, "malware releases are known to `doctor`")
def _(place: Place) -> str | None:
    from emonet_lightning.doctor import MALWARE

    return None if {"2.6.2", "2.6.3"} <= set(MALWARE["lightning"]) else f"known: {MALWARE}"


@row(141, "Slurm tasks that are not the devices", quick=False)
def _(place: Place) -> str | None:
    slurm = {"SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "train", "SLURM_NTASKS": "4", "SLURM_NTASKS_PER_NODE": "4",
             "SLURM_NNODES": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0",
             "SLURM_NODELIST": "localhost", "SLURM_JOB_NODELIST": "localhost"}  # fmt: skip
    told = run_apart(place.fit("--trainer.devices=2", "--trainer.strategy=ddp"), env=slurm, timeout=60)
    return refused(told, "usage", r"devices|ntasks|tasks", place.out)


@row(142, "Slurm variables in an interactive shell", quick=False)
def _(place: Place) -> str | None:
    slurm = {"SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "bash", "SLURM_NTASKS": "1", "SLURM_PROCID": "0"}
    return taken(run_apart(place.fit(), env=slurm))


@row(143, "master port that is taken", quick=False)
def _(place: Place) -> str | None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        port = held.getsockname()[1]
        told = run_apart(place.fit("--trainer.devices=2", "--trainer.strategy=ddp"), fresh=True, timeout=120,
                         env={"MASTER_PORT": str(port), "MASTER_ADDR": "127.0.0.1"})  # fmt: skip
    return taken(told) if told.code == 0 else refused(told, "environment", str(port), place.out)


@row(144, "C locale and names in other scripts")
def _(place: Place) -> str | None:
    out = place.folder / "läuft 顔"
    told = run_apart([*place.fit(), f"--out={out}"], env={"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0"})
    wrong = taken(told)
    return wrong or (None if json.loads((out / "run.json").read_text())["id"] else "no run")
