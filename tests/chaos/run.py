"""Run: one story told to the deployed stack while everything goes wrong, and what came of it.

Waves of messages go in at the queue, each with a trouble at the fake Customer.io. When the queue
is empty, what the fake holds and what was set aside is compared with the model. Then the causes
that can be mended are mended, newer changes are sent, and after them what was set aside goes back
to the queue as it is; and all is compared once more.
"""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from local.events import SetAside
from local.fake_customerio.faults import Fault, FaultKind, PlannedFault
from local.fake_customerio.people import EventRecord, PersonRecord
from local.fake_customerio.process import FakeCustomerio
from local.stack import API_KEY, SECRET_ENTRIES, SITE_ID, Stack
from tests.chaos import drift, model
from tests.chaos.changes import ACCOUNTS, HUSH, Account, Human, Sent, Story, story
from tests.stand_ins import relay

SECRET: Final = "customerio/credentials"
SECONDS_TO_DRAIN: Final = 480.0
QUICKER: Final = 100
"""By how much the delays that the function asks SQS for are divided. The function asks for what it
always asks for, and a relay between the two changes it."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much happens. `slow_s`: how long the fake keeps somebody waiting who gives up first;
    `often`: how many times over each thing goes wrong.
    """

    people: int
    messages: int
    outage_s: float
    slow_s: float
    often: int
    timeout_s: int
    """The deployed function's timeout."""


FULL: Final = Size(people=300, messages=330, outage_s=60, slow_s=22, often=2, timeout_s=60)
SMALL: Final = Size(people=60, messages=60, outage_s=3, slow_s=8, often=1, timeout_s=24)


@dataclass(slots=True)
class Figures:
    """What one run came to. Lost, stale, surplus and drift are to be 0, and `findings` empty.

    Stale are also people who are in an audience under an identifier of the past. Lost or surplus
    may be people, letters and events.
    """

    seed: int
    messages: int = 0
    changes: int = 0
    people: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    retries: int = 0
    """Messages moved to the retry queue or left on a queue, each time."""
    conflicts: int = 0
    """Writes that lost a race, and people who were written while they were posted."""
    set_aside: Counter[str] = field(default_factory=Counter)
    redriven: int = 0
    events: int = 0
    """Events that Customer.io took; it drops doubles by their id."""
    lost: int = 0
    stale: int = 0
    surplus: int = 0
    drift: int = 0
    """Memberships in which the table differs from all that was sent."""
    seconds: float = 0.0
    findings: list[str] = field(default_factory=list)


