"""A simulation of SQS with its limits, of Lambda around the real forwarder, and of an outage.

Time is an owned clock that jumps from event to event, so days take seconds. Simulated: SQS, event
source mappings, execution environments, and the socket to Customer.io. All of `handler` from the
SQS event on is real: queue, forwarder, delivery, client and circuit breaker.

Sizes are scaled down: at a scale of 1,000 one simulated message stands for 1,000 real ones, the
limit of messages in flight is 120, and what an invocation costs for each message takes 1,000 times
as long. Times are not scaled. The sources of the limits are beside them.
"""

from __future__ import annotations

import heapq
import json
import random
from base64 import b64decode
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any, Final

import urllib3
from urllib3.exceptions import ReadTimeoutError

from handler import queue
from handler.clock import Deadline
from handler.customerio.client import TrackApi
from handler.customerio.transport import READ_TIMEOUT_S
from handler.domain.workspace import Workspace
from handler.errors import RetryableError
from handler.jobs.forward import Forwarder
from tests.builders import NOW, body, profile
from tests.stand_ins.customerio import Answer
from tests.stand_ins.executors import AtOnce
from tests.stand_ins.forwarder import forwarder
from tests.stand_ins.ports import (
    FixedCredentials,
    MemoryAudiences,
    MemoryErasures,
    MemoryPeople,
    RecordingTelemetry,
)

HOUR: Final = 3600.0
DAY: Final = 86_400.0

# Amazon SQS developer guide, "message quotas" and "visibility timeout".
IN_FLIGHT_LIMIT: Final = 120_000
RETENTION_S: Final = 14 * DAY
LONGEST_DELAY_S: Final = 900
LONGEST_VISIBILITY_S: Final = 43_200

# template.yaml
VISIBILITY_TIMEOUT_S: Final = 420.0
INVOCATION_S: Final = 60.0
BATCH_SIZE: Final = 100
BATCHING_WINDOW_S: Final = 2.0
MAXIMUM_CONCURRENCY: Final = 10
RETRY_CONCURRENCY: Final = 2
MAX_RECEIVE_COUNT: Final = 100
RETRY_MAX_RECEIVE_COUNT: Final = 1000
MAX_RETRY_S: Final = 168 * HOUR

MESSAGE_S: Final = 0.002  # docs/cost.md: 100 people in 0.2 s
REQUEST_S: Final = 0.1  # of Customer.io, likewise
FIRST_BACKOFF_S: Final = 1.0

SOURCE_URL: Final = "https://sqs.eu-west-1.amazonaws.com/123456789012/changes"
RETRY_URL: Final = "https://sqs.eu-west-1.amazonaws.com/123456789012/retries"
DLQ_URL: Final = "https://sqs.eu-west-1.amazonaws.com/123456789012/dead-letters"

DOWN: Final = 1001
QUIET: Final = 1002
"""mParticle accounts: of the workspace that has the outage, and of another one."""

_WORKSPACES: Final[dict[int | None, Workspace]] = {
    DOWN: Workspace("down", "key"),
    QUIET: Workspace("quiet", "key"),
}


class Clock:
    """The time of the simulation: what is to happen, in order."""

    def __init__(self) -> None:
        self.now = NOW
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()

    def at(self, time: float, call: Callable[[], None]) -> None:
        heapq.heappush(self._events, (time, next(self._numbers), call))

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def run(self, until: float) -> None:
        while self._events and self._events[0][0] <= until:
            self.now, _, call = heapq.heappop(self._events)
            call()
        self.now = until


