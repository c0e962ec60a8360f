"""The fake Customer.io: it answers as documented, and fails as planned.

All requests go over HTTP to a fake in another process.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
import urllib3

from handler.customerio.client import TrackApi
from handler.domain.options import DeliveryOptions
from local.fake_customerio.faults import Fault, FaultKind
from local.fake_customerio.people import EventRecord, Ordering, PersonRecord
from local.fake_customerio.process import FakeCustomerio
from local.fake_customerio.removals import Removal, RemovedPerson
from tests.builders import NOW, audience, body, deadline, message, profile
from tests.stand_ins.forwarder import forwarder
from tests.stand_ins.ports import MemoryPeople, RecordingTelemetry

SITE, KEY = "site-a", "key-a"
OTHER_SITE, OTHER_KEY = "site-b", "key-b"
BATCH, ENTITY, REGION = "/api/v2/batch", "/api/v2/entity", "/api/v1/accounts/region"


def send(
    fake: FakeCustomerio,
    path: str,
    content: object = None,
    *,
    method: str = "POST",
    site_id: str = SITE,
    api_key: str = KEY,
    timeout: float = 30,
) -> urllib3.BaseHTTPResponse:
    """Send one request on a connection of its own; bytes go as they are, the rest as JSON."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    headers = urllib3.make_headers(basic_auth=f"{site_id}:{api_key}")
    with urllib3.PoolManager(retries=False, timeout=timeout) as http:
        return http.request(
            method,
            fake.url + path,
            body=None if content is None else body,
            headers=headers,
            redirect=False,
        )


def identify(
    person: str = "p1", /, *, timestamp: object = None, **attributes: object
) -> dict[str, Any]:
    """Return the entity that gives a person, known by id or email, these attributes."""
    entity = {
        "type": "person",
        "action": "identify",
        "identifiers": {"email" if "@" in person else "id": person},
        "attributes": attributes,
    }
    return entity if timestamp is None else entity | {"timestamp": timestamp}


def event(person: str = "p1", /, **fields: object) -> dict[str, Any]:
    """Return the entity of an event of a person."""
    return identify(person) | {"action": "event", "name": "Opened"} | fields


def act(action: str, person: str = "p1", /) -> dict[str, Any]:
    """Return the entity that deletes, suppresses or unsuppresses a person."""
    name = {"email" if "@" in person else "id": person}
    return {"type": "person", "action": action, "identifiers": name}


ULID = "01ARZ3NDEKTSV4RRFFQ69G5FAV"


def send_batch(fake: FakeCustomerio, *entities: object) -> urllib3.BaseHTTPResponse:
    return send(fake, BATCH, {"batch": entities})


def only_person(fake: FakeCustomerio) -> PersonRecord:
    [person] = fake.people()
    return person


def ids(fake: FakeCustomerio) -> list[str]:
    return [person.identifiers["id"] for person in fake.people()]


# Accepted requests


def test_a_batch_is_accepted_with_an_empty_object_and_all_its_people_are_known(fake) -> None:
    answer = send_batch(fake, identify("p1", plan="basic"), identify("p2", age=7, vip=True))

    assert (answer.status, answer.json()) == (200, {})
    assert fake.people() == [
        PersonRecord(SITE, {"id": "p1"}, {"plan": "basic"}, updates=1),
        PersonRecord(SITE, {"id": "p2"}, {"age": 7, "vip": True}, updates=1),
    ]


def test_an_empty_batch_is_accepted(fake) -> None:
    assert send_batch(fake).status == 200


def test_one_entity_is_identified(fake) -> None:
    answer = send(fake, ENTITY, identify("p1", timestamp=5, plan="basic"))

    assert (answer.status, answer.json()) == (200, {})
    assert only_person(fake) == PersonRecord(SITE, {"id": "p1"}, {"plan": "basic"}, 5, 1)


def test_a_deleted_person_is_unknown(fake) -> None:
    send_batch(fake, identify("p1"), identify("p2"))

    answer = send(fake, ENTITY, act("delete", "p1"))

    assert answer.status == 200
    assert ids(fake) == ["p2"]


