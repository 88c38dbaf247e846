"""What a run says while it works: plain lines on standard error, from the first process only."""

import sys

from lightning_utilities.core.rank_zero import rank_zero_only

from emonet_lightning.redaction import redact


def is_first_process() -> bool:
    """Whether this process speaks and writes for all of its run."""
    return getattr(rank_zero_only, "rank", 0) == 0  # Lightning sets it; commands without Lightning are one process


def say(text: str) -> None:
    """Print a line for the person who watches; results go to standard output and to files."""
    if is_first_process():
        print(redact(text), file=sys.stderr, flush=True)
