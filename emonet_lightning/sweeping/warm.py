"""What the fork server of a sweep imports: everything that `fit` needs, and its parser, built once for all trials.

It is imported by nothing else. To work while it is imported is its purpose: what is done here no trial does again.
"""

import contextlib

import open_clip  # noqa: F401  (and timm, which it imports: most encoders)

import emonet_lightning.export
import emonet_lightning.reporting.run_report
import emonet_lightning.stages  # noqa: F401
from emonet_lightning.errors import EmoNetError
from emonet_lightning.run_cli import EmoNetCLI

with contextlib.suppress(EmoNetError):
    EmoNetCLI(["fit", "--data=SyntheticFaces", "--data.path=none"], dry=True)
