"""Fixtures of the campaigns."""

import atexit
import shutil
import tempfile
from pathlib import Path

import forking
import pytest
import runs


@pytest.fixture(scope="session")
def scenes(tmp_path_factory, small_sets, encoder_options):
    """Small runs by name; their features are encoded once."""
    return runs.scenes(small_sets, encoder_options, tmp_path_factory.mktemp("scenes"))


@pytest.fixture(scope="session")
def place():
    """A new folder on a disk, not in memory, whatever the suite's temporary folder is on; removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="faults-", dir="/var/tmp"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@pytest.fixture(scope="session")
def whole(scenes, place):
    """Folder of a scene's run that nothing happened to: `whole("cached")`."""

    def folder(name):
        out = place / "whole" / name
        if not (out / "DONE").is_file():
            code, said = forking.run(scenes[name].command(out), 300, env=scenes[name].environment)
            assert code == 0, said[-1500:]
        return out

    return folder


@pytest.fixture(params=[False, pytest.param(True, marks=pytest.mark.slow)], ids=["quick", "full"])
def full(request):
    """Whether this is the full form of a campaign."""
    return request.param
