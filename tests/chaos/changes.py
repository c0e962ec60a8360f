"""Changes: some hours of made-up audience changes, from a seed.

What happened to whom is kept beside each message's text, so that model.py can say what must come
of it without reading the text. People have ids and emails of their own, made of the seed, so that
two stories can be told to one stack. A person's email and names are functions of the person and
the time: two values of one millisecond would be settled by arrival, which is a documented limit.

Some people move: they get another identifier in the course of the story, and say all that they
have to say each time, so that Customer.io has all of it under the newest one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from random import Random
from typing import Any, Final

from local.fake_customerio.faults import FaultKind

HUSH: Final = "hush-hush"
"""A secret that messages carry in their account's settings; nothing may repeat it."""

NAMES: Final = ("Ann", "Bo", "Chloé", "Dmitri", "Ève", "Farid", "Grace", "Hana", "李", "Zoë")
SETTING: Final = "Create One User Attribute per Segment"


@dataclass(frozen=True, slots=True)
class Account:
    """An mParticle account; each feeds one workspace, and has audiences of its own."""

    id: int
    site_id: str
    one_attribute: bool
    audiences: range


ACCOUNTS: Final = (
    Account(7001, "chaos-a", one_attribute=False, audiences=range(11034, 11042)),
    Account(7002, "chaos-a", one_attribute=True, audiences=range(22001, 22007)),
    Account(7003, "chaos-b", one_attribute=True, audiences=range(33001, 33008)),
    Account(7004, "chaos-b", one_attribute=False, audiences=range(44001, 44009)),
)


def stranger(seed: int) -> Account:
    """Return the account that the secret does not know until it is mended.

    Each story has another one, as the function remembers for five minutes what the secret knew.
    """
    return Account(8000 + seed, "chaos-b", one_attribute=True, audiences=range(79001, 79004))


SPAN_MS: Final = 5 * 3600 * 1000
"""From the first change of a story to the last, without the news."""

PHASES: Final = 3
"""Identities of somebody who moves, each for an equal part of the story."""

CROWD: Final = range(5_000_001, 5_000_301)
"""Audiences of the first account, too many for one value of Customer.io's."""


def removed_audience(seed: int) -> int:
    """Return the audience of the last account that mParticle removes in the middle of a story.

    Each story has another one, as a removal lasts. People only enter it: if somebody also left,
    the time at which they left would depend on the order of arrival.
    """
    return 44_900 + seed


@dataclass(frozen=True, slots=True)
class Identity:
    """What somebody goes by from a time on: the id, or the email if there is no id."""

    since_ms: int
    customer_id: str | None
    email: str


@dataclass(frozen=True, slots=True)
class Human:
    """Somebody; the same in every workspace. `moves` has who moves, oldest identity first."""

    number: int
    mpid: int | None
    customer_id: str | None
    mailbox: str
    refusal: FaultKind | None = None
    moves: tuple[Identity, ...] = ()

    @property
    def is_erased(self) -> bool:
        """Whether mParticle asks to erase them, if they stay."""
        return self.number % 10 == 3 and not self.refusal

    @property
    def aliases(self) -> frozenset[str]:
        """What Customer.io ever knows them by; two who swap have the same."""
        return frozenset({one.customer_id or one.email for one in self.moves} or {self.name()})

    def name(self, at_ms: int = 0) -> str:
        """Return what Customer.io knows them by who go by their identity of a time."""
        return self.id_at(at_ms) or self.email(at_ms)

    @property
    def has_ids(self) -> bool:
        """Whether they ever have a customer id."""
        return bool(self.customer_id or any(identity.customer_id for identity in self.moves))

    def id_at(self, at_ms: int) -> str | None:
        """Return their customer id of a time."""
        return self._identity(at_ms).customer_id if self.moves else self.customer_id

    def email(self, at_ms: int) -> str:
        """Return their email of a time; who stays and has no id is known by the only one."""
        if self.moves:
            return self._identity(at_ms).email
        kept = at_ms % 3 if self.customer_id else 0
        return f"{self.mailbox}.{kept}@example.com"

    def _identity(self, at_ms: int) -> Identity:
        first = self.moves[0]
        return max((m for m in self.moves if m.since_ms <= at_ms), key=_since, default=first)

    def names(self, at_ms: int) -> dict[str, str | None]:
        """Return their names of a time; None has it cleared."""
        first = NAMES[(self.number + at_ms) % len(NAMES)]
        return {"first_name": first, "last_name": None if at_ms % 5 == 0 else f"{first}sson"}


