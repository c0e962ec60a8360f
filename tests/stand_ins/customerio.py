"""Stand-in for the connections to Customer.io: what urllib3's pool is to the client."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from io import BytesIO
from typing import Any

from tests.builders import NOW
from tests.hostile import API_KEY, SITE_ID

Refusal = Callable[[dict[str, Any]], str | None]
"""What Customer.io writes of an entity that it refuses, in free text; None if it takes it."""


class CustomerIo:
    """Customer.io behind urllib3's pool: checks its own limits, refuses what it is told to."""

    def __init__(self) -> None:
        self.people: dict[str, dict[str, Any]] = {}
        self.refusal: Refusal = lambda _: None
        self.answers_400 = False

    def request(self, method: str, url: str, *, body: bytes, headers: Any, **_: Any) -> Any:
        assert (method, url) == ("POST", "https://track.customer.io/api/v2/batch")
        assert (
            headers["authorization"].split()[1]
            == base64.b64encode(f"{SITE_ID}:{API_KEY}".encode()).decode()
        )
        assert len(body) < 500_000
        entities = json.loads(body, parse_constant=_no_json)["batch"]
        refused = {place: self.refusal(one) for place, one in enumerate(entities)}
        errors = [
            {"batch_index": place, "reason": "invalid", "field": "attributes", "message": text}
            for place, text in refused.items()
            if text is not None
        ]
        if errors and self.answers_400:
            return Answer(400, {"errors": errors})
        for place, entity in enumerate(entities):
            check_entity(entity)
            if refused[place] is None:
                (value,) = entity["identifiers"].values()
                if entity["action"] == "delete":
                    self.people.pop(value, None)
                    continue
                self.people.setdefault(value, {}).update(entity["attributes"])
        return Answer(207, {"errors": errors}) if errors else Answer(200, {})


def _no_json(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")


def check_entity(entity: dict[str, Any]) -> None:
    """Fail where an entity breaks one of Customer.io's limits."""
    assert entity["type"] == "person"
    assert len(json.dumps(entity, ensure_ascii=False, separators=(",", ":")).encode()) <= 32_000
    ((kind, value),) = entity["identifiers"].items()
    assert kind in {"id", "email"}
    assert value.strip() == value
    assert 0 < len(value.encode()) <= 150
    if entity["action"] == "delete":
        assert set(entity) == {"type", "action", "identifiers"}
        return
    assert set(entity) == {"type", "action", "identifiers", "timestamp", "attributes"}
    assert entity["action"] == "identify"
    assert NOW - 100 <= entity["timestamp"] < NOW + 1_000_000
    assert len(entity["attributes"]) <= 300
    for name, attribute in entity["attributes"].items():
        assert 0 < len(name.encode()) <= 150
        assert attribute is None or isinstance(attribute, bool | str)
        assert not isinstance(attribute, str) or len(attribute.encode()) <= 1000


class Answer:
    """An answer of Customer.io, as urllib3 hands it over."""

    def __init__(self, status: int, told: Any) -> None:
        self.status = status
        self.headers: dict[str, str] = {}
        self.read1 = BytesIO(json.dumps(told).encode()).read1

    def release_conn(self) -> None:
        """Nothing is held."""

    close = release_conn
