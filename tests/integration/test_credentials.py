"""The credentials secret, in the emulator's Secrets Manager."""

from __future__ import annotations

import json
import time
import uuid
from contextlib import closing
from dataclasses import replace
from typing import Any

import boto3
import pytest
from botocore.config import Config

from handler.credentials import Credentials
from handler.domain.attribute_mapping import mapping_of
from handler.domain.workspace import Workspace
from handler.errors import (
    MisconfiguredError,
    OutOfTimeError,
    UnavailableError,
    UnknownAccountError,
    UnusableCredentialsError,
)
from handler.secret import Secret
from tests.builders import deadline

PLENTY: Any = {"deadline": deadline()}
ONE = {"site_id": "s1te", "api_key": "k3y", "region": "eu"}
OTHER = {"site_id": "other", "api_key": "k3y"}


@pytest.fixture(scope="session")
def secretsmanager(aws):
    with closing(boto3.client("secretsmanager", **aws.client_options)) as client:
        yield client


@pytest.fixture
def secret(secretsmanager):
    class Kept:
        name = f"customerio/{uuid.uuid4()}"

        def put(self, text):
            secretsmanager.put_secret_value(SecretId=self.name, SecretString=text)

    made = Kept()
    secretsmanager.create_secret(Name=made.name, SecretString=json.dumps(ONE))
    return made


@pytest.fixture
def credentials(secretsmanager, secret):
    return credentials_in(secretsmanager, secret.name)


def credentials_in(secretsmanager, name):
    return Credentials(Secret(secretsmanager, name, ttl_s=300, now=time.time))


@pytest.mark.parametrize("account_id", [None, 1, 1001])
def test_one_workspace_serves_every_account(credentials, account_id) -> None:
    assert credentials.workspace(account_id, **PLENTY) == Workspace("s1te", "k3y", "eu")


def test_several_workspaces_are_chosen_by_account(credentials, secret) -> None:
    secret.put(json.dumps({"accounts": {"1001": ONE, "default": OTHER}}))

    assert credentials.workspace(1001, **PLENTY).site_id == "s1te"
    assert credentials.workspace(1002, **PLENTY) == Workspace("other", "k3y", "us")


def test_all_workspaces_are_listed_each_once(credentials, secret) -> None:
    again = {**ONE, "api_key": "n3w"}
    secret.put(json.dumps({"accounts": {"1001": ONE, "1002": OTHER, "default": again}}))

    assert credentials.workspaces(**PLENTY) == {
        "1001": Workspace("s1te", "k3y", "eu"),
        "1002": Workspace("other", "k3y", "us"),
    }


def test_the_workspaces_are_read_again_if_one_of_them_cannot_be_used(credentials, secret) -> None:
    secret.put(json.dumps({"accounts": {"1001": ONE, "1002": {}}}))
    found = credentials.workspaces(**PLENTY)
    assert found["1001"] == Workspace("s1te", "k3y", "eu")
    assert isinstance(found["1002"], UnusableCredentialsError)
    secret.put(json.dumps({"accounts": {"1001": ONE, "1002": OTHER}}))

    assert credentials.workspaces(**PLENTY)["1002"] == Workspace("other", "k3y", "us")


def test_an_unknown_account_is_looked_for_in_a_secret_read_again(credentials, secret) -> None:
    secret.put(json.dumps({"accounts": {"1001": ONE}}))
    credentials.workspace(1001, **PLENTY)
    secret.put(json.dumps({"accounts": {"1001": ONE, "1002": OTHER}}))

    assert credentials.workspace(1002, **PLENTY).site_id == "other"
    with pytest.raises(UnknownAccountError):
        credentials.workspace(1003, **PLENTY)


def test_a_secret_that_made_no_sense_is_read_again_for_the_next_batch(credentials, secret) -> None:
    secret.put("not JSON")
    with pytest.raises(MisconfiguredError):
        credentials.workspace(1, **PLENTY)
    secret.put(json.dumps(ONE))

    assert credentials.workspace(1, **PLENTY).site_id == "s1te"


def test_a_secret_is_kept_until_other_credentials_are_asked_for(credentials, secret) -> None:
    known = credentials.workspace(1, **PLENTY)
    secret.put(json.dumps({**ONE, "api_key": "n3w"}))

    assert credentials.workspace(1, **PLENTY) == known
    assert credentials.refreshed(known, **PLENTY) == Workspace("s1te", "n3w", "eu")
    assert credentials.workspace(1, **PLENTY).api_key == "n3w"


