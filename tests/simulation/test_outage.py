"""What an outage of Customer.io does to the queues, shown by a simulation of days of it.

Each test logs what it saw: pytest -n0 --log-cli-level=INFO tests/simulation/test_outage.py
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from tests.stand_ins.sqs_simulation import DAY, DOWN, HOUR, IN_FLIGHT_LIMIT, QUIET, Simulation

MINUTE = 60.0
BOTH = {DOWN: 50.0, QUIET: 10.0}

_logger = logging.getLogger(__name__)


def outage(answer: str, *, lasts: float, begins: float = 0.0) -> Callable[[float], str]:
    return lambda seconds: answer if begins <= seconds < begins + lasts else ""


def run(simulation: Simulation, *, sending_s: float, until_s: float = 30 * DAY) -> Simulation:
    simulation.run(sending_s=sending_s, until_s=until_s)
    _logger.info(simulation.summary())
    return simulation


@pytest.mark.parametrize("answer", ["401", "hang"])
def test_three_days_of_outage_delay_no_other_workspace_and_lose_nothing(answer) -> None:
    scale = 12_000
    outages = {DOWN: outage(answer, lasts=3 * DAY)}

    seen = run(
        Simulation(rates=BOTH, outages=outages, scale=scale, is_fair=False),
        sending_s=3 * DAY + HOUR,
    )

    assert max(seen.lags(QUIET)) < 60
    assert seen.missing() == set()
    assert seen.dead() == {}
    assert seen.source.most < 10
    assert seen.retries.most_in_flight == IN_FLIGHT_LIMIT / scale


@pytest.mark.parametrize("answer", ["401", "hang"])
def test_the_first_minutes_of_an_outage_delay_no_other_workspace(answer) -> None:
    # Not scaled down: here invocations and their batches count, and no limit of SQS is reached.
    outages = {DOWN: outage(answer, lasts=DAY)}

    seen = run(
        Simulation(rates=BOTH, outages=outages, scale=1, batch_size=100, is_fair=False),
        sending_s=3 * MINUTE,
        until_s=4 * MINUTE,
    )

    assert len(seen.lags(QUIET)) == len(seen.sent_at[QUIET])
    assert max(seen.lags(QUIET)) < 60


@pytest.mark.parametrize("answer", ["401", "hang"])
def test_three_days_of_outage_of_the_only_workspace_lose_nothing(answer) -> None:
    outages = {DOWN: outage(answer, lasts=3 * DAY)}

    seen = run(
        Simulation(
            rates={DOWN: 50},
            outages=outages,
            scale=12_000,
        ),
        sending_s=3 * DAY,
    )

    assert seen.missing() == set()
    assert seen.dead() == {}


@pytest.mark.parametrize("oldest_first", [True, False])
def test_an_outage_longer_than_the_retries_sets_everything_aside_with_its_reason(
    oldest_first,
) -> None:
    outages = {DOWN: outage("401", lasts=30 * DAY)}

    seen = run(
        Simulation(
            rates={DOWN: 50},
            outages=outages,
            scale=60_000,
            oldest_first=oldest_first,
        ),
        sending_s=9 * DAY,
    )

    assert seen.missing() == set()
    assert seen.retries.expired == []
    for reason in seen.dead().values():
        assert reason.startswith(
            "RetriesExhausted: not delivered for 168 hours, last: CredentialsRefused"
        )


@pytest.mark.parametrize(("is_fair", "is_soon"), [(True, True), (False, False)])
def test_retries_of_a_workspace_pass_the_backlog_of_another_as_the_retry_queue_is_fair(
    is_fair, is_soon
) -> None:
    outages = {
        DOWN: outage("401", lasts=DAY),
        QUIET: outage("503", begins=DAY / 2, lasts=20 * MINUTE),
    }

    seen = run(Simulation(rates=BOTH, outages=outages, scale=4000, is_fair=is_fair), sending_s=DAY)

    assert seen.missing() == set()
    assert (max(seen.lags(QUIET)) < 45 * MINUTE) is is_soon


def test_the_simulation_shows_how_messages_hidden_on_the_source_queue_delay_the_others() -> None:
    outages = {DOWN: outage("401", lasts=6 * HOUR)}

    seen = run(
        Simulation(
            rates=BOTH,
            outages=outages,
            scale=2000,
            longest_backoff_s=0.0,
            is_fair=False,
            has_retry_queue=False,
        ),
        sending_s=6 * HOUR,
    )

    assert max(seen.lags(QUIET)) > HOUR
    assert seen.source.most_in_flight == IN_FLIGHT_LIMIT / 2000
