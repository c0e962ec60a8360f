"""What must hold of any body whatever, beside good neighbours, from record to fate.

`judge` fails with an AssertionError where it does not; unit tests and the fuzz run both ask it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, Final

from handler.errors import PermanentError
from tests.builders import audience, body, profile
from tests.fuzz.walk import NOT_FOR_SQS, Refusal, Walk
from tests.hostile import API_KEY, PLANTED, SITE_ID

ERROR_TYPES: Final = {error.error_type for error in PermanentError.__subclasses__()}
LONGEST_REASON: Final = 400

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
    may_heal: bool = False,
    good: Sequence[str] = (),
) -> Walk:
    """Send a body between two good ones, and what was set aside once more; return the world.

    `secrets` are to be blanked in what is set aside; `may_heal`: what was wrong may be blanked
    with them. `good` are ids of people in it who are delivered, or set aside with all of it.
    """
    walk = _walk(refusal, answers_400=answers_400)

    ending = walk.invoke([GOOD[0], text, GOOD[1]])

    _check(walk, text, ending.left)
    assert ending.raised is None
    assert all(letter["SourceMessageId"] == "m-1" for letter in map(_attributes, walk.sqs.letters))
    for person in good:
        is_set_aside = any(person in letter["MessageBody"] for letter in walk.sqs.letters)
        assert (person in walk.customerio.people) is not is_set_aside, person
    for letter in walk.sqs.letters:
        assert not [secret for secret in secrets if secret in letter["MessageBody"]]
        if _may_be_healed(text, letter):
            judge(letter["MessageBody"], refusal=refusal, answers_400=answers_400, good=good)
        else:
            _judge_again(letter, refusal, answers_400=answers_400, may_heal=may_heal)
    return walk


def _may_be_healed(text: str, letter: Any) -> bool:
    """Tell whether what could not be read may have been blanked, as the setting it stood for."""
    return _attributes(letter)["ErrorType"] == "MalformedMessage" and letter["MessageBody"] != text


def _judge_again(letter: Any, refusal: Refusal, *, answers_400: bool, may_heal: bool) -> None:
    """Redrive a letter as it is, alone in its world: the same verdict."""
    walk = _walk(refusal, answers_400=answers_400)

    ending = walk.invoke([letter["MessageBody"]])

    assert ending.left == []
    if may_heal and not walk.sqs.letters:
        return
    (again,) = walk.sqs.letters
    if may_heal:  # then its settings are written anew, with other blanks between them
        assert "".join(again["MessageBody"].split()) == "".join(letter["MessageBody"].split())
    else:
        assert again["MessageBody"] == letter["MessageBody"]
    # A body that could not be read for what stood in a secret's place is healed by blanking.
    if letter["MessageAttributes"]["ErrorType"]["StringValue"] != "MalformedMessage":
        assert _verdict(again) == _verdict(letter)


def _verdict(letter: Any) -> tuple[str, str]:
    told = _attributes(letter)
    # Without its secrets a body is shorter.
    return told["ErrorType"], re.sub(r"\(byte \d+\)", "", told["ErrorMessage"])


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
        # Nothing out there was in trouble, so nothing is to be tried again.
        assert (left, walk.sqs.refused, walk.sqs.delayed) == ([], [], [])
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