class SideBySide(AtOnce):
    """Calls one after the other, all in the same simulated time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def map(  # type: ignore[override]
        self, fn: Callable[..., Any], /, *iterables: Iterable[Any]
    ) -> Iterator[Any]:
        started, results, ends = self._clock.now, [], [self._clock.now]
        for args in zip(*iterables, strict=True):
            self._clock.now = started
            results.append(fn(*args))
            ends.append(self._clock.now)
        self._clock.now = max(ends)
        return iter(results)


@dataclass(slots=True, eq=False)
class Message:
    id: str
    body: str
    group: str
    attributes: Mapping[str, Mapping[str, str]]
    sent_at: float
    receives: int = 0
    hidden_until: float = 0.0
    is_in_flight: bool = False
    is_gone: bool = False


class StandardQueue:
    """A standard queue. Who waits for messages is called when some can be received."""

    def __init__(
        self,
        clock: Clock,
        *,
        limit: float,
        is_fair: bool,
        oldest_first: bool,
        redrive: tuple[StandardQueue, int] | None = None,
    ) -> None:
        self._clock = clock
        self._limit = limit
        self._is_fair = is_fair
        self._oldest_first = oldest_first
        self._redrive = redrive
        self._visible: dict[str, list[tuple[float, int, Message]]] = {}
        self._numbers = count()
        self._by_age: deque[Message] = deque()
        self.in_flight: Counter[str] = Counter()
        self.in_flight_total = 0
        self.most_in_flight = 0
        self.size = 0
        self.most = 0
        self.oldest_received_s = 0.0
        self.expired: list[Message] = []
        self.on_receivable: Callable[[], None] = lambda: None

    def send(self, message: Message, *, delay: float = 0.0) -> None:
        self.size += 1
        self.most = max(self.most, self.size)
        self._by_age.append(message)
        self._clock.at(self._clock.now + delay, lambda: self._show(message))

    def messages(self) -> list[Message]:
        return [message for message in self._by_age if not message.is_gone]

    def receivable(self) -> int:
        self._expire()
        room = max(0, int(self._limit) - self.in_flight_total)
        return min(room, sum(map(len, self._visible.values())))

    def receive(self, most: int) -> list[Message]:
        received: list[Message] = []
        while len(received) < most and self.receivable():
            message = self._next()
            if message.is_gone:
                continue
            message.receives += 1
            if self._redrive and message.receives > self._redrive[1]:
                self.delete(message)
                self._redrive[0].send(replace(message, is_gone=False))
                continue
            message.is_in_flight = True
            self.in_flight[message.group] += 1
            self.in_flight_total += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight_total)
            self.oldest_received_s = max(self.oldest_received_s, self._clock.now - message.sent_at)
            self.hide(message, VISIBILITY_TIMEOUT_S)
            received.append(message)
        return received

    def hide(self, message: Message, seconds: float) -> None:
        until = message.hidden_until = self._clock.now + seconds
        self._clock.at(until, lambda: self._show_again(message, until))

    def delete(self, message: Message) -> None:
        if not message.is_gone:
            message.is_gone = True
            self.size -= 1
            self._land(message)

    def _land(self, message: Message) -> None:
        if message.is_in_flight:
            message.is_in_flight = False
            self.in_flight[message.group] -= 1
            self.in_flight_total -= 1
            self.on_receivable()

    def _show_again(self, message: Message, until: float) -> None:
        if message.hidden_until == until and message.is_in_flight:
            self._show(message)
            self._land(message)

    def _show(self, message: Message) -> None:
        group = message.group if self._is_fair else ""
        number = next(self._numbers)
        order = message.sent_at if self._oldest_first else float(number)
        heapq.heappush(self._visible.setdefault(group, []), (order, number, message))
        self.on_receivable()

    def _next(self) -> Message:
        """Take from the group with the fewest in flight: the rule of fair queues, simplified."""
        group = min((g for g, waiting in self._visible.items() if waiting), key=self._in_flight)
        return heapq.heappop(self._visible[group])[2]

    def _in_flight(self, group: str) -> int:
        return self.in_flight[group]

    def _expire(self) -> None:
        while self._by_age and (
            self._by_age[0].is_gone or self._by_age[0].sent_at + RETENTION_S <= self._clock.now
        ):
            message = self._by_age.popleft()
            if not message.is_gone:
                self.expired.append(message)
                self.delete(message)


class SimulatedSqs:
    """What `handler.queue.Queue` asks of SQS's client."""

    def __init__(self, clock: Clock, queues: Mapping[str, StandardQueue]) -> None:
        self._clock = clock
        self._queues = queues
        self._numbers = count()
        self.refused_urls: set[str] = set()
        self.handles: dict[str, Message] = {}

    def send_message_batch(self, *, QueueUrl: str, Entries: Any) -> dict[str, Any]:  # noqa: N803
        if QueueUrl in self.refused_urls:
            return {"Failed": [{"Id": entry["Id"], "Code": "InternalError"} for entry in Entries]}
        for entry in Entries:
            delay = entry.get("DelaySeconds", 0)
            assert 0 <= delay <= LONGEST_DELAY_S
            attributes = entry.get("MessageAttributes", {})
            message = Message(
                id=f"{QueueUrl[-7:]}-{next(self._numbers)}",
                body=entry["MessageBody"],
                group=entry.get("MessageGroupId", ""),
                attributes={
                    name: {"stringValue": value["StringValue"]}
                    for name, value in attributes.items()
                },
                sent_at=self._clock.now,
            )
            self._queues[QueueUrl].send(message, delay=delay)
        return {"Successful": [{"Id": entry["Id"]} for entry in Entries]}

    def change_message_visibility_batch(self, *, QueueUrl: str, Entries: Any) -> None:  # noqa: N803
        for entry in Entries:
            seconds = entry["VisibilityTimeout"]
            assert 0 <= seconds <= LONGEST_VISIBILITY_S
            self._queues[QueueUrl].hide(self.handles[entry["ReceiptHandle"]], seconds)


