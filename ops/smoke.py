"""Smoke: follows a made-up person through a deployed stack, and removes them again.

    look > send > follow > remove

Each step is told when it ends. What cannot be seen is a warning, never a success.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from botocore.exceptions import BotoCoreError, ClientError

from handler.errors import ForwarderError
from ops import mapping, people, send
from ops.delivery_log import read_line
from ops.logs import read_log
from ops.smoke_person import Evidence, Progress, SmokePerson, progress
from ops.stack import READY, AudienceStream, Ingress, Stack, describe_error

if TYPE_CHECKING:
    from ops.dead_letter_queue import DeadLetterQueue
    from ops.stack import Aws
    from ops.track_api import CustomerIo

SENT: Final = "sent"
"""The name of the step after which there may be something to remove."""

POLL_S: Final = 2.0
QUIET_S: Final = 10.0
"""How long to look for a retry if the log does not tell of deliveries."""

_MOST_LETTERS: Final = 1000

_TELLING_LEVELS: Final = {"DEBUG", "INFO"}
"""The levels at which the log tells of the end of each batch."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step. `seconds` is when it ended, since the start."""

    name: str
    is_ok: bool
    result: str
    seconds: float
    is_warning: bool = False


Door = Stack | Ingress | AudienceStream
"""Where the person goes in: the queue of a stack, or one of its front doors."""

Steps = Generator[Step, None, bool]
"""Steps as they end; whether the next ones make sense."""


