"""The content of the credentials secret: read as the function does, and changed in one place."""

import pytest

from handler.domain.workspace import Workspace
from handler.errors import UnusableCredentialsError
from ops.credentials_secret import choose, text, with_credentials, without_account, workspaces_in
from tests.unit.ops.builders import CREDENTIALS as OLD
from tests.unit.ops.builders import OTHER_CREDENTIALS as OTHER

NEW = Workspace("site-a", "new-key", "eu")
A, B = Workspace("site-a", "k"), Workspace("site-b", "k")
OPTIONS = {"membership_events": True, "attribute_mapping": {"ltv": "lifetime_value"}}
ENTRY = {"site_id": "site-a", "api_key": "new-key", "region": "eu"}


@pytest.mark.parametrize(
    ("content", "account", "changed"),
    [
        ({}, None, ENTRY),
        (OLD, None, ENTRY),
        (OLD, "7", {"accounts": {"default": OLD, "7": ENTRY}}),
        (
            {"accounts": {"7": OLD, "8": OTHER, "default": OLD}},
            None,
            {"accounts": {"7": ENTRY, "8": OTHER, "default": ENTRY}},
        ),
        ({"accounts": {"7": OLD}}, "8", {"accounts": {"7": OLD, "8": ENTRY}}),
        ({**OLD, "note": "n"}, None, {**ENTRY, "note": "n"}),
        ({"accounts": []}, None, ENTRY),
        (
            {"accounts": {"7": {**OLD, "note": "n"}}, "owner": "o"},
            None,
            {"accounts": {"7": {**ENTRY, "note": "n"}}, "owner": "o"},
        ),
        ({**OLD, **OPTIONS}, None, {**ENTRY, **OPTIONS}),
        (
            {"accounts": {"7": {**OLD, **OPTIONS}, "8": {**OLD, "create_people": False}}},
            None,
            {"accounts": {"7": {**ENTRY, **OPTIONS}, "8": {**ENTRY, "create_people": False}}},
        ),
        ({"accounts": {"7": {**OLD, **OPTIONS}}}, "7", {"accounts": {"7": {**ENTRY, **OPTIONS}}}),
        (
            {"accounts": {"7": OLD}, "owner": "o"},
            "8",
            {"accounts": {"7": OLD, "8": ENTRY}, "owner": "o"},
        ),
    ],
)
def test_credentials_replace_those_of_their_workspace_and_nothing_else(
    content, account, changed
) -> None:
    assert with_credentials(content, NEW, account=account) == changed


def test_credentials_of_a_new_workspace_need_an_account() -> None:
    with pytest.raises(ValueError, match="--account"):
        with_credentials({"accounts": {"8": OTHER}}, NEW, account=None)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({**OTHER, "site_id": "local:x"}, "entry 77: .*site_id"),
        ({**OTHER, "region": "mars"}, "entry 77: region"),
        ("no entry", "entry 77: "),
    ],
)
def test_an_entry_that_the_function_cannot_use_is_named_by_its_account(entry, message) -> None:
    with pytest.raises(UnusableCredentialsError, match=message):
        workspaces_in(text({"accounts": {"default": OLD, "77": entry}}), "s")


@pytest.mark.parametrize("account", ["l001", "007", "--7", "\u0667", "", "-0", "7\n"])
def test_an_entry_that_the_function_would_never_use_is_refused(account) -> None:
    with pytest.raises(UnusableCredentialsError, match="neither a number nor default"):
        workspaces_in(text({"accounts": {account: OLD}}), "s")


def test_one_workspace_for_all_accounts_is_the_default_entry() -> None:
    assert workspaces_in(text(OLD), "s") == {"default": Workspace("site-a", "old-key", "us")}


def test_each_account_has_its_workspace() -> None:
    workspaces = workspaces_in(text({"accounts": {"-7": OLD, "default": OTHER}}), "s")

    assert workspaces == {
        "-7": Workspace("site-a", "old-key", "us"),
        "default": Workspace("site-b", "key-b", "us"),
    }


def test_an_account_is_removed_and_nothing_else() -> None:
    content = {"accounts": {"7": OLD, "8": OTHER}, "owner": "o"}

    assert without_account(content, "7") == {"accounts": {"8": OTHER}, "owner": "o"}


@pytest.mark.parametrize("content", [{}, OLD, {"accounts": {"8": OLD}}, {"accounts": {"7": OLD}}])
def test_a_missing_entry_and_the_only_entry_are_not_removed(content) -> None:
    with pytest.raises(ValueError, match="entry"):
        without_account(content, "7")


@pytest.mark.parametrize(
    ("workspaces", "account", "chosen"),
    [
        ({"default": A}, None, (None, A)),
        ({"7": A}, None, (7, A)),
        ({"7": A, "default": B}, None, (None, B)),
        ({"7": A, "default": B}, "7", (7, A)),
        ({"7": A, "default": B}, "8", (8, B)),
        ({"7": A, "default": B}, "default", (None, B)),
    ],
)
def test_the_workspace_is_the_one_of_the_account(workspaces, account, chosen) -> None:
    assert choose(workspaces, account) == chosen


@pytest.mark.parametrize(
    ("workspaces", "account", "reason"),
    [
        ({"7": A, "8": B}, None, "the secret has: 7, 8"),
        ({"7": A, "8": B}, "9", "no entry of account 9, only: 7, 8"),
        ({"default": A}, "x", "neither a number nor default"),
    ],
)
def test_an_account_that_is_not_clear_is_refused(workspaces, account, reason) -> None:
    with pytest.raises(ValueError, match=reason):
        choose(workspaces, account)
