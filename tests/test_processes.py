"""Two processes of one run: they begin alike, stop together whichever is asked, and one says why."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import forking
import pytest
from lightning.fabric.utilities.exceptions import MisconfigurationException
from safetensors.torch import load_file
from small_runs import newest

import emonet_lightning
from emonet_lightning.errors import DataError
from emonet_lightning.processes import note_failure, noted_code, run_fingerprints


@pytest.fixture
def words(small_sets, encoder_options):
    return [
        "fit", "--data=SyntheticFaces", f"--data.path={small_sets['big']}", "--data.batch_size=40",
        "--model.widths=[8]", "--model.dropout=0.3", "--trainer.accelerator=cpu", "--trainer.devices=2",
        "--trainer.strategy=ddp", "--trainer.enable_progress_bar=false", "--figures=false",
        "--checkpoint_every=0", *encoder_options,
    ]  # fmt: skip


def start(words, cwd=None, **environment):
    return subprocess.Popen(
        [sys.executable, "-m", "emonet_lightning", *words],
        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, start_new_session=True, cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )  # fmt: skip


def end(process, seconds=150):
    try:
        _, said = process.communicate(timeout=seconds)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, said


def end_all(words):
    """Run both processes to their end, without a second interpreter; returns exit codes and what they said."""
    children = forking.start_all(words)
    return [child.wait(120) for child in children], "".join(child.said() for child in children)


def test_a_signal_to_the_first_process_stops_both_and_the_run_goes_on_to_the_same_bits(words, tmp_path):
    words = [*words, "--model.parallel=replicated", "--trainer.max_epochs=30"]
    run = tmp_path / "run"
    process = start([*words, f"--out={run}"])
    while newest(run / "checkpoints") is None and process.poll() is None:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGUSR1)
    code, said = end(process)
    assert code == 75, said
    assert said.count("error:") == 1
    assert "interrupted by SIGUSR1" in said
    assert "Traceback" not in said
    codes, said = end_all([*words, f"--out={run}"])
    assert codes == [0, 0], said
    assert "going on from" in said
    codes, said = end_all([*words, f"--out={tmp_path / 'whole'}"])
    assert codes == [0, 0], said
    for name in ("heads.safetensors", "metrics.jsonl"):
        assert (run / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert load_file(run / "heads.safetensors")


def test_an_error_of_one_process_ends_both_and_is_said_once(words, tmp_path, small_sets):
    """A block of features that only the first process has to make cannot be written."""
    cache = tmp_path / "cache"
    environment = {"EMONET_CACHE": str(cache), "EMONET_FAILPOINT": "000000.safetensors@written=EIO"}
    code, said = end(start([*words, f"--out={tmp_path / 'run'}"], **environment))
    assert code == 74, said
    assert said.count("error:") == 1
    assert "Input/output error" in said
    assert "Traceback" not in said


def test_other_code_in_one_process_is_refused(words, tmp_path):
    copy = tmp_path / "other"
    shutil.copytree(Path(emonet_lightning.__file__).parent, copy / "emonet_lightning")
    with (copy / "emonet_lightning" / "losses.py").open("a") as stream:
        stream.write("\n# another release\n")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "NODE_RANK": "0", "WORLD_SIZE": "2"}
    words = [*words, f"--out={tmp_path / 'run'}"]
    first = start(words, LOCAL_RANK="0", **shared)
    second = start(words, cwd=copy, LOCAL_RANK="1", PYTHONPATH=str(copy), **shared)
    found = [end(process) for process in (first, second)]
    assert [code for code, _ in found] == [2, 2], found
    said = found[0][1] + found[1][1]
    assert said.count("error:") == 1
    assert "process 1 has other code" in said


def asked_for_more(argv):
    from emonet_lightning.cli import main

    return main([*argv, "--trainer.log_every_n_steps=7"])


def seeing_a_damaged_file(argv):
    """One process reads the newest checkpoint with an error, the other one whole."""
    from emonet_lightning import checkpoints
    from emonet_lightning.cli import main

    whole, refused = checkpoints.sha256_file, []

    def read(path):
        if str(path).endswith(".ckpt") and not refused:
            refused.append(path)
            return "0" * 64
        return whole(path)

    checkpoints.sha256_file = read
    return main(argv)


def refused_by_both(words, target):
    children = forking.start_all(words, targets=(None, target))
    codes = [child.wait(120) for child in children]
    said = "".join(child.said() for child in children)
    assert codes == [2, 2], said
    assert said.count("error:") == 1
    assert "Traceback" not in said
    return said


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"out": "there", "data": {"num_workers": 2, "path": "big"}}, True),
        ({"trainer": {"devices": 2, "accelerator": "cuda", "limit_train_batches": 5}}, True),
        ({"trainer": {"devices": 1, "accelerator": "cpu", "limit_train_batches": 2}}, False),
        ({"best_heads": {"patience": 1}}, False),
        ({"data": {"num_workers": 1, "path": "other"}}, False),
    ],
)
def test_processes_differ_in_what_is_each_ones_own(change, same):
    config = {
        "out": "here", "data": {"num_workers": 1, "path": "big"}, "best_heads": {"patience": 0},
        "trainer": {"devices": 1, "accelerator": "cpu", "limit_train_batches": 5},
    }  # fmt: skip
    assert (run_fingerprints({**config, **change}) == run_fingerprints(config)) is same


def test_another_option_in_one_process_is_refused(words, tmp_path):
    """One that two starts of a run may differ in, so that only the meeting of the processes shows it."""
    said = refused_by_both([*words, f"--out={tmp_path / 'run'}"], asked_for_more)
    assert "process 1 has other configuration" in said


def with_other_data(argv):
    """Refused by what the first process has written into the run's folder meanwhile."""
    from emonet_lightning.cli import main

    time.sleep(3)
    return main([*argv, "--data.path=/no/such/set"])


