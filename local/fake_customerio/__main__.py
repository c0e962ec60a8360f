"""Command line: `python -m local.fake_customerio --account SITE_ID:API_KEY`.

Prints one line of JSON, `{"url": ...}`, once it listens, and serves until SIGTERM or Ctrl-C.
"""

from __future__ import annotations

import argparse
import asyncio

from local.fake_customerio.people import Ordering
from local.fake_customerio.server import serve
from local.fake_customerio.state import State


def main() -> None:
    """Read the options and serve."""
    parser = argparse.ArgumentParser(prog="python -m local.fake_customerio", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0, the default, chooses a free port")
    parser.add_argument("--region", choices=["us", "eu"], default="us")
    parser.add_argument(
        "--ordering",
        choices=[*Ordering],
        type=Ordering,
        default=Ordering.UPDATES,
        help="what timestamps put in order: with `updates`, the default, an older update changes "
        "nothing; with `attributes`, it sets attributes that no newer update has set",
    )
    parser.add_argument(
        "--account",
        type=_account,
        action="append",
        required=True,
        metavar="SITE_ID:API_KEY",
        help="credentials to accept; repeat for several workspaces",
    )
    options = parser.parse_args()
    state = State(dict(options.account), options.ordering)
    asyncio.run(serve(state, region=options.region, port=options.port))


def _account(text: str) -> tuple[str, str]:
    site_id, separator, api_key = text.partition(":")
    if not (site_id and separator and api_key):
        # Do not show the text, which may contain a key.
        message = "an account is SITE_ID:API_KEY"
        raise argparse.ArgumentTypeError(message)
    return site_id, api_key


if __name__ == "__main__":
    main()