def test_a_workspace_is_found_by_its_site_id_also_if_it_was_added_just_now(
    credentials, secret
) -> None:
    assert credentials.workspace_of_site("s1te", **PLENTY).api_key == "k3y"
    secret.put(json.dumps({"accounts": {"1": {}, "2": OTHER, "3": {**OTHER, "api_key": "n3w"}}}))

    assert credentials.workspace_of_site("other", **PLENTY).api_key == "k3y"


@pytest.mark.parametrize(
    ("entries", "error"),
    [({"1": ONE}, UnknownAccountError), ({"1": ONE, "2": {}}, UnusableCredentialsError)],
)
def test_a_site_id_that_no_entry_has_may_be_that_of_an_unusable_entry(
    credentials, secret, entries, error
) -> None:
    secret.put(json.dumps({"accounts": entries}))

    with pytest.raises(error):
        credentials.workspace_of_site("gone", **PLENTY)


def test_of_several_entries_the_other_one_of_the_same_site_id_is_returned(
    credentials, secret
) -> None:
    entries = {"1": ONE, "2": OTHER, "3": {}, "4": {**ONE, "api_key": "n3w"}}
    secret.put(json.dumps({"accounts": entries}))

    assert credentials.refreshed(Workspace("s1te", "k3y", "eu"), **PLENTY).api_key == "n3w"
    assert credentials.refreshed(Workspace("other", "k3y", "us"), **PLENTY) is None
    assert credentials.refreshed(Workspace("gone", "k3y", "us"), **PLENTY) is None


def test_a_secret_is_read_again_once_it_is_old(secretsmanager, secret) -> None:
    now = [1000.0]
    kept = Secret(secretsmanager, secret.name, ttl_s=300, now=lambda: now[0])
    kept.text(**PLENTY)
    secret.put("new")

    now[0] = 1299.0
    assert kept.text(**PLENTY) == json.dumps(ONE)
    now[0] = 1300.0
    assert kept.text(**PLENTY) == "new"


def test_a_secret_without_a_text_names_itself(secretsmanager) -> None:
    name = f"binary/{uuid.uuid4()}"
    secretsmanager.create_secret(Name=name, SecretBinary=b"s3cret")

    with pytest.raises(MisconfiguredError, match=f"{name} holds no text"):
        Secret(secretsmanager, name, ttl_s=300, now=time.time).text(**PLENTY)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("not json with s3cret", "JSON is malformed"),
        ("[]", "Expected `object`"),
        ("{}", "missing required field `site_id`"),
        ('{"site_id": "s3cret"}', "missing required field `api_key`"),
        ('{"site_id": "s3cret", "api_key": ""}', r"\$\.api_key"),
        ('{"site_id": "s3 cret", "api_key": "a"}', r"\$\.site_id"),
        ('{"site_id": "s3:cret", "api_key": "a"}', r"\$\.site_id"),
        ('{"site_id": "a", "api_key": "s3crét"}', r"\$\.api_key"),
        ('{"site_id": "a", "api_key": "b", "region": "s3cret"}', "expected us, eu or auto"),
        ('{"accounts": 7}', r"\$\.accounts"),
    ],
)
def test_an_unreadable_secret_names_itself_and_what_is_wrong(
    credentials, secret, text, reason
) -> None:
    secret.put(text)

    with pytest.raises(MisconfiguredError, match=reason) as stopped:
        credentials.workspace(1, **PLENTY)

    assert secret.name in str(stopped.value)
    assert "s3c" not in str(stopped.value)


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({}, "missing required field `site_id`"),
        ({"site_id": "s3cret"}, "missing required field `api_key`"),
        ({"site_id": "s3cret", "api_key": "k", "region": "moon"}, "expected us, eu or auto"),
    ],
)
def test_an_unusable_entry_fails_its_account_alone(credentials, secret, entry, reason) -> None:
    secret.put(json.dumps({"accounts": {"1": entry, "2": {"site_id": "b", "api_key": "k"}}}))

    with pytest.raises(UnusableCredentialsError, match=rf"entry 1: .*{reason}") as stopped:
        credentials.workspace(1, **PLENTY)

    assert secret.name in str(stopped.value)
    assert "s3cret" not in str(stopped.value)
    assert credentials.workspace(2, **PLENTY) == Workspace("b", "k")


