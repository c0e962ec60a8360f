"""Settings: each function's environment, read once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, TypeVar

import msgspec
from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

from handler.domain.attribute_mapping import AttributeMapping, read_mapping
from handler.domain.options import DeliveryOptions
from handler.domain.profile import CUSTOMER_ID_TYPES
from handler.errors import MisconfiguredError

KEEP: Final = "keep"
"""The value of DOTS_IN_NAMES that leaves dots in the names of attributes, and the value of
ON_AUDIENCE_REMOVED that leaves people in a removed audience."""

_REPLACEMENT: Final = re.compile(r"[A-Za-z0-9_-]{1,10}")
LOOPBACK: Final = {"localhost", "127.0.0.1", "[::1]"}
_ACCOUNT_ID: Final = re.compile(r"[0-9]{1,18}", re.ASCII)
_SWITCH: Final = {"true": True, "false": False}

_Choice = TypeVar("_Choice", bound=str)


class DeliverySettings(msgspec.Struct, frozen=True):
    """The settings of every function that delivers people.

    `track_api_url` is empty if the region determines the URL. `requests_per_second`: what this
    execution environment may send to a workspace.
    """

    table_name: str
    credentials_secret_name: str
    track_api_url: str
    delivery_options: DeliveryOptions
    requests_per_second: float
    walk_concurrency: int
    walk_people_per_second: int
    version: str

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> DeliverySettings:
        """Read every setting, or raise MisconfiguredError naming the one that is wrong."""
        walk_concurrency = _number(environ, "WALK_CONCURRENCY")
        # As many environments are at work as invocations at the same time, while one walk is on
        # its way.
        at_work = (
            _number(environ, "MAXIMUM_CONCURRENCY")
            + _number(environ, "RETRY_CONCURRENCY")
            + walk_concurrency
        )
        return DeliverySettings(
            table_name=_required(environ, "TABLE_NAME"),
            credentials_secret_name=_required(environ, "CREDENTIALS_SECRET_NAME"),
            track_api_url=_url(environ, "TRACK_API_URL"),
            delivery_options=_delivery_options(environ),
            requests_per_second=_number(environ, "REQUESTS_PER_SECOND") / at_work,
            walk_concurrency=walk_concurrency,
            walk_people_per_second=_number(environ, "WALK_PEOPLE_PER_SECOND"),
            version=version(environ),
        )


class Settings(DeliverySettings, frozen=True):
    """The forwarder's settings."""

    queue_url: str
    retry_queue_url: str
    dead_letter_queue_url: str
    walks_arn: str
    retry_for_s: float
    suspends: bool

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Settings:
        """Read every setting, or raise MisconfiguredError naming the one that is wrong."""
        return cls(
            **msgspec.structs.asdict(DeliverySettings.from_environ(environ)),
            queue_url=_required(environ, "QUEUE_URL"),
            retry_queue_url=_required(environ, "RETRY_QUEUE_URL"),
            dead_letter_queue_url=_required(environ, "DEAD_LETTER_QUEUE_URL"),
            walks_arn=_required(environ, "WALKS_ARN"),
            retry_for_s=_number(environ, "MAX_RETRY_HOURS") * 3600,
            suspends=_switch(environ, "SUSPEND_ON_REFUSED_CREDENTIALS"),
        )


class IngressSettings(msgspec.Struct, frozen=True):
    """The ingress's settings. `url_secret_name` is empty if it has no URL."""

    queue_url: str
    table_name: str
    suspends: bool
    url_secret_name: str
    customer_id_type: str
    version: str

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> IngressSettings:
        """Read every setting, or raise MisconfiguredError naming the one that is wrong."""
        return cls(
            queue_url=_required(environ, "QUEUE_URL"),
            table_name=_required(environ, "TABLE_NAME"),
            suspends=_switch(environ, "SUSPEND_ON_REFUSED_CREDENTIALS"),
            url_secret_name=environ.get("URL_SECRET_NAME", "").strip(),
            customer_id_type=_customer_id_type(environ, "CUSTOMER_ID_FROM"),
            version=version(environ),
        )


class StreamSettings(msgspec.Struct, frozen=True):
    """The settings of the stream's function. `account_id`: of the messages; None for none."""

    queue_url: str
    dead_letter_queue_url: str
    account_id: int | None
    version: str

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> StreamSettings:
        """Read every setting, or raise MisconfiguredError naming the one that is wrong."""
        return cls(
            queue_url=_required(environ, "QUEUE_URL"),
            dead_letter_queue_url=_required(environ, "DEAD_LETTER_QUEUE_URL"),
            account_id=_account_id(environ, "AUDIENCE_STREAM_ACCOUNT"),
            version=version(environ),
        )


