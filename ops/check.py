"""Check: the result of one check of the stack. checks.py and stream_checks.py make them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from handler.errors import ForwarderError
from ops.stack import describe_error

DEPLOY: Final = "deploy again: make deploy"
"""The fix for what the template creates."""


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check; `fix` says what to do, and is empty if nothing is to be done.

    A check that is ok and has a fix is a warning.
    """

    name: str
    is_ok: bool
    result: str
    fix: str = ""


def checked(name: str, fix: str, look: Callable[[], tuple[bool, str]]) -> Check:
    """Return the result of a look; an error of AWS or of the function's code is a failed check."""
    try:
        is_ok, result = look()
    except (BotoCoreError, ClientError) as error:
        is_ok, result = False, describe_error(error)
        if "AccessDenied" in result:
            fix = "you may not look: ask for the permission that is named"
    except ForwarderError as error:
        is_ok, result = False, str(error)
    return Check(name, is_ok, result, "" if is_ok else fix)


def works(function: Mapping[str, Any]) -> bool:
    """Tell whether Lambda can run a function, by its configuration."""
    state = function.get("State", "")
    return state in {"Active", "Inactive"} and function.get("LastUpdateStatus") != "Failed"
