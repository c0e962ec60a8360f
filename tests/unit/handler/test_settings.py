"""The environment, read once."""

from __future__ import annotations

import pytest

from handler.domain.attribute_mapping import mapping_of
from handler.domain.options import DeliveryOptions
from handler.errors import MisconfiguredError
from handler.settings import IngressSettings, Settings, StreamSettings

ENVIRON = {
    "TABLE_NAME": "people",
    "QUEUE_URL": "https://queue",
    "RETRY_QUEUE_URL": "https://retry",
    "DEAD_LETTER_QUEUE_URL": "https://dlq",
    "MAX_RETRY_HOURS": "168",
    "RETRY_CONCURRENCY": "2",
    "WALK_CONCURRENCY": "2",
    "WALK_PEOPLE_PER_SECOND": "2000",
    "WALKS_ARN": "arn:walks",
    "CREDENTIALS_SECRET_NAME": "customerio/credentials",
    "REQUESTS_PER_SECOND": "500",
    "MAXIMUM_CONCURRENCY": "10",
}


def test_what_is_required_is_read_and_the_rest_has_safe_defaults() -> None:
    settings = Settings.from_environ(ENVIRON)

    assert settings == Settings(
        table_name="people",
        queue_url="https://queue",
        retry_queue_url="https://retry",
        dead_letter_queue_url="https://dlq",
        credentials_secret_name="customerio/credentials",
        track_api_url="",
        retry_for_s=604_800,
        delivery_options=DeliveryOptions(),
        requests_per_second=500 / 14,
        walk_concurrency=2,
        walk_people_per_second=2000,
        walks_arn="arn:walks",
        suspends=False,
        version="unknown",
    )


@pytest.mark.parametrize(
    ("environ", "version"), [({}, "unknown"), ({"VERSION": "v1.2.0"}, "v1.2.0")]
)
def test_the_version_is_the_one_that_the_build_put_there(environ, version) -> None:
    for kind in (Settings, IngressSettings):
        assert kind.from_environ(ENVIRON | environ).version == version


@pytest.mark.parametrize("name", ENVIRON)
@pytest.mark.parametrize("value", [None, " "])
def test_a_missing_setting_is_named(name, value) -> None:
    environ = {**ENVIRON, name: value}
    if value is None:
        del environ[name]

    with pytest.raises(MisconfiguredError, match=f"setting {name} is missing"):
        Settings.from_environ(environ)


def test_an_unreadable_switch_is_named() -> None:
    with pytest.raises(MisconfiguredError, match="ONE_ATTRIBUTE_PER_AUDIENCE must be true"):
        Settings.from_environ({**ENVIRON, "ONE_ATTRIBUTE_PER_AUDIENCE": "perhaps"})


@pytest.mark.parametrize("value", ["true", "True "])
def test_a_switch_is_read(value) -> None:
    environ = {**ENVIRON, "ONE_ATTRIBUTE_PER_AUDIENCE": value}

    assert Settings.from_environ(environ).delivery_options.one_attribute_per_audience


@pytest.mark.parametrize(("value", "clears"), [("keep", False), (" clear ", True)])
def test_whether_removed_audiences_are_cleared_is_read(value, clears) -> None:
    environ = {**ENVIRON, "ON_AUDIENCE_REMOVED": value}

    assert Settings.from_environ(environ).delivery_options.clear_removed_audiences is clears


def test_another_value_for_removed_audiences_is_named() -> None:
    with pytest.raises(MisconfiguredError, match="ON_AUDIENCE_REMOVED must be keep or clear"):
        Settings.from_environ({**ENVIRON, "ON_AUDIENCE_REMOVED": "true"})


@pytest.mark.parametrize("value", ["none", "delete", "suppress"])
def test_what_an_erasure_does_in_customerio_is_read(value) -> None:
    read = Settings.from_environ({**ENVIRON, "ON_ERASURE": value})

    assert read.delivery_options.on_erasure == value


def test_by_default_an_erasure_does_nothing_in_customerio() -> None:
    assert Settings.from_environ(ENVIRON).delivery_options.on_erasure == "none"


def test_an_erasure_does_nothing_else_in_customerio() -> None:
    with pytest.raises(MisconfiguredError, match="ON_ERASURE must be none, delete or suppress"):
        Settings.from_environ({**ENVIRON, "ON_ERASURE": "true"})


@pytest.mark.parametrize(
    "url",
    [
        "https://track.example.com",
        "https://example.com/path",
        "http://127.0.0.1:8080",
        "http://localhost:1",
        "http://[::1]:8080",
    ],
)
def test_a_url_is_taken_without_its_closing_slash(url) -> None:
    assert Settings.from_environ({**ENVIRON, "TRACK_API_URL": f"{url}/"}).track_api_url == url


@pytest.mark.parametrize(
    "url",
    [
        "http://track.customer.io",
        "http://127.0.0.1.example.com",
        "http://localhost@example.com",
        "ftp://127.0.0.1",
        "track.customer.io",
        "https://",
        "https://user:s3cret@example.com",
        "https://example.com?x=1",
        "https://example.com:port",
        "https://[",
    ],
)
def test_a_url_that_would_leak_or_cannot_be_is_refused_without_quoting_it(url) -> None:
    with pytest.raises(MisconfiguredError, match="TRACK_API_URL") as stopped:
        Settings.from_environ({**ENVIRON, "TRACK_API_URL": url})

    assert "s3cret" not in str(stopped.value)


