"""The client against a server that answers in every way of the table, and in none of them."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import pytest
import urllib3

from handler.customerio.client import TrackApi
from handler.domain.attributes import Person
from handler.domain.erasure import Deletion
from handler.domain.events import Event
from handler.domain.update import Identifier
from handler.domain.workspace import Workspace
from handler.errors import (
    CredentialsRefusedError,
    EventRejectedError,
    OutOfTimeError,
    PersonRejectedError,
    RetryableError,
    ThrottledError,
    UnavailableError,
    WrongAddressError,
)
from local.fake_customerio.faults import Fault, FaultKind
from tests.builders import deadline
from tests.stand_ins.ports import RecordingTelemetry

WORKSPACE = Workspace("site-a", "key-a")


class Caller:
    """A client that waits for nobody, and what it reported."""

    def __init__(self, url, **how) -> None:
        self.telemetry = RecordingTelemetry()
        self.slept: list[float] = []
        self.seconds = 30.0
        self.now = 0.0
        self.executor = ThreadPoolExecutor(4)
        self.pool = urllib3.PoolManager(maxsize=4, ssl_context=ssl.create_default_context())
        self.api = TrackApi(
            self.pool,
            self.executor,
            self.telemetry,
            draw=lambda _, high: high,
            sleep=self._sleep,
            now=lambda: self.now,
            url=url,
            **{"requests_per_second": 1000, **how},
        )

    def _sleep(self, seconds) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def deliver(self, *persons, workspace=WORKSPACE):
        within = deadline(self.seconds, now=lambda: self.now)
        return self.api.deliver(workspace, persons, deadline=within)


@pytest.fixture
def caller(fake):
    made = Caller(fake.url)
    yield made
    made.executor.shutdown()


def someone(value="42", *, fields=None, **attributes) -> Person:
    identifier = Identifier(is_id=True, set_at_ms=1, value=value)
    held = {"SegmentMembership": "'11'", **attributes}
    return Person(identifier, 1_790_000_000, held, **(fields or {}))


def held(fake) -> dict[str, dict[str, object]]:
    return {one.identifiers["id"]: one.attributes for one in fake.people()}


def crowd(count) -> list[Person]:
    return [someone(str(n), first_name="x" * 900) for n in range(count)]


def test_200_all_are_accepted(fake, caller) -> None:
    assert caller.deliver(someone("42"), someone("43")) == [None, None]

    assert set(held(fake)) == {"42", "43"}


def test_an_update_only_person_is_not_created(fake, caller) -> None:
    caller.deliver(someone("42"))
    update_only = {"update_only": True}

    outcomes = caller.deliver(
        someone("42", first_name="Ann", fields=update_only), someone("43", fields=update_only)
    )

    assert outcomes == [None, None]
    assert held(fake) == {"42": {"SegmentMembership": "'11'", "first_name": "Ann"}}


@pytest.mark.parametrize(
    ("action", "comes_back"), [("delete", {"42", "43"}), ("suppress", {"43"})]
)
def test_whoever_is_deleted_can_come_back_and_who_is_suppressed_cannot(
    fake, caller, action, comes_back
) -> None:
    caller.deliver(someone("42"), someone("43"))
    identifier = Identifier(is_id=True, set_at_ms=1, value="42")

    assert caller.deliver(Deletion(identifier, action)) == [None]
    assert set(held(fake)) == {"43"}
    assert [dict(one.identifiers) for one in fake.removed()] == [{"id": "42"}]

    assert caller.deliver(someone("42")) == [None]
    assert set(held(fake)) == comes_back


def test_a_deletion_that_is_refused_fails_alone(fake, caller) -> None:
    fake.misbehave(Fault(FaultKind.REFUSE, person="42", reason="invalid"))
    first, second = (Identifier(is_id=True, set_at_ms=1, value=value) for value in ("42", "43"))

    refused, accepted = caller.deliver(Deletion(first, "delete"), Deletion(second, "delete"))

    assert isinstance(refused, PersonRejectedError)
    assert accepted is None


def test_an_empty_delivery_sends_no_request(fake, caller) -> None:
    assert caller.deliver() == []
    assert fake.requests() == []


def test_207_only_those_named_are_refused(fake, caller) -> None:
    too_long = someone("43", first_name="Ann" * 400)

    first, second, third = caller.deliver(someone("42"), too_long, someone("44"))

    assert (first, third) == (None, None)
    assert isinstance(second, PersonRejectedError)
    assert "Ann" not in str(second)
    assert set(held(fake)) == {"42", "44"}


NAMELESS = json.dumps({"errors": [{"reason": "no such luck"}]})


@pytest.mark.parametrize(
    "fault",
    [
        Fault(FaultKind.REFUSE_BATCH, person="13", reason="no such luck", times=None),
        Fault(FaultKind.STATUS, status=207, body=NAMELESS, person="13", times=None),
    ],
    ids=["400", "207 that names nobody"],
)
def test_a_request_refused_as_a_whole_is_halved_down_to_the_one_that_is_refused(
    fake, caller, fault
) -> None:
    fake.misbehave(fault)

    outcomes = caller.deliver(*(someone(str(n)) for n in range(20)))

    assert [n for n, outcome in enumerate(outcomes) if outcome is not None] == [13]
    assert isinstance(outcomes[13], PersonRejectedError)
    assert "no such luck" in str(outcomes[13])
    assert len(held(fake)) == 19


@pytest.mark.parametrize("status", [402, 409, 410, 413, 422])
def test_after_any_other_4xx_both_halves_are_sent(fake, caller, status) -> None:
    fake.misbehave(Fault(FaultKind.STATUS, status=status, times=2))

    first, second = caller.deliver(someone("42"), someone("43"))

    assert isinstance(first, PersonRejectedError)
    assert second is None
    assert [request.entities for request in fake.requests()] == [2, 1, 1]


@pytest.mark.parametrize("status", [401, 403])
def test_401_says_that_the_credentials_are_refused_and_is_not_tried_again(
    fake, caller, status
) -> None:
    fake.misbehave(Fault(FaultKind.STATUS, status=status, times=None))

    (outcome,) = caller.deliver(someone())

    assert isinstance(outcome, CredentialsRefusedError)
    assert caller.slept == []


def test_rotated_credentials_are_refused_until_the_new_ones_come(fake, caller) -> None:
    fake.rotate({"site-a": "key-b"})

    (before,) = caller.deliver(someone())
    (after,) = caller.deliver(someone(), workspace=Workspace("site-a", "key-b"))

    assert isinstance(before, CredentialsRefusedError)
    assert after is None


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_never_followed(fake, caller, status) -> None:
    location = {"Location": f"{fake.url}/api/v2/batch?elsewhere"}
    fake.misbehave(Fault(FaultKind.STATUS, status=status, headers=location, times=1))

    (outcome,) = caller.deliver(someone())

    assert isinstance(outcome, WrongAddressError)
    assert len(fake.requests()) == 1


def test_404_is_a_wrong_address(fake) -> None:
    caller = Caller(f"{fake.url}/wrong")

    (outcome,) = caller.deliver(someone())

    assert isinstance(outcome, WrongAddressError)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_transient_error_is_retried(fake, caller, status) -> None:
    fake.misbehave(Fault(FaultKind.STATUS, status=status, times=2))

    assert caller.deliver(someone()) == [None]
    assert caller.slept == [0.25, 0.5]
    assert len(caller.telemetry.named("request_retried")) == 2


def test_an_error_that_stays_is_retryable_after_five_tries(fake, caller) -> None:
    fake.misbehave(Fault(FaultKind.STATUS, status=503, times=None))

    (outcome,) = caller.deliver(someone())

    assert isinstance(outcome, UnavailableError)
    assert len(fake.requests()) == 5


def test_retry_after_is_honoured(fake, caller) -> None:
    fake.misbehave(Fault(FaultKind.STATUS, status=429, headers={"Retry-After": "7"}, times=1))

    assert caller.deliver(someone()) == [None]
    assert caller.slept == [7.25]


@pytest.mark.parametrize("value", ["soon", "", "-3", "9" * 5000])
def test_a_retry_after_that_makes_no_sense_is_overlooked(fake, caller, value) -> None:
    fake.misbehave(Fault(FaultKind.STATUS, status=429, headers={"Retry-After": value}, times=1))

    assert caller.deliver(someone()) == [None]


def test_a_retry_after_beyond_the_time_left_is_left_to_the_queue(fake, caller) -> None:
    fake.misbehave(Fault(FaultKind.STATUS, status=429, headers={"Retry-After": "60"}, times=1))

    (outcome,) = caller.deliver(someone())

    assert isinstance(outcome, ThrottledError)
    assert caller.slept == []


@pytest.mark.parametrize(
    "kind", [FaultKind.DROP, FaultKind.DROP_AFTER, FaultKind.TRUNCATE, FaultKind.NONSENSE]
)
def test_a_broken_connection_or_answer_is_tried_again(fake, caller, kind) -> None:
    fake.misbehave(Fault(kind, times=2))

    assert caller.deliver(someone()) == [None]
    assert set(held(fake)) == {"42"}


def test_a_server_that_does_not_answer_is_left_within_the_time_left(fake, caller) -> None:
    fake.misbehave(Fault(FaultKind.DELAY, delay=30, times=None))
    caller.seconds = 1.2

    (outcome,) = caller.deliver(someone())

    assert isinstance(outcome, RetryableError)


@pytest.mark.parametrize("path", ["", "region"])
def test_a_server_that_trickles_its_answer_is_left_within_the_time_left(path) -> None:
    with trickling_server() as url:
        caller = Caller("" if path else url, region_urls={"us": url})
        started = time.monotonic()
        soon = deadline(1.5, now=time.monotonic)
        (outcome,) = caller.api.deliver(
            Workspace("site-a", "key-a", "auto"),
            [someone()],
            deadline=soon,
        )

    assert isinstance(outcome, OutOfTimeError)
    assert time.monotonic() - started < 5


@contextmanager
def trickling_server():
    """Answer with one header after the other, and never end."""
    closing = threading.Event()

    def trickle(listener):
        connection, _ = listener.accept()
        with connection, suppress(OSError):
            connection.sendall(b"HTTP/1.1 200 OK\r\n")
            while not closing.wait(0.05):
                connection.sendall(b"X-Slow: yes\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=trickle, args=(listener,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            closing.set()
            thread.join()


def test_no_request_starts_without_time(fake, caller) -> None:
    caller.seconds = 0.5

    (outcome,) = caller.deliver(someone())

    assert isinstance(outcome, OutOfTimeError)
    assert fake.requests() == []


def test_a_refused_connection_is_retryable() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        caller = Caller(f"http://127.0.0.1:{closed.getsockname()[1]}")

        (outcome,) = caller.deliver(someone())

    assert isinstance(outcome, UnavailableError)


def test_people_go_in_chunks_under_the_limit(fake, caller) -> None:
    assert caller.deliver(*crowd(1200)) == [None] * 1200

    assert len(held(fake)) == 1200
    assert len(fake.requests()) == 3


def test_after_a_chunk_fails_those_not_started_are_not_tried(fake) -> None:
    caller = Caller(fake.url)
    caller.executor = ThreadPoolExecutor(1)
    caller.api._executor = caller.executor
    fake.misbehave(Fault(FaultKind.STATUS, status=503, times=5))

    outcomes = caller.deliver(*crowd(1200))

    assert all(isinstance(outcome, UnavailableError) for outcome in outcomes)
    assert len(fake.requests()) == 5


def test_a_person_of_several_entities_is_refused_if_one_of_them_is(fake, caller) -> None:
    many = {f"In {n}": True for n in range(400)}
    broken = someone("43", **many, **{"x" * 151: True})

    first, second = caller.deliver(someone("42", **many), broken)

    assert first is None
    assert isinstance(second, PersonRejectedError)
    assert len(held(fake)["42"]) == 401


EVENT_IDS = ("01ARZ3NDEKTSV4RRFFQ69G5FAV", "01BX5ZZKBKACTAV9WEVGEMMVRZ")


def with_events(value="42", **attributes) -> Person:
    """Return somebody who entered one audience and left another."""
    entered, left = EVENT_IDS
    moves = [
        Event(entered, "Audience Entered", 1_790_000_000, 11, "Newcomers"),
        Event(left, "Audience Exited", 1_790_000_001, 12, "Lapsed"),
    ]
    return someone(value, fields={"events": moves}, **attributes)


def event_names(fake) -> dict[str, list[str]]:
    return {one.identifiers["id"]: [event.name for event in one.events] for one in fake.people()}


def test_events_go_in_the_same_request_after_their_person(fake, caller) -> None:
    assert caller.deliver(with_events("42"), someone("43")) == [None, None]

    assert [request.entities for request in fake.requests()] == [4]
    assert [update.entity.action for update in fake.updates("42")] == [
        "identify",
        "event",
        "event",
    ]
    assert event_names(fake) == {"42": ["Audience Entered", "Audience Exited"], "43": []}


def test_207_for_an_event_says_so_and_everything_else_is_taken(fake, caller) -> None:
    fake.misbehave(Fault(FaultKind.REFUSE, event="Audience Entered", reason="invalid"))

    first, second = caller.deliver(with_events("42"), someone("43"))

    assert isinstance(first, EventRejectedError)
    assert str(first) == "name: invalid"
    assert second is None
    assert event_names(fake) == {"42": ["Audience Exited"], "43": []}


def test_400_for_an_event_is_halved_down_to_it_and_everything_else_is_taken(fake, caller) -> None:
    fake.misbehave(
        Fault(FaultKind.REFUSE_BATCH, event="Audience Entered", reason="invalid", times=None)
    )

    outcomes = caller.deliver(someone("41"), with_events("42"), someone("43"))

    assert [type(outcome) for outcome in outcomes] == [
        type(None),
        EventRejectedError,
        type(None),
    ]
    assert held(fake).keys() == {"41", "42", "43"}
    assert event_names(fake)["42"] == ["Audience Exited"]


def test_no_event_is_sent_once_a_400_refused_its_person(fake, caller) -> None:
    fake.misbehave(Fault(FaultKind.REFUSE_BATCH, person="42", times=None))

    first, second = caller.deliver(with_events("42"), with_events("43"))

    assert isinstance(first, PersonRejectedError)
    assert second is None
    assert event_names(fake) == {"43": ["Audience Entered", "Audience Exited"]}
    # Of six entities the first is refused alone, and of the others two never go out again.
    assert [request.entities for request in fake.requests()] == [6, 3, 1, 3]


def test_a_person_who_is_refused_along_with_an_event_is_refused(fake, caller) -> None:
    fake.misbehave(Fault(FaultKind.REFUSE, event="Audience Exited"))

    (outcome,) = caller.deliver(with_events("42", first_name="x" * 1001))

    assert isinstance(outcome, PersonRejectedError)


def test_a_person_of_two_requests_is_retried_if_only_one_of_them_is_answered(fake, caller) -> None:
    fake.misbehave(
        Fault(FaultKind.REFUSE, event="Audience Entered"),
        Fault(FaultKind.STATUS, status=503, times=None),
    )
    entered = Event(EVENT_IDS[0], "Audience Entered", 1_790_000_000, 11, "Newcomers")

    (outcome,) = caller.deliver(someone(fields={"events": [entered] * 1001}))

    assert isinstance(outcome, UnavailableError)


def test_an_event_that_was_taken_is_not_taken_again(fake, caller) -> None:
    caller.deliver(with_events())
    caller.deliver(with_events())

    assert event_names(fake) == {"42": ["Audience Entered", "Audience Exited"]}


def test_events_count_towards_the_thousand_of_a_request(fake, caller) -> None:
    caller.deliver(*(with_events(str(n)) for n in range(334)))

    # A person of three entities does not fit next to 333 of them.
    assert sorted(request.entities for request in fake.requests()) == [3, 999]


def test_the_region_is_asked_for_once_and_its_url_is_used(fake) -> None:
    caller = Caller("", region_urls={"us": fake.url, "eu": fake.url})
    workspace = Workspace("site-eu", "key-eu", "auto")

    outcomes = [caller.deliver(someone(), workspace=workspace) for _ in range(2)]

    assert outcomes == [[None], [None]]
    assert [request.path for request in fake.requests()] == [
        "/api/v1/accounts/region",
        "/api/v2/batch",
        "/api/v2/batch",
    ]


def test_a_region_that_is_named_is_not_asked_for(fake) -> None:
    caller = Caller("", region_urls={"us": "http://127.0.0.1:1", "eu": fake.url})

    assert caller.deliver(someone(), workspace=Workspace("site-eu", "key-eu", "eu")) == [None]


def test_a_region_refused_is_refused_credentials(fake) -> None:
    caller = Caller("", region_urls={"us": fake.url})

    (outcome,) = caller.deliver(someone(), workspace=Workspace("site-a", "wrong", "auto"))

    assert isinstance(outcome, CredentialsRefusedError)


def test_requests_to_a_workspace_wait_for_their_turn(fake) -> None:
    caller = Caller(fake.url, requests_per_second=0.5)

    outcomes = [caller.deliver(someone()) for _ in range(3)]

    assert outcomes == [[None]] * 3
    assert caller.slept == [2.0, 2.0]


def test_a_request_whose_turn_comes_too_late_is_not_sent(fake) -> None:
    caller = Caller(fake.url, requests_per_second=0.1)
    caller.seconds = 10.5

    (first,), (second,) = (caller.deliver(someone()) for _ in range(2))

    assert first is None
    assert isinstance(second, OutOfTimeError)
    assert caller.slept == []
    assert len(fake.requests()) == 1


def test_a_retry_waits_for_its_turn_too(fake) -> None:
    caller = Caller(fake.url, requests_per_second=0.5)
    fake.misbehave(Fault(FaultKind.STATUS, status=503, times=1))

    assert caller.deliver(someone()) == [None]
    assert caller.slept == [0.25, 1.75]


def test_each_workspace_has_its_own_requests_per_second(fake) -> None:
    caller = Caller(fake.url, requests_per_second=0.1)

    outcomes = [
        caller.deliver(someone(), workspace=workspace)
        for workspace in (WORKSPACE, Workspace("site-eu", "key-eu"))
    ]

    assert outcomes == [[None], [None]]
    assert caller.slept == []


# --- a workspace that is down ---

DOWN = [
    *(Fault(FaultKind.STATUS, status=status, times=None) for status in (503, 429, 401, 403, 404)),
    Fault(FaultKind.DROP, times=None),
]


def go_down(fake, caller, workspace=WORKSPACE):
    """Fail a delivery, and count requests anew; the pause after it takes 15 seconds."""
    fake.misbehave(Fault(FaultKind.STATUS, status=404, times=1))
    (outcome,) = caller.deliver(someone(), workspace=workspace)
    assert isinstance(outcome, WrongAddressError)
    fake.reset()


@pytest.mark.parametrize("fault", DOWN, ids=lambda fault: f"{fault.kind} {fault.status}")
def test_after_a_failed_delivery_nothing_is_sent_for_a_while(fake, caller, fault) -> None:
    fake.misbehave(fault)
    (failed,) = caller.deliver(someone())
    sent = len(fake.requests())

    outcomes = caller.deliver(someone("42"), someone("43"))

    assert [(type(one), str(one)) for one in outcomes] == [(type(failed), str(failed))] * 2
    assert isinstance(caller.api.paused(WORKSPACE), type(failed))
    assert len(fake.requests()) == sent


def test_each_failed_delivery_in_a_row_doubles_the_pause_up_to_four_minutes(fake, caller) -> None:
    fake.misbehave(Fault(FaultKind.STATUS, status=503, times=None))
    pauses = []
    for _ in range(6):
        caller.deliver(someone())
        began = caller.now
        while caller.api.paused(WORKSPACE):
            caller.now += 5
        pauses.append(caller.now - began)

    assert pauses == [15, 30, 60, 120, 240, 240]


def test_after_a_pause_one_request_is_tried_once(fake, caller) -> None:
    go_down(fake, caller)
    fake.misbehave(Fault(FaultKind.STATUS, status=503, times=None))
    caller.now += 15

    outcomes = caller.deliver(*crowd(1200))

    assert {type(outcome) for outcome in outcomes} == {UnavailableError}
    assert len(fake.requests()) == 1
    assert caller.api.paused(WORKSPACE)


def test_after_a_pause_all_others_are_sent_once_the_first_request_succeeds(fake, caller) -> None:
    go_down(fake, caller)
    caller.now += 15

    assert caller.deliver(*crowd(1200)) == [None] * 1200
    assert caller.api.paused(WORKSPACE) is None

    go_down(fake, caller)
    caller.now += 15
    assert caller.api.paused(WORKSPACE) is None


def test_a_first_request_that_is_refused_as_a_whole_ends_the_outage_too(fake, caller) -> None:
    go_down(fake, caller)
    caller.now += 15
    fake.misbehave(Fault(FaultKind.REFUSE_BATCH, person="43", times=None))

    first, second, third = caller.deliver(someone("42"), someone("43"), someone("44"))

    assert (first, third) == (None, None)
    assert isinstance(second, PersonRejectedError)
    assert caller.api.paused(WORKSPACE) is None


def test_the_region_is_asked_for_as_the_one_request_after_a_pause(fake) -> None:
    caller = Caller("", region_urls={"us": fake.url, "eu": fake.url})
    workspace = Workspace("site-a", "key-a", "auto")
    go_down(fake, caller, workspace)
    fake.misbehave(Fault(FaultKind.STATUS, status=503, times=None))
    caller.now += 15

    (outcome,) = caller.deliver(someone(), workspace=workspace)

    assert isinstance(outcome, UnavailableError)
    assert [request.path for request in fake.requests()] == ["/api/v1/accounts/region"]
    assert caller.api.paused(workspace)


def test_an_error_that_a_retry_fixes_pauses_nothing(fake, caller) -> None:
    fake.misbehave(Fault(FaultKind.STATUS, status=503, times=4))

    assert caller.deliver(someone()) == [None]
    assert caller.api.paused(WORKSPACE) is None


def test_running_out_of_time_pauses_nothing(fake, caller) -> None:
    fake.misbehave(Fault(FaultKind.DELAY, delay=30, times=None))
    caller.seconds = 1.2

    outcomes = [caller.deliver(someone())]
    caller.seconds = 0.5
    outcomes.append(caller.deliver(someone()))

    assert [type(outcome) for (outcome,) in outcomes] == [OutOfTimeError] * 2
    assert caller.api.paused(WORKSPACE) is None


def test_running_out_of_time_after_an_error_pauses_the_workspace(fake) -> None:
    caller = Caller(fake.url, requests_per_second=0.1)
    caller.seconds = 10.0
    fake.misbehave(Fault(FaultKind.STATUS, status=503, times=1))

    (outcome,) = caller.deliver(someone())

    assert isinstance(outcome, OutOfTimeError)
    assert isinstance(caller.api.paused(WORKSPACE), UnavailableError)


def test_an_empty_delivery_ends_no_pause(fake, caller) -> None:
    go_down(fake, caller)
    caller.now += 15

    assert caller.deliver() == []

    fake.misbehave(Fault(FaultKind.STATUS, status=503, times=None))
    caller.deliver(someone())
    assert len(fake.requests()) == 1


def test_other_credentials_are_not_paused(fake, caller) -> None:
    go_down(fake, caller)

    assert caller.api.paused(Workspace("site-a", "key-b")) is None
    assert caller.deliver(someone(), workspace=Workspace("site-eu", "key-eu")) == [None]


def test_an_answer_without_end_is_read_up_to_a_bound(fake, caller) -> None:
    endless = json.dumps({"errors": [], "x": "y" * (5 << 20)})
    fake.misbehave(Fault(FaultKind.STATUS, status=200, body=endless, times=1))

    assert caller.deliver(someone()) == [None]
    assert len(caller.telemetry.named("request_retried")) == 1


def test_connections_are_kept_alive(fake, caller) -> None:
    for _ in range(3):
        caller.deliver(someone())

    pools = caller.pool.pools
    (key,) = pools.keys()
    assert pools[key].num_connections == 1
