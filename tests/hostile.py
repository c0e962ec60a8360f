"""Hostile and broken bodies, each with what it tries, and answers of Customer.io that quote.

Bodies hold what SQS can carry, so NUL and other control characters come as JSON escapes; those
of `NOT_FROM_SQS` only a direct invocation could bring.
All values that must never be shown are planted: `PLANTED` is what to search the output for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from tests.builders import NOW_MS, audience, body, identity, profile, stream_record

SITE_ID: Final = "qzsiteb71c94"
API_KEY: Final = "qzkeyd05e8a"
MPID: Final = "-7316058842907713"
CUSTOMER_ID: Final = "qzcust-5812097-Wex"
EMAIL: Final = "qzorla.venn+list@example.com"
FIRST_NAME: Final = "Qzorlanda"
LAST_NAME: Final = "Vennström-Qzábel"
AUDIENCE_NAME: Final = "Qzaudience Lapsed Buyers"
SNIPPET: Final = "qzsnippet kept by nobody"

PLANTED: Final = (
    SITE_ID,
    API_KEY,
    MPID.lstrip("-"),
    CUSTOMER_ID,
    "5812097",
    EMAIL,
    "orla.venn",
    FIRST_NAME,
    "Vennström",
    "Qzábel",
    AUDIENCE_NAME,
    "qzaudience",
    "lapsed",
    "qzsnippet",
)
"""What no line, metric, error text or attribute may hold, in any letter case."""

SECRET_SETTINGS: Final = {"apiKey": API_KEY, "Site ID": SITE_ID, "note": SNIPPET}

MIB: Final = 1 << 20
DEEP: Final = 5_000  # Python gives up at a thousand


def planted(*audiences: Any, **fields: Any) -> dict[str, Any]:
    """Return a profile that holds every kind of personal value."""
    names = [
        {"key": "$FirstName", "value": FIRST_NAME, "action": "upsert"},
        {"key": "$LastName", "value": LAST_NAME, "action": "upsert"},
        {"key": "Note", "value": SNIPPET, "action": "upsert"},
    ]
    told = audience(11, audience_name=AUDIENCE_NAME, user_attributes=names)
    named = {"mpid": MPID, "customer_id": CUSTOMER_ID, "email": EMAIL}
    return profile(*(audiences or (told,)), **{**named, **fields})


def planted_body(*profiles: Any, **fields: Any) -> str:
    account = {"account_id": 1001, "account_settings": SECRET_SETTINGS}
    return body(*profiles, **{"account": account, "note": SNIPPET, **fields})


def with_raw(place: str, raw: str) -> str:
    """Return a body with text of our own, JSON or not, at one of `PLACES`."""
    return PLACES[place].replace('"@"', raw)


def sns(message: Any) -> str:
    return json.dumps({"Type": "Notification", "MessageId": SNIPPET, "Message": message})


def _identified(value: Any) -> dict[str, Any]:
    return planted(user_identities=[identity("customer", value), identity("email", EMAIL)])


def _attribute(**fields: Any) -> dict[str, Any]:
    told = {"key": "$FirstName", "value": FIRST_NAME, "action": "upsert", **fields}
    return planted(audience(11, user_attributes=[told]))


def _account(**fields: Any) -> dict[str, Any]:
    return {"account_id": 1001, "account_settings": SECRET_SETTINGS, **fields}


def _record(content: Any = None, **fields: Any) -> str:
    """Return a dead letter of the audience stream."""
    identities = {"CustomerId": CUSTOMER_ID, "Email": EMAIL, "MPID": MPID}
    told = {"AudienceName": AUDIENCE_NAME, "UserIdentities": identities, "note": SNIPPET, **fields}
    record = json.loads(stream_record(**told)) if content is None else content
    return planted_body(record, type="audience_stream_record")


def _envelope() -> dict[str, Any]:
    envelope: dict[str, Any] = json.loads(planted_body(planted()))
    return envelope


PLACES: Final[dict[str, str]] = {
    "body": '"@"',
    "type": planted_body(planted(), type="@"),
    "id": planted_body(planted(), id="@"),
    "timestamp_ms": planted_body(planted(), at_ms="@"),
    "account": planted_body(planted(), account="@"),
    "account_id": planted_body(planted(), account=_account(account_id="@")),
    "account_settings": planted_body(planted(), account=_account(account_settings="@")),
    "a secret setting": planted_body(
        planted(), account=_account(account_settings={"apiKey": "@", "note": SNIPPET})
    ),
    "the attribute setting": planted_body(
        planted(),
        account=_account(account_settings={"One attribute per audience": "@", "apiKey": API_KEY}),
    ),
    "user_profiles": planted_body(user_profiles="@"),
    "a profile": planted_body("@", planted()),
    "mpid": planted_body(planted(mpid="@")),
    "user_identities": planted_body(planted(user_identities="@")),
    "an identity": planted_body(planted(user_identities=["@", identity("email", EMAIL)])),
    "an identity's type": planted_body(
        planted(user_identities=[identity("@", CUSTOMER_ID), identity("email", EMAIL)])
    ),
    "an identity's encoding": planted_body(
        planted(user_identities=[identity("customer", CUSTOMER_ID, "@")])
    ),
    "an identity's value": planted_body(_identified("@")),
    "audiences": planted_body(planted(audiences="@")),
    "an audience": planted_body(planted(audiences=["@", audience(11)])),
    "audience_id": planted_body(
        planted({"audience_id": "@", "audience_name": AUDIENCE_NAME, "action": "add"})
    ),
    "audience_name": planted_body(planted(audience(11, audience_name="@"))),
    "action": planted_body(planted(audience(11, action="@"))),
    "user_attributes": planted_body(planted(audience(11, user_attributes="@"))),
    "an attribute": planted_body(planted(audience(11, user_attributes=["@"]))),
    "an attribute's key": planted_body(_attribute(key="@")),
    "an attribute's value": planted_body(_attribute(value="@")),
    "an attribute's action": planted_body(_attribute(action="@")),
    "an unknown field": planted_body(planted(), unknown="@"),
    "an unknown field of a profile": planted_body(planted(unknown="@")),
    "a record of the stream": _record("@"),
    "a record's time": _record(MembershipChangedTimestamp="@"),
    "a record's audience": _record(AudienceId="@"),
    "a record's audience name": _record(AudienceName="@"),
    "a record's direction": _record(IsMember="@"),
    "a record's identities": _record(UserIdentities="@"),
    "a record's customer id": _record(UserIdentities={"CustomerId": "@", "Email": EMAIL}),
    "a record's MPID": _record(UserIdentities={"CustomerId": CUSTOMER_ID, "MPID": "@"}),
    "SNS Type": json.dumps({"Type": "@", "Message": planted_body(planted())}),
    "SNS Message": sns("@"),
}
"""A whole planted message for each place that is read, with "@" there."""

RAWS: Final[dict[str, str]] = {
    "null": "null",
    "true": "true",
    "zero": "0",
    "negative zero": "-0",
    "negative zero as a float": "-0.0",
    "one as a float": "1.0",
    "one and a half": "1.5",
    "a thousand with an exponent": "1e3",
    "a float in a string": '"1.0"',
    "a number in a string": '"11"',
    "a number with a plus": '"+11"',
    "a number with a blank": '" 11"',
    "64 bits and one": "18446744073709551616",
    "5000 digits": "7" * 5000,
    "5000 digits in a string": '"' + "7" * 5000 + '"',
    "NaN": "NaN",
    "Infinity": "-Infinity",
    "1e400": "1e400",
    "half a surrogate pair": r'"\ud83d"',
    "the other half": r'"\ude00 qzsnippet"',
    "an empty string": '""',
    "a blank": '" \\t\\n"',
    "NUL": r'"\u0000"',
    "controls": r'"\u0001\u0007\u001b[31m\u007f\u0085\u2028"',
    "U+FFFE and U+FFFF": r'"a\ufffe\uffff"',
    "a byte order mark": r'"\ufeff"',
    "a person": json.dumps(EMAIL),
    "a key": json.dumps(API_KEY),
    "quotes and newlines": json.dumps(f"'{CUSTOMER_ID}'\n\"`{LAST_NAME}\\"),
    "400 bytes in several scripts": json.dumps("Ünïcødé Жизнь 生活 حياة חיים ชีวิต 🧑‍🚀 " * 5),
    "right to left": json.dumps(
        "\u202e\u2066\u0645\u0631\u062d\u0628\u0627\u2069\u202c " + FIRST_NAME
    ),
    "emoji": json.dumps("👩‍👩‍👧‍👦" * 40, ensure_ascii=False),
    "combining marks": json.dumps("z" + "\u0335\u0321" * 300, ensure_ascii=False),
    "64 KiB": json.dumps(SNIPPET * (1 << 12)),
    "an empty array": "[]",
    "an empty object": "{}",
    "an array of null": "[null]",
    "nested 900 deep": "[" * 900 + "]" * 900,
    "nested deeply": "[" * DEEP + "]" * DEEP,
    "objects nested deeply": '{"":' * DEEP + "1" + "}" * DEEP,
    "nested and never closed": "[" * DEEP,
    "no JSON": "nope",
    "a comma too many": "[1,]",
    "a broken escape": r'"\x"',
    "a comment": "/* qzsnippet */ 1",
    "a person's word": "qzsnippet",
}
"""Values, some of them no JSON, for each of those places."""


def _crowded() -> Iterator[tuple[str, str]]:
    """Yield bodies where it is the number that hurts."""
    many = [audience(n, audience_name=f"{AUDIENCE_NAME} {n}") for n in range(500)]
    setting = {"One attribute per audience": True}
    yield (
        "500 audiences for one person",
        planted_body(planted(*many), account=_account(account_settings=setting)),
    )
    long = [
        audience(n, audience_name="Покупатели 生活 حياة 🧑‍🚀 " * 9 + str(n)) for n in range(400)
    ]
    yield (
        "400 long names for one person",
        planted_body(planted(*long), account=_account(account_settings=setting)),
    )
    yield (
        "one audience 5000 times",
        planted_body(planted(*(audience(1, ("add", "delete")[n % 2]) for n in range(5000)))),
    )
    yield "one person 2000 times", planted_body(*[planted()] * 2000)
    yield "a thousand nulls for profiles", planted_body(*[None] * 1000)
    yield "a thousand empty profiles", planted_body(*[{}] * 1000)
    yield "50,000 identities", planted_body(_identified([{}] * 50_000))
    yield "50,000 fields", body(**{f"field{n}": n for n in range(50_000)})
    yield (
        "300 profiles, each refused for a reason of its own, beside a large field",
        planted_body(
            *(planted(user_identities=[None] * n + [identity("email", [])]) for n in range(300)),
            x=SNIPPET * 10_000,
        ),
    )
    same = ", ".join(['"type": "qzsnippet"'] * 1000)
    yield "a field 1000 times", "{" + same + ", " + planted_body(planted())[1:]


def _doubled() -> Iterator[tuple[str, str]]:
    text = planted_body(planted())
    for name, value in (
        ("type", '"qzsnippet"'),
        ("timestamp_ms", "1"),
        ("account", f'{{"account_settings": {{"apiKey": "{API_KEY}"}}}}'),
        ("user_profiles", "[7]"),
        ("mpid", "9"),
        ("audience_id", '"x"'),
    ):
        yield (
            f"{name} twice, the other first",
            text.replace(f'"{name}"', f'"{name}": {value}, "{name}"'),
        )
    yield "user_profiles twice", text[:-1] + f', "user_profiles": [{json.dumps(planted())}]}}'


def _wrapped() -> Iterator[tuple[str, str]]:
    text = planted_body(planted())
    yield "SNS", sns(text)
    yield "SNS in SNS", sns(sns(text))
    yield "SNS around no text", sns(json.loads(text))
    yield "SNS around nothing", json.dumps({"Type": "Notification"})
    yield "SNS around a broken body", sns(text[:-20])
    yield "SNS around NUL", sns('{"type": "\0", "apiKey": "' + API_KEY + '"')
    yield "SNS around U+FFFF", sns("{\uffff" + text)
    yield "SNS around half a surrogate pair", sns("\ud83d" + text)
    yield "SNS around controls", sns(text.replace(" ", "\x01"))
    yield "SNS around another type", sns(planted_body(planted(), type="another_type"))
    yield "a whole SNS chain", _sns_chain(text)
    yield "JSON in a string", json.dumps(text)
    yield "a list of messages", f"[{text}]"


def _sns_chain(text: str) -> str:
    for _ in range(8):
        text = sns(text)
    return text


def _large() -> Iterator[tuple[str, str]]:
    """Yield bodies of up to SQS's limit, less what a reason takes."""
    room = MIB - 1024
    one = len(json.dumps(planted())) + 2
    full = planted_body(*(planted(mpid=n + 1, customer_id=str(n)) for n in range(room // one - 9)))
    yield "a full message", full
    yield "a full message that breaks off", full[:-1]
    yield "a full message for later", full.replace(str(NOW_MS), str(NOW_MS * 2))
    yield "a full message of one profile", planted_body(planted(x="y" * (room - 2000)))
    wide = "é" * ((room - 4000) // 2)
    yield (
        "a full message beside half a surrogate pair",
        json.dumps(
            json.loads(
                planted_body(_identified("\ud83d"), planted(mpid=5, customer_id="5"), x="@")
            )
        ).replace('"@"', f'"{wide}"'),
    )
    yield (
        "a full message of wide text, refused",
        planted_body(_identified([]), x="@").replace('"@"', f'"{wide}"'),
    )
    yield (
        "a full field name",
        planted_body(planted(), type="another_type", **{"@": 1}).replace('"@"', f'"{wide}"'),
    )
    yield "a full string", '"' + "k" * (room - 2) + '"'
    yield "blanks alone", " " * room
    yield "quotes alone", '"' * room
    yield "backslashes alone", '{"apiKey": "' + "\\" * (room - 20)
    yield "escaped quotes alone", '{"apiKey": "' + '\\"' * ((room - 20) // 2)
    yield "names of settings alone", '"apiKey":' * (room // 9)
    yield "nested to the brim", "[" * room
    yield "objects to the brim", '{"a":' * (room // 5)


def _plain() -> Iterator[tuple[str, str]]:
    text = planted_body(planted())
    yield "nothing", ""
    yield "a byte order mark before it", "\ufeff" + text
    yield "text after it", text + " qzsnippet"
    yield "two messages", text + text
    for cut in (1, 50, len(text) // 2, len(text) - 1):
        yield f"cut after {cut}", text[:cut]
    yield "other quotes", text.replace('"', "'")
    yield "all null", re.sub(r": [^{\[,}\]]+", ": null", text)
    yield "fields in capitals", text.upper()
    yield "line feeds inside", text.replace(" ", "\n\t\r")
    yield "a secret in a body that breaks off", '{"account_settings": {"API Key": "' + API_KEY
    yield (
        "an account that the secret does not know",
        planted_body(planted(), account=_account(account_id=777)),
    )
    yield (
        "a secret as a list",
        planted_body(
            planted(),
            type="another_type",
            account=_account(account_settings={"apiKey": [API_KEY]}),
        ),
    )
    yield "a subscription", planted_body(planted(), type="audience_subscription_request")
    yield "a connection check", planted_body(user_profiles=None)
    yield "an id over 150 bytes", planted_body(_identified(CUSTOMER_ID * 20))
    yield "an email over 150 bytes", planted_body(planted(email=EMAIL * 20))
    yield (
        "hashed identities",
        planted_body(planted(user_identities=[identity("customer", CUSTOMER_ID, "sha256")])),
    )
    yield "a name over 1000 bytes", planted_body(_attribute(value=FIRST_NAME * 200))


def bodies() -> dict[str, str]:
    """Return every body of the corpus by what it tries, but for those at every place."""
    return dict([*_plain(), *_wrapped(), *_doubled(), *_crowded(), *_large()])


def at(place: str) -> dict[str, str]:
    """Return a body for each raw value, put at a place."""
    return {name: with_raw(place, raw) for name, raw in RAWS.items()}


NOT_FROM_SQS: Final = {
    "NUL": "\0",
    "a control": '{"type": "\x01"',
    "U+FFFE": '{"\ufffe": ',
    "half a surrogate pair": '{"a": "\ud83d',
    "a message with U+FFFF": planted_body(planted(), type="another_type", x="@").replace(
        "@", "\uffff"
    ),
}


def sample_bodies() -> list[str]:
    """Return the bodies of the sample events, as of now."""
    events = Path(__file__).parents[1].glob("events/*.json")
    found = [
        record["body"]
        for event in sorted(events)
        for record in json.loads(event.read_text("utf-8"))["Records"]
    ]
    return [re.sub(r'(timestamp_ms\\*":)\d+', rf"\g<1>{NOW_MS}", text) for text in found]