def with_a_typing_error(argv):
    """Refused before there is a folder."""
    from emonet_lightning.cli import main

    return main([*argv, "--model.lrr=1"])


@pytest.mark.parametrize(
    ("target", "cause"), [(with_other_data, "now it is /no/such/set"), (with_a_typing_error, "did you mean 'model.lr'")]
)
def test_process_that_is_refused_before_they_meet_ends_the_others_that_wait_for_it(words, tmp_path, target, cause):
    children = forking.start_all([*words, f"--out={tmp_path / 'run'}"], targets=(None, target))
    codes = [child.wait(60) for child in children]
    said = "".join(child.said() for child in children)
    assert codes == [2, 2], said
    assert said.count("error:") == 1
    assert cause in said
    assert not list((tmp_path / "run").glob(".failure-*"))


def test_another_checkpoint_in_one_process_is_refused(words, tmp_path):
    words = [*words, "--trainer.max_epochs=5", f"--out={tmp_path / 'run'}"]
    children = forking.start_all(words, extra=({"EMONET_FAILPOINT": "step=*@renamed=SIGTERM#3"}, {}))
    assert [child.wait(120) for child in children] == [75, 75]
    last = newest(tmp_path / "run" / "checkpoints")
    said = refused_by_both(words, seeing_a_damaged_file)
    assert "process 1 has other checkpoint to go on from (step=" in said
    assert f"than process 0 ({last.name[:24]})" in said


def agreeing_at_once(argv):
    from emonet_lightning import stopping
    from emonet_lightning.cli import main

    stopping._AGREE_SECONDS = 0.0  # not every tenth of a second
    return main(argv)


def asked_within_an_epoch(argv):
    from emonet_lightning.training import HeadTraining

    whole, steps = HeadTraining.training_step, []

    def training_step(self, *args):
        steps.append(1)
        if len(steps) == 13:  # of 12 an epoch
            os.kill(os.getpid(), signal.SIGTERM)
        return whole(self, *args)

    HeadTraining.training_step = training_step
    return agreeing_at_once(argv)


