"""Imported by the process that children are forked from: parsers are built once, not by every child."""

import contextlib

from emonet_lightning.errors import EmoNetError
from emonet_lightning.run_cli import EmoNetCLI

for command in ("fit", "test", "validate"):
    with contextlib.suppress(EmoNetError):
        EmoNetCLI([command, "--data=SyntheticFaces", "--data.path=none"], dry=True)
