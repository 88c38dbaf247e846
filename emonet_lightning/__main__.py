"""`python -m emonet_lightning`."""

import sys

from emonet_lightning.cli import main

if __name__ == "__main__":
    sys.exit(main())