@pytest.mark.parametrize(
    ("identifier", "identifiers"),
    [("p%2F1", {"id": "p/1"}), ("ann%40example.com", {"email": "ann@example.com"})],
)
def test_the_v1_api_identifies_and_deletes_by_the_path(
    fake, identifier: str, identifiers: dict[str, str]
) -> None:
    path = f"/api/v1/customers/{identifier}"

    answer = send(fake, path, {"plan": "basic", "_timestamp": 5}, method="PUT")

    assert (answer.status, answer.json()) == (200, {})
    assert only_person(fake) == PersonRecord(SITE, identifiers, {"plan": "basic"}, 5, 1)
    assert send(fake, path, method="DELETE").status == 200
    assert fake.people() == []


def test_the_region_is_answered_with_the_workspace(fake) -> None:
    answer = send(fake, REGION, method="GET", site_id=OTHER_SITE, api_key=OTHER_KEY)

    assert answer.status == 200
    assert answer.json() == {"url": fake.url, "region": "eu", "environment_id": 2}


# People


def test_each_site_id_is_a_workspace_of_its_own(fake) -> None:
    send(fake, ENTITY, identify("p1", plan="basic"))
    send(fake, ENTITY, identify("p1", plan="pro"), site_id=OTHER_SITE, api_key=OTHER_KEY)

    assert [person.attributes for person in fake.people()] == [{"plan": "basic"}, {"plan": "pro"}]
    assert [person.attributes for person in fake.people(OTHER_SITE)] == [{"plan": "pro"}]


def test_an_update_keeps_the_attributes_it_does_not_name(fake) -> None:
    send_batch(fake, identify(plan="basic"), identify(age=7))

    assert only_person(fake).attributes == {"plan": "basic", "age": 7}


def test_null_removes_an_attribute_and_the_empty_string_does_not(fake) -> None:
    send_batch(fake, identify(plan="basic", age=7), identify(plan=None, age=""))

    assert only_person(fake).attributes == {"age": ""}


def test_an_update_older_than_the_newest_is_answered_200_and_ignored(fake) -> None:
    send_batch(fake, identify(timestamp=10, plan="new"))

    answer = send_batch(fake, identify(timestamp=9, plan="old", age=7))

    assert (answer.status, answer.json()) == (200, {})
    assert only_person(fake) == PersonRecord(SITE, {"id": "p1"}, {"plan": "new"}, 10, 1)


def test_attributes_are_ordered_one_by_one_on_demand(fake) -> None:
    fake.order_by(Ordering.ATTRIBUTES)

    send_batch(
        fake,
        identify(timestamp=10, plan="new", city=None),
        identify(timestamp=9, plan="old", city="old", age=7),
        identify(timestamp=8, age=6),
    )

    assert only_person(fake) == PersonRecord(SITE, {"id": "p1"}, {"plan": "new", "age": 7}, 10, 2)


def test_an_update_of_the_same_second_is_applied(fake) -> None:
    send_batch(fake, identify(timestamp=10, plan="first"), identify(timestamp=10, plan="second"))

    assert only_person(fake).attributes == {"plan": "second"}


def test_an_update_without_a_timestamp_is_applied_and_leaves_the_newest(fake) -> None:
    send_batch(fake, identify(timestamp=10), identify(plan="basic"))

    assert only_person(fake) == PersonRecord(SITE, {"id": "p1"}, {"plan": "basic"}, 10, 2)


def test_email_identifiers_are_case_insensitive(fake) -> None:
    send_batch(fake, identify("Ann@Example.com", age=7), identify("ann@example.COM", age=8))

    assert only_person(fake).attributes == {"age": 8}


def test_a_person_known_by_id_is_also_known_by_the_email_attribute(fake) -> None:
    send_batch(fake, identify("p1", email="ann@example.com"), identify("ann@example.com", age=7))

    person = only_person(fake)
    assert person.identifiers == {"id": "p1", "email": "ann@example.com"}
    assert person.attributes == {"email": "ann@example.com", "age": 7}


def test_a_cleared_email_no_longer_names_the_person(fake) -> None:
    send_batch(fake, identify("p1", email="ann@example.com"), identify("p1", email=None))

    assert only_person(fake) == PersonRecord(SITE, {"id": "p1"}, {}, updates=2)


def test_a_new_id_with_a_known_email_updates_the_person_of_that_email(fake) -> None:
    send_batch(fake, identify("ann@example.com"), identify("p1", email="ann@example.com"))

    assert only_person(fake).identifiers == {"id": "p1", "email": "ann@example.com"}


