"""Command line: `python -m ops`, or `make ops ARGS="…"`."""

import sys

from ops.cli import run

if __name__ == "__main__":
    sys.exit(run())
