"""Model: what must come of a story, in plain Python over what was sent.

It knows nothing of the function: no standings, no batches, no order of arrival.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from handler.domain.change_messages import Change
from tests.chaos.changes import Human, Profile, Sent, audience_name

Person = tuple[str, str]
"""A workspace, and what Customer.io knows somebody by there."""

_Told = tuple[Sent, Profile]

Group = tuple[str, frozenset[str]]
"""A workspace, and all that somebody is ever known by there; two who swap are one group."""

Event = tuple[str, int, str, int]
"""An event's name, its audience's id and name, and its time in Unix seconds."""

EventDifference = tuple[Counter[tuple[Group, Event]], Counter[tuple[Group, Event]]]
"""The events that are missing, and those that are too many."""

Letter = tuple[str, str, int]
"""Something set aside: the message it came in, the error type, the profile's serial or 0."""


def people(sent: Iterable[Sent]) -> dict[Person, dict[str, Any]]:
    """Return the attributes that Customer.io must have of each person, once all is delivered.

    A person is who they are by the newest identity that was sent; an id outranks an email.
    """
    expected: dict[Person, dict[str, Any]] = {}
    sent = list(sent)
    for (site_id, _), told in _by_human(sent).items():
        newest = max(told, key=_rank)
        person = site_id, _name(newest)
        if person in expected:
            message = "two humans with one identifier: the story leaves open what is shown"
            raise ValueError(message)
        expected[person] = _attributes(told, _removals(sent, site_id), has_id=_rank(newest)[0])
    return expected


def former_people(sent: Sequence[Sent]) -> set[Person]:
    """Return who is to be in no audience, or not there: people by identifiers of the past."""
    names = {
        (site_id, _name(one)) for (site_id, _), told in _by_human(sent).items() for one in told
    }
    return names - people(sent).keys()


def memberships(sent: Iterable[Sent]) -> Iterator[tuple[str, Change]]:
    """Yield what was said last of each audience of a person, with the workspace."""
    sent = list(sent)
    for (site_id, _), told in _by_human(sent).items():
        newest = max(told, key=_rank)
        kind = "customer" if _rank(newest)[0] else "email"
        for audience, (at_ms, left) in _newest_words(told, _removals(sent, site_id)).items():
            yield (
                site_id,
                Change(
                    at_ms,
                    audience,
                    audience_name(audience),
                    is_member=not left,
                    identities={kind: _name(newest)},
                    mpid=newest[1].human.mpid,
                ),
            )


def compare_events(
    sent: Sequence[Sent],
    seen: Iterable[tuple[Person, Event]],
    *,
    is_refused: Callable[[Human], bool] = lambda _: False,
    is_late: Callable[[Sent, Human], bool] = lambda _, __: False,
) -> EventDifference:
    """Return how the events that Customer.io took differ from those that are due.

    Each change has one event at most. The newest of an audience has one. Another may have one, as
    it may have been delivered while it was the newest, unless it `is_late`: delivered only after
    all others were kept. Who is refused has none.
    """
    needed: Counter[tuple[Group, Event]] = Counter()
    allowed: Counter[tuple[Group, Event]] = Counter()
    groups: dict[Person, Group] = {}
    sent = list(sent)
    after_erasures = _by_human(sent)
    for key, told in _by_human(sent, before_erasures=True).items():
        site_id, human = key[0], told[0][1].human
        group = site_id, human.aliases
        groups |= {(site_id, alias): group for alias in human.aliases}
        if is_refused(human):
            continue
        removals = _removals(sent, site_id)
        newest_words = _newest_words(after_erasures.get(key, ()), removals)
        newest = {(audience, *word) for audience, word in newest_words.items()}
        words = {
            (audience, *word)
            for each in told
            for audience, word in _words(each)
            if (audience, *word) in newest or not is_late(each[0], human)
        }
        # Whoever entered before a removal may have left by it, and have entered again.
        exits = {
            (audience, at_ms, True)
            for audience, at_ms in removals.items()
            if any(
                audience == entered and word <= (at_ms, False)
                for each in told
                for entered, word in _words(each)
            )
        }
        # A walk goes on without whom Customer.io refuses, and their exit may be sent by no other.
        due = newest - exits if human.refusal else newest
        needed.update((group, _event(*word)) for word in due)
        allowed.update((group, _event(*word)) for word in words | exits)
    taken = Counter((groups.get(who, (who[0], frozenset({who[1]}))), event) for who, event in seen)
    return needed - taken, taken - allowed


def is_cleared(attributes: Mapping[str, Any]) -> bool:
    """Return whether somebody is in no audience, by any attribute."""
    lists = [value for name, value in attributes.items() if name.startswith("SegmentMembership")]
    shown = [value for name, value in attributes.items() if name.startswith("In ")]
    return lists == [""] and True not in shown


