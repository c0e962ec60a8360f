"""A made-up person's way through a stack, with a function that the test plays."""

import json
import time
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import formatdate
from types import SimpleNamespace
from typing import Any

import pytest

from handler.domain.change_messages import Change
from handler.domain.state_codec import pack
from handler.domain.stream_record import read_records
from handler.errors import CredentialsRefusedError
from ops.smoke import QUIET_S, Smoke
from ops.smoke_person import SmokePerson
from tests.builders import state
from tests.unit.ops.builders import STACK, STREAM, mapping
from tools.template import table_schema

PERSON = SmokePerson("site-a", 1001, "abc", "customer")
SENT, WRITTEN, TAKEN = "sent", "state written", "taken by Customer.io"
ERASED = "erased from the table"


class CustomerIo:
    """A workspace; `shown` is what its page shows."""

    def __init__(self) -> None:
        self.shown = ""
        self.refusal = ""
        self.deleted: list[str] = []
        self.error: Exception | None = None

    def region(self):
        if self.error:
            raise self.error
        return "us"

    def shown_locally(self, customer_id):
        return self.shown

    def delete_person(self, customer_id):
        self.deleted.append(customer_id)
        return self.refusal


class World:
    """A stack in memory. What is in `then` happens while the tool waits, one after another."""

    def __init__(self, aws, stack, queue) -> None:
        self.aws, self.queue, self.customerio = aws, queue, CustomerIo()
        self.stack = replace(stack, status="CREATE_COMPLETE")
        self.mappings = [mapping("queue"), mapping("retry queue")]
        self.then: list[Any] = []
        self.now = 0.0
        aws.dynamodb.create_table(TableName=STACK.table_name, **table_schema())
        aws.logs.create_log_group(logGroupName=STACK.log_group)
        aws.logs.create_log_stream(logGroupName=STACK.log_group, logStreamName="s")
        aws.functions = SimpleNamespace(
            list_event_source_mappings=lambda **_: {"EventSourceMappings": self.mappings}
        )

    def wait(self, seconds):
        self.now += seconds
        if self.then:
            self.then.pop(0)()

    def write(self):
        item = {
            "pk": {"S": PERSON.key},
            "version": {"N": "1"},
            "timestamp": {"N": "1"},
            "identifier": {"S": f"id:{PERSON.customer_id}"},
            "memberships": {"B": pack(state(-1))},
        }
        self.aws.dynamodb.put_item(TableName=STACK.table_name, Item=item)

    def log(self, event, **fields):
        at = datetime.now(UTC)
        text = at.strftime("%Y-%m-%d %H:%M:%S,%f")[:-3] + "+0000"
        line = {"message": event, "timestamp": text, "function_request_id": "r", **fields}
        self.aws.logs.put_log_events(
            logGroupName=STACK.log_group,
            logStreamName="s",
            logEvents=[
                {"timestamp": int(at.timestamp() * 1000) + 1000, "message": json.dumps(line)}
            ],
        )

    def run(self, *, log_level="INFO", delete=False, timeout_s=60.0, door=None):
        customerio: Any = self.customerio
        smoke = Smoke(
            self.aws,
            self.stack,
            customerio,
            self.queue,
            log_level,
            PERSON,
            timeout_s,
            sleep=self.wait,
            clock=lambda: self.now,
        )
        return {step.name: step for step in smoke.run(door or self.stack, delete=delete)}


class Firehose:
    """A stream that keeps its records."""

    def __init__(self) -> None:
        self.records: list[bytes] = []

    def put_record(self, **request):
        self.records.append(request["Record"]["Data"])
        return {"ResponseMetadata": {"HTTPHeaders": {"date": formatdate(usegmt=True)}}}


@pytest.fixture
def world(aws, stack, queue):
    return World(aws, stack, queue)


def test_the_person_is_followed_until_customer_io_has_them_and_then_erased(
    world, stack, bodies
) -> None:
    world.then = [world.write, lambda: setattr(world.customerio, "shown", "its page")]

    steps = world.run()

    assert [*steps] == ["stack", "Customer.io", SENT, WRITTEN, TAKEN, ERASED]
    assert all(step.is_ok and not step.is_warning for step in steps.values())
    assert (steps[WRITTEN].seconds, steps[TAKEN].seconds) == (2, 4)
    (body,) = bodies(stack.queue_url)
    assert PERSON.customer_id in body
    assert world.aws.dynamodb.scan(TableName=STACK.table_name)["Items"] == []
    assert world.customerio.deleted == []


def test_a_record_of_the_person_goes_into_the_stream(world, stack, bodies) -> None:
    world.aws.firehose = Firehose()
    world.customerio.shown = "its page"
    world.then = [world.write]

    steps = world.run(door=STREAM)

    (data,) = world.aws.firehose.records
    (change,) = read_records(data, now=time.time())
    assert isinstance(change, Change)
    assert "put into the audience stream" in steps[SENT].result
    assert change.identities == {"customer": PERSON.customer_id, "email": PERSON.email}
    assert (change.audience_id, change.audience_name, change.is_member) == (-1, "", True)
    assert abs(change.at_ms / 1000 - time.time()) < 60
    assert bodies(stack.queue_url) == []
    assert steps[TAKEN].is_ok


