"""Putting and removing credentials: questions, and what ends up in the secret."""

import json

import pytest

from ops.commands.context import ABORTED, OK, PROBLEM, USAGE
from tests.unit.ops.builders import CREDENTIALS, SECRET, UNUSABLE

PUT = ("credentials", "put", "--untested", "--api-key", "new-key", "--site-id")
REMOVE = ("credentials", "remove", "--account")


@pytest.fixture
def secret(aws):
    """Create the secret, and return a way to read what is in it."""

    def create(content):
        text = content if isinstance(content, str) else json.dumps(content)
        aws.secrets.create_secret(Name=SECRET, SecretString=text)
        return lambda: json.loads(aws.secrets.get_secret_value(SecretId=SECRET)["SecretString"])

    return create


@pytest.mark.parametrize(
    ("content", "question"),
    [
        (CREDENTIALS, f"Replace the credentials of site id site-a in the secret {SECRET}?"),
        ("no json", f"The secret {SECRET} has no readable content. Replace it"),
    ],
)
def test_the_question_says_what_is_replaced(ops, secret, content, question) -> None:
    read = secret(content)

    refused = ops(*PUT, "site-a", answers="n\n")
    agreed = ops(*PUT, "site-a", answers="y\n")

    assert (refused.status, agreed.status) == (ABORTED, OK)
    assert question in refused.err
    assert read() == {"site_id": "site-a", "api_key": "new-key", "region": "auto"}


@pytest.mark.parametrize("account", ["l001", "007", "a@b"])
def test_an_account_that_is_not_a_number_is_refused(ops, account) -> None:
    ended = ops(*PUT, "site-a", "--account", account, "--yes")

    assert ended.status == USAGE
    assert "neither a number nor `default`" in ended.err


@pytest.mark.parametrize(
    ("content", "arguments"),
    [
        (CREDENTIALS, ("local:x", "--account", "77")),
        ({"accounts": {"default": CREDENTIALS, "77": UNUSABLE}}, ("site-a",)),
    ],
    ids=["the new entry", "another entry"],
)
def test_content_that_the_function_could_not_use_is_not_put(
    ops, secret, content, arguments
) -> None:
    read = secret(content)

    ended = ops(*PUT, *arguments, "--yes")

    assert ended.status == USAGE
    assert "entry 77" in ended.err
    assert "ops credentials remove" in ended.err
    assert read() == content


@pytest.mark.parametrize(
    ("other", "status", "text"),
    [
        (CREDENTIALS, OK, f"Removed from {SECRET}"),
        (UNUSABLE, PROBLEM, f"still cannot use it: secret {SECRET}: entry 8"),
    ],
)
def test_an_unusable_entry_is_removed_and_another_is_named(
    ops, secret, other, status, text
) -> None:
    read = secret({"accounts": {"77": UNUSABLE, "8": other}})

    ended = ops(*REMOVE, "77", "--yes")

    assert ended.status == status
    assert text in ended.out
    assert read() == {"accounts": {"8": other}}


def test_a_removal_is_asked_for(ops, secret) -> None:
    content = {"accounts": {"77": CREDENTIALS, "8": CREDENTIALS}}
    read = secret(content)

    ended = ops(*REMOVE, "77", answers="n\n")

    assert ended.status == ABORTED
    assert f"Remove account 77 from the secret {SECRET}?" in ended.err
    assert read() == content


def test_an_account_that_the_secret_lacks_cannot_be_removed(ops, secret) -> None:
    secret({"accounts": {"77": CREDENTIALS, "8": CREDENTIALS}})

    ended = ops(*REMOVE, "78", "--yes")

    assert ended.status == USAGE
    assert "no entry of account 78" in ended.err