def _since(identity: Identity) -> int:
    return identity.since_ms


@dataclass(frozen=True, slots=True)
class Profile:
    """What one profile of a message says; `flaw` is the error type that it must end in."""

    human: Human
    words: tuple[tuple[int, str], ...]
    tells_email: bool
    tells_names: bool
    flaw: str = ""


@dataclass(frozen=True, slots=True)
class Sent:
    """One message; `flaw` is the error type that all of it must end in. `erases` is who is erased
    by it.

    Its profiles have serial numbers, from `serial`, in a field that the function does not know.
    `removes`: the audience that it says mParticle removed.
    """

    account: Account
    at_ms: int
    profiles: tuple[Profile, ...]
    serial: int
    text: str
    flaw: str = ""
    erases: Human | None = None
    removes: int = 0


@dataclass(slots=True)
class Story:
    """All that happens, in the order of arrival, and then some news that is newer than all."""

    humans: Sequence[Human]
    stranger: Account
    sent: list[Sent] = field(default_factory=list)
    news: list[Sent] = field(default_factory=list)

    @property
    def changes(self) -> int:
        """How many words on an audience were sent."""
        return sum(len(p.words) for one in [*self.sent, *self.news] for p in one.profiles)


def story(seed: int, *, people: int, messages: int, now: float, removals: int = 0) -> Story:
    """Return the story of a seed: about so many messages, before `now` in Unix seconds.

    mParticle removes an audience, with so many messages that say so.
    """
    start = int(now * 1000) - 6 * 3600 * 1000
    teller = _Teller(Random(seed), seed, people, start)
    # Fewer times than messages, so that many messages share a millisecond.
    times = [start + teller.chance.randrange(SPAN_MS) for _ in range(messages // 3)]
    told: list[Sent] = []
    for _ in range(messages):
        account = teller.chance.choice(ACCOUNTS)
        at_ms = teller.chance.choice(times)
        told.append(teller.message(account, at_ms))
        if teller.chance.random() < 0.1:
            told.append(teller.contradiction(told[-1]))
    told += [teller.regrouped(*teller.chance.sample(told, 1)) for _ in range(messages // 10)]
    told += [teller.merged(pair) for pair in _pairs(told)]
    told += [teller.crowded(at_ms) for at_ms in times[: max(3, people // 50)]]
    told += [teller.message(teller.stranger, at_ms) for at_ms in times[: max(2, messages // 30)]]
    told += [teller.poison(place, at_ms) for place, at_ms in enumerate(times[: 7 + people // 30])]
    told += [teller.entry(at_ms) for at_ms in times[: max(8, messages // 20)]]
    told += [teller.removal(start + SPAN_MS // 2)] * removals
    moves = teller.moves(messages)
    told += [teller.regrouped(one) for one in moves[::4]]
    told += [teller.contradiction(one) for one in moves[1::4]]
    told += teller.chance.choices([*told, *moves], k=messages // 10)  # Delivered twice.
    teller.chance.shuffle(told)
    told = teller.mixed(told, moves)
    late = start + SPAN_MS + 60_000
    for one in teller.erasures(late - 1):
        told.insert(teller.chance.randrange(len(told) + 1), one)
    affected = {
        profile.human.number: profile.human
        for one in told
        for profile in one.profiles
        if profile.human.refusal or one.account is teller.stranger
    }
    news = [teller.news(human, late + number) for number, human in affected.items()]
    movers = [human for group in teller.movers for human in group]
    return Story([*teller.humans, *movers], teller.stranger, told, news)


def _pairs(told: Sequence[Sent]) -> list[tuple[Sent, Sent]]:
    """Return messages that could have been one: of one account and time."""
    first: dict[tuple[int, int], Sent] = {}
    return [
        (first[key], one)
        for one in told
        if (key := (one.account.id, one.at_ms)) in first or first.setdefault(key, one) is not one
    ][::3]


class _Teller:
    def __init__(self, chance: Random, seed: int, people: int, start_ms: int) -> None:
        self.chance = chance
        self.start_ms = start_ms
        self.serials = count(1)
        self.stranger = stranger(seed)
        self.removed_id = removed_audience(seed)
        self.humans = [self._human(seed, number, people) for number in range(people)]
        self.movers = [self._group(seed, number) for number in range(people // 12)]

    def _human(self, seed: int, number: int, people: int) -> Human:
        name = f"chaos-{seed}-{number}-{self.chance.getrandbits(24):06x}"
        has_id = number % 4 != 0
        has_mpid = number % 3 != 0
        # One in fifty of each kind of refusal, and at least one.
        refusal = {5: FaultKind.REFUSE, 6: FaultKind.REFUSE_BATCH}.get(
            number % max(8, people // 4)
        )
        return Human(
            number=number,
            mpid=self.chance.randrange(-(2**63), 2**63) if has_mpid else None,
            customer_id=name if has_id else None,
            mailbox=name,
            refusal=refusal,
        )

    def _group(self, seed: int, number: int) -> tuple[Human, ...]:
        """Return somebody who moves, or two who swap: five kinds by turns."""
        name = f"chaos-{seed}-mover-{number}-{self.chance.getrandbits(24):06x}"
        a, b, c = (f"{name}.{letter}@example.com" for letter in "abc")
        kinds: list[list[list[tuple[str | None, str]]]] = [
            [[(None, a), (None, b), (None, c)]],
            [[(None, a), (None, b), (f"{name}-1", b)]],
            [[(f"{name}-1", a), (f"{name}-2", a), (f"{name}-3", a)]],
            [[(None, a), (None, b), (None, b)], [(None, b), (None, a), (None, a)]],
            [[(None, a), (None, b), (None, a)]],
        ]
        return tuple(
            Human(
                number=100_000 + 10 * number + place,
                mpid=self.chance.randrange(-(2**63), 2**63),
                customer_id=None,
                mailbox=name,
                moves=tuple(
                    Identity(self.start_ms + phase * SPAN_MS // PHASES, *identity)
                    for phase, identity in enumerate(identities)
                ),
            )
            for place, identities in enumerate(kinds[number % len(kinds)])
        )

    def moves(self, messages: int) -> list[Sent]:
        """Return messages of who moves, oldest first.

        Two who swap are in the same messages, or both might go by one identity at the end. The
        names of audiences are not kept, so whoever has an attribute per audience names all of
        them each time, and no other account of the workspace names them.
        """
        told: list[Sent] = []
        count = max(2, messages // 40)
        for phase in range(PHASES):
            for account in ACCOUNTS:
                groups = [
                    group
                    for number, group in enumerate(self.movers)
                    if bool(number % 2) is account.one_attribute
                ]
                for _ in range(count):
                    at_ms = self.start_ms + int((phase + self.chance.random()) * SPAN_MS / PHASES)
                    some = self.chance.sample(groups, self.chance.randint(1, min(5, len(groups))))
                    humans = [human for group in some for human in group]
                    profiles = [self._full_profile(account, human) for human in humans]
                    told.append(self.sent(account, at_ms, profiles))
        return sorted(told, key=lambda one: one.at_ms)

    def _full_profile(self, account: Account, human: Human) -> Profile:
        audiences: Sequence[int] = account.audiences
        if not account.one_attribute:
            audiences = self.chance.sample(audiences, self.chance.randint(1, 4))
        words = tuple((audience, self.chance.choice(["add", "delete"])) for audience in audiences)
        # Of several ids, each is a person of its own: an email can belong to one of them only.
        tells_email = not human.moves[0].customer_id and self.chance.random() < 0.5
        return Profile(human, words, tells_email, tells_names=True)

    def mixed(self, told: Sequence[Sent], moves: Sequence[Sent]) -> list[Sent]:
        """Return both in their orders, mixed at random."""
        rest, moving = iter(told), iter(moves)
        of_moves = [True] * len(moves) + [False] * len(told)
        self.chance.shuffle(of_moves)
        return [next(moving if is_move else rest) for is_move in of_moves]

    def message(self, account: Account, at_ms: int) -> Sent:
        """Return a message of some people, of whom some profiles have a flaw."""
        humans = self.chance.sample(self.humans, self.chance.randint(1, 9))
        return self.sent(account, at_ms, [self._profile(account, human) for human in humans])

    def sent(self, account: Account, at_ms: int, profiles: Sequence[Profile]) -> Sent:
        serial = next(self.serials)
        for _ in profiles[1:]:
            next(self.serials)
        content = {
            "type": "audience_membership_change_request",
            "id": f"message-{serial}",
            "timestamp_ms": self._number(at_ms),
            "account": {"account_id": self._number(account.id), "account_settings": _of(account)},
            "user_profiles": [
                self._written(profile, at_ms, serial + place)
                for place, profile in enumerate(profiles)
            ],
        }
        text = json.dumps(content, ensure_ascii=self.chance.random() < 0.5)
        if self.chance.random() < 0.1:
            text = json.dumps({"Type": "Notification", "MessageId": "n-1", "Message": text})
        flaw = "UnknownAccount" if account is self.stranger else ""
        return Sent(account, at_ms, tuple(profiles), serial, text, flaw)

    def contradiction(self, one: Sent) -> Sent:
        """Return a message of the same millisecond that says the opposite."""
        opposite = {"add": "delete", "delete": "add", "attribute_update": "attribute_update"}
        return self.sent(
            one.account,
            one.at_ms,
            [
                replace(profile, words=tuple((a, opposite[said]) for a, said in profile.words))
                for profile in one.profiles
            ],
        )

    def regrouped(self, one: Sent) -> Sent:
        """Return a part of a message's profiles, in another order, as a message of its own."""
        kept = self.chance.sample(one.profiles, self.chance.randint(1, len(one.profiles)))
        return self.sent(one.account, one.at_ms, kept)

    def merged(self, pair: tuple[Sent, Sent]) -> Sent:
        """Return the profiles of two messages as one."""
        profiles = [profile for one in pair for profile in one.profiles]
        return self.sent(pair[0].account, pair[0].at_ms, profiles)

    def crowded(self, at_ms: int) -> Sent:
        """Return a message of one person entering, or leaving, far more audiences than others."""
        few = self.humans[: max(3, len(self.humans) // 100)]
        human = self.chance.choice([*few, *self.movers[0]])
        said = self.chance.choice(["add", "add", "delete"])
        audiences = self.chance.sample(CROWD, self.chance.randint(100, 290))
        words = tuple((audience, said) for audience in audiences)
        profile = Profile(human, words, tells_email=False, tells_names=bool(human.moves))
        return self.sent(ACCOUNTS[0], at_ms, [profile])

    def entry(self, at_ms: int) -> Sent:
        """Return a message of some people who enter the audience that is removed."""
        staying = [human for human in self.humans if not human.is_erased]
        humans = self.chance.sample(staying, self.chance.randint(1, 5))
        words = ((self.removed_id, "add"),)
        profiles = [Profile(human, words, False, False) for human in humans]  # noqa: FBT003
        return self.sent(ACCOUNTS[-1], at_ms, profiles)

    def removal(self, at_ms: int) -> Sent:
        """Return a message that mParticle removed an audience."""
        account = ACCOUNTS[-1]
        content = {
            "type": "audience_subscription_request",
            "timestamp_ms": at_ms,
            "account": {"account_id": account.id, "account_settings": _of(account)},
            "audience_id": self.removed_id,
            "audience_name": audience_name(self.removed_id),
            "action": "remove",
        }
        return Sent(account, at_ms, (), 0, json.dumps(content), removes=self.removed_id)

    def news(self, human: Human, at_ms: int) -> Sent:
        """Return a message that turns one audience of each account's workspace around."""
        account = self.chance.choice(ACCOUNTS)
        words = ((self.chance.choice(account.audiences), self.chance.choice(["add", "delete"])),)
        return self.sent(account, at_ms, [Profile(human, words, True, True)])  # noqa: FBT003

    def erasures(self, at_ms: int) -> list[Sent]:
        """Return requests to erase some people who stay, some of the requests twice.

        What they say before is all older, and what they say in the news is newer.
        """
        humans = [human for human in self.humans if human.is_erased]
        requests = [self._erasure(human, at_ms) for human in humans]
        return [*requests, *requests[::2]]

    def _erasure(self, human: Human, at_ms: int) -> Sent:
        kind = "controller_customer_id" if human.has_ids else "email"
        content = {
            "type": "dsr_processing_request",
            "id": f"erasure-{human.number}",
            "timestamp_ms": self._number(at_ms),
            "subject_request_id": f"request-{human.number}",
            "subject_request_type": "erasure",
            "subject_identities": {kind: {"encoding": "raw", "value": human.name()}},
        }
        return Sent(ACCOUNTS[0], at_ms, (), 0, json.dumps(content), erases=human)

    def poison(self, place: int, at_ms: int) -> Sent:
        """Return a message that is none, or none for the function: seven kinds by turns."""
        good = self.message(ACCOUNTS[0], at_ms).text
        change = {"type": "audience_membership_change_request"}
        unsupported = {"type": "batch", "timestamp_ms": at_ms}
        subscription = {"type": "audience_subscription_request", "timestamp_ms": at_ms}
        connection_check = change | {"timestamp_ms": at_ms, "user_profiles": []}
        text, flaw = [
            (f"poison {next(self.serials)}", "MalformedMessage"),
            # What is no JSON stays as it came in the DLQ, so it must not hold the secret.
            (good[: len(good) // 2].replace(HUSH, ""), "MalformedMessage"),
            ("[]", "MalformedMessage"),
            (json.dumps(change), "MalformedMessage"),
            (json.dumps(unsupported), "UnsupportedMessage"),
            (json.dumps(subscription), ""),
            (json.dumps(connection_check), ""),
        ][place % 7]
        return Sent(ACCOUNTS[0], at_ms, (), 0, text, flaw)

    def _profile(self, account: Account, human: Human) -> Profile:
        audiences = self.chance.choices(account.audiences, k=self.chance.randint(1, 4))
        said = ["add", "add", "delete", "delete", "attribute_update"]
        flaws = ["NoIdentity", "MalformedProfile", "InvalidIdentity"]
        return Profile(
            human,
            tuple((audience, self.chance.choice(said)) for audience in audiences),
            tells_email=self.chance.random() < 0.6,
            tells_names=self.chance.random() < 0.3,
            flaw=self.chance.choice(flaws) if self.chance.random() < 0.02 else "",
        )

    def _written(self, profile: Profile, at_ms: int, serial: int) -> dict[str, Any]:
        human = profile.human
        identities = []
        if customer_id := human.id_at(at_ms):
            value = f" {customer_id} " if serial % 7 == 0 else customer_id
            identities.append({"type": "customer", "encoding": "raw", "value": value})
        if profile.tells_email or not customer_id:
            value = human.email(at_ms)
            if not human.has_ids and serial % 5 == 0:
                value = value.upper()
            identities.append({"type": "email", "encoding": "raw", "value": value})
        audiences = [self._audience(*word) for word in profile.words]
        if profile.tells_names:
            audiences[0]["user_attributes"] = _user_attributes(human.names(at_ms))
        match profile.flaw:
            case "NoIdentity":
                identities = [one | {"encoding": "sha256"} for one in identities]
            case "InvalidIdentity":
                identities = [one | {"value": "é" * 76} for one in identities]
            case "MalformedProfile":
                audiences[-1]["audience_id"] = "sixteen"
        written = {"serial": serial, "user_identities": identities, "audiences": audiences}
        return written if human.mpid is None else written | {"mpid": self._number(human.mpid)}

    def _audience(self, audience: int, action: str) -> dict[str, Any]:
        return {
            "audience_id": self._number(audience),
            "audience_name": audience_name(audience),
            "action": action,
        }

    def _number(self, value: int) -> int | str:
        return str(value) if self.chance.random() < 0.3 else value


def audience_name(audience: int) -> str:
    """Return what an audience is called."""
    return f"Audience nº {audience}"


def _of(account: Account) -> dict[str, str]:
    settings = {SETTING: "True"} if account.one_attribute else {}
    return settings | {"Api Key": HUSH}


def _user_attributes(names: dict[str, str | None]) -> list[dict[str, str]]:
    keys = {"first_name": "$FirstName", "last_name": "$lastname"}
    return [
        {"key": keys[name], "action": "delete"}
        if value is None
        else {"key": keys[name], "action": "upsert", "value": value}
        for name, value in names.items()
    ] + [{}]
