"""The ingress's front door: what it wires, and what it does not."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from handler import ingress as room
from handler.errors import MisconfiguredError
from tests.firehose import REGISTRATION
from tests.stand_ins.ingress import posted

CONTEXT: Any = SimpleNamespace(aws_request_id="r-1", get_remaining_time_in_millis=lambda: 30_000)


@pytest.fixture
def environ(monkeypatch) -> Iterator[dict[str, str]]:
    made = {
        "QUEUE_URL": "https://queue",
        "TABLE_NAME": "people",
        "SUSPEND_ON_REFUSED_CREDENTIALS": "false",
        "URL_SECRET_NAME": "",
    }
    for name, value in made.items():
        monkeypatch.setenv(name, value)
    yield made
    for wired in (room.receiver, room.url_endpoint, room.logger):
        wired.cache_clear()


def test_registration_needs_nothing_but_the_settings(environ) -> None:
    told = room.lambda_handler(REGISTRATION, CONTEXT)

    assert told["type"] == "module_registration_response"
    assert room.receiver().suspensions is None


def test_suspensions_are_wired_if_the_setting_asks_for_them(environ, monkeypatch) -> None:
    monkeypatch.setenv("SUSPEND_ON_REFUSED_CREDENTIALS", "true")

    assert room.receiver().suspensions is not None


def test_over_http_a_request_needs_a_secret_to_be_named(environ, monkeypatch) -> None:
    event = posted(REGISTRATION, headers={"authorization": ""})
    with pytest.raises(MisconfiguredError, match="URL_SECRET_NAME"):
        room.lambda_handler(event, CONTEXT)

    monkeypatch.setenv("URL_SECRET_NAME", "the-secret")
    assert room.lambda_handler(event, CONTEXT)["statusCode"] == 200


@pytest.mark.parametrize(
    "event",
    [
        *("text", [], None),
        *({"requestContext": context} for context in (None, 5, True, "http", ["http"])),
        *({"requestContext": {"http": http}} for http in (None, 5, "POST")),
    ],
)
def test_any_other_event_is_a_request_itself(event) -> None:
    assert not room._came_over_http(event)


def test_the_ingress_imports_nothing_that_only_the_forwarder_needs() -> None:
    program = (
        "import sys; import handler.ingress; print(*[name for name in sys.modules if name in "
        "('handler.app', 'handler.jobs.forward', 'handler.table.people', 'handler.credentials', "
        "'handler.customerio', 'handler.telemetry', 'handler.domain.membership', "
        "'boto3')])"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)

    assert done.stdout.split() == []