class Chaos:
    """A stack made ready by `prepared`."""

    def __init__(self, stack: Stack, size: Size, relayed: relay.Relay) -> None:
        """Keep what a run needs."""
        self.stack = stack
        self.size = size
        self.relay = relayed
        self._faults: Counter[str] = Counter()

    def run(self, seed: int) -> Figures:
        """Tell the story of a seed and return what came of it."""
        started = time.monotonic()
        logged = self.stack.emulator.log.stat().st_size
        size, stack = self.size, self.stack
        told = story(seed, people=size.people, messages=size.messages, now=time.time(), removals=2)
        figures = Figures(seed, changes=told.changes, people=size.people)
        self._faults = figures.faults
        self._restart(seed)
        open_up(stack, API_KEY, ACCOUNTS)
        stack.customerio.reset()
        stack.take_set_aside()
        self.relay.calls.clear()

        sent = self._tell(told, refusals(told), Random(seed))
        letters = stack.take_set_aside()
        known = [one for _, one in sent if one.account is not told.stranger]

        def is_refused(human: Human) -> bool:
            return human.refusal is not None

        # Whoever is refused is not there at all.
        refused = {human.name() for human in told.humans if is_refused(human)}
        expected = {who: it for who, it in model.people(known).items() if who[1] not in refused}
        compare_people(figures, stack.customerio, expected, model.former_people(known))
        _compare_events(
            figures, model.compare_events(known, self._events(), is_refused=is_refused)
        )
        compare_letters(figures, letters, model.letters(sent, is_refused=is_refused))
        for letter in letters:
            figures.set_aside[letter.error_type] += 1

        self._replan()
        open_up(stack, f"another-{seed}", [*ACCOUNTS, told.stranger])
        stack.customerio.rotate(dict.fromkeys(_sites(), f"another-{seed}"))
        news = self._send(told.news)
        self._drain()
        mended = [
            letter
            for letter in letters
            if letter.error_type in {"RejectedByCustomerIo", "UnknownAccount"}
        ]
        redriven = self._redrive(mended)
        figures.redriven = len(mended)
        everything = [one for _, one in [*sent, *news]]
        compare_people(
            figures, stack.customerio, model.people(everything), model.former_people(everything)
        )

        def is_late(one: Sent, human: Human) -> bool:
            return is_refused(human) and one.account is not told.stranger

        taken = self._events()
        figures.events = len(taken)
        _compare_events(figures, model.compare_events(everything, taken, is_late=is_late))
        compare_letters(
            figures, stack.take_set_aside(), refused_again(redriven, mended, everything)
        )

        figures.drift = drift.of(stack, everything)
        if figures.drift:
            figures.findings.append(f"the table differs in {figures.drift} memberships")
        figures.messages = len(sent) + len(news) + len(redriven)
        figures.requests = len(stack.customerio.requests())
        figures.retries = sum(
            len(call.content["Entries"])
            for call in self.relay.calls
            if call.name in _DELAYS and call.status == 200
        )
        with stack.emulator.log.open("rb") as log:
            log.seek(logged)
            figures.conflicts = sum(int(found) for found in _CONFLICTS.findall(log.read()))
        figures.seconds = time.monotonic() - started
        return figures

    def _restart(self, seed: int) -> None:
        """Give the function new environments, without the pauses from another seed's faults."""
        functions, name = self.stack.functions, self.stack.function_name
        deployed = functions.get_function_configuration(FunctionName=name)
        variables = deployed["Environment"]["Variables"] | {"SEED": str(seed)}
        functions.update_function_configuration(
            FunctionName=name, Environment={"Variables": variables}
        )

    def wait_for_a_retry(self) -> None:
        """Wait until the function moves a message to the retry queue, or leaves it on a queue."""
        before = len(self.relay.calls)
        wait_until(lambda: any(call.name in _DELAYS for call in self.relay.calls[before:]))

    def _tell(
        self, told: Story, refusals: Sequence[Fault], chance: Random
    ) -> list[tuple[str, Sent]]:
        planned: list[Fault | None] = [*troubles(self.size), None, _OUTAGE]
        chance.shuffle(planned)
        wave = -(-len(told.sent) // len(planned))
        sent: list[tuple[str, Sent]] = []
        for place, fault in enumerate(planned):
            messages = told.sent[place * wave : (place + 1) * wave]
            if fault is None:
                sent += self._rotate(messages)
                continue
            self._replan(fault, *refusals)
            sent += self._send(messages)
            if fault is _OUTAGE:
                time.sleep(self.size.outage_s)  # It lasts so long.
                # The function may pause all that time, for the faults before.
                wait_until(self._is_noticed)
            else:
                wait_until(lambda: self._is_spent() or not self.stack.waiting())
        self._replan(*refusals)
        self._drain()
        return sent

    def _rotate(self, messages: Sequence[Sent]) -> list[tuple[str, Sent]]:
        """Have Customer.io refuse the credentials until the secret is rotated too."""
        fake = self.stack.customerio
        fake.rotate(dict.fromkeys(_sites(), "rotated"))
        sent = self._send(messages)
        wait_until(lambda: self._refused() >= 3 * self.size.often or not self.stack.waiting())
        self._faults["401 until rotated"] += self._refused()
        open_up(self.stack, "rotated", ACCOUNTS)
        return sent

    def _refused(self) -> int:
        return sum(request.status == 401 for request in self.stack.customerio.requests())

    def _redrive(self, letters: Sequence[SetAside]) -> list[str]:
        """Send letters back as they are, into a little more trouble."""
        self._replan(
            Fault(FaultKind.STATUS, status=503, times=3), Fault(FaultKind.DROP_AFTER, times=3)
        )
        ids = self._send_texts([letter.body for letter in letters])
        self._drain()
        self._replan()
        return ids

    def _send(self, messages: Sequence[Sent]) -> list[tuple[str, Sent]]:
        ids = self._send_texts([one.text for one in messages])
        return list(zip(ids, messages, strict=True))

    def _send_texts(self, texts: Sequence[str]) -> list[str]:
        return [
            message_id
            for start in range(0, len(texts), 10)
            for message_id in self.stack.send(texts[start : start + 10])
        ]

    def _replan(self, *faults: Fault) -> None:
        for planned in self.stack.customerio.replan(*faults):
            if planned.applied:
                self._faults[called(planned.fault)] += planned.applied

    def _is_noticed(self) -> bool:
        planned = self.stack.customerio.faults()
        return any(one.fault == _OUTAGE and one.applied for one in planned)

    def _is_spent(self) -> bool:
        return all(_is_spent(planned) for planned in self.stack.customerio.faults())

    def _drain(self) -> None:
        self.stack.wait_until_drained(SECONDS_TO_DRAIN)
        self.stack.wait_for_walks(SECONDS_TO_DRAIN)
        # A slow request is taken even when nobody waits for it any more.
        fake = self.stack.customerio
        wait_until(lambda: fake.applied()[FaultKind.DELAY] == _count_slow(fake.requests()))

    def _events(self) -> list[tuple[model.Person, model.Event]]:
        """Return the events that Customer.io has, each with whom it has it of."""
        return [
            ((person.site_id, name_of(person)), event_of(event))
            for person in self.stack.customerio.people()
            for event in person.events
        ]


@contextmanager
def prepared(stack: Stack, size: Size) -> Iterator[Chaos]:
    """Make a stack ready for chaos, and put all back at the end."""
    functions, name = stack.functions, stack.function_name
    deployed = functions.get_function_configuration(FunctionName=name)
    variables = deployed["Environment"]["Variables"]
    visibilities = {
        url: stack.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["VisibilityTimeout"])[
            "Attributes"
        ]
        for url in (stack.queue_url, stack.retry_queue_url)
    }
    with relay.running(stack) as relayed:
        relayed.rewrite = _sooner(size)
        functions.update_function_configuration(
            FunctionName=name,
            Timeout=size.timeout_s,
            Environment={
                "Variables": variables
                | {"AWS_ENDPOINT_URL_SQS": relayed.url, "MEMBERSHIP_EVENTS": "true"}
            },
        )
        walker = _with_events(stack)
        # Six times the function's timeout, as the template has it: a message that comes back
        # while it is worked on is set aside twice.
        for url in visibilities:
            stack.sqs.set_queue_attributes(
                QueueUrl=url, Attributes={"VisibilityTimeout": str(6 * size.timeout_s)}
            )
        try:
            yield Chaos(stack, size, relayed)
        finally:
            functions.update_function_configuration(
                FunctionName=name,
                Timeout=deployed["Timeout"],
                Environment={"Variables": variables},
            )
            functions.update_function_configuration(
                FunctionName=stack.walker_name, Environment={"Variables": walker}
            )
            for url, attributes in visibilities.items():
                stack.sqs.set_queue_attributes(QueueUrl=url, Attributes=attributes)
            stack.customerio.rotate({SITE_ID: API_KEY})
            _keep_secret(stack, SECRET_ENTRIES)