def test_a_signal_to_the_second_process_within_a_shared_epoch_loses_no_part_of_its_losses(words, tmp_path):
    words = [
        *words,
        "--model.parallel=ddp",
        "--trainer.max_epochs=3",
        "--data.batch_size=10",
        f"--out={tmp_path / 'run'}",
    ]
    children = forking.start_all(words, targets=(agreeing_at_once, asked_within_an_epoch))
    assert [child.wait(120) for child in children] == [75, 75], [child.said() for child in children]
    step = int(newest(tmp_path / "run" / "checkpoints").name[5:14])
    assert 12 < step < 24
    codes, said = end_all(words)
    assert codes == [0, 0], said
    codes, said = end_all([*words, f"--out={tmp_path / 'whole'}"])
    assert codes == [0, 0], said
    for name in ("heads.safetensors", "metrics.jsonl"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def meeting_bad_data(argv):
    from emonet_lightning.cli import main
    from emonet_lightning.errors import DataError
    from emonet_lightning.training import HeadTraining

    whole, steps = HeadTraining.training_step, []

    def training_step(self, *args):
        steps.append(1)
        if len(steps) == 4:
            raise DataError("rows that only this process reads are wrong")
        return whole(self, *args)

    HeadTraining.training_step = training_step
    return main(argv)


def test_an_error_of_the_second_process_is_what_the_run_ends_with(words, tmp_path):
    words = [*words, "--model.parallel=ddp", f"--out={tmp_path / 'run'}"]
    children = forking.start_all(words, targets=(None, meeting_bad_data))
    codes = [child.wait(120) for child in children]
    said = "".join(child.said() for child in children)
    assert codes == [65, 65], said
    assert said.count("error:") == 1
    assert "only this process reads" in said


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (DataError("x"), 65), (OSError(5, "Input/output error"), 74), (ValueError("x"), 1), (KeyboardInterrupt(), 75),
        (RuntimeError("[gloo] Connection closed by peer"), 75), (MisconfigurationException("x"), 2),
    ],
)  # fmt: skip
def test_a_failure_is_noted_with_its_exit_code(tmp_path, error, code):
    assert noted_code(tmp_path) == 75
    try:
        raise error
    except BaseException:
        assert note_failure(tmp_path)
    assert noted_code(tmp_path) == code
    assert note_failure(tmp_path, DataError("the same process again"))
    assert noted_code(tmp_path) == code
    (tmp_path / ".failure").write_text("")
    assert noted_code(tmp_path) == 75


WATCHING = """
import subprocess, sys, time
from pathlib import Path
from emonet_lightning import processes
processes._GRACE_SECONDS = 0.1
processes._folders.append(Path(sys.argv[1]))
processes._watch_children([subprocess.Popen([sys.executable, "-c", sys.argv[2]])])
"""


@pytest.mark.parametrize(
    ("child", "code", "message"),
    [
        ("import sys; open('.failure', 'w').write('65'); sys.exit(65)", 65, ""),
        pytest.param("import sys; sys.exit(78)", 78, "process 1 of this run ended with 78", marks=pytest.mark.slow),
        ("import os; os.kill(os.getpid(), 9)", 75, "process 1 of this run was killed by signal 9; the same command"),
    ],
)
def test_a_first_process_that_waits_ends_as_the_other_one_did(tmp_path, child, code, message):
    command = [sys.executable, "-c", WATCHING, str(tmp_path), child]
    ended = subprocess.run(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, timeout=60)
    assert ended.returncode == code, ended.stderr
    assert message in ended.stderr
    assert ended.stderr.count("error:") == bool(message)


@pytest.mark.slow
def test_a_port_that_is_taken_ends_all_processes(words, tmp_path):
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        port = held.getsockname()[1]
        process = start([*words, f"--out={tmp_path / 'run'}"], MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
        code, said = end(process)
        time.sleep(12)  # the second process waits for the first one, which is gone
        with pytest.raises(ProcessLookupError):
            os.killpg(process.pid, 0)
    assert code == 78, said
    assert f"port {port}" in said.splitlines()[-1]