class CustomerIo(urllib3.PoolManager):
    """Customer.io behind a socket: each workspace answers, refuses the key, or hangs."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self.outages: Mapping[str, Callable[[float], str]] = {}
        self.visible_at: dict[str, float] = {}

    def request(self, method: str, url: str, **sent: Any) -> Any:  # type: ignore[override]
        site_id = b64decode(sent["headers"]["authorization"][6:]).decode().partition(":")[0]
        outage = self.outages[site_id](self._clock.now - NOW) if site_id in self.outages else ""
        if outage == "hang":
            self._clock.sleep(min(READ_TIMEOUT_S, sent["timeout"].total))
            raise ReadTimeoutError(None, url, "hangs")  # type: ignore[arg-type]
        self._clock.sleep(REQUEST_S)
        if outage:
            return Answer(int(outage), {})
        for entity in json.loads(sent["body"])["batch"]:
            self.visible_at.setdefault(entity["identifiers"]["id"], self._clock.now)
        return Answer(200, {})


class _Silent(RecordingTelemetry):
    """Remembers nothing: days of reports do not fit in memory."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return _ignore


def _ignore(*args: Any, **fields: Any) -> None:
    pass


class Function:
    """The Lambda function: execution environments, each with a circuit breaker of its own."""

    def __init__(self, make: Callable[[], Forwarder]) -> None:
        self._make = make
        self._idle: list[Forwarder] = []

    def begin(self) -> Forwarder:
        if self._idle:
            return self._idle.pop()
        return self._make()

    def end(self, forwarder: Forwarder) -> None:
        self._idle.append(forwarder)