def _with_events(stack: Stack) -> Mapping[str, str]:
    """Have walks send events; return the walker's variables as they were."""
    deployed = stack.functions.get_function_configuration(FunctionName=stack.walker_name)
    variables = deployed["Environment"]["Variables"]
    stack.functions.update_function_configuration(
        FunctionName=stack.walker_name,
        Environment={"Variables": variables | {"MEMBERSHIP_EVENTS": "true"}},
    )
    return variables


def open_up(stack: Stack, api_key: str, accounts: Iterable[Account]) -> None:
    """Have the secret and Customer.io know these accounts' workspaces by this key."""
    stack.customerio.rotate(dict.fromkeys(_sites(), api_key))
    _keep_secret(
        stack,
        {str(one.id): {"site_id": one.site_id, "api_key": api_key} for one in accounts},
    )


def _keep_secret(stack: Stack, entries: Mapping[str, Mapping[str, object]]) -> None:
    text = json.dumps({"accounts": entries})
    stack.secrets.put_secret_value(SecretId=SECRET, SecretString=text)


def _sites() -> set[str]:
    return {account.site_id for account in ACCOUNTS}


def refusals(told: Story) -> list[Fault]:
    """Return what refuses people for good, in the order in which the fake needs it.

    It applies one fault to a request. So a request is refused as a whole first.
    """
    return [
        Fault(kind, person=human.name(), times=None, reason="suppressed")
        for kind in (FaultKind.REFUSE_BATCH, FaultKind.REFUSE)
        for human in told.humans
        if human.refusal is kind
    ]