def test_an_entry_may_have_options_of_its_own(credentials, secret) -> None:
    own: dict[str, Any] = {
        "create_people": False,
        "membership_events": True,
        "attribute_mapping": {"ltv": "lifetime_value", "*": "mp_*"},
        "on_erasure": "suppress",
    }
    secret.put(json.dumps({"accounts": {"1": {**ONE, **own}, "2": ONE}}))

    workspace = credentials.workspace(1, **PLENTY)

    assert (workspace.create_people, workspace.membership_events) == (False, True)
    assert workspace.on_erasure == "suppress"
    assert workspace.attribute_mapping == mapping_of(own["attribute_mapping"])
    assert credentials.workspace(2, **PLENTY) == Workspace("s1te", "k3y", "eu")


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        ({"create_people": "no"}, r"Expected `bool \| null`, got `str` - at `\$.create_people`"),
        ({"membership_events": 1}, r"`\$.membership_events`"),
        ({"attribute_mapping": '{"ltv": "x"}'}, r"`\$.attribute_mapping`"),
        ({"attribute_mapping": {"ltv": "cio_x"}}, "attribute_mapping: ltv: the name is reserved"),
        ({"attribute_mapping": {"ltv": 7}}, "attribute_mapping: ltv: expected a text"),
        ({"on_erasure": "forget"}, "on_erasure: expected none, delete or suppress"),
    ],
)
def test_an_option_that_cannot_be_read_is_named_with_its_entry(
    credentials, secret, option, reason
) -> None:
    secret.put(json.dumps({"accounts": {"1": {**ONE, **option}, "2": ONE}}))

    with pytest.raises(UnusableCredentialsError, match=rf"entry 1: .*{reason}"):
        credentials.workspace(1, **PLENTY)

    assert credentials.workspace(2, **PLENTY).site_id == "s1te"


def test_other_credentials_leave_the_options_of_an_account_as_they_are(
    credentials, secret
) -> None:
    entries: dict[str, dict[str, Any]] = {"1": {**ONE, "create_people": False}, "2": ONE}
    secret.put(json.dumps({"accounts": entries}))
    known = credentials.workspace(1, **PLENTY)
    changed = {account: {**entry, "api_key": "n3w"} for account, entry in entries.items()}
    secret.put(json.dumps({"accounts": changed}))

    refreshed = credentials.refreshed(known, **PLENTY)

    assert refreshed == replace(known, api_key="n3w")


def test_no_account_at_all_is_unknown(credentials, secret) -> None:
    secret.put('{"accounts": {}}')

    with pytest.raises(UnknownAccountError):
        credentials.workspace(1, **PLENTY)


def test_a_secret_that_is_not_there_is_for_a_human(secretsmanager) -> None:
    lost = credentials_in(secretsmanager, "no-such")

    with pytest.raises(MisconfiguredError, match="no-such cannot be read: ResourceNotFound"):
        lost.workspace(1, **PLENTY)


def test_a_secret_that_cannot_be_read_is_not_asked_for_once_more() -> None:
    class Denied:
        name = "denied"
        reads = 0

        def text(self, *, deadline, refresh=False):
            self.reads += 1
            raise MisconfiguredError("secret denied cannot be read: AccessDeniedException")

    secret = Denied()

    with pytest.raises(MisconfiguredError):
        Credentials(secret).workspace(1, **PLENTY)

    assert secret.reads == 1


def test_a_secrets_manager_out_of_reach_is_retryable(aws) -> None:
    options = {**aws.client_options, "endpoint_url": "https://127.0.0.1:1"}
    config = Config(connect_timeout=1, retries={"total_max_attempts": 1})

    with closing(boto3.client("secretsmanager", config=config, **options)) as client:
        lost = credentials_in(client, "x")
        with pytest.raises(UnavailableError, match="secret x cannot be read"):
            lost.workspace(1, **PLENTY)


def test_the_secret_is_not_read_without_time(credentials) -> None:
    with pytest.raises(OutOfTimeError):
        credentials.workspace(1, deadline=deadline(1.0))


def test_the_api_key_is_in_no_repr() -> None:
    assert "k3y" not in repr(Workspace("s1te", "k3y"))