class EventSourceMapping:
    """Takes batches from a queue to the function, and backs off after errors of it."""

    def __init__(
        self,
        clock: Clock,
        sqs: SimulatedSqs,
        source: StandardQueue,
        function: Function,
        *,
        url: str,
        concurrency: int,
        batch_size: int,
        scale: float,
        longest_backoff_s: float,
    ) -> None:
        self._clock = clock
        self._sqs = sqs
        self._source = source
        self._function = function
        self._arn = f"arn:aws:sqs:eu-west-1:123456789012:{url.rpartition('/')[2]}"
        self._concurrency = self._allowed = concurrency
        self._batch_size = batch_size
        self._message_s = MESSAGE_S * scale
        # A batch of a scaled simulation stands for so many, after each of which it backs off.
        self._stretch = max(1.0, scale * batch_size / BATCH_SIZE)
        self._longest_backoff_s = longest_backoff_s
        self._errors = 0
        self._running = 0
        self._waits = False
        self.invocations = 0
        source.on_receivable = self.wake

    def wake(self) -> None:
        if not self._waits and self._running < self._allowed and (n := self._source.receivable()):
            self._waits = True
            wait = self._backoff() if self._errors else 0.0
            if n < self._batch_size:
                wait = max(wait, BATCHING_WINDOW_S)
            self._clock.at(self._clock.now + wait, self._receive)

    def _backoff(self) -> float:
        grown = FIRST_BACKOFF_S * 2.0 ** min(self._errors - 1, 10)
        return self._stretch * min(self._longest_backoff_s, grown)

    def _receive(self) -> None:
        self._waits = False
        if messages := self._source.receive(self._batch_size):
            self._running += 1
            self._invoke(messages)
        self.wake()

    def _invoke(self, messages: list[Message]) -> None:
        self.invocations += 1
        started = self._clock.now
        forwarder = self._function.begin()
        self._sqs.handles = {message.id: message for message in messages}
        failed: set[str] | None
        try:
            event = {"Records": [self._record(message) for message in messages]}
            received = queue.messages(event, retry_queue_url=RETRY_URL)
            deadline = Deadline(started + INVOCATION_S, lambda: self._clock.now)
            failed = {*forwarder.process(received, deadline=deadline)}
        except RetryableError:
            failed = None
        ended = self._clock.now + self._message_s * len(messages)
        self._clock.now = started
        self._clock.at(ended, lambda: self._settle(messages, failed, forwarder))

    def _settle(
        self, messages: list[Message], failed: set[str] | None, forwarder: Forwarder
    ) -> None:
        self._function.end(forwarder)
        self._running -= 1
        if failed is None:
            self._errors += 1
            if self._longest_backoff_s:
                self._allowed = max(1, self._allowed // 2)
        else:
            self._errors = 0
            self._allowed = min(self._concurrency, self._allowed + 1)
            for message in messages:
                if message.id not in failed:
                    self._source.delete(message)
        self.wake()

    def _record(self, message: Message) -> dict[str, Any]:
        return {
            "messageId": message.id,
            "receiptHandle": message.id,
            "body": message.body,
            "attributes": {
                "ApproximateReceiveCount": str(message.receives),
                "SentTimestamp": str(int(message.sent_at * 1000)),
            },
            "messageAttributes": message.attributes,
            "eventSourceARN": self._arn,
        }


@dataclass(repr=False)
class Simulation:
    """One stack.

    `rates` has the real messages a second by mParticle account, `outages` what an account's
    workspace answers after so many seconds: a status, "hang", or nothing for 200. AWS says that a
    mapping backs off after errors of the function, and not how far: up to `longest_backoff_s`
    seconds between batches, with one batch at a time; 0 for not at all. Neither does it say in
    which order SQS hands out what was hidden: by age, or, if not `oldest_first`, behind the rest.
    `is_fair`: SQS prefers messages of groups with few in flight. Without a retry queue, messages
    wait for a retry on the source queue, hidden.
    """

    rates: Mapping[int, float]
    scale: float
    outages: Mapping[int, Callable[[float], str]]
    longest_backoff_s: float = 60.0
    max_retry_s: float = MAX_RETRY_S
    is_fair: bool = True
    oldest_first: bool = True
    batch_size: int = 1
    seed: int = 1
    has_retry_queue: bool = True
    clock: Clock = field(default_factory=Clock, init=False)
    sent_at: dict[int, dict[str, float]] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        rng = random.Random(self.seed)
        limit = IN_FLIGHT_LIMIT / self.scale
        how: dict[str, Any] = {
            "limit": limit,
            "is_fair": self.is_fair,
            "oldest_first": self.oldest_first,
        }
        self.dlq = StandardQueue(self.clock, **how)
        self.source = StandardQueue(self.clock, **how, redrive=(self.dlq, MAX_RECEIVE_COUNT))
        self.retries = StandardQueue(
            self.clock, **how, redrive=(self.dlq, RETRY_MAX_RECEIVE_COUNT)
        )
        self.sqs = SimulatedSqs(
            self.clock, {SOURCE_URL: self.source, RETRY_URL: self.retries, DLQ_URL: self.dlq}
        )
        if not self.has_retry_queue:
            self.sqs.refused_urls.add(RETRY_URL)
        self.customerio = CustomerIo(self.clock)
        self.customerio.outages = {
            _WORKSPACES[account_id].site_id: outage for account_id, outage in self.outages.items()
        }
        self._people = MemoryPeople()
        self._audiences = MemoryAudiences()
        self._erasures = MemoryErasures()
        self.function = Function(lambda: self._forwarder(rng))
        self.mapping, self.retry_mapping = (
            EventSourceMapping(
                self.clock,
                self.sqs,
                source,
                self.function,
                url=url,
                concurrency=concurrency,
                batch_size=self.batch_size,
                scale=self.scale,
                longest_backoff_s=self.longest_backoff_s,
            )
            for source, url, concurrency in (
                (self.source, SOURCE_URL, MAXIMUM_CONCURRENCY),
                (self.retries, RETRY_URL, RETRY_CONCURRENCY),
            )
        )

    def run(self, *, sending_s: float, until_s: float) -> None:
        """Send for so many seconds, and go on until the queues are empty or that time comes."""
        for account_id, rate in self.rates.items():
            self.sent_at[account_id] = {}
            self._send(account_id, self.scale / rate, NOW + sending_s, number=0)
        self.clock.run(NOW + sending_s)
        while self.clock.now < NOW + until_s and self.source.size + self.retries.size:
            self.clock.run(min(NOW + until_s, self.clock.now + 60))

    def lags(self, account_id: int) -> list[float]:
        """Return the seconds from send to visible in Customer.io, of what is visible there."""
        visible = self.customerio.visible_at
        sent = self.sent_at[account_id]
        return [visible[person] - at for person, at in sent.items() if person in visible]

    def summary(self) -> str:
        """Return what became of everything, in one line."""
        lags = {account_id: max(self.lags(account_id), default=0.0) for account_id in self.rates}
        return (
            f"ended after {(self.clock.now - NOW) / HOUR:.1f} h; "
            f"longest from send to visible {lags[DOWN] / HOUR:.1f} h in the workspace that is "
            f"down, {lags.get(QUIET, 0.0):.1f} s in the other; {len(self.missing())} missing, "
            f"{len(self.dead())} in the DLQ; most messages at scale {self.scale:g}: "
            f"{self.source.most} on the source queue, {self.retries.most} on the retry queue, "
            f"{self.source.most_in_flight} and {self.retries.most_in_flight} in flight; "
            f"oldest retried after {self.retries.oldest_received_s / DAY:.1f} days; "
            f"{self.mapping.invocations} and {self.retry_mapping.invocations} invocations"
        )

    def missing(self) -> set[str]:
        """Return who is neither visible in Customer.io nor in the DLQ."""
        sent = {person for people in self.sent_at.values() for person in people}
        return sent - self.customerio.visible_at.keys() - self.dead().keys()

    def dead(self) -> dict[str, str]:
        """Return the reason of everybody in the DLQ; an empty one if SQS moved the message."""
        reasons = {}
        for message in self.dlq.messages():
            error = message.attributes.get("ErrorType", {}).get("stringValue", "")
            text = message.attributes.get("ErrorMessage", {}).get("stringValue", "")
            for each in json.loads(message.body)["user_profiles"]:
                reasons[each["mpid"]] = f"{error}: {text}" if error else ""
        return reasons

    def _send(self, account_id: int, every_s: float, until: float, *, number: int) -> None:
        now = self.clock.now
        person = f"{account_id}{number:08}"
        self.sent_at[account_id][person] = now
        text = body(
            profile(mpid=person, customer_id=person),
            at_ms=int(now * 1000),
            account_id=account_id,
        )
        self.source.send(Message(person, text, str(account_id), {}, now))
        if now + every_s < until:
            self.clock.at(
                now + every_s,
                lambda: self._send(account_id, every_s, until, number=number + 1),
            )

    def _forwarder(self, rng: random.Random) -> Forwarder:
        telemetry: Any = _Silent()
        executor: Executor = AtOnce()
        return forwarder(
            people=self._people,
            audiences=self._audiences,
            erasures=self._erasures,
            credentials=FixedCredentials(_WORKSPACES),
            customerio=TrackApi(
                self.customerio,
                executor,
                telemetry,
                draw=rng.uniform,
                sleep=self.clock.sleep,
                now=lambda: self.clock.now,
                requests_per_second=500 / (MAXIMUM_CONCURRENCY + RETRY_CONCURRENCY),
            ),
            queue=queue.Queue(
                self.sqs,  # type: ignore[arg-type]
                executor,
                queue_url=SOURCE_URL,
                retry_queue_url=RETRY_URL,
                dead_letter_queue_url=DLQ_URL,
                draw=rng.uniform,
            ),
            telemetry=telemetry,
            executor=SideBySide(self.clock),
            now=lambda: self.clock.now,
            sleep=self.clock.sleep,
            retry_for_s=self.max_retry_s,
        )
