"""What must hold of any body whatever, beside good neighbours, from record to outcome.

`judge` fails with an AssertionError where it does not; unit tests and the fuzz run both ask it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, Final

from handler.errors import PermanentError
from tests.builders import audience, body, profile
from tests.fuzz.walk import Walk
from tests.hostile import API_KEY, PLANTED, SITE_ID
from tests.stand_ins.aws import NOT_FOR_SQS
from tests.stand_ins.customerio import Refusal

ERROR_TYPES: Final = {error.error_type for error in PermanentError.__subclasses__()}
LONGEST_REASON: Final = 400
DONE_TWICE: Final = "UnconfirmedErasureError: an erasure is done twice"

GOOD: Final = [
    body(profile(audience(21), mpid=9001, customer_id="before")),
    body(profile(audience(22), mpid=9002, customer_id="after")),
]


def judge(
    text: str,
    *,
    refusal: Refusal = lambda _: None,
    answers_400: bool = False,
    secrets: tuple[str, ...] = (),
    good: Sequence[str] = (),
) -> Walk:
    """Send a body between two good ones, and what was set aside once more; return the world.

    `secrets` must not travel with what is set aside, unless that is no JSON object and stays as
    it came. `good` are ids of people in it who are delivered, or set aside with all of it.
    """
    walk = _walk(refusal, answers_400=answers_400)

    ending = walk.invoke([GOOD[0], text, GOOD[1]])

    _check(walk, text, ending.left)
    assert ending.raised is None
    assert all(letter["SourceMessageId"] == "m-1" for letter in map(_attributes, walk.sqs.letters))
    for person in good:
        naming = [one for one in walk.sqs.letters if person in one["MessageBody"]]
        # Of a join that is too old to count, the person is delivered all the same.
        is_too_old = any(_attributes(letter)["ErrorType"] == "TooOld" for letter in naming)
        assert (person in walk.customerio.people) is (is_too_old or not naming), person
    for letter in walk.sqs.letters:
        if is_read_by_json(letter["MessageBody"], as_a=dict):
            assert not [secret for secret in secrets if secret in letter["MessageBody"]]
        _judge_again(letter, refusal, answers_400=answers_400)
    return walk


def is_read_by_json(text: str, *, as_a: type = object) -> bool:
    """Tell whether `json`, which reads more than the standard allows, reads a text as a type."""
    try:
        return isinstance(json.loads(text), as_a)
    except (ValueError, RecursionError):
        return False


def _judge_again(letter: Any, refusal: Refusal, *, answers_400: bool) -> None:
    """Redrive a letter as it is, alone in its world: the same verdict."""
    walk = _walk(refusal, answers_400=answers_400)

    ending = walk.invoke([letter["MessageBody"]])

    assert ending.left == []
    if _attributes(letter)["ErrorMessage"].endswith("other reasons"):
        # Its profiles are sorted by their reasons anew.
        assert sum(map(_profiles, walk.sqs.letters)) == _profiles(letter)
        return
    (again,) = walk.sqs.letters
    assert again["MessageBody"] == letter["MessageBody"]
    assert _verdict(again) == _verdict(letter)


def _profiles(letter: Any) -> int:
    return len(json.loads(letter["MessageBody"])["user_profiles"])


def _verdict(letter: Any) -> tuple[str, str]:
    told = _attributes(letter)
    # The reason of a whole message may name what was too long to travel, or a place that moved.
    is_whole = told["ErrorType"] in {"MalformedMessage", "UnsupportedMessage"}
    return told["ErrorType"], "" if is_whole else told["ErrorMessage"]


def _walk(refusal: Refusal, *, answers_400: bool) -> Walk:
    walk = Walk()
    walk.customerio.refusal = refusal
    walk.customerio.answers_400 = answers_400
    return walk


def _check(walk: Walk, text: str, left: list[str]) -> None:
    people = walk.customerio.people
    assert people["before"]["SegmentMembership"] == "'21'"
    assert people["after"]["SegmentMembership"] == "'22'"
    if NOT_FOR_SQS.search(text) is None:
        # Nothing out there was in trouble, so nothing is to be tried again, but an erasure.
        assert (left, walk.sqs.refused, walk.sqs.delayed) == ([], [], [])
        for message in walk.sqs.retried:
            assert message["MessageBody"] == text
            assert _attributes(message)["RetryReason"] == DONE_TWICE
    for letter in walk.sqs.letters:
        check_letter(letter)
    assert '"message":"unexpected_error"' not in walk.written
    check_privacy(walk)


def check_letter(letter: Any) -> None:
    """Fail where a letter's attributes do not say why, in a few printable words."""
    told = _attributes(letter)
    assert set(told) == {"ErrorType", "ErrorMessage", "SourceMessageId"}
    assert told["ErrorType"] in ERROR_TYPES
    assert told["ErrorMessage"].strip()
    assert told["ErrorMessage"].isprintable()
    assert len(told["ErrorMessage"]) <= LONGEST_REASON


def check_privacy(walk: Walk) -> None:
    """Fail where a planted value was shown."""
    shown = walk.written + json.dumps(
        [_attributes(one) for one in walk.sqs.letters], ensure_ascii=False
    )
    assert SITE_ID not in shown
    assert API_KEY not in shown
    # What looks like one of mParticle's types is told, whatever it is.
    folded = re.sub(r"\$\.type: [A-Za-z0-9._-]+", "", shown).casefold()
    found = [value for value in PLANTED if value.casefold() in folded]
    assert not found, found


def _attributes(letter: Any) -> dict[str, str]:
    return {name: value["StringValue"] for name, value in letter["MessageAttributes"].items()}