def test_an_email_that_belongs_to_another_person_is_dropped_alone(fake) -> None:
    send_batch(fake, identify("p1", email="ann@example.com"), identify("p2"))

    answer = send_batch(fake, identify("p2", email="ann@example.com", age=7))

    assert answer.status == 200
    assert fake.people()[-1] == PersonRecord(SITE, {"id": "p2"}, {"age": 7}, updates=2)


def test_a_known_cio_id_updates_its_person_and_an_unknown_one_nobody(fake) -> None:
    send_batch(fake, identify("p1"))
    cio_id = only_person(fake).cio_id

    known = identify("p1", id="p2") | {"identifiers": {"cio_id": cio_id}}
    unknown = identify("p1", age=7) | {"identifiers": {"cio_id": "nobody"}}
    answer = send_batch(fake, known, unknown)

    assert answer.status == 200
    assert only_person(fake).identifiers == {"id": "p2"}


def test_update_only_does_nothing_for_a_person_who_is_not_there(fake) -> None:
    answer = send_batch(fake, identify("p1", _update=True), identify("p2", _update=False))

    assert answer.status == 200
    assert ids(fake) == ["p2"]


def test_update_only_updates_a_person_who_is_there_and_is_no_attribute(fake) -> None:
    send_batch(fake, identify("p1", plan="free"))

    send_batch(fake, identify("p1", plan="gold", _update=True))

    assert only_person(fake).attributes == {"plan": "gold"}


def test_update_only_finds_a_person_by_the_email_among_the_attributes_too(fake) -> None:
    send_batch(fake, identify("ann@example.com"))

    send_batch(fake, identify("p1", email="ann@example.com", _update=True))

    assert only_person(fake).identifiers == {"id": "p1", "email": "ann@example.com"}


def test_update_only_holds_in_the_v1_api_too(fake) -> None:
    answer = send(fake, "/api/v1/customers/p1", {"_update": True}, method="PUT")

    assert answer.status == 200
    assert fake.people() == []


def test_a_forwarder_that_creates_nobody_updates_who_is_there(fake) -> None:
    send_batch(fake, identify("p1"))
    with ThreadPoolExecutor(4) as executor, urllib3.PoolManager() as pool:
        update_only = forwarder(
            people=MemoryPeople(),
            customerio=TrackApi(
                pool,
                executor,
                RecordingTelemetry(),
                draw=lambda low, _: low,
                sleep=lambda _: None,
                now=lambda: NOW,
                requests_per_second=1000,
                url=fake.url,
            ),
            options=DeliveryOptions(create_people=False, membership_events=True),
        )
        # More attributes than one entity takes: each entity of the person says so.
        many = [audience(key) for key in range(1, 401)]
        people = [profile(*many, mpid=number, customer_id=f"p{number}") for number in (1, 2)]
        settings = {"account_settings": {"Create One User Attribute per Audience": True}}

        left = update_only.process(
            [message(body(*people, account={"account_id": 1001, **settings}))],
            deadline=deadline(now=lambda: NOW),
        )

    assert left == []
    assert ids(fake) == ["p1"]
    assert len([name for name in only_person(fake).attributes if name.startswith("In ")]) == 400


def find(fake: FakeCustomerio, search: str, limit: int = 0) -> tuple[int, list[str]]:
    """Return how many people the page's search finds, and the ids of those shown."""
    query = {"search": search, "limit": str(limit)}
    answer = urllib3.request("GET", f"{fake.url}/control/people", fields=query).json()
    return answer["total"], [person["identifiers"]["id"] for person in answer["people"]]


def test_people_are_found_by_a_part_of_an_identifier_the_exact_one_last(fake) -> None:
    send_batch(fake, identify("p1"), identify("p12"), identify("q1", email="P1@example.com"))

    assert find(fake, " P1") == (3, ["p12", "q1", "p1"])
    assert find(fake, "example") == (1, ["q1"])


def test_people_are_found_by_an_audience_that_they_are_in(fake) -> None:
    send_batch(
        fake,
        identify("p1", SegmentMembership="'110','111'", **{"In Lapsed": True}),
        identify("p2", SegmentMembership="'1101'", **{"In Lapsed": False}),
        identify("p3", **{"SegmentMembership 2": "'110'"}),
    )

    assert find(fake, "110") == (2, ["p1", "p3"])
    assert find(fake, "lapsed") == (1, ["p1"])


