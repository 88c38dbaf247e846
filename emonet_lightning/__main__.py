"""`python -m emonet_lightning`."""

import os
import sys

# `python -m` looks for modules in the working folder first: a file there called timm.py would be run as the library
_here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
if sys.path and os.path.abspath(sys.path[0] or os.getcwd()) == os.getcwd() != _here:
    del sys.path[0]

if __name__ == "__main__":
    from emonet_lightning.cli import main

    sys.exit(main())