@dataclass(slots=True)
class Smoke:
    """One made-up person's way through a stack."""

    aws: Aws
    stack: Stack
    customerio: CustomerIo
    dead_letters: DeadLetterQueue
    log_level: str
    person: SmokePerson
    timeout_s: float
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    _started: float = field(init=False)
    _sent_at: float = field(init=False)
    _message_id: str | None = field(init=False)
    _letters_before: int = field(init=False)
    _written_at: float = field(init=False)
    _retries_told: list[str] = field(init=False, default_factory=list)

    def run(self, door: Door, *, delete: bool) -> Iterator[Step]:
        """Yield each step as it ends. The person is removed whatever became of them."""
        self._started = self.clock()
        if not (yield from self._attempt("checked", self._look())):
            return
        if (yield from self._attempt(SENT, self._send(door))):
            yield from self._attempt("followed", self._follow())
        yield from self._attempt("removed", self._remove(delete=delete))

    def _attempt(self, name: str, steps: Steps) -> Steps:
        try:
            return (yield from steps)
        except (BotoCoreError, ClientError) as error:
            reason = describe_error(error)
        except ForwarderError as error:
            reason = str(error)
        yield self._step(name, is_ok=False, result=reason)
        return False

    # --- look, send ---

    def _look(self) -> Steps:
        states = mapping.states(self.aws, self.stack)
        is_ready = self.stack.status in READY and set(states.values()) == {"Enabled"}
        named = ", ".join(f"mapping of the {queue} {state}" for queue, state in states.items())
        result = f"{self.stack.status}, {named}"
        yield self._step("stack", is_ok=is_ready, result=result)
        if not is_ready:
            return False
        region = self.customerio.region()
        result = f"workspace {self.person.site_id}, region {region}: credentials accepted"
        yield self._step("Customer.io", is_ok=True, result=result)
        return True

    def _send(self, door: Door) -> Steps:
        at_ms = int(time.time() * 1000)
        self._message_id = None if isinstance(door, AudienceStream) else self.person.message_id
        self._letters_before = self.dead_letters.count()
        match door:
            case AudienceStream():
                sent = send.to_stream(self.aws, door, self.person.record(at_ms=at_ms))
            case Ingress():
                sent = send.to_ingress(self.aws, door, self.person.message(at_ms=at_ms))
            case Stack():
                sent = send.to_queue(self.aws, door, self.person.message(at_ms=at_ms))
        self._sent_at = sent.at
        result = f"person {self.person.customer_id}: {sent.how}"
        yield self._step(SENT, is_ok=True, result=result)
        return True

    # --- follow ---

    def _follow(self) -> Steps:
        is_written = yield from self._wait("state written", self._written, _HUNG_BEFORE)
        self._written_at = self.clock()
        if not is_written:
            return False
        return (yield from self._wait("taken by Customer.io", self._taken, _HUNG_AFTER))

    def _wait(self, name: str, look: Callable[[Progress], Evidence | None], hung: str) -> Steps:
        """Look again and again for what shows that a step is done; tell of retries meanwhile."""
        deadline = self._started + self.timeout_s
        while True:
            logged = self._logged()
            if found := look(logged):
                is_warning = not found.is_certain
                yield self._step(name, is_ok=True, result=found.text, is_warning=is_warning)
                return True
            is_last = self.clock() >= deadline
            if reason := self._set_aside(is_likely=is_last or logged.is_set_aside):
                result = f"set aside: {reason}; see: Dead letters are waiting"
                yield self._step(name, is_ok=False, result=result)
                return False
            for reason in logged.retries:
                if reason not in self._retries_told:
                    self._retries_told.append(reason)
                    whose = "" if self._message_id else " (this message or another)"
                    result = f"{reason}{whose}; see: Changes are retried"
                    yield self._step("retried", is_ok=True, result=result, is_warning=True)
            if is_last:
                result = f"not within {self.timeout_s:.0f} seconds; {hung}"
                yield self._step(name, is_ok=False, result=result)
                return False
            self.sleep(POLL_S)

    def _written(self, _: Progress) -> Evidence | None:
        query = people.Query(self.person.customer_id)
        for stored in people.find(self.aws, self.stack, query, [self.person.site_id]):
            return Evidence(f"version {stored.state.version}, key {stored.key}")
        return None

    def _taken(self, logged: Progress) -> Evidence | None:
        if shown := self.customerio.shown_locally(self.person.customer_id):
            return Evidence(shown)
        is_quiet = self.clock() > self._written_at + QUIET_S
        if logged.taken is None and self.log_level not in _TELLING_LEVELS and is_quiet:
            text = (
                f"cannot be seen, as LogLevel is {self.log_level}; neither retried nor set aside"
            )
            return Evidence(text, is_certain=False)
        return logged.taken

    def _logged(self) -> Progress:
        # A stream puts people into messages of its own, so their failures are found by event.
        ids = [self._message_id] if self._message_id else ["message.retried", "message.set_aside"]
        terms = [f'"{each}"' for each in (*ids, self.person.hash, "batch.done")]
        log = read_log(self.aws.logs, self.stack.log_group, terms, since=self._sent_at)
        return progress(map(read_line, log.lines), self.person, message_id=self._message_id)

    def _set_aside(self, *, is_likely: bool) -> str:
        """Return why the message was set aside, and delete the letter; empty if it was not.

        Reading hides letters from others, so it reads only if it is likely, or there are more than
        before: SQS may count late.
        """
        count = self.dead_letters.count()
        if count <= self._letters_before and not is_likely:
            return ""
        self._letters_before = count
        with closing(self.dead_letters.walk(most=_MOST_LETTERS)) as walk:
            for batch in walk:
                ours = [each for each in batch if self.person.customer_id in each.body]
                if ours:
                    self.dead_letters.delete(ours)
                    return f"{ours[0].error_type}: {ours[0].error_message}"
        return ""

    # --- remove ---

    def _remove(self, *, delete: bool) -> Steps:
        people.delete(self.aws, self.stack, self.person.key)
        yield self._step("erased from the table", is_ok=True, result=self.person.key)
        if not delete:
            return True
        refused = self.customerio.delete_person(self.person.customer_id)
        result = refused or "Customer.io accepted the deletion"
        yield self._step("deleted from Customer.io", is_ok=not refused, result=result)
        return not refused

    def _step(self, name: str, *, is_ok: bool, result: str, is_warning: bool = False) -> Step:
        return Step(name, is_ok, result, round(self.clock() - self._started, 1), is_warning)


_HUNG_BEFORE: Final = (
    "the message waits, or the function fails: `ops status`; see: Changes wait too long, "
    "The function fails"
)
_HUNG_AFTER: Final = (
    "Customer.io does not take it, or the log is late: `ops status`; see: Changes are retried"
)
