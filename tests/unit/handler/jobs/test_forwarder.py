"""One batch's walk, with everything around it in memory."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from handler.domain.membership import PersonState, merge
from handler.domain.update import person_key
from handler.domain.workspace import Workspace
from handler.errors import (
    CredentialsRefusedError,
    MisconfiguredError,
    OutOfTimeError,
    PersonRejectedError,
    RetryableError,
    UnavailableError,
)
from handler.jobs.deliver import VERIFYING_S
from handler.jobs.forward import SETTLING_S
from handler.jobs.post import SHORTEST_SHARE_S
from handler.jobs.states import NEW_VERSION_AFTER_S
from tests.builders import (
    NOW,
    NOW_MS,
    WORKSPACE,
    audience,
    body,
    change,
    deadline,
    message,
    profile,
    profile_of,
    update,
)
from tests.stand_ins.forwarder import RETRY_FOR_S, House

KEY = person_key("site-a", profile_of(mpid=-7))


@pytest.fixture
def house() -> House:
    return House()


def test_a_change_on_the_queue_ends_as_attributes(house) -> None:
    assert house.process(body(profile(audience(11034), audience(11036)))) == []

    assert house.customerio.people == {"42": {"SegmentMembership": "'11034','11036'"}}
    assert house.telemetry.report.people_delivered == 1


def test_one_persons_changes_in_a_batch_are_one_write_and_one_post(house) -> None:
    house.process(
        body(profile(audience(11)), at_ms=NOW_MS - 2),
        body(profile(audience(12)), at_ms=NOW_MS - 1),
    )

    assert house.customerio.people["42"] == {"SegmentMembership": "'11','12'"}
    assert len(house.customerio.posted) == 1
    assert house.people.items[KEY].version == 1


def test_two_configurations_of_one_workspace_add_up(house) -> None:
    house.process(body(profile(audience(11)), account_id=1001))
    house.process(body(profile(audience(12)), account_id=1002))

    assert house.customerio.people["42"]["SegmentMembership"] == "'11','12'"


def test_a_redelivered_message_is_delivered_again_without_a_write(house) -> None:
    house.process(body(profile()))

    house.process(body(profile()))

    assert house.people.items[KEY].version == 1
    assert house.customerio.posted[0] == house.customerio.posted[1]


@pytest.mark.parametrize(
    ("seconds", "timestamp", "version"),
    [(NEW_VERSION_AFTER_S, int(NOW), 1), (3600, int(NOW) + 3600, 2)],
)
def test_a_state_delivered_again_is_a_new_version_as_of_now_after_a_while_only(
    house, seconds, timestamp, version
) -> None:
    house.process(body(profile()))
    house.now += seconds

    house.process(body(profile()))

    assert [one.timestamp for one in house.customerio.posted] == [int(NOW), timestamp]
    assert [state.version for state in house.people.items.values()] == [version]


def test_a_late_message_posts_what_is_true_now(house) -> None:
    house.process(body(profile(audience(11, "delete"))))

    house.process(body(profile(audience(11)), at_ms=NOW_MS - 1))

    assert house.customerio.people["42"]["SegmentMembership"] == ""


def test_a_connection_check_and_a_subscription_do_nothing(house) -> None:
    subscription = body(profile(), type="audience_subscription_request")

    assert house.process(body(), subscription) == []
    assert house.customerio.posted == []
    assert len(house.telemetry.named("message_accepted")) == 2


def test_the_stacks_setting_applies_if_the_message_has_none() -> None:
    house = House(one_attribute=True)
    off = {"account_settings": {"Create One User Attribute per Segment": "false"}}

    house.process(body(profile()))
    house.process(body(profile(customer_id="43", mpid=8), account={"account_id": 1001, **off}))

    assert house.customerio.people["42"]["In Audience 11"] is True
    assert "In Audience 11" not in house.customerio.people["43"]


def test_one_bad_profile_is_set_aside_alone(house) -> None:
    bad = profile(customer_id=None)

    assert house.process(body(profile(), bad, profile(customer_id="43", mpid=8))) == []

    assert set(house.customerio.people) == {"42", "43"}
    assert house.set_aside() == [("m-0", "NoIdentity", 1)]
    assert json.loads(house.queue.letters[0].body)["user_profiles"] == [bad]


def test_a_poison_message_is_set_aside_as_it_came(house) -> None:
    assert house.process("{poison", body(type="event_processing_request")) == []

    assert house.set_aside() == [
        ("m-0", "MalformedMessage", 0),
        ("m-1", "UnsupportedMessage", 0),
    ]
    assert house.queue.letters[0].body == "{poison"
    assert (house.telemetry.report.profiles, house.telemetry.report.unreadable) == (0, 2)


def test_an_unknown_account_is_set_aside_whole_and_asked_for_once(house) -> None:
    unknown = body(profile(), profile(customer_id="43"), account_id=9)

    assert house.process(unknown, unknown, body(profile())) == []

    assert house.set_aside() == [("m-0", "UnknownAccount", 2), ("m-1", "UnknownAccount", 2)]
    assert house.credentials.reads == [9, 1001]


def test_an_unreadable_secret_keeps_the_messages_on_the_queue(house) -> None:
    def broken(account_id, **how):
        raise UnavailableError("Secrets Manager: down")

    house.credentials.workspace = broken

    house.process(body(profile()))

    assert house.queue.moved == ["m-0"]


def test_a_misconfiguration_stops_the_whole_batch(house) -> None:
    def misconfigured(account_id, **how):
        raise MisconfiguredError("secret x: $.site_id")

    house.credentials.workspace = misconfigured

    with pytest.raises(MisconfiguredError):
        house.process(body(profile()), "{poison")
    assert house.queue.letters == []
    assert house.queue.delayed == ["m-0", "m-1"]


def test_a_rejected_person_is_set_aside_alone(house) -> None:
    house.customerio.answers["43"] = PersonRejectedError("email: too long")

    assert house.process(body(profile(), profile(customer_id="43", mpid=8))) == []

    assert house.set_aside() == [("m-0", "RejectedByCustomerIo", 1)]
    assert "'11'" in house.customerio.people["42"]["SegmentMembership"]


def test_what_cannot_be_delivered_now_moves_to_the_retry_queue(house) -> None:
    house.customerio.answers["43"] = UnavailableError("Customer.io is unavailable: 503")

    failed = house.process(
        body(profile(customer_id="43", mpid=8), profile(customer_id=None)), body(profile())
    )

    assert failed == []
    assert house.queue.moved == ["m-0"]
    assert house.queue.delayed == []
    assert house.queue.letters == []


def test_what_the_retry_queue_does_not_take_stays_on_its_queue_for_a_while(house) -> None:
    house.customerio.answers["43"] = UnavailableError("Customer.io is unavailable: 503")
    house.queue.is_broken = True

    failed = house.process(body(profile(customer_id="43", mpid=8)), body(profile()))

    assert failed == ["m-0"]
    assert house.queue.delayed == ["m-0"]


def test_what_fails_on_the_retry_queue_stays_there_for_a_while(house) -> None:
    house.customerio.answers["43"] = UnavailableError("Customer.io is unavailable: 503")

    failed = house.process_retried(body(profile(customer_id="43", mpid=8)), body(profile()))

    assert failed == ["m-0"]
    assert house.queue.delayed == ["m-0"]
    assert house.queue.moved == []


def test_a_batch_that_all_stays_on_the_source_queue_raises_after_the_delay(house) -> None:
    house.customerio.refuses = lambda _: UnavailableError("Customer.io is unavailable: 503")
    house.queue.is_broken = True

    with pytest.raises(RetryableError, match="all 2 messages"):
        house.process(body(profile()), body(profile()))
    assert house.queue.delayed == ["m-0", "m-1"]


def test_a_batch_that_all_stays_on_the_retry_queue_does_not_slow_its_polling_down(house) -> None:
    house.customerio.refuses = lambda _: UnavailableError("Customer.io is unavailable: 503")

    assert house.process_retried(body(profile()), body(profile())) == ["m-0", "m-1"]
    assert house.queue.delayed == ["m-0", "m-1"]


def test_what_was_retried_for_long_enough_is_set_aside_with_its_last_reason(house) -> None:
    house.customerio.answers["43"] = UnavailableError("Customer.io is unavailable: 503")
    good, failing = profile(), profile(customer_id="43", mpid=8)

    assert house.process_retried(body(good, failing), since=NOW - RETRY_FOR_S) == []

    (letter,) = house.queue.letters
    assert letter.error.error_type == "RetriesExhausted"
    assert str(letter.error) == (
        "not delivered for 168 hours, last: UnavailableError: Customer.io is unavailable: 503"
    )
    assert json.loads(letter.body)["user_profiles"] == [failing]


def test_a_message_of_an_unreadable_secret_that_was_retried_for_long_is_set_aside_whole(house):
    def broken(account_id, **how):
        raise UnavailableError("Secrets Manager: down")

    house.credentials.workspace = broken

    assert house.process_retried(body(profile(), profile()), since=NOW - RETRY_FOR_S) == []
    assert house.set_aside() == [("m-0", "RetriesExhausted", 2)]


def test_nobody_of_a_paused_workspace_is_read_written_or_posted(house) -> None:
    house.customerio.pauses[WORKSPACE] = UnavailableError("Customer.io is unavailable: 503")

    assert house.process(body(profile())) == []

    assert house.queue.moved == ["m-0"]
    assert not +house.people.calls or house.people.calls == {"versions": 1}
    assert house.customerio.posted == []


def test_what_the_dlq_does_not_take_stays_on_the_queue(house) -> None:
    house.queue.is_broken = True

    assert house.process("{poison", body(profile())) == ["m-0"]


def test_a_lost_race_is_read_again_and_merged(house) -> None:
    def someone_else() -> None:
        house.people.before_save = lambda: None
        house.people.items[KEY] = merge(PersonState(), [update(change(12), mpid=-7)], now=NOW)

    house.people.before_save = someone_else

    house.process(body(profile(audience(11))))

    assert house.customerio.people["42"]["SegmentMembership"] == "'11','12'"
    assert house.people.calls["load consistently"] == 1
    assert house.telemetry.report.version_conflicts == 1


def test_a_join_that_is_not_too_old_for_who_wrote_first_is_not_set_aside(house) -> None:
    long_ago = NOW_MS - 33 * 86_400_000

    def someone_else() -> None:
        house.people.before_save = lambda: None
        joined = update(change(11), mpid=-7, at_ms=NOW_MS - 40 * 86_400_000)
        known = PersonState(version=1, memberships={11: 2 * joined.at_ms})
        house.people.items[KEY] = msgspec.structs.replace(known, identifier=joined.identifier)

    house.people.before_save = someone_else

    house.process(body(profile(audience(11), audience(12)), at_ms=long_ago))

    assert "'11'" in house.customerio.people["42"]["SegmentMembership"]
    assert house.set_aside() == [("m-0", "TooOld", 1)]  # for 12 alone


def test_after_a_pause_one_person_is_delivered_before_the_others_are_read(house) -> None:
    people = [profile(customer_id=str(n), mpid=n) for n in range(1, 101)]
    house.customerio.trials.add(WORKSPACE)
    failure = UnavailableError("Customer.io is unavailable: 503")

    def refuse(workspace):
        house.customerio.pauses[workspace] = failure
        return failure

    house.customerio.refuses = refuse

    house.process(body(*people))

    assert len(house.people.items) == 1
    assert len(house.customerio.posted) == 1
    assert house.queue.moved == ["m-0"]

    house.customerio.refuses = lambda _: None
    house.customerio.pauses.clear()
    house.process(body(*people))
    assert len(house.customerio.people) == 100


def test_after_a_pause_another_person_is_tried_if_the_first_cannot_be_read(house) -> None:
    house.customerio.trials.add(WORKSPACE)
    unreadable = person_key("site-a", profile_of(mpid=3))
    house.people.failing[unreadable] = UnavailableError("DynamoDB: Throttling")
    deliver = house.customerio.deliver

    def answered(workspace, persons, *, deadline):
        house.customerio.trials.clear()
        assert len(persons) == 1 or len(house.customerio.posted) == 1
        return deliver(workspace, persons, deadline=deadline)

    house.customerio.deliver = answered

    house.process(*(body(profile(customer_id=str(n), mpid=n)) for n in (1, 2, 4, 3)))

    assert set(house.customerio.people) == {"1", "2", "4"}
    assert house.queue.moved == ["m-3"]


def test_credentials_refreshed_for_the_first_person_after_a_pause_serve_the_others() -> None:
    house = House(suspends=True)
    rotated = Workspace("site-a", "key-b")
    house.credentials.fresh[1001] = rotated
    house.customerio.trials.add(WORKSPACE)

    def refuse(workspace):
        house.customerio.trials.clear()
        if workspace == rotated:
            return None
        house.customerio.pauses[workspace] = CredentialsRefusedError("401")
        return CredentialsRefusedError("401")

    house.customerio.refuses = refuse

    house.process(*(body(profile(customer_id=str(n), mpid=n)) for n in range(1, 6)))

    assert len(house.customerio.people) == 5
    assert house.suspensions.suspended == []


def test_a_race_lost_again_and_again_is_retryable(house) -> None:
    def someone_else() -> None:
        known = house.people.items.get(KEY, PersonState())
        house.people.items[KEY] = replace_version(known)

    house.people.before_save = someone_else

    house.process(body(profile()))

    assert house.queue.moved == ["m-0"]
    assert house.slept == [1.0, 2.0, 3.0, 4.0]
    assert house.customerio.posted == []


def replace_version(known: PersonState) -> PersonState:
    return merge(known, [update(change(99), at_ms=NOW_MS - 100 + known.version, mpid=-7)], now=NOW)


def test_a_person_written_meanwhile_is_posted_again_as_they_are_now(house) -> None:
    def someone_else() -> None:
        house.customerio.after_post = lambda: None
        known = house.people.items[KEY]
        house.people.items[KEY] = merge(known, [update(change(12), mpid=-7)], now=NOW)

    house.customerio.after_post = someone_else

    assert house.process(body(profile(audience(11), email="a@example.com"))) == []

    assert house.customerio.people["42"]["SegmentMembership"] == "'11','12'"
    assert len(house.customerio.posted) == 2
    assert house.telemetry.report.people_overtaken == 1


def test_a_person_written_again_and_again_meanwhile_is_retryable(house) -> None:
    def someone_else() -> None:
        house.people.items[KEY] = replace_version(house.people.items[KEY])

    house.customerio.after_post = someone_else

    house.process(body(profile()))

    assert house.queue.moved == ["m-0"]


def test_a_person_erased_meanwhile_is_left_alone(house) -> None:
    house.customerio.after_post = house.people.items.clear

    assert house.process(body(profile())) == []


@pytest.mark.parametrize("call", ["load", "save", "versions"])
def test_a_call_to_the_table_that_fails_for_a_person_keeps_only_their_message(house, call) -> None:
    real = getattr(house.people, call)

    def failing(keys, **how):
        results = real(keys, **how)
        return results | {key: UnavailableError("DynamoDB: Throttling") for key in {KEY} & {*keys}}

    setattr(house.people, call, failing)

    assert house.process(body(profile()), body(profile(customer_id="43", mpid=8))) == []

    assert house.queue.moved == ["m-0"]
    assert set(house.customerio.people) == ({"42", "43"} if call == "versions" else {"43"})


def test_refused_credentials_are_refreshed_once_and_tried_again_and_suspend_nobody() -> None:
    house = House(suspends=True)
    rotated = Workspace("site-a", "key-b")
    house.credentials.fresh[1001] = rotated
    house.customerio.refuses = lambda workspace: (
        None if workspace == rotated else CredentialsRefusedError("401")
    )

    assert house.process(body(profile())) == []

    assert house.credentials.refreshes == [WORKSPACE]
    assert house.customerio.credentials == [WORKSPACE, rotated]
    assert house.suspensions.suspended == []


@pytest.mark.parametrize(("suspends", "suspended"), [(True, [1001]), (False, [])])
def test_credentials_still_refused_keep_the_messages_and_may_suspend_the_account(
    suspends, suspended
) -> None:
    house = House(suspends=suspends)
    house.customerio.refuses = lambda _: CredentialsRefusedError("401")

    house.process(body(profile()))

    assert house.queue.moved == ["m-0"]
    assert house.credentials.refreshes == [WORKSPACE]
    assert house.telemetry.named("credentials_refused") == [()]
    assert house.queue.letters == []
    assert house.suspensions.suspended == suspended


def test_a_person_of_two_accounts_is_delivered_with_the_credentials_that_work(house) -> None:
    works = Workspace("site-a", "key-b")
    house.credentials.accounts = house.credentials.fresh = {1001: WORKSPACE, 1002: works}
    house.customerio.refuses = lambda workspace: (
        None if workspace == works else CredentialsRefusedError("401")
    )

    assert house.process(body(profile()), body(profile(audience(12)), account_id=1002)) == []
    assert house.customerio.people["42"] == {"SegmentMembership": "'11','12'"}


def test_people_are_posted_together_once_their_accounts_have_the_same_credentials(house) -> None:
    rotated = Workspace("site-a", "key-b")

    def process(domain: str, at_ms: int) -> None:
        emails = {number: f"ann-{number}@{domain}" for number in (1001, 1002)}
        house.process(
            *(
                body(
                    profile(mpid=number, customer_id=None, email=email),
                    account_id=number,
                    at_ms=at_ms,
                )
                for number, email in emails.items()
            )
        )

    house.credentials.accounts = {1001: rotated, 1002: rotated}
    process("a.example", NOW_MS - 1)
    house.customerio.credentials.clear()
    house.credentials.accounts = {1001: WORKSPACE, 1002: rotated}
    house.credentials.fresh = {1001: rotated}
    house.customerio.refuses = lambda workspace: (
        None if workspace == rotated else CredentialsRefusedError("401")
    )

    process("b.example", NOW_MS)

    # Both people's new emails, the first with refused credentials, and then the former ones.
    assert house.customerio.credentials == [WORKSPACE, rotated, rotated, rotated]


def test_credentials_are_not_called_refused_while_the_secret_cannot_be_read_again() -> None:
    house = House(suspends=True)
    house.customerio.refuses = lambda _: CredentialsRefusedError("401")

    def failing(workspace, *, deadline):
        raise UnavailableError("Secrets Manager: down")

    house.credentials.refreshed = failing  # type: ignore[method-assign]

    house.process(body(profile()))

    ((outcome,),) = house.telemetry.named("message_retried")
    assert str(outcome.retry) == "Secrets Manager: down"
    assert house.telemetry.named("credentials_refused") == []
    assert house.suspensions.suspended == []


def test_a_workspace_that_moved_is_left_to_the_next_delivery(house) -> None:
    house.credentials.fresh[1001] = Workspace("site-b", "key-b")
    house.customerio.refuses = lambda _: CredentialsRefusedError("401")

    house.process(body(profile()))

    assert house.queue.moved == ["m-0"]
    assert house.customerio.credentials == [WORKSPACE]


def test_a_failing_workspace_does_not_hold_up_another(house) -> None:
    other = Workspace("site-b", "key-b")
    house.credentials.accounts = {1001: WORKSPACE, 1002: other}
    house.customerio.refuses = lambda workspace: (
        UnavailableError("503") if workspace == WORKSPACE else None
    )

    failed = house.process(
        body(profile()), body(profile(customer_id="43", mpid=8), account_id=1002)
    )

    assert failed == []
    assert house.queue.moved == ["m-0"]
    assert set(house.customerio.people) == {"43"}


def test_two_hundred_workspaces_in_one_batch_are_all_delivered(house) -> None:
    accounts = {n: Workspace(f"site-{n}", "key") for n in range(200)}
    house.credentials.accounts = accounts
    deliver = house.customerio.deliver

    def needing_a_second(workspace, persons, *, deadline):
        if not deadline.allows(1.0):
            return [OutOfTimeError("no time left for a request to Customer.io")] * len(persons)
        return deliver(workspace, persons, deadline=deadline)

    house.customerio.deliver = needing_a_second
    bodies = [body(profile(customer_id=f"c{n}"), account_id=n) for n in accounts]

    assert house.process(*bodies) == []


def test_a_join_older_than_exits_are_remembered_is_set_aside_instead_of_counted(house) -> None:
    long_ago = NOW_MS - 33 * 86_400_000
    house.process(body(profile(audience(12))))

    house.process(body(profile(audience(11)), at_ms=long_ago))

    assert house.customerio.people["42"]["SegmentMembership"] == "'12'"
    assert house.set_aside() == [("m-0", "TooOld", 1)]


def test_an_unexpected_error_keeps_the_message_and_its_neighbours_are_delivered(house) -> None:
    load = house.people.load

    def surprising(keys, **how):
        states = load(keys, **how)
        if KEY in states:
            states[KEY] = replace_identifier(states[KEY])
        return states

    house.people.load = surprising

    assert house.process(body(profile()), body(profile(customer_id="43", mpid=8))) == []

    assert house.queue.moved == ["m-0"]

    ((error,),) = house.telemetry.named("unexpected_error")
    assert isinstance(error, TypeError)
    assert set(house.customerio.people) == {"43"}


def replace_identifier(known: PersonState):
    return PersonState(version=known.version, memberships=None)  # type: ignore[arg-type]


def test_the_report_has_the_age_of_the_oldest_change(house) -> None:
    house.process(body(profile(), at_ms=NOW_MS - 90_000), body(profile()))

    assert house.telemetry.report.oldest_change_s == 90.0


@pytest.mark.parametrize(
    "poison",
    [
        '{"account": {"x": 1e400}}',
        '{"account": {"x": ' + "9" * 5000 + "}}",
        '{"\\ud800": 1}',
    ],
)
def test_a_message_with_strange_fields_that_are_not_read_can_be_set_aside(house, poison) -> None:
    house.credentials.accounts[None] = WORKSPACE
    text = body(profile(customer_id=None))[:-1] + f", {poison[1:]}"

    assert house.process(text, body(profile())) == []
    assert house.set_aside() == [("m-0", "NoIdentity", 1)]


def test_a_letter_that_cannot_be_written_keeps_only_its_message(house, monkeypatch) -> None:
    def fail(fate):
        raise ValueError(fate)

    monkeypatch.setattr("handler.domain.outcome.MessageOutcome.letters", fail)

    house.process(body(profile()))

    assert house.queue.moved == ["m-0"]


class Running:
    """A clock that runs only while something takes its time."""

    def __init__(self) -> None:
        self.now = 0.0

    def use_up(self, deadline) -> None:
        while deadline.seconds_left() > 0:
            self.now += 0.5


def test_a_customerio_that_uses_all_its_time_leaves_enough_to_verify_and_to_settle(house) -> None:
    clock = Running()
    deliver = house.customerio.deliver

    def slow(workspace, persons, *, deadline):
        clock.use_up(deadline)
        return deliver(workspace, persons, deadline=deadline)

    house.customerio.deliver = slow
    house.customerio.answers["42"] = OutOfTimeError("slow")

    house.forwarder.process([message(body(profile()))], deadline=deadline(now=lambda: clock.now))

    assert house.queue.seconds_left >= SETTLING_S + VERIFYING_S - 0.5


def test_workspaces_are_posted_side_by_side() -> None:
    with ThreadPoolExecutor(2) as executor:
        house = House(executor=executor)
        house.credentials.accounts = {1001: WORKSPACE, 1002: Workspace("site-b", "key-b")}
        both_at_once = threading.Barrier(2, timeout=30)
        deliver = house.customerio.deliver

        def waiting(workspace, persons, *, deadline):
            both_at_once.wait()
            return deliver(workspace, persons, deadline=deadline)

        house.customerio.deliver = waiting  # type: ignore[method-assign]

        assert (
            house.process(
                body(profile()), body(profile(customer_id="43", mpid=8), account_id=1002)
            )
            == []
        )
    assert set(house.customerio.people) == {"42", "43"}


@pytest.mark.parametrize(("count", "share"), [(16, 42.5), (32, 21.25), (1000, SHORTEST_SHARE_S)])
def test_of_many_workspaces_each_has_its_share_of_the_time(house, count, share) -> None:
    house.credentials.accounts = {n: Workspace(f"site-{n}", "key") for n in range(count)}
    shares = []

    def measured(workspace, persons, *, deadline):
        shares.append(deadline.seconds_left())
        return [None for _ in persons]

    house.customerio.deliver = measured

    house.process(*(body(profile(customer_id=f"c{n}"), account_id=n) for n in range(count)))

    assert set(shares) == {share}


@pytest.mark.parametrize("slow", ["load", "save", "versions"])
def test_a_store_that_uses_all_its_time_leaves_enough_to_settle(house, slow) -> None:
    clock = Running()
    real = getattr(house.people, slow)

    def slowly(*args, deadline, **how):
        clock.use_up(deadline)
        return real(*args, deadline=deadline, **how)

    setattr(house.people, slow, slowly)
    house.customerio.answers["43"] = OutOfTimeError("no time")

    batch = [
        message(body(profile()), "m-0"),
        message(body(profile(customer_id="43", mpid=8)), "m-1"),
    ]
    house.forwarder.process(batch, deadline=deadline(now=lambda: clock.now))

    assert house.queue.moved
    assert house.queue.seconds_left >= SETTLING_S - 0.5


def test_an_empty_batch_has_no_failures(house) -> None:
    assert house.process() == []


def test_people_are_loaded_a_thousand_at_a_time(house) -> None:
    people = [profile(customer_id=str(n), mpid=n) for n in range(1, 2502)]

    assert house.process(body(*people)) == []

    assert len(house.customerio.people) == 2501
    assert (house.people.calls["load"], house.people.calls["versions"]) == (3, 1)


def test_retried_messages_are_reported_with_their_reason(house) -> None:
    house.customerio.answers["42"] = UnavailableError("Customer.io is in trouble: 503")

    house.process(body(profile()), body(profile(customer_id="43", mpid=8)))

    ((outcome,),) = house.telemetry.named("message_retried")
    assert (outcome.message.id, str(outcome.retry)) == ("m-0", "Customer.io is in trouble: 503")


def test_a_message_without_an_account_suspends_nobody() -> None:
    house = House(suspends=True)
    house.credentials.accounts = {None: WORKSPACE}
    house.customerio.refuses = lambda _: CredentialsRefusedError("refused")

    house.process(body(profile(), account={}))

    assert house.suspensions.suspended == []