def test_a_part_of_the_people_found_is_returned_with_their_number(fake) -> None:
    send_batch(fake, *[identify(f"p{number}") for number in range(9)], identify("other"))

    assert find(fake, "p", limit=2) == (9, ["p7", "p8"])
    assert find(fake, "", limit=2) == (10, ["p8", "other"])


# Removals


def removed(removal: Removal, **identifiers: str) -> RemovedPerson:
    return RemovedPerson(SITE, identifiers, removal)


def test_a_deletion_is_remembered_until_an_update_creates_the_person_anew(fake) -> None:
    send_batch(fake, identify("p1", timestamp=9, email="ann@example.com", plan="gold"))

    answer = send_batch(fake, act("delete", "Ann@example.com"), act("delete", "nobody"))

    assert (answer.status, answer.json()) == (200, {})
    assert fake.people() == []
    assert fake.removed() == [removed(Removal.DELETED, id="p1", email="ann@example.com")]

    send_batch(fake, identify("ann@example.com", timestamp=5))

    assert only_person(fake).attributes == {}
    assert fake.removed() == []


def test_suppression_deletes_the_person_and_ignores_what_names_its_id_or_email(fake) -> None:
    send_batch(fake, identify("p1", email="ann@example.com"), identify("p2"))

    answer = send_batch(
        fake,
        act("suppress", "p1"),
        identify("p1"),
        identify("ANN@example.com"),
        event("p1"),
        act("delete", "p1"),
    )

    assert (answer.status, answer.json()) == (200, {})
    assert ids(fake) == ["p2"]
    assert fake.removed() == [removed(Removal.SUPPRESSED, id="p1", email="ann@example.com")]


def test_an_unknown_identifier_is_suppressed_in_its_workspace_only(fake) -> None:
    send_batch(fake, act("suppress", "p1"), identify("p1"))
    send(fake, ENTITY, identify("p1"), site_id=OTHER_SITE, api_key=OTHER_KEY)

    assert only_person(fake).site_id == OTHER_SITE
    assert fake.removed() == [removed(Removal.SUPPRESSED, id="p1")]


def test_a_suppressed_email_among_the_attributes_is_dropped_alone(fake) -> None:
    send_batch(
        fake, act("suppress", "ann@example.com"), identify("p1", email="Ann@example.com", age=7)
    )

    assert only_person(fake) == PersonRecord(SITE, {"id": "p1"}, {"age": 7}, updates=1)


def test_unsuppressing_one_identifier_frees_both_and_brings_nobody_back(fake) -> None:
    send_batch(fake, identify("p1", email="ann@example.com", plan="gold"), act("suppress"))

    send_batch(fake, act("unsuppress", "ann@example.com"))

    assert (fake.people(), fake.removed()) == ([], [])
    send_batch(fake, identify("p1"))
    assert only_person(fake) == PersonRecord(SITE, {"id": "p1"}, {}, updates=1)


def test_a_deleted_person_may_be_suppressed_later(fake) -> None:
    send_batch(fake, identify("p1"), act("delete"), act("suppress"), identify("p1"))

    assert fake.removed() == [removed(Removal.SUPPRESSED, id="p1")]
    assert fake.people() == []


# Events


def test_an_event_is_kept_with_its_person_and_changes_no_attribute(fake) -> None:
    opened = event("p1", id=ULID, timestamp=4, attributes={"page": "home"})

    answer = send_batch(fake, identify("p1", timestamp=5, plan="free"), opened)

    assert answer.status == 200
    person = only_person(fake)
    assert (person.attributes, person.timestamp, person.updates) == ({"plan": "free"}, 5, 1)
    assert person.events == (EventRecord("Opened", ULID, 4, {"page": "home"}),)


def test_an_event_creates_the_person_but_not_of_an_unknown_cio_id(fake) -> None:
    send_batch(fake, event("p1"), event() | {"identifiers": {"cio_id": "nobody"}})

    assert only_person(fake).identifiers == {"id": "p1"}


def test_an_event_is_dropped_if_its_id_was_taken_before_in_the_workspace(fake) -> None:
    send_batch(fake, event("p1", id=ULID), event("p1", id=ULID.lower(), name="Closed"))
    send(fake, ENTITY, event("p2", id=ULID))
    send(fake, ENTITY, event("p1", id=ULID), site_id=OTHER_SITE, api_key=OTHER_KEY)

    assert [(one.site_id, len(one.events)) for one in fake.people()] == [
        (SITE, 1),
        (OTHER_SITE, 1),
    ]


