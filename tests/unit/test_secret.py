"""A secret's text: when it is read, and what is used while it cannot be read."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from handler.secret import Secret
from tests.builders import NOW
from tests.ingress_house import MemorySecrets

KEPT_S = 300
DENIED = ClientError({"Error": {"Code": "AccessDeniedException", "Message": "hush"}}, "Get")
THROTTLED = ClientError({"Error": {"Code": "Throttled", "Message": "hush"}}, "Get")
UNREACHED = EndpointConnectionError(endpoint_url="hush")


@pytest.mark.xfail(strict=True, reason="an old text is dropped before a new one is read")
@pytest.mark.parametrize("error", [DENIED, THROTTLED, UNREACHED])
def test_the_text_that_was_read_last_is_used_for_hours_while_reading_fails(error) -> None:
    secrets: Any = MemorySecrets()
    now = NOW
    secret = Secret(secrets, "the-secret", kept_s=KEPT_S, now=lambda: now)
    first = secret.text(time_left=lambda: 30.0)
    secrets.error = error

    for hours in range(12):
        now = NOW + hours * 3600 + KEPT_S
        assert secret.text(time_left=lambda: 30.0) == first
