"""Erasures: who is forgotten, what is done in Customer.io, and what comes afterwards."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from handler.clock import AWS_CALL_S, Deadline
from handler.domain.audience import AudienceUpdate
from handler.domain.options import DeliveryOptions
from handler.domain.update import person_key
from handler.domain.versions import new_version
from handler.errors import (
    CredentialsRefusedError,
    PersonRejectedError,
    UnavailableError,
    UnusableCredentialsError,
    VersionConflictError,
)
from handler.jobs.erase import CONFIRMED_AFTER_S
from handler.jobs.states import SAVE_WITHIN_S
from tests.builders import (
    NOW_MS,
    WORKSPACE,
    audience,
    body,
    deadline,
    erasure,
    profile,
    profile_of,
)
from tests.stand_ins.forwarder import House

EMAIL = "ann@example.com"
BEFORE, AFTER = NOW_MS - 5000, NOW_MS + 5000


def house(on_erasure: Any = "delete", **options: Any) -> House:
    return House(delivery_options=DeliveryOptions(on_erasure=on_erasure, **options))


def by_email(email: str, *audiences: Any, mpid: int = -7) -> dict[str, Any]:
    return profile(*audiences, mpid=mpid, customer_id=None, email=email)


def key(mpid: int = -7, site_id: str = "site-a") -> str:
    return person_key(site_id, profile_of(mpid=mpid))


def erase(house: House, text: str | None = None) -> list[str]:
    """Carry out an erasure, and confirm it half a minute later."""
    text = erasure() if text is None else text
    left = house.process(text)
    assert house.queue.moved == ["m-0"]
    house.now += 30
    return [*left, *house.process_retried(text)]


def done(house: House) -> list[Any]:
    return [results for _, _, results in house.telemetry.named("erasure_done")]


# --- the table ---


def test_an_erased_person_is_a_tombstone_in_every_workspace() -> None:
    other = replace(WORKSPACE, site_id="site-b")
    ours = house()
    ours.credentials.accounts = {1: WORKSPACE, 2: other}
    ours.process(*(body(profile(), account_id=n, at_ms=BEFORE) for n in (1, 2)))

    assert erase(ours) == []

    for site_id in ("site-a", "site-b"):
        state = ours.people.items[key(site_id=site_id)]
        assert (state.identifier, state.memberships) == (None, {})
        assert state.erased_at_ms == NOW_MS


def test_somebody_known_by_another_case_of_the_email_is_erased() -> None:
    ours = house()
    ours.process(body(profile(customer_id=None, email="Ann@example.com"), at_ms=BEFORE))

    erase(ours, erasure(customer_id=None, email=" ANN@example.com "))

    assert ours.people.items[key()].identifier is None


def test_all_states_with_the_identifier_are_erased_and_no_other() -> None:
    ours = house()
    ours.process(
        body(profile(mpid=1), profile(mpid=2), profile(mpid=3, customer_id="43"), at_ms=BEFORE)
    )

    erase(ours)

    erased = {n for n in (1, 2, 3) if ours.people.items[key(n)].identifier is None}
    assert erased == {1, 2}
    assert [*ours.customerio.people] == ["43"]


def test_a_late_message_from_before_the_erasure_brings_nobody_back() -> None:
    ours = house()
    ours.process(body(profile(), at_ms=BEFORE))
    erase(ours)

    assert ours.process(body(profile(audience(12)), at_ms=BEFORE + 1)) == []

    assert ours.people.items[key()].identifier is None
    assert ours.customerio.people == {}
    assert ours.queue.letters == []
    assert ours.telemetry.named("batch_done")[-1][0].people_delivered == 0


def test_a_late_message_about_somebody_who_was_never_known_creates_nobody() -> None:
    ours = house()
    erase(ours, erasure(email=EMAIL))

    ours.process(body(profile(), at_ms=BEFORE))
    ours.process(body(profile(mpid=8, customer_id=None, email=EMAIL), at_ms=BEFORE))

    assert ours.people.items == {}
    assert ours.customerio.people == {}


def test_a_change_from_after_the_erasure_starts_the_person_anew() -> None:
    ours = house()
    ours.process(body(profile(audience(11)), at_ms=BEFORE))
    erase(ours)
    erased = ours.people.items[key()]

    ours.process(body(profile(audience(12)), at_ms=AFTER))

    anew = ours.people.items[key()]
    assert [*anew.memberships] == [12]
    assert anew.version == erased.version + 1
    assert ours.customerio.people["42"]["SegmentMembership"] == "'12'"


def test_a_late_message_leaves_no_attributes_of_audiences_from_before_the_erasure() -> None:
    ours = house(one_attribute_per_audience=True)
    erase(ours)
    ours.process(body(profile(audience(12)), at_ms=AFTER))
    anew = dict(ours.customerio.people["42"])

    ours.process(body(profile(audience(11)), at_ms=BEFORE))

    assert ours.customerio.people["42"] == anew


def test_a_profile_that_gets_an_erased_identifier_late_is_erased() -> None:
    ours = house()
    ours.process(body(profile(customer_id=None, email=EMAIL), at_ms=BEFORE))
    erase(ours)

    ours.process(body(profile(customer_id="42"), at_ms=BEFORE + 1))

    assert ours.people.items[key()].identifier is None
    assert ours.customerio.people == {}


def test_whoever_had_the_identifier_before_somebody_else_is_not_erased_by_a_redelivery() -> None:
    ours = house()
    first = body(by_email(EMAIL, mpid=1), at_ms=BEFORE)
    ours.process(first)
    ours.process(body(by_email("new@example.com", mpid=1), at_ms=BEFORE + 1))
    ours.process(body(by_email(EMAIL, mpid=2), at_ms=BEFORE + 2))
    erase(ours, erasure(customer_id=None, email=EMAIL))

    ours.process(first)

    assert [*ours.people.items[key(1)].memberships] == [11]
    assert ours.customerio.people == {"new@example.com": {"SegmentMembership": "'11'"}}


def test_whoever_gets_the_identifier_of_an_erased_person_loses_nothing() -> None:
    ours = house()
    ours.process(body(by_email(EMAIL, mpid=2), at_ms=BEFORE))
    ours.process(body(by_email("new@example.com", mpid=1), at_ms=BEFORE))
    erase(ours, erasure(customer_id=None, email=EMAIL))

    ours.process(body(by_email(EMAIL, audience(12), mpid=1), at_ms=AFTER))

    assert {*ours.people.items[key(1)].memberships} == {11, 12}
    assert ours.customerio.people[EMAIL] == {"SegmentMembership": "'11','12'"}


def test_a_change_in_the_batch_of_the_erasure_counts_only_if_it_is_newer() -> None:
    ours = house()

    ours.process(
        body(profile(audience(11)), at_ms=BEFORE),
        erasure(),
        body(profile(audience(12)), at_ms=AFTER),
    )

    assert [*ours.people.items[key()].memberships] == [12]
    assert ours.customerio.people["42"]["SegmentMembership"] == "'12'"


def written_by_others(ours: House) -> None:
    known = ours.people.items[key()]
    ours.people.items[key()] = new_version(known, now=ours.now)


def test_whoever_is_written_meanwhile_is_looked_up_again() -> None:
    ours = house()
    ours.process(body(profile(), at_ms=BEFORE))

    def write_once() -> None:
        ours.people.before_save = lambda: None
        written_by_others(ours)

    ours.people.before_save = write_once
    erase(ours)

    assert ours.people.items[key()].identifier is None


def test_if_others_keep_writing_the_person_the_erasure_is_retried() -> None:
    ours = house()
    ours.process(body(profile(), at_ms=BEFORE))
    ours.people.before_save = lambda: written_by_others(ours)

    ours.process(erasure())

    (retried,) = ours.telemetry.named("message_retried")
    assert isinstance(retried[0].retry, VersionConflictError)


# --- confirming ---


def test_an_erasure_is_done_again_until_it_was_recorded_long_enough_ago() -> None:
    ours = house()

    ours.process(erasure())
    ours.now += CONFIRMED_AFTER_S - 1
    assert ours.process_retried(erasure()) == ["m-0"]
    ours.now += 1
    assert ours.process_retried(erasure()) == []

    assert [results[0].is_confirmed for results in done(ours)] == [False, False, True]


def test_whoever_the_index_showed_too_late_is_erased_when_it_is_confirmed() -> None:
    ours = house()
    ours.process(body(profile(), at_ms=BEFORE))
    known, ours.people.items = ours.people.items, {}
    ours.process(erasure())
    ours.people.items = known
    ours.now += 30

    ours.process_retried(erasure())

    assert ours.people.items[key()].identifier is None
    assert ours.customerio.people == {}


# --- Customer.io ---


@pytest.mark.parametrize("on_erasure", ["delete", "suppress"])
def test_customerio_forgets_the_person_by_all_identifiers(on_erasure) -> None:
    ours = house(on_erasure)
    ours.process(body(profile(), at_ms=BEFORE))

    erase(ours, erasure(email=EMAIL))

    assert ours.customerio.people == {}
    assert {*ours.customerio.deleted} == {"42", EMAIL}
    assert ours.customerio.suppressed == ({"42", EMAIL} if on_erasure == "suppress" else set())


def test_with_none_customerio_is_left_alone() -> None:
    ours = house("none")
    ours.process(body(profile(), at_ms=BEFORE))
    shown = dict(ours.customerio.people)

    erase(ours)
    ours.process(body(profile(audience(12)), at_ms=BEFORE))

    assert ours.customerio.people == shown
    assert ours.customerio.deleted == []


def test_what_a_workspace_says_has_precedence() -> None:
    ours = house("delete")
    ours.credentials.accounts = {1: replace(WORKSPACE, on_erasure="none")}

    erase(ours)

    assert ours.customerio.deleted == []


def test_a_former_identifier_is_deleted_too_unless_somebody_has_it_now() -> None:
    ours = house()
    # Without a post, former identifiers stay in the state.
    ours.customerio.refuses = lambda _: UnavailableError("down")
    for n in (1, 2):
        ours.process(body(profile(mpid=n, customer_id=f"old-{n}"), at_ms=BEFORE))
        ours.process(body(profile(mpid=n, customer_id="42"), at_ms=BEFORE + 1))
    ours.process(body(profile(mpid=3, customer_id="old-2"), at_ms=BEFORE + 2))
    ours.customerio.refuses = lambda _: None
    ours.queue.moved.clear()

    ours.process(erasure())

    assert {*ours.customerio.deleted} == {"old-1", "42"}
    assert done(ours)[0][0].deletions == 2


def test_nothing_is_erased_while_customerio_cannot_delete() -> None:
    ours = house()
    ours.process(body(profile(), at_ms=BEFORE))
    ours.customerio.refuses = lambda _: UnavailableError("down")

    ours.process(erasure())

    assert ours.people.items[key()].identifier is not None
    (retried,) = ours.telemetry.named("message_retried")
    assert isinstance(retried[0].retry, UnavailableError)


def test_other_workspaces_are_erased_while_one_is_down() -> None:
    other = replace(WORKSPACE, site_id="site-b")
    ours = house()
    ours.credentials.accounts = {1: WORKSPACE, 2: other}
    ours.process(*(body(profile(), account_id=n, at_ms=BEFORE) for n in (1, 2)))
    ours.customerio.refuses = lambda one: UnavailableError("down") if one == WORKSPACE else None

    ours.process(erasure())

    assert ours.people.items[key()].identifier is not None
    assert ours.people.items[key(site_id="site-b")].identifier is None
    assert ours.queue.moved == ["m-0"]
    assert [(each.entry, each.people) for each in done(ours)[0]] == [("2", 1)]


def test_workspaces_are_erased_while_another_entry_of_the_secret_cannot_be_used() -> None:
    ours = house()
    ours.process(body(profile(), at_ms=BEFORE))
    ours.credentials.unusable = {"2": UnusableCredentialsError("entry 2: region")}

    ours.process(erasure())

    assert ours.people.items[key()].identifier is None
    (retried,) = ours.telemetry.named("message_retried")
    assert isinstance(retried[0].retry, UnusableCredentialsError)


def test_no_account_is_suspended_because_another_workspace_refuses_a_deletion() -> None:
    ours = House(delivery_options=DeliveryOptions(on_erasure="delete"), suspends=True)
    ours.customerio.refuses = lambda _: CredentialsRefusedError("refused")

    ours.process(erasure(account={"account_id": 1001}))

    assert ours.suspensions.suspended == []


def test_a_deletion_that_customerio_rejects_is_set_aside_once_the_rest_is_confirmed() -> None:
    ours = house()
    ours.process(body(profile(), at_ms=BEFORE))
    ours.customerio.answers["no address"] = PersonRejectedError("identifiers: invalid")

    assert erase(ours, erasure(email="no address")) == []

    (letter,) = ours.queue.letters
    assert isinstance(letter.error, PersonRejectedError)
    assert ours.people.items[key()].identifier is None
    assert ours.customerio.people == {}
    assert [each.is_confirmed for (each,) in done(ours)] == [False, True]


def test_a_request_that_was_set_aside_is_carried_out_when_it_is_redriven() -> None:
    ours = house()
    ours.process(body(profile(), at_ms=BEFORE))
    ours.customerio.answers["42"] = PersonRejectedError("identifiers: invalid")
    erase(ours, erasure(email=EMAIL))
    (letter,) = ours.queue.letters
    ours.customerio.answers.clear()
    ours.customerio.deleted.clear()

    ours.process(letter.body)

    assert ours.people.items[key()].identifier is None
    assert {*ours.customerio.deleted} == {"42", EMAIL}


def test_whoever_started_anew_before_the_erasure_arrived_is_deleted_first() -> None:
    ours = house()
    names = [{"key": "$FirstName", "value": "Ann", "action": "upsert"}]
    ours.process(body(profile(audience(11, user_attributes=names)), at_ms=BEFORE))
    ours.process(body(profile(audience(12)), at_ms=AFTER))

    erase(ours)

    assert ours.customerio.people["42"] == {"SegmentMembership": "'12'"}
    assert [*ours.people.items[key()].memberships] == [12]


def test_a_redelivery_deletes_nobody_who_has_started_anew() -> None:
    ours = house()
    ours.process(body(profile(), at_ms=BEFORE))
    erase(ours, erasure(email=EMAIL))
    ours.process(body(profile(email=EMAIL), at_ms=AFTER))
    deleted = list(ours.customerio.deleted)

    ours.process_retried(erasure(email=EMAIL))

    assert ours.customerio.deleted == deleted
    assert ours.customerio.people["42"]["email"] == EMAIL


def test_whoever_starts_anew_while_customerio_deletes_them_is_delivered_again() -> None:
    ours = house()
    ours.process(body(profile(mpid=1), at_ms=BEFORE))

    def start_anew() -> None:
        ours.customerio.after_post = lambda: None
        ours.process(body(profile(audience(12), mpid=2), at_ms=AFTER))
        ours.customerio.people.pop("42")  # the deletion arrives after that post

    ours.customerio.after_post = start_anew
    erase(ours)

    assert ours.customerio.people["42"]["SegmentMembership"] == "'12'"


# --- posts that arrive late ---


def posting_meanwhile(ours: House, text: str) -> None:
    """Process a message whose post arrives after a whole erasure."""
    posted = []

    def erase_first() -> None:
        ours.customerio.after_post = lambda: None
        posted.append(dict(ours.customerio.people["42"]))
        ours.process(erasure())
        ours.customerio.people["42"] = posted[0]

    ours.customerio.after_post = erase_first
    ours.process(text)


def test_a_post_that_arrives_after_the_deletion_is_deleted_again() -> None:
    ours = house()

    posting_meanwhile(ours, body(profile(), at_ms=BEFORE))

    assert ours.customerio.people == {}


def test_a_late_post_is_not_deleted_with_none() -> None:
    ours = house("none")

    posting_meanwhile(ours, body(profile(), at_ms=BEFORE))

    assert ours.customerio.deleted == []


def test_a_late_post_is_deleted_by_the_redelivered_message_after_a_crash() -> None:
    ours = house()
    text = body(profile(), at_ms=BEFORE)
    ours.process(text)
    erase(ours)
    ours.customerio.people["42"] = {"SegmentMembership": "'11'"}

    ours.process(text)

    assert ours.customerio.people == {}


def test_a_late_post_is_not_deleted_if_somebody_has_the_identifier_now() -> None:
    ours = house()
    text = body(profile(mpid=1), at_ms=BEFORE)
    ours.process(text)
    erase(ours)
    ours.process(body(profile(audience(12), mpid=2), at_ms=AFTER))

    ours.process(text)

    assert ours.customerio.people["42"]["SegmentMembership"] == "'12'"


def test_a_refused_event_of_whoever_has_the_identifier_now_is_no_failure_of_the_message() -> None:
    ours = house(clear_removed_audiences=True, membership_events=True)
    text = body(profile(mpid=1), at_ms=BEFORE)
    ours.process(text)
    erase(ours)
    ours.process(body(profile(audience(12), mpid=2), at_ms=AFTER))
    removal = AudienceUpdate(12, AFTER + 1, "VIP", "remove")
    ours.audiences.learn(WORKSPACE.site_id, [removal], deadline=deadline())
    ours.customerio.refused_events = {"Audience Exited"}
    ours.queue.moved.clear()

    assert ours.process(text) == []

    assert ours.customerio.people["42"]["SegmentMembership"] == ""
    assert (ours.queue.moved, ours.set_aside()) == ([], [])


def test_whoever_gets_the_identifier_while_a_late_post_is_deleted_is_delivered_again() -> None:
    ours = house()
    text = body(profile(mpid=1), at_ms=BEFORE)
    ours.process(text)
    erase(ours)

    def start_anew() -> None:
        ours.customerio.after_post = lambda: None
        ours.process(body(profile(audience(12), mpid=2), at_ms=AFTER))
        ours.customerio.people.pop("42")

    ours.customerio.after_post = start_anew
    ours.process(text)

    assert ours.customerio.people["42"]["SegmentMembership"] == "'12'"


def test_whoever_gets_the_identifier_meanwhile_is_delivered_again_until_that_succeeds() -> None:
    ours = house()
    text = body(profile(mpid=1), at_ms=BEFORE)
    ours.process(text)
    erase(ours)
    ours.queue.moved.clear()

    def start_anew() -> None:
        ours.customerio.after_post = lambda: None
        ours.process(body(profile(audience(12), mpid=2), at_ms=AFTER))
        ours.customerio.people.pop("42")
        ours.customerio.refuses = lambda _: UnavailableError("down")

    ours.customerio.after_post = start_anew
    ours.process(text)
    assert ours.queue.moved == ["m-0"]

    ours.customerio.refuses = lambda _: None
    ours.process_retried(text)

    assert ours.customerio.people["42"]["SegmentMembership"] == "'12'"


@pytest.mark.parametrize(("email", "is_deleted"), [(EMAIL, False), (None, True)])
def test_a_late_post_by_an_email_is_not_deleted_if_the_person_may_have_it(
    email, is_deleted
) -> None:
    ours = house()
    text = body(by_email(EMAIL), at_ms=BEFORE)
    ours.process(text)
    erase(ours, erasure(customer_id=None, email=EMAIL))
    ours.process(body(profile(customer_id="42", email=email), at_ms=AFTER))
    ours.customerio.deleted.clear()

    ours.process(text)

    assert ours.customerio.deleted == [EMAIL] * is_deleted


def test_a_late_post_that_cannot_be_deleted_keeps_its_message() -> None:
    ours = house()
    text = body(profile(), at_ms=BEFORE)
    ours.process(text)
    erase(ours)
    ours.queue.moved.clear()
    ours.customerio.refuses = lambda _: UnavailableError("down")

    ours.process(text)

    assert ours.queue.moved == ["m-0"]


# --- what is accepted ---


@pytest.mark.parametrize("kind", ["access", "portability", None, 7])
def test_another_request_of_a_data_subject_is_accepted_and_does_nothing(kind) -> None:
    ours = house()
    ours.process(body(profile(), at_ms=BEFORE))

    assert ours.process(erasure(subject_request_type=kind)) == []

    assert ours.people.items[key()].identifier is not None
    assert len(ours.telemetry.named("message_accepted")) == 1


def test_an_erasure_without_a_known_identity_is_done_at_once() -> None:
    ours = house()

    assert ours.process(erasure(customer_id=None)) == []

    assert ours.queue.moved == []
    assert done(ours) == [[]]


def test_while_it_is_not_known_who_was_erased_a_new_person_is_retried() -> None:
    ours = house()
    ours.erasures.failing = UnavailableError("DynamoDB: throttled")

    ours.process(body(profile()))

    assert ours.queue.moved == ["m-0"]
    assert ours.people.items == {}


def test_a_new_person_is_saved_soon_after_it_was_read_who_was_erased(monkeypatch) -> None:
    ours = house()
    left: list[float] = []
    save = ours.people.save

    def noting(states: Any, *, now: float, deadline: Deadline) -> Any:
        left.append(deadline.seconds_left())
        return save(states, now=now, deadline=deadline)

    monkeypatch.setattr(ours.people, "save", noting)
    ours.process(body(profile(), at_ms=BEFORE))
    ours.process(body(profile(audience(12))))

    of_new, of_known = left
    assert of_new <= SAVE_WITHIN_S < CONFIRMED_AFTER_S - AWS_CALL_S
    assert of_known > SAVE_WITHIN_S


def test_nobody_who_is_known_costs_a_read_of_erasures() -> None:
    ours = house()
    ours.process(body(profile(audience(11)), at_ms=BEFORE))
    ours.erasures.reads = 0

    ours.process(body(profile(audience(12))))

    assert ours.erasures.reads == 0