@pytest.mark.parametrize(("refusal", "is_ok"), [("", True), ("not allowed", False)])
def test_the_person_is_deleted_from_customer_io_only_if_asked(world, refusal, is_ok) -> None:
    world.customerio.shown, world.customerio.refusal = "its page", refusal
    world.write()

    steps = world.run(delete=True)

    assert steps["deleted from Customer.io"].is_ok is is_ok
    assert world.customerio.deleted == [PERSON.customer_id]


def test_what_only_the_log_suggests_is_a_warning(world) -> None:
    world.then = [world.write, lambda: world.log("batch.done", delivered=1)]

    steps = world.run()

    assert (steps[TAKEN].is_ok, steps[TAKEN].is_warning) == (True, True)


def test_at_a_level_that_tells_nothing_the_last_step_cannot_be_seen(world) -> None:
    world.write()

    steps = world.run(log_level="ERROR")

    assert "cannot be seen, as LogLevel is ERROR" in steps[TAKEN].result
    assert steps[TAKEN].is_warning
    assert steps[TAKEN].seconds > QUIET_S


def test_a_retry_is_told_once_and_the_message_followed_on(world) -> None:
    why = {"error_type": "UnavailableError", "reason": "503"}
    retry = {"mparticle_message_id": PERSON.message_id, **why}
    world.then = [
        lambda: world.log("message.retried", **retry),
        lambda: world.log("message.retried", **retry),
        world.write,
        lambda: setattr(world.customerio, "shown", "its page"),
    ]

    steps = world.run()

    assert "UnavailableError: 503" in steps["retried"].result
    assert (steps["retried"].is_warning, steps["retried"].seconds) == (True, 2)
    assert steps[TAKEN].is_ok


def test_in_a_stream_each_retry_may_be_that_of_the_person(world) -> None:
    world.aws.firehose = Firehose()
    why = {"error_type": "UnavailableError", "reason": "503"}
    world.then = [
        lambda: world.log("message.retried", mparticle_message_id="of-the-stream", **why),
        world.write,
        lambda: setattr(world.customerio, "shown", "its page"),
    ]

    steps = world.run(door=STREAM)

    assert "503 (this message or another)" in steps["retried"].result
    assert steps[TAKEN].is_ok


def test_a_message_that_is_set_aside_is_told_with_its_reason_and_leaves_no_letter(
    world, stack, set_aside, bodies
) -> None:
    set_aside("NoIdentity", "m-0", "of somebody else")
    ours = PERSON.message(at_ms=1)
    world.then = [world.write, lambda: set_aside("RejectedByCustomerIo", "m-1", ours)]

    steps = world.run()

    assert not steps[TAKEN].is_ok
    assert "RejectedByCustomerIo: why" in steps[TAKEN].result
    assert steps[ERASED].is_ok
    assert bodies(stack.dead_letter_queue_url) == ["of somebody else"]


def test_a_letter_of_somebody_else_is_no_failure(world, set_aside) -> None:
    world.then = [
        lambda: set_aside("NoIdentity", "m-0", "of somebody else"),
        world.write,
        lambda: setattr(world.customerio, "shown", "its page"),
    ]

    assert world.run()[TAKEN].is_ok


@pytest.mark.parametrize(
    ("then", "hangs_at", "section"),
    [([], WRITTEN, "Changes wait too long"), (["write"], TAKEN, "Changes are retried")],
)
def test_a_message_that_hangs_says_where_and_what_to_do(world, then, hangs_at, section) -> None:
    world.then = [getattr(world, each) for each in then]

    steps = world.run(timeout_s=20)

    assert not steps[hangs_at].is_ok
    assert "not within 20 seconds" in steps[hangs_at].result
    assert section in steps[hangs_at].result
    assert [*steps][-2:] == [hangs_at, ERASED]


def test_nothing_is_sent_to_a_stack_that_is_not_ready(world, stack, bodies) -> None:
    world.mappings[0] = mapping("queue", "Disabled")

    steps = world.run()

    assert [(name, step.is_ok) for name, step in steps.items()] == [("stack", False)]
    assert bodies(stack.queue_url) == []


def test_nothing_is_sent_with_credentials_that_customer_io_refuses(world, stack, bodies) -> None:
    world.customerio.error = CredentialsRefusedError("Customer.io refused the credentials: 401")

    steps = world.run()

    assert [*steps] == ["stack", "checked"]
    assert "401" in steps["checked"].result
    assert bodies(stack.queue_url) == []


def test_what_aws_refuses_is_a_failed_step_and_the_person_is_erased(world) -> None:
    world.write()
    world.aws.logs.delete_log_group(logGroupName=STACK.log_group)

    steps = world.run()

    assert "ResourceNotFoundException" in steps["followed"].result
    assert [*steps][-1] == ERASED