def test_events_without_an_id_are_all_kept_in_their_order(fake) -> None:
    send_batch(fake, event(name="First"), event(name="Second"), event(name="Second"))

    assert [one.name for one in only_person(fake).events] == ["First", "Second", "Second"]


# Refusals

REFUSED = {
    "type": (identify() | {"type": "object"}, "type"),
    "action": (identify() | {"action": "merge"}, "action"),
    "event without a name": (event(name=" "), "name"),
    "long event name": (event(name="é" * 50 + "x"), "name"),
    "event id that is no ULID": (event(id="8" + "0" * 25), "id"),
    "event id too short": (event(id="0" * 25), "id"),
    "event with a text timestamp": (event(timestamp="5"), "timestamp"),
    "attributes": (identify() | {"attributes": []}, "attributes"),
    "no identifiers": ({"type": "person", "action": "identify"}, "identifiers"),
    "empty identifiers": (identify() | {"identifiers": {}}, "identifiers"),
    "two identifiers": (identify() | {"identifiers": {"id": "1", "email": "a@b"}}, "identifiers"),
    "unknown identifier": (identify() | {"identifiers": {"phone": "+14155552671"}}, "identifiers"),
    "numeric id": (identify() | {"identifiers": {"id": 1}}, "identifiers"),
    "blank id": (identify(" "), "id"),
    "long id": (identify("é" * 75 + "x"), "id"),
    "long email": (identify("é" * 75 + "@"), "email"),
    "long email attribute": (identify(email="x" * 151), "email"),
    "text timestamp": (identify(timestamp="5"), "timestamp"),
    "fractional timestamp": (identify(timestamp=5.5), "timestamp"),
    "long name": (identify(**{"é" * 75 + "x": 1}), "attributes"),
    "long value": (identify(plan="é" * 500 + "x"), "plan"),
    "long structure": (identify(plan=["x" * 997]), "plan"),
    "many attributes": (identify(**{f"a{n}": 1 for n in range(301)}), "attributes"),
    "large entity": (identify(**{f"a{n}": "x" * 990 for n in range(33)}), ""),
    "no object": (7, ""),
}


@pytest.mark.parametrize(("entity", "field"), REFUSED.values(), ids=REFUSED)
def test_a_bad_entity_in_a_batch_is_refused_alone_with_its_place_and_field(
    fake, entity: object, field: str
) -> None:
    answer = send_batch(fake, identify("good-1"), entity, identify("good-2"))

    assert answer.status == 207
    [error] = answer.json()["errors"]
    assert (error["batch_index"], error["field"]) == (1, field)
    assert error["reason"]
    assert error["message"]
    assert ids(fake) == ["good-1", "good-2"]


def test_a_bad_entity_alone_is_answered_400(fake) -> None:
    answer = send(fake, ENTITY, identify() | {"type": "object"})

    assert answer.status == 400
    [error] = answer.json()["errors"]
    assert error.keys() == {"reason", "field", "message"}
    assert error["field"] == "type"
    assert fake.people() == []


def test_entities_at_the_limits_are_accepted(fake) -> None:
    answer = send_batch(
        fake,
        event(name="é" * 50, id="7" + "Z" * 25),
        identify("é" * 75),
        identify("é" * 74 + "@x"),
        identify("p1", **{"é" * 75: "é" * 500}),
        identify("p2", **{f"a{n}": 1 for n in range(300)}),
    )

    assert (answer.status, answer.json()) == (200, {})


def test_an_entity_is_measured_as_sent(fake) -> None:
    def padded(size: int) -> bytes:
        entity = json.dumps(identify("p1")).encode()
        return entity[:-1] + b" " * (size - len(entity)) + b"}"

    largest = send(fake, BATCH, b'{"batch": [%b]}' % padded(32_000))
    larger = send(fake, BATCH, b'{"batch": [%b]}' % padded(32_001))

    assert (largest.status, larger.status) == (200, 207)


