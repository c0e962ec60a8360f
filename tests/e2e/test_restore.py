"""The drill of docs/operations.md, "The table is lost", as far as the emulator can play it.

It has no backups, so a copy of the items stands for one.
"""

import boto3
import pytest

from tests.e2e.messages import memberships, new_mpid, of_profile, somebody

ACCOUNT = ("--account", "1001")
HEAD = "email,mpid,audience_id,audience_name,action,since\n"


class Table:
    """The items of the stack's table."""

    def __init__(self, stack):
        self._dynamodb = boto3.client("dynamodb", **stack.emulator.client_options)
        self._name = stack.physical_name("MembershipsTable")

    def items(self):
        pages = self._dynamodb.get_paginator("scan").paginate(TableName=self._name)
        return [item for page in pages for item in page["Items"]]

    def lose(self):
        for item in self.items():
            self._dynamodb.delete_item(TableName=self._name, Key={"pk": item["pk"]})

    def restore(self, items):
        for item in items:
            self._dynamodb.put_item(TableName=self._name, Item=item)


@pytest.fixture
def table(clean):
    return Table(clean)


class Member:
    """Somebody with a profile in mParticle."""

    def __init__(self):
        self.email, self.mpid = f"{somebody()}@example.com", new_mpid()

    def message(self, audience_id, action="add"):
        return of_profile(self.mpid, self.email, audience_id, action)


def send(stack, *messages):
    stack.send(messages)
    stack.wait_until_drained()


def test_a_table_from_a_backup_is_right_after_a_reconcile_and_a_resync(
    clean, ops, table, tmp_path
) -> None:
    audience_id = 30201
    stayed, left, joined = members = [Member() for _ in range(3)]
    send(clean, stayed.message(audience_id), left.message(audience_id))
    backup = table.items()
    send(clean, left.message(audience_id, "delete"), joined.message(audience_id))

    table.lose()
    table.restore(backup)
    file = tmp_path / "members.csv"
    rows = [f"{each.email},{each.mpid},{audience_id},,," for each in (stayed, joined)]
    file.write_text(HEAD + "\n".join(rows))
    _, fixed = ops("reconcile", file, *ACCOUNT, "--fix", "--yes")
    clean.wait_until_drained()
    resynced, _ = ops("resync", "--yes")
    status, compared = ops("reconcile", file, *ACCOUNT, "--yes")

    assert fixed["sent"] == 2
    assert (resynced, status, compared["drift"]) == (0, 0, 0)
    shown = [memberships(clean, each.email) for each in members]
    assert shown == [f"'{audience_id}'", "", f"'{audience_id}'"]


def test_a_lost_table_comes_back_from_an_export_with_the_same_items(
    clean, ops, table, tmp_path
) -> None:
    table.lose()
    both, left = members = [Member() for _ in range(2)]
    send(clean, both.message(30202), both.message(30203), left.message(30202))
    send(clean, left.message(30202, "delete"))
    file = tmp_path / "people.csv"
    ops("export", file, "--reveal", "--yes")
    keys = {item["pk"]["S"] for item in table.items() if item.get("identifier")}

    table.lose()
    ops("import", file, *ACCOUNT, "--yes")
    clean.wait_until_drained()
    status, compared = ops("reconcile", file, *ACCOUNT, "--yes")
    send(clean, both.message(30203, "delete"))

    assert (status, compared["drift"]) == (0, 0)
    assert {item["pk"]["S"] for item in table.items() if item.get("identifier")} == keys
    assert [memberships(clean, each.email) for each in members] == ["'30202'", ""]
