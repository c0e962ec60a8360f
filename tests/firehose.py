"""mParticle's requests to a partner, and the shapes that it expects of the answers.

Of the shapes a dict is an object: its keys are all it may have, those with "?" optional. A set is
the values allowed, a list with one shape any number of that, a type a value of it, and a compiled
pattern a text that matches.
"""

import json
import re
from typing import Any

from tests.builders import NOW_MS, body, erasure

REGISTRATION = {"type": "module_registration_request", "id": "r", "timestamp_ms": NOW_MS}
SUBSCRIPTION = {
    "type": "audience_subscription_request",
    "id": "s",
    "timestamp_ms": NOW_MS,
    "firehose_version": "3.1.0",
    "account": {"account_id": 1001, "account_settings": {"apiKey": "hush", "Colour": "red"}},
    "audience_id": 7,
    "action": "add",
}
ERASURE: dict[str, Any] = json.loads(erasure())


def change(*profiles: Any, **fields: Any) -> dict[str, Any]:
    """Return a request with changes of audience memberships."""
    request: dict[str, Any] = json.loads(body(*profiles, **fields))
    return request


UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
ENCODINGS = {"raw", "md5", "sha1", "sha256"}
USER_IDENTITIES = {
    *("customer", "email", "facebook", "google", "microsoft", "mobile_number", "other"),
    *("phone_number_2", "phone_number_3", "twitter", "yahoo"),
    *(f"other{number}" for number in range(2, 11)),
}
SETTING = {
    "type": {"boolean"},  # as are all that are registered; the others have other fields
    "id": str,
    "name": str,
    "description?": str,
    **dict.fromkeys(["visible?", "default_value?", "checked?"], bool),
}
HEAD = {"id": UUID, "timestamp_ms": int, "firehose_version": str}

SHAPES: dict[str, Any] = {
    "module_registration_response": {
        **HEAD,
        "type": {"module_registration_response"},
        "name": str,
        "version": str,
        "description?": str,
        "sdk_version?": str,
        "permissions?": {
            "user_identities?": [
                {"type": USER_IDENTITIES, "encoding": ENCODINGS, "required?": bool}
            ],
            "allow_access_mpid?": bool,
            "allow_audience_user_attributes?": bool,
        },
        "audience_processing_registration?": {
            "account_settings?": [SETTING],
            "audience_subscription_settings?": [SETTING],
        },
        "dsr_processing_registration?": {
            "account_settings?": [SETTING],
            "supported_dsr_types?": [{"erasure"}],
            "domain?": str,
        },
    },
    "audience_membership_change_response": {
        **HEAD,
        "type": {"audience_membership_change_response"},
        "suspend_subscription?": bool,
    },
    "dsr_processing_response": {**HEAD, "type": {"dsr_processing_response"}},
    "audience_subscription_response": {
        **HEAD,
        "type": {"audience_subscription_response"},
        "audience_subscription_settings?": dict,
    },
}


def misfits(value: Any, shape: Any, path: str = "$") -> list[str]:
    """Return where a value does not fit a shape; empty for one that does."""
    match shape:
        case dict():
            if not isinstance(value, dict):
                return [f"{path}: no object"]
            known = {name.removesuffix("?"): inner for name, inner in shape.items()}
            missing = [name for name in shape if not name.endswith("?") and name not in value]
            return [
                *(f"{path}: no {name}" for name in missing),
                *(f"{path}: unknown {name}" for name in value.keys() - known),
                *(
                    one
                    for name in value.keys() & known
                    for one in misfits(value[name], known[name], f"{path}.{name}")
                ),
            ]
        case [inner]:
            if not isinstance(value, list):
                return [f"{path}: no array"]
            listed = enumerate(value)
            return [one for n, item in listed for one in misfits(item, inner, f"{path}[{n}]")]
        case set():
            fits = value in shape
        case re.Pattern():
            fits = isinstance(value, str) and shape.fullmatch(value) is not None
        case _:
            # In JSON, true is no number.
            fits = isinstance(value, shape) and not (shape is int and isinstance(value, bool))
    return [] if fits else [f"{path}: {value!r}"]