def test_a_batch_of_500_kb_is_answered_413_and_a_smaller_one_accepted(fake) -> None:
    body = json.dumps({"batch": [identify("p1")]}).encode()

    assert send(fake, BATCH, body.ljust(499_999)).status == 200
    assert send(fake, BATCH, body.ljust(500_000)).status == 413
    assert only_person(fake).updates == 1


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"batch": {}}', b'{"batch": [}]}'])
def test_a_malformed_batch_is_answered_400_as_a_whole(fake, body: bytes) -> None:
    answer = send(fake, BATCH, body)

    assert answer.status == 400
    [error] = answer.json()["errors"]
    assert error.keys() == {"reason", "field", "message"}


@pytest.mark.parametrize("content", [b"{", [], {"_timestamp": "5"}, {"plan": "x" * 1001}])
def test_a_bad_v1_update_is_answered_400(fake, content: object) -> None:
    answer = send(fake, "/api/v1/customers/p1", content, method="PUT")

    assert answer.status == 400
    assert len(answer.json()["meta"]["errors"]) == 1
    assert fake.people() == []


@pytest.mark.parametrize(
    ("site_id", "api_key"),
    [(SITE, "guessed-key"), (SITE, OTHER_KEY), (SITE, ""), ("", ""), ("site-c", KEY), ("é", "é")],
)
def test_wrong_credentials_are_answered_401(fake, site_id: str, api_key: str) -> None:
    content = {"batch": [identify()]}
    answers = [
        send(fake, BATCH, content, site_id=site_id, api_key=api_key),
        send(fake, REGION, method="GET", site_id=site_id, api_key=api_key),
    ]

    assert [answer.status for answer in answers] == [401, 401]
    assert fake.people() == []
    assert "guessed-key" not in repr(fake.requests())


@pytest.mark.parametrize("header", ["", "Basic", "Basic %%", "Bearer key-a", "Basic w6k="])
def test_credentials_that_cannot_be_read_are_answered_401(fake, header: str) -> None:
    answer = urllib3.request("GET", fake.url + REGION, headers={"Authorization": header})

    assert answer.status == 401


def test_rotated_credentials_replace_the_old_ones(fake) -> None:
    fake.rotate({SITE: "new-key"})

    assert send_batch(fake).status == 401
    assert send(fake, BATCH, {"batch": []}, api_key="new-key").status == 200


def test_an_unknown_path_is_answered_404(fake) -> None:
    assert send(fake, "/api/v3/batch", {}).status == 404


# Faults


def test_a_status_fault_answers_with_headers_and_body_and_accepts_nothing(fake) -> None:
    headers = {"Retry-After": "3", "Location": "https://elsewhere.example"}
    fake.misbehave(Fault(FaultKind.STATUS, status=429, headers=headers, body="slow down"))

    answer = send_batch(fake, identify())

    assert (answer.status, answer.data) == (429, b"slow down")
    assert headers.items() <= dict(answer.headers).items()
    assert fake.people() == []


def test_a_fault_applies_as_often_as_its_times(fake) -> None:
    fake.misbehave(Fault(FaultKind.STATUS, status=500, times=2))

    assert [send_batch(fake).status for _ in range(3)] == [500, 500, 200]


def test_a_fault_without_times_lasts_until_it_is_removed(fake) -> None:
    fake.misbehave(Fault(FaultKind.STATUS, times=None))
    while_planned = [send_batch(fake).status for _ in range(3)]

    fake.behave()

    assert while_planned == [503, 503, 503]
    assert send_batch(fake).status == 200


def test_faults_apply_in_the_planned_order(fake) -> None:
    fake.misbehave(Fault(FaultKind.STATUS, status=500), Fault(FaultKind.STATUS, status=502))

    assert [send_batch(fake).status for _ in range(3)] == [500, 502, 200]


def test_a_delayed_request_is_accepted_and_answered(fake) -> None:
    fake.misbehave(Fault(FaultKind.DELAY, delay=0.2))

    answer = send_batch(fake, identify())

    assert answer.status == 200
    assert fake.requests()[-1].duration >= 0.2
    assert ids(fake) == ["p1"]


def test_a_request_in_progress_at_a_reset_leaves_no_trace(fake) -> None:
    fake.misbehave(Fault(FaultKind.DELAY, delay=0.3))
    with ThreadPoolExecutor(1) as threads:
        under_way = threads.submit(send_batch, fake, identify())
        while not fake.applied():
            pass

        fake.reset()

        assert under_way.result().status == 200
    assert (fake.people(), fake.requests()) == ([], [])