@pytest.mark.parametrize(
    "name",
    [
        "MAX_RETRY_HOURS",
        "MAXIMUM_CONCURRENCY",
        "REQUESTS_PER_SECOND",
        "RETRY_CONCURRENCY",
        "WALK_CONCURRENCY",
    ],
)
@pytest.mark.parametrize("value", ["0", "-1", "1.5", "many", "10000", "\u0663"])
def test_a_setting_that_is_not_a_number_is_named(name, value) -> None:
    with pytest.raises(MisconfiguredError, match=f"setting {name} must be a whole number"):
        Settings.from_environ({**ENVIRON, name: value})


def test_all_invocations_that_may_run_at_a_time_share_the_requests_per_second() -> None:
    environ = {**ENVIRON, "MAXIMUM_CONCURRENCY": "6", "RETRY_CONCURRENCY": "2"}

    assert Settings.from_environ(environ).requests_per_second == 50.0


def test_nobody_is_suspended_unless_the_stack_says_so() -> None:
    environ = {**ENVIRON, "SUSPEND_ON_REFUSED_CREDENTIALS": "true"}

    assert Settings.from_environ(ENVIRON).suspends is False
    assert Settings.from_environ(environ).suspends is True


def test_an_exit_clears_an_attribute_only_if_the_stack_says_so() -> None:
    environ = {**ENVIRON, "CLEAR_ON_EXIT": "true"}

    assert Settings.from_environ(ENVIRON).delivery_options == DeliveryOptions()
    assert Settings.from_environ(environ).delivery_options.clear_on_exit is True


@pytest.mark.parametrize(("value", "replacement"), [("keep", None), ("_", "_"), ("dot", "dot")])
def test_dots_are_kept_or_replaced(value, replacement) -> None:
    settings = Settings.from_environ({**ENVIRON, "DOTS_IN_NAMES": value})

    assert settings.delivery_options.dot_replacement == replacement


@pytest.mark.parametrize("value", ["", ".", "a b", "x" * 11, "é"])
def test_a_replacement_that_is_no_plain_text_is_refused(value) -> None:
    with pytest.raises(MisconfiguredError, match="DOTS_IN_NAMES must be keep"):
        Settings.from_environ({**ENVIRON, "DOTS_IN_NAMES": value})


def test_people_events_and_attributes_are_as_the_stack_says() -> None:
    environ = {
        **ENVIRON,
        "CREATE_PEOPLE": "false",
        "MEMBERSHIP_EVENTS": "true",
        "ATTRIBUTE_MAPPING": '{"ltv": "lifetime_value"}',
        "CUSTOMER_ID_FROM": "Other2",
    }

    assert Settings.from_environ(environ).delivery_options == DeliveryOptions(
        create_people=False,
        membership_events=True,
        attribute_mapping=mapping_of({"ltv": "lifetime_value"}),
        customer_id_type="other2",
    )


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("CREATE_PEOPLE", "perhaps", "must be true or false"),
        ("MEMBERSHIP_EVENTS", "", "must be true or false"),
        ("ATTRIBUTE_MAPPING", '{"ltv": "email"}', "ltv: the name is reserved"),
        ("ATTRIBUTE_MAPPING", "{", "expected a JSON object"),
        ("CUSTOMER_ID_FROM", "Email", "must be one of CustomerId, Other, "),
    ],
)
def test_an_option_that_cannot_be_read_is_named_with_the_reason(name, value, reason) -> None:
    with pytest.raises(MisconfiguredError, match=f"setting {name}:? {reason}"):
        Settings.from_environ({**ENVIRON, name: value})


def test_the_ingress_reads_its_own_settings() -> None:
    environ = {"QUEUE_URL": "https://queue", "TABLE_NAME": "people", "URL_SECRET_NAME": " token "}

    assert IngressSettings.from_environ(environ) == IngressSettings(
        queue_url="https://queue",
        table_name="people",
        suspends=False,
        url_secret_name="token",
        customer_id_type="customer",
        version="unknown",
    )
    with pytest.raises(MisconfiguredError, match="setting QUEUE_URL is missing"):
        IngressSettings.from_environ({})


def test_the_stream_s_function_reads_its_own_settings() -> None:
    environ = {"QUEUE_URL": "https://queue", "DEAD_LETTER_QUEUE_URL": "https://dead-letters"}

    assert StreamSettings.from_environ(environ) == StreamSettings(
        queue_url="https://queue",
        dead_letter_queue_url="https://dead-letters",
        account_id=None,
        version="unknown",
    )
    account = {"AUDIENCE_STREAM_ACCOUNT": "1001"}
    assert StreamSettings.from_environ(environ | account).account_id == 1001
    with pytest.raises(MisconfiguredError, match="AUDIENCE_STREAM_ACCOUNT must be empty or a num"):
        StreamSettings.from_environ(environ | {"AUDIENCE_STREAM_ACCOUNT": "main"})