_CONFLICTS: Final = re.compile(rb'"(?:overtaken|conflicts)":(\d+)')
_OUTAGE: Final = Fault(FaultKind.DROP, times=None)


def troubles(size: Size) -> list[Fault]:
    """Return what goes wrong at Customer.io, beside refusals, the outage and the rotation."""

    def status(code: int, times: int, body: str = "", **headers: str) -> Fault:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        often = times * size.often
        return Fault(FaultKind.STATUS, status=code, times=often, body=body, headers=named)

    def other(kind: FaultKind, times: int, body: str = "", delay: float = 0.0) -> Fault:
        return Fault(kind, times=times * size.often, body=body, delay=delay)

    return [
        status(429, 3),
        status(429, 2, Retry_After="1"),
        # Longer than a first pause. The emulator gives most messages to one process, and that one
        # would be paused for longer than a run waits if it was asked for an hour.
        status(429, 1, Retry_After="20"),
        status(408, 1),
        status(500, 3),
        status(502, 3),
        status(503, 3),
        status(302, 1, Location="https://track-eu.example.com/api/v2/batch"),
        status(404, 1),
        status(403, 1),
        status(207, 1, "{}"),
        other(FaultKind.DELAY, 1, delay=size.slow_s),
        other(FaultKind.DELAY, 5, delay=0.5),
        other(FaultKind.DROP, 3),
        other(FaultKind.DROP_AFTER, 3),
        other(FaultKind.TRUNCATE, 3),
        other(FaultKind.NONSENSE, 2),
        other(FaultKind.NONSENSE, 1, '{"errors": [{"batch_index": 100000}]}'),
    ]


def called(fault: Fault) -> str:
    """Return what a fault is called in the figures."""
    match fault:
        case Fault(times=None, kind=FaultKind.DROP):
            return "outage"
        case Fault(kind=FaultKind.STATUS, headers={"Retry-After": _}):
            return f"{fault.status} with Retry-After"
        case Fault(kind=FaultKind.STATUS):
            return str(fault.status)
        case Fault(kind=FaultKind.DELAY):
            return "slow" if fault.delay < 1 else "timeout"
    return {
        FaultKind.DROP: "reset before",
        FaultKind.DROP_AFTER: "reset after",
        FaultKind.TRUNCATE: "truncated",
        FaultKind.NONSENSE: "nonsense",
        FaultKind.REFUSE: "207 for a person",
        FaultKind.REFUSE_BATCH: "400 for a person",
    }[fault.kind]


def _is_spent(planned: PlannedFault) -> bool:
    return planned.fault.times is None or planned.applied >= planned.fault.times


def _count_slow(requests: Iterable[Any]) -> int:
    return sum(request.fault is FaultKind.DELAY for request in requests)


_DELAYS: Final = {relay.MOVE: "DelaySeconds", relay.DELAY: "VisibilityTimeout"}


