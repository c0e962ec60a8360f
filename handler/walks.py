"""Walks: starts walks over the table, as executions of the stack's state machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from botocore.exceptions import BotoCoreError, ClientError

from handler.clock import AWS_CALL_S, Deadline
from handler.domain.walk import Walk
from handler.errors import OutOfTimeError, UnavailableError


class Walks(msgspec.Struct, frozen=True):
    """The walks of the stack. `client` is called only when one starts."""

    client: Callable[[], Any]
    state_machine_arn: str

    def start(self, walk: Walk, *, deadline: Deadline) -> None:
        """Start a walk unless it was started before. Raises UnavailableError or OutOfTimeError."""
        if not deadline.allows(AWS_CALL_S):
            raise OutOfTimeError("no time left to start a walk")
        try:
            self.client().start_execution(
                stateMachineArn=self.state_machine_arn,
                name=walk.name,
                input=msgspec.json.encode(walk).decode(),
            )
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code != "ExecutionAlreadyExists":
                raise UnavailableError(f"a walk cannot be started: {code}") from None
        except BotoCoreError as error:
            raise UnavailableError(f"a walk cannot be started: {type(error).__name__}") from None
