"""`doctor` on this machine, on machines with known faults, and inside Slurm jobs of known shape."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from emonet_lightning.doctor import doctor_command, examine
from emonet_lightning.machine import Finding, check_cores, check_disks, check_slurm


def _by_check(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.check: finding for finding in findings}


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Sets the variables of a Slurm job, and a `scontrol` that prints its script."""

    def start(script: str | None = None, **variables: str) -> dict[str, Finding]:
        for name in [name for name in os.environ if name.startswith("SLURM_")]:
            monkeypatch.delenv(name)
        for name, value in {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "1", "SLURM_NNODES": "1", **variables}.items():
            monkeypatch.setenv(name, value)
        if script is not None:
            (tmp_path / "script").write_text(script)
            tool = tmp_path / "scontrol"
            tool.write_text(f'#!/bin/sh\n[ "$*" = "write batch_script 7 -" ] && cat {tmp_path}/script\n')
            tool.chmod(0o755)
            monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        return _by_check(list(check_slurm()))

    return start


def test_json_report_lists_versions_devices_disks_hub_and_says_whether_fit_can_run(
    capsys: pytest.CaptureFixture[str],
) -> None:
    doctor_command(json=True)
    report = json.loads(capsys.readouterr().out)
    assert report["fit"] is True
    findings = {finding["check"]: finding for finding in report["findings"]}
    for name in ("python", "torch", "lightning", "timm", "cores", "working folder", "wandb", "slurm"):
        assert findings[name]["status"] in ("ok", "note"), findings[name]
    assert findings["hub"]["value"].startswith("offline")
    assert findings["embedded encoder"]["status"] == "ok"


def test_broken_torch_pair_and_malware_are_explained_and_the_malware_is_not_imported(tmp_path: Path) -> None:
    (tmp_path / "torchvision.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')\n")
    (tmp_path / "lightning.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    (tmp_path / "lightning-2.6.2.dist-info").mkdir()
    (tmp_path / "lightning-2.6.2.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: lightning\nVersion: 2.6.2\n"
    )
    for slow in ("wandb", "albumentations", "open_clip", "timm", "pytorch_lightning", "torchmetrics"):
        (tmp_path / f"{slow}.py").write_text("")
    code = (
        "import sys\n"
        "from emonet_lightning.doctor import doctor_command\n"
        "from emonet_lightning.errors import EmoNetError\n"
        "try: doctor_command()\n"
        "except EmoNetError as error: print(error, file=sys.stderr); sys.exit(error.exit_code)"
    )
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "COLUMNS": "400"}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=120)
    assert result.returncode == 78, result.stderr
    assert "2.6.2 is malware" in result.stdout
    assert not (tmp_path / "ran").exists()
    assert "are different builds (one for the CPU, one for CUDA)" in result.stdout
    assert "pip install --force-reinstall torch torchvision" in result.stdout
    assert len(result.stderr.strip().splitlines()) == 1


def test_table_shows_every_finding(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    findings = examine()
    doctor_command()
    shown = capsys.readouterr().out
    for finding in findings:
        assert finding.check in shown


def test_several_tasks_without_ntasks_per_node_are_a_failure(job) -> None:
    assert job(SLURM_NTASKS="4")["slurm"].status == "fail"
    assert "--ntasks-per-node" in job(SLURM_NTASKS="4")["slurm"].remedy
    assert job(SLURM_NTASKS="4", SLURM_NNODES="2", SLURM_NTASKS_PER_NODE="1")["slurm"].status == "fail"
    assert job(SLURM_NTASKS="4", SLURM_NTASKS_PER_NODE="4")["slurm"].status == "ok"


def test_gpus_that_do_not_match_tasks_are_a_warning(job) -> None:
    found = job(SLURM_NTASKS="2", SLURM_NTASKS_PER_NODE="2", SLURM_GPUS_ON_NODE="4")
    assert found["slurm gpus"].status == "warning"
    assert "slurm gpus" not in job(SLURM_NTASKS="2", SLURM_NTASKS_PER_NODE="2", SLURM_GPUS_ON_NODE="2")


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("#SBATCH --signal=SIGUSR1@120", "ok"),
        ("#SBATCH --signal=USR1@60", "ok"),
        ("#SBATCH --signal=B:USR1@60", "warning"),
        ("#SBATCH --signal=TERM@60", "warning"),
        ("#SBATCH --time=10", "warning"),
    ],
)
def test_signal_of_the_job_script_is_judged(job, line: str, status: str) -> None:
    assert job(f"#!/bin/bash\n{line}\nsrun true\n")["slurm signal"].status == status


def test_unresolvable_head_node_is_a_failure_unless_master_addr_is_set(job, monkeypatch: pytest.MonkeyPatch) -> None:
    shape = {"SLURM_NTASKS": "2", "SLURM_NNODES": "2", "SLURM_NTASKS_PER_NODE": "1"}
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    found = job(**shape, SLURM_JOB_NODELIST="no-such-node[3-4]")
    assert found["slurm head node"].status == "fail"
    assert "no-such-node3" in found["slurm head node"].value
    assert "slurm head node" not in job(**shape, SLURM_JOB_NODELIST="localhost,other")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    assert "slurm head node" not in job(**shape, SLURM_JOB_NODELIST="no-such-node[3-4]")


def test_fewer_cores_than_slurm_allotted_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", str((os.cpu_count() or 1) + 1))
    (finding,) = check_cores()
    assert finding.status == "warning"
    assert "SRUN_CPUS_PER_TASK" in finding.remedy


def test_folder_without_write_permission_is_a_failure() -> None:
    assert _by_check(list(check_disks("/proc/cache")))["embedding cache"].status == "fail"


def test_embedded_encoder_that_is_not_the_installed_one_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "emonet_lightning-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: emonet-lightning\nVersion: 0.1.0\n")
    (info / "RECORD").write_text(f"emonet_lightning/assets/encoder.safetensors,sha256={'A' * 43},1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = _by_check(examine())["embedded encoder"]
    assert found.status == "fail"
    assert "not what was installed" in found.value
    assert "recorded 000000000000" in found.value


def test_no_credential_is_printed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("WANDB_API_KEY", "secret" * 6)
    assert _by_check(examine())["wandb"].value == "an account's key is set"
    doctor_command()
    assert "secret" not in capsys.readouterr().out


@pytest.mark.parametrize("json_report", [False, True])
def test_password_in_the_hubs_address_is_not_printed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, json_report: bool
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setenv("HF_ENDPOINT", "http://someone:s3same@hub.example")
    for reason in (None, "cannot connect to http://someone:s3same@hub.example"):
        monkeypatch.setattr("emonet_lightning.hub.probe_hub", lambda endpoint, timeout, reason=reason: reason)
        doctor_command(json=json_report)
        shown = capsys.readouterr().out
        assert "@hub.example" in shown
        assert "s3same" not in shown


def test_password_in_the_text_of_an_error_is_not_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(endpoint: str, timeout: float) -> None:
        raise RuntimeError("no way to http://someone:s3same@hub.example")

    monkeypatch.setattr("emonet_lightning.hub.probe_hub", broken)
    assert "s3same" not in str(examine())