def _sooner(size: Size) -> Callable[[relay.Call], bytes]:
    """Return what shortens each delay that is asked for."""
    # The first delay outlasts a slow request, as it does if nobody shortens it: what Customer.io
    # took after its caller had given up must be there before the next try.
    shortest = {relay.MOVE: round(size.slow_s) + 1, relay.DELAY: 1}

    def rewritten(call: relay.Call) -> bytes:
        if call.name not in _DELAYS:
            return call.body
        name, content = _DELAYS[call.name], call.content
        for entry in content["Entries"]:
            entry[name] = max(shortest[call.name], entry[name] // QUICKER)
        return json.dumps(content).encode()

    return rewritten


def name_of(person: PersonRecord) -> str:
    """Return what a person is called here: the id, or the email if there is no id."""
    return person.identifiers.get("id") or person.identifiers["email"]


def event_of(event: EventRecord) -> model.Event:
    """Return what an event says; nothing else may be in it."""
    audience = event.attributes
    assert audience.keys() == {"audience_id", "audience_name"}
    assert event.timestamp is not None
    return event.name, audience["audience_id"], audience["audience_name"], event.timestamp


def compare_people(
    figures: Figures,
    customerio: FakeCustomerio,
    expected: Mapping[model.Person, Mapping[str, Any]],
    former: AbstractSet[model.Person],
) -> None:
    """Count who is lost, stale or surplus at Customer.io, and keep what was said of them."""
    found = {(one.site_id, name_of(one)): one for one in customerio.people()}
    for who, attributes in expected.items():
        person = found.pop(who, None)
        if person is None:
            figures.lost += 1
        elif person.attributes != attributes:
            figures.stale += 1
        else:
            continue
        figures.findings.append(_explained(customerio, who, attributes, person))
    for who, person in found.items():
        if who not in former:
            figures.surplus += 1
        elif model.is_cleared(person.attributes):
            continue
        else:
            figures.stale += 1
        figures.findings.append(_explained(customerio, who, {}, person))


def _explained(
    customerio: FakeCustomerio,
    who: model.Person,
    expected: Mapping[str, Any],
    found: PersonRecord | None,
) -> str:
    has = found.attributes if found else {}
    names = {name for name in expected.keys() | has if expected.get(name) != has.get(name)}
    lines = [f"{who[1]} in {who[0]}: {'nobody' if found is None else 'differs'}"]
    lines += [
        f"  {name}: expected {expected.get(name)!r}, found {has.get(name)!r}"
        for name in sorted(names)
    ]
    for update in customerio.updates(who[1]):
        request, entity = update.request, update.entity
        if request.site_id in {who[0], ""} and entity.action == "identify":
            said = {name: entity.attributes.get(name) for name in sorted(names)}
            lines.append(
                f"  request {request.number} at {request.time:.3f} for {request.duration:.3f} "
                f"s: {request.status} {request.fault or ''} {request.reason} "
                f"timestamp {entity.timestamp} {said}"
            )
    return "\n".join(lines)


def _compare_events(figures: Figures, difference: model.EventDifference) -> None:
    missing, surplus = difference
    figures.lost += missing.total()
    figures.surplus += surplus.total()
    figures.findings += [f"no event: {one} ({times}x)" for one, times in missing.items()]
    figures.findings += [f"a surplus event: {one} ({times}x)" for one, times in surplus.items()]


def compare_letters(
    figures: Figures, found: Sequence[SetAside], expected: Counter[model.Letter]
) -> None:
    """Count the letters that are lost or surplus, and keep which they are."""
    counted: Counter[model.Letter] = Counter()
    for letter in found:
        for serial in serials(letter.body) or [0]:
            counted[letter.source_message_id, letter.error_type, serial] += 1
        if HUSH in letter.body or not letter.error_message:
            figures.surplus += 1
            figures.findings.append(f"a letter holds a secret or no reason: {letter}")
    missing, more = expected - counted, counted - expected
    figures.lost += missing.total()
    figures.surplus += more.total()
    figures.findings += [f"not set aside: {one} ({times}x)" for one, times in missing.items()]
    figures.findings += [f"set aside: {one} ({times}x)" for one, times in more.items()]


def serials(body: str) -> list[int]:
    """Return which profiles are in a letter; none for a letter that is no message."""
    try:
        return [profile["serial"] for profile in json.loads(body)["user_profiles"]]
    except (ValueError, KeyError, TypeError):
        return []


def refused_again(
    ids: Sequence[str], letters: Sequence[SetAside], sent: Iterable[Sent]
) -> Counter[model.Letter]:
    """Return what of the letters sent back, with their new ids, has a flaw of its own."""
    flaws = {
        serial: profile.flaw
        for one in sent
        for serial, profile in enumerate(one.profiles, one.serial)
    }
    return Counter(
        (message_id, flaws[serial], serial)
        for message_id, letter in zip(ids, letters, strict=True)
        for serial in serials(letter.body)
        if flaws[serial]
    )


def wait_until(condition: Callable[[], bool], seconds: float = SECONDS_TO_DRAIN) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            message = f"still waiting after {seconds:.0f} s"
            raise TimeoutError(message)
        time.sleep(0.05)