@pytest.mark.parametrize(
    ("kind", "accepted"), [(FaultKind.DROP, []), (FaultKind.DROP_AFTER, ["p1"])]
)
def test_a_dropped_connection_breaks_before_or_after_the_request_is_accepted(
    fake, kind: FaultKind, accepted: list[str]
) -> None:
    fake.misbehave(Fault(kind))

    with pytest.raises(urllib3.exceptions.ProtocolError):
        send_batch(fake, identify())

    assert ids(fake) == accepted
    assert (fake.requests()[-1].status, fake.requests()[-1].fault) == (None, kind)


def test_an_answer_is_truncated_after_the_request_is_accepted(fake) -> None:
    fake.misbehave(Fault(FaultKind.TRUNCATE))

    with pytest.raises(urllib3.exceptions.ProtocolError, match="IncompleteRead"):
        send_batch(fake, identify())

    assert ids(fake) == ["p1"]


@pytest.mark.parametrize(("body", "sent"), [("", b"<!doctype html>"), ("{{", b"{{")])
def test_a_nonsense_answer_is_200_and_nothing_is_accepted(fake, body: str, sent: bytes) -> None:
    fake.misbehave(Fault(FaultKind.NONSENSE, body=body))

    answer = send_batch(fake, identify())

    assert answer.status == 200
    assert answer.data.startswith(sent)
    assert fake.people() == []


def test_a_fault_for_a_person_applies_only_to_requests_with_that_person(fake) -> None:
    fake.misbehave(Fault(FaultKind.STATUS, person="p2", times=None))

    assert send_batch(fake, identify("p1")).status == 200
    assert send_batch(fake, identify("p1"), identify("p2")).status == 503
    assert send(fake, ENTITY, identify("p2")).status == 503
    assert send(fake, "/api/v1/customers/p2", {}, method="PUT").status == 503


def test_a_fault_for_a_path_applies_only_to_that_path(fake) -> None:
    fake.misbehave(Fault(FaultKind.STATUS, path="/api/v1/", times=None))

    assert send_batch(fake).status == 200
    assert send(fake, REGION, method="GET").status == 503


def test_refused_people_are_refused_alone_all_in_one_answer(fake) -> None:
    fake.misbehave(
        Fault(FaultKind.REFUSE, person="p2", reason="suppressed", times=None),
        Fault(FaultKind.REFUSE, person="p3"),
    )

    answer = send_batch(fake, identify("p1"), identify("p2"), identify("p3"))

    assert answer.status == 207
    errors = [(error["batch_index"], error["reason"]) for error in answer.json()["errors"]]
    assert errors == [(1, "suppressed"), (2, "invalid")]
    assert ids(fake) == ["p1"]
    assert send(fake, ENTITY, identify("p2")).status == 400
    assert send(fake, ENTITY, identify("p3")).status == 200


def test_events_of_a_name_are_refused_and_everything_else_is_accepted(fake) -> None:
    fake.misbehave(Fault(FaultKind.REFUSE, event="Opened", times=None))

    answer = send_batch(fake, identify("p1", name="Opened"), event("p1"), event(name="Closed"))

    assert answer.status == 207
    assert [error["batch_index"] for error in answer.json()["errors"]] == [1]
    assert [one.name for one in only_person(fake).events] == ["Closed"]


def test_events_may_be_refused_of_one_person_only(fake) -> None:
    fake.misbehave(Fault(FaultKind.REFUSE_BATCH, event="Opened", person="p2", times=None))

    assert send_batch(fake, event("p1"), identify("p2")).status == 200
    assert send_batch(fake, identify("p1"), event("p2")).status == 400


def test_a_refusal_names_a_person_or_an_event() -> None:
    with pytest.raises(ValueError, match="names a person or an event"):
        Fault(FaultKind.REFUSE)


def test_a_batch_may_be_refused_as_a_whole_for_one_person(fake) -> None:
    fake.misbehave(Fault(FaultKind.REFUSE_BATCH, person="p2", times=None))

    answer = send_batch(fake, identify("p1"), identify("p2"))

    assert answer.status == 400
    assert answer.json()["errors"]
    assert fake.people() == []
    assert send_batch(fake, identify("p1")).status == 200