def version(environ: Mapping[str, str]) -> str:
    """Return the version of the sources, or unknown if `make build` did not set it."""
    return environ.get("VERSION", "unknown")


def _delivery_options(environ: Mapping[str, str]) -> DeliveryOptions:
    return DeliveryOptions(
        one_attribute_per_audience=_switch(environ, "ONE_ATTRIBUTE_PER_AUDIENCE"),
        clear_on_exit=_switch(environ, "CLEAR_ON_EXIT"),
        dot_replacement=_dot_replacement(environ, "DOTS_IN_NAMES"),
        create_people=_switch(environ, "CREATE_PEOPLE", default="true"),
        clear_removed_audiences=_choice(environ, "ON_AUDIENCE_REMOVED", KEEP, "clear") != KEEP,
        membership_events=_switch(environ, "MEMBERSHIP_EVENTS"),
        attribute_mapping=_mapping(environ, "ATTRIBUTE_MAPPING"),
        customer_id_type=_customer_id_type(environ, "CUSTOMER_ID_FROM"),
        on_erasure=_choice(environ, "ON_ERASURE", "none", "delete", "suppress"),
    )


def _required(environ: Mapping[str, str], name: str) -> str:
    value = environ.get(name, "").strip()
    if not value:
        raise MisconfiguredError(f"setting {name} is missing")
    return value


def _number(environ: Mapping[str, str], name: str) -> int:
    value = _required(environ, name)
    if not (value.isascii() and value.isdigit() and 1 <= len(value) <= 4 and int(value) > 0):
        raise MisconfiguredError(f"setting {name} must be a whole number from 1 to 9999")
    return int(value)


def _account_id(environ: Mapping[str, str], name: str) -> int | None:
    value = environ.get(name, "").strip()
    if value and not _ACCOUNT_ID.fullmatch(value):
        raise MisconfiguredError(f"setting {name} must be empty or a number of up to 18 digits")
    return int(value) if value else None


def _switch(environ: Mapping[str, str], name: str, *, default: str = "false") -> bool:
    try:
        return _SWITCH[environ.get(name, default).strip().lower()]
    except KeyError:
        raise MisconfiguredError(f"setting {name} must be true or false") from None


def _choice(environ: Mapping[str, str], name: str, *choices: _Choice) -> _Choice:
    """Return one of several values; the first is the default."""
    value = environ.get(name, choices[0]).strip()
    for choice in choices:
        if value == choice:
            return choice
    *others, last = choices
    raise MisconfiguredError(f"setting {name} must be {', '.join(others)} or {last}")


def _dot_replacement(environ: Mapping[str, str], name: str) -> str | None:
    """Return the text for each dot in a name; None keeps dots."""
    value = environ.get(name, KEEP).strip()
    if not _REPLACEMENT.fullmatch(value):
        raise MisconfiguredError(
            f"setting {name} must be {KEEP}, or up to 10 letters, digits, underscores and hyphens"
        )
    return None if value == KEEP else value


def _customer_id_type(environ: Mapping[str, str], name: str) -> str:
    """Return the type in messages of the identity that is the customer id."""
    try:
        return CUSTOMER_ID_TYPES[environ.get(name, "CustomerId").strip()]
    except KeyError:
        known = ", ".join(CUSTOMER_ID_TYPES)
        raise MisconfiguredError(f"setting {name} must be one of {known}") from None


def _mapping(environ: Mapping[str, str], name: str) -> AttributeMapping:
    try:
        return read_mapping(environ.get(name, ""))
    except ValueError as error:
        raise MisconfiguredError(f"setting {name}: {error}") from None


def _url(environ: Mapping[str, str], name: str) -> str:
    """Return a base URL without a closing slash; plain http only for a loopback host."""
    value = environ.get(name, "").strip().rstrip("/")
    if not value:
        return ""
    try:
        url = parse_url(value)
    except LocationParseError:
        raise MisconfiguredError(f"setting {name} is not a URL") from None
    if not url.host or url.query or url.fragment or url.auth:
        raise MisconfiguredError(f"setting {name} must be a scheme, a host and at most a path")
    if url.scheme != "https" and not (url.scheme == "http" and url.host in LOOPBACK):
        raise MisconfiguredError(f"setting {name} must begin with https://")
    return value
