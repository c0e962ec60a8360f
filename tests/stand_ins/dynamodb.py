"""DynamoDB that answers as a script says: what it rarely does, and the emulator never."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Answer = Callable[[dict[str, Any]], dict[str, Any]]


class ScriptedDynamoDb:
    """Answers each call as the next line of a script says."""

    def __init__(self, *script: Answer) -> None:
        self.script = list(script)
        self.calls: list[Any] = []

    def batch_get_item(self, **request: Any) -> dict[str, Any]:
        self.calls.append(request["RequestItems"]["people"])
        return self.script.pop(0)(request)

    def batch_execute_statement(self, **request: Any) -> dict[str, Any]:
        self.calls.append(request["Statements"])
        return self.script.pop(0)(request)


def keys_of(request: dict[str, Any]) -> list[str]:
    return [key["pk"]["S"] for key in request["RequestItems"]["people"]["Keys"]]


def nothing_read(request: dict[str, Any]) -> dict[str, Any]:
    people = request["RequestItems"]["people"]
    return {"Responses": {"people": []}, "UnprocessedKeys": {"people": people}}


def first_left_unread(request: dict[str, Any]) -> dict[str, Any]:
    unread = [{"pk": {"S": keys_of(request)[0]}}]
    return {"Responses": {"people": []}, "UnprocessedKeys": {"people": {"Keys": unread}}}


def all_read(request: dict[str, Any]) -> dict[str, Any]:
    return {"Responses": {"people": []}, "UnprocessedKeys": {}}


def answers(*codes: str | None) -> Answer:
    return lambda _: {
        "Responses": [{"Error": {"Code": code}} if code else {"TableName": "p"} for code in codes]
    }


def failing(error: Exception) -> Answer:
    def fail(_: dict[str, Any]) -> dict[str, Any]:
        raise error

    return fail