@pytest.mark.parametrize("kind", [FaultKind.DELAY, FaultKind.DROP_AFTER, FaultKind.TRUNCATE])
@pytest.mark.parametrize(
    ("refusal", "accepted"), [(FaultKind.REFUSE, ["p1"]), (FaultKind.REFUSE_BATCH, [])]
)
def test_a_refusal_applies_together_with_a_fault_that_accepts_the_request(
    fake, kind: FaultKind, refusal: FaultKind, accepted: list[str]
) -> None:
    fake.misbehave(Fault(kind), Fault(refusal, person="p2"))

    with suppress(urllib3.exceptions.ProtocolError):
        send_batch(fake, identify("p1"), identify("p2"))

    assert ids(fake) == accepted
    assert fake.applied() == {kind: 1, refusal: 1}


def test_planned_faults_can_be_replaced(fake) -> None:
    fake.misbehave(Fault(FaultKind.STATUS, times=3), Fault(FaultKind.DROP))
    send_batch(fake)

    before = fake.replan(Fault(FaultKind.STATUS, status=429))

    assert [planned.applied for planned in before] == [1, 0]
    assert [planned.fault.status for planned in fake.faults()] == [429]
    assert send_batch(fake).status == 429
    assert send_batch(fake).status == 200


def test_a_fault_does_not_apply_to_wrong_credentials(fake) -> None:
    fake.misbehave(Fault(FaultKind.STATUS))

    assert send(fake, BATCH, {"batch": []}, api_key="wrong").status == 401
    assert send_batch(fake).status == 503


def test_applied_faults_are_counted_also_after_they_are_removed(fake) -> None:
    fake.misbehave(Fault(FaultKind.STATUS, times=2), Fault(FaultKind.NONSENSE, times=None))
    for _ in range(5):
        send_batch(fake)
    by_fault = [planned.applied for planned in fake.faults()]

    fake.behave()

    assert by_fault == [2, 3]
    assert fake.applied() == {FaultKind.STATUS: 2, FaultKind.NONSENSE: 3}
    assert fake.faults() == []


# Records


def test_every_request_is_recorded_with_its_answer(fake) -> None:
    fake.misbehave(Fault(FaultKind.STATUS, path=REGION))
    send_batch(fake, identify("p1"), identify(" "))
    send(fake, REGION, method="GET")
    send(fake, BATCH, {"batch": []}, api_key="wrong")

    batch, region, unauthorized = fake.requests()

    assert (batch.number, batch.method, batch.path, batch.site_id) == (1, "POST", BATCH, SITE)
    assert (batch.entities, batch.refused, batch.status, batch.fault) == (2, 1, 207, None)
    assert "empty" in batch.reason
    assert 0 <= batch.duration < 30
    assert (region.number, region.status, region.fault) == (2, 503, FaultKind.STATUS)
    assert (unauthorized.status, unauthorized.site_id) == (401, "")
    assert unauthorized.reason == "wrong credentials"
    assert batch.time <= region.time <= unauthorized.time


def test_the_updates_of_a_person_are_returned_with_their_requests(fake) -> None:
    fake.misbehave(Fault(FaultKind.STATUS, status=503))
    send_batch(fake, identify("p1", plan="free"), identify("p2"))
    send_batch(fake, identify("p12"))
    send_batch(fake, identify("p1", plan="gold"))

    updates = fake.updates("p1")

    assert [update.request.status for update in updates] == [503, 200]
    assert [update.entity.attributes for update in updates] == [{"plan": "free"}, {"plan": "gold"}]


def test_a_reset_forgets_people_requests_and_faults(fake) -> None:
    fake.misbehave(Fault(FaultKind.STATUS, path=REGION, times=None))
    send_batch(fake, identify(), act("suppress", "p2"))
    send(fake, REGION, method="GET")

    fake.reset()

    assert (fake.people(), fake.requests(), fake.faults(), fake.applied()) == ([], [], [], {})
    assert fake.removed() == []
    assert send(fake, REGION, method="GET").status == 200


def test_the_page_is_served_and_asks_nothing_of_other_hosts(fake) -> None:
    page = send(fake, "/", method="GET")

    assert page.headers["Content-Type"].startswith("text/html")
    policy = page.headers["Content-Security-Policy"].split("; ")
    assert {"default-src 'none'", "connect-src 'self'"} <= set(policy)