def _by_human(
    sent: Iterable[Sent], *, before_erasures: bool = False
) -> dict[tuple[str, int], list[_Told]]:
    """Return what was told of each human in each workspace, after they were last erased."""
    sent = list(sent)
    erased = (
        {} if before_erasures else {one.erases.number: one.at_ms for one in sent if one.erases}
    )
    told: defaultdict[tuple[str, int], list[_Told]] = defaultdict(list)
    for one in sent:
        for profile in one.profiles:
            if not profile.flaw and one.at_ms > erased.get(profile.human.number, 0):
                told[one.account.site_id, profile.human.number].append((one, profile))
    return told


def _rank(told: _Told) -> tuple[bool, int]:
    one, profile = told
    return profile.human.id_at(one.at_ms) is not None, one.at_ms


def _name(told: _Told) -> str:
    one, profile = told
    return profile.human.name(one.at_ms)


def _tells_email(told: _Told) -> bool:
    one, profile = told
    return profile.tells_email or not profile.human.id_at(one.at_ms)


def _tells_names(told: _Told) -> bool:
    return told[1].tells_names


def _attributes(
    told: Sequence[_Told], removals: Mapping[int, int], *, has_id: bool
) -> dict[str, Any]:
    human = told[0][1].human
    words = _newest_words(told, removals)
    shown = {
        audience for each in told for audience, _ in _words(each) if each[0].account.one_attribute
    }
    members = {audience for audience, (_, left) in words.items() if not left}
    attributes: dict[str, Any] = _lists(sorted(members))
    attributes |= {f"In {audience_name(each)}": each in members for each in shown}
    if has_id and (newest := _newest(told, _tells_email)):
        attributes["email"] = human.email(newest)
    if newest := _newest(told, _tells_names):
        attributes |= {k: v for k, v in human.names(newest).items() if v is not None}
    return attributes


_UPDATE = "attribute_update"

_Word = tuple[int, bool]
"""When somebody entered or left an audience, and whether they left."""


def _words(told: _Told) -> Iterable[tuple[int, _Word]]:
    """Return what a profile says of each audience; if twice, the later entry."""
    one, profile = told
    last = {audience: said for audience, said in profile.words if said != _UPDATE}
    return [(audience, (one.at_ms, said == "delete")) for audience, said in last.items()]


def _newest_words(told: Iterable[_Told], removals: Mapping[int, int]) -> dict[int, _Word]:
    """Return the newest word on each audience; of equally new ones, leaving.

    Who entered an audience no later than its removal left it then.
    """
    newest: dict[int, _Word] = {}
    for audience, word in (pair for each in told for pair in _words(each)):
        newest[audience] = max(word, newest.get(audience, word))
    for audience, at_ms in removals.items():
        if audience in newest and newest[audience] <= (at_ms, False):
            newest[audience] = at_ms, True
    return newest


def _removals(sent: Iterable[Sent], site_id: str) -> dict[int, int]:
    """Return when the audiences of a workspace were removed."""
    return {
        one.removes: one.at_ms for one in sent if one.removes and one.account.site_id == site_id
    }


def _event(audience: int, at_ms: int, left: bool) -> Event:  # noqa: FBT001 - a word, unpacked
    name = "Audience Exited" if left else "Audience Entered"
    return name, audience, audience_name(audience), at_ms // 1000


def _newest(told: Sequence[_Told], tells: Callable[[_Told], bool]) -> int:
    return max((each[0].at_ms for each in told if tells(each)), default=0)


def _lists(audiences: Sequence[int]) -> dict[str, str]:
    """Return the ids as one value, or as many as Customer.io's 1,000 bytes ask for."""
    texts = [""]
    for quoted in (f"'{audience}'" for audience in audiences):
        longer = f"{texts[-1]},{quoted}".lstrip(",")
        texts[-1:] = [longer] if len(longer) <= 1000 else [texts[-1], quoted]
    return {
        "SegmentMembership" + (f" {place}" if place > 1 else ""): text
        for place, text in enumerate(texts, 1)
    }


def letters(
    sent: Iterable[tuple[str, Sent]], *, is_refused: Callable[[Human], bool]
) -> Counter[Letter]:
    """Return what must be set aside of messages, given with the ids that SQS gave them."""
    return Counter(
        (message_id, error_type, serial)
        for message_id, one in sent
        for serial, error_type in _fates(one, is_refused)
    )


def _fates(one: Sent, is_refused: Callable[[Human], bool]) -> Iterable[tuple[int, str]]:
    if one.flaw and not one.profiles:
        yield 0, one.flaw
    for serial, profile in enumerate(one.profiles, one.serial):
        refusal = "RejectedByCustomerIo" if is_refused(profile.human) else ""
        if error_type := one.flaw or profile.flaw or refusal:
            yield serial, error_type
