"""Shared fixtures: where real data lies, and no network for any test."""

import os
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder with real faces, ratings and an encoder; skips where the machine has none."""
    folder = os.environ.get("EMONET_REAL_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("EMONET_REAL_DATA does not name a folder: real faces, ratings and encoder are not here")
    return Path(folder)
