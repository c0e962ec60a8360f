"""Stream checks: whether the audience stream takes records and loses none."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from handler.settings import StreamSettings
from ops import streams
from ops.check import DEPLOY, Check, checked, works

if TYPE_CHECKING:
    from ops.stack import AudienceStream, Aws

_NO_KEY: Final = "there is none"
_MAKE_A_KEY: Final = "make one, as in step 4 of docs/connect-mparticle.md"
_NO_FAILED: Final = "none in the last day"
_REPLAY: Final = "send them again: ops stream replay; see: To replay the stream"


def of_stream(aws: Aws, stream: AudienceStream) -> Iterator[Check]:
    """Check a stream; what keeps nobody from Customer.io now is a warning."""

    def status() -> tuple[bool, str]:
        found = streams.status(aws, stream)
        return found == streams.ACTIVE, found

    def access_key() -> tuple[bool, str]:
        return True, "active" if streams.has_access_key(aws, stream) else _NO_KEY

    def failed_records() -> tuple[bool, str]:
        count = streams.failed_objects(aws, stream)
        return True, f"{count} objects in the last day" if count else _NO_FAILED

    def function() -> tuple[bool, str]:
        found = aws.functions.get_function_configuration(FunctionName=stream.function_name)
        StreamSettings.from_environ(found["Environment"]["Variables"])
        return works(found), f"{found.get('State', '')}, its settings readable"

    yield checked("audience stream", DEPLOY, status)
    yield checked("function of the stream", DEPLOY, function)
    check = checked("mParticle's access key", DEPLOY, access_key)
    yield replace(check, fix=_MAKE_A_KEY) if check.result == _NO_KEY else check
    check = checked("failed records", DEPLOY, failed_records)
    yield replace(check, fix=_REPLAY) if check.is_ok and check.result != _NO_FAILED else check
