"""Stand-ins for AWS's clients: SQS, DynamoDB and Secrets Manager, as far as the function asks."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from botocore.exceptions import ClientError

SQS_BYTES: Final = 1 << 20
NOT_FOR_SQS: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Sqs:
    """A dead-letter queue and a retry queue, their limits, and what the source queue was told."""

    def __init__(self) -> None:
        self.letters: list[dict[str, Any]] = []
        self.retried: list[dict[str, Any]] = []
        self.refused: list[str] = []
        self.delayed: list[str] = []

    def send_message_batch(self, *, QueueUrl: str, Entries: Any) -> Any:  # noqa: N803
        texts = [text for entry in Entries for text in _texts(entry)]
        if len(Entries) > 10 or sum(len(_utf8(text)) for text in texts) > SQS_BYTES:
            self.refused.append("too large")
            raise _refused("AWS.SimpleQueueService.BatchRequestTooLong")
        failed = [entry for entry in Entries if any(map(NOT_FOR_SQS.search, _texts(entry)))]
        self.refused += ["characters"] * len(failed)
        taken = [entry for entry in Entries if entry not in failed]
        queue = self.letters if QueueUrl == "dead" else self.retried
        queue += taken
        return {
            "Successful": [{"Id": entry["Id"]} for entry in taken],
            "Failed": [{"Id": entry["Id"], "Code": "InvalidMessageContents"} for entry in failed],
        }

    def change_message_visibility_batch(self, *, QueueUrl: str, Entries: Any) -> Any:  # noqa: N803
        assert all(0 <= entry["VisibilityTimeout"] <= 43_200 for entry in Entries)
        self.delayed += [entry["ReceiptHandle"] for entry in Entries]
        return {}


def _texts(entry: Mapping[str, Any]) -> list[str]:
    attributes = entry["MessageAttributes"].items()
    told = [name + value["DataType"] for name, value in attributes]
    return [entry["MessageBody"], *told, *(value["StringValue"] for _, value in attributes)]


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _refused(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": ""}}, "made up")


class DynamoDb:
    """A table of items, as far as the store asks of it, with the limit on an item."""

    def __init__(self) -> None:
        self.items: dict[str, dict[str, Any]] = {}

    def batch_get_item(self, *, RequestItems: Any) -> Any:  # noqa: N803
        ((table, request),) = RequestItems.items()
        keys = [key["pk"]["S"] for key in request["Keys"]]
        assert len(set(keys)) == len(keys) <= 100
        found = [self.items[key] for key in keys if key in self.items]
        return {"Responses": {table: found}, "UnprocessedKeys": {}}

    def query(self, *, ExpressionAttributeValues: Any, **_: Any) -> Any:  # noqa: N803
        ((_, sought),) = ExpressionAttributeValues.items()
        found = [item for item in self.items.values() if item.get("identifier") == sought]
        return {"Items": [{"pk": item["pk"]} for item in found]}

    def batch_execute_statement(self, *, Statements: Any) -> Any:  # noqa: N803
        return {"Responses": [self._execute(**statement) for statement in Statements]}

    def _execute(self, *, Statement: str, Parameters: Any) -> Any:  # noqa: N803
        names = re.findall(r"""['"](\w+)['"](?:: \?|=\?)""", Statement)
        given = dict(zip(names, Parameters, strict=False))
        key = given["pk"]
        # An update names the version twice: the new one first, and last the one before.
        before = None if Statement.startswith("INSERT") else Parameters[-1]
        item = {**given, "version": Parameters[names.index("version")]}
        assert len(item.get("identifier", {"S": ""})["S"].encode()) <= 1024
        if max(len(value.get("B", b"")) for value in item.values()) > 390_000:
            return {"Error": {"Code": "ValidationError"}}
        if self.items.get(key["S"], {}).get("version") != before:
            return {
                "Error": {"Code": "DuplicateItem" if before is None else "ConditionalCheckFailed"}
            }
        self.items[key["S"]] = item
        return {}


Answer = Callable[[list[dict[str, Any]]], dict[str, Any]] | Exception
"""What SQS answers to the entries of a request."""


class ScriptedSqs:
    """Answers each send as the next line of a script says, and takes everything after that."""

    def __init__(self, script: Iterable[Answer] = ()) -> None:
        self._script = iter(script)
        self.requests: list[dict[str, Any]] = []

    def send_message_batch(self, **request: Any) -> dict[str, Any]:
        self.requests.append(request)
        answer = next(self._script, taken)
        if isinstance(answer, Exception):
            raise answer
        return answer(request["Entries"])

    def change_message_visibility_batch(self, **request: Any) -> dict[str, Any]:
        self.requests.append(request)
        return {}

    @property
    def bodies(self) -> list[list[str]]:
        """Return the bodies that were sent, by request."""
        return [[entry["MessageBody"] for entry in each["Entries"]] for each in self.requests]


def taken(entries: list[dict[str, Any]], *failed: str) -> dict[str, Any]:
    """Answer that SQS took all of these entries except those with a failed id."""
    return {
        "Successful": [{"Id": entry["Id"]} for entry in entries if entry["Id"] not in failed],
        "Failed": [{"Id": entry_id, "Code": "InternalError"} for entry_id in failed],
    }


class MemorySecrets:
    """Secrets Manager, which fails with `error` until it was asked `passes_after` times."""

    def __init__(self, text: str | None) -> None:
        self.text = text
        self.error: Exception | None = None
        self.passes_after: float = math.inf
        self.reads = 0

    def get_secret_value(self, *, SecretId):  # noqa: N803
        self.reads += 1
        if self.error and self.reads <= self.passes_after:
            raise self.error
        return {} if self.text is None else {"SecretString": self.text}
