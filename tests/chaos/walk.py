"""Walk: `make walk`. Walks over 20,000 people on this machine: beside fresh changes, and killed.

It prints how long fresh changes take from the queue to Customer.io, without a walk and beside a
resync of everybody. The emulator does one thing at a time, where AWS does many; so this walk is
slowed to a rate that is a part of what the emulator can do, as the default is of a new table.
Then mParticle removes an audience that everybody is in, and the process that takes a step of the
walk is killed three times.

The exit status is 0 if fresh changes took less than twice as long beside the walk, by the median,
and everybody is shown as they should be in the end.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import time
from collections.abc import Sequence
from itertools import count, islice
from typing import Final

import boto3
from rich.console import Console

from bench import known
from bench.events import Shape
from local import deployment
from local.command import run
from local.stack import SITE_ID, Stack
from tests.e2e.messages import join, somebody, subscription
from tests.stand_ins import relay
from tests.stand_ins.relay import POST, Moment, caller

PEOPLE: Final = 20_000
AUDIENCES: Final = list(islice(count(1_000_000, 97), 10))
"""Everybody is in these; see bench/known.py."""
FRESH: Final = 60
"""Fresh changes that are timed, one after the other."""
EVERY_S: Final = 0.25
KILLS: Final = 3
SLOW: Final = 50
"""People a second of the walk beside fresh changes. Storing them, the emulator does some 600."""


tell: Final = Console(highlight=False, soft_wrap=True).print


def main() -> int:
    """Walk twice, and print what came of it."""
    with deployment.running(tell) as deployed:
        dynamodb = boto3.client("dynamodb", **deployed.emulator.client_options)
        table = deployed.physical_name("MembershipsTable")
        tell(f"Storing {PEOPLE:,} people")
        known.keep(dynamodb, table, SITE_ID, Shape(PEOPLE), len(AUDIENCES))
        timed(deployed, FRESH // 6)  # the first ones start processes
        alone = timed(deployed, FRESH)
        tell(f"A resync of everybody, at {SLOW} people a second")
        limit(deployed, SLOW)
        arn = started(deployed, kind="resync")
        beside = timed(deployed, FRESH)
        if status(deployed, arn) != "RUNNING":
            tell("The walk ended before the last of the fresh changes")
        limit(deployed, 9999)
        lost, stale = compared(deployed, ended(deployed, arn), AUDIENCES)
        tell("An audience of everybody is removed, and the walk killed")
        kills, seconds = removed_and_killed(deployed)
        lost_after, stale_after = compared(deployed, seconds, AUDIENCES[1:])
    ratio = statistics.median(beside) / statistics.median(alone)
    tell(
        f"Fresh changes, seconds from the queue to Customer.io, median and 95 of 100: alone "
        f"{shown(alone)}, beside the walk {shown(beside)}: {ratio:.2f} times. "
        f"Killed {kills} times. Lost {lost + lost_after}, stale {stale + stale_after}."
    )
    wrong = lost + stale + lost_after + stale_after
    return int(ratio >= 2 or kills < KILLS or wrong > 0)


def limit(deployed: Stack, people_per_second: int) -> None:
    """Set the rate of walks. The emulator ends the processes with another one."""
    name = deployed.walker_name
    configuration = deployed.functions.get_function_configuration(FunctionName=name)
    variables = configuration["Environment"]["Variables"]
    variables["WALK_PEOPLE_PER_SECOND"] = str(people_per_second)
    deployed.functions.update_function_configuration(
        FunctionName=name, Environment={"Variables": variables}
    )


def timed(deployed: Stack, number: int) -> list[float]:
    """Send changes, each of somebody new; return how long each took, in seconds."""
    sent: dict[str, float] = {}
    for _ in range(number):
        name = somebody()
        sent[name] = time.time()
        deployed.send([join(name)])
        time.sleep(EVERY_S)
    deployed.wait_until_drained(300)
    return [deployed.customerio.updates(name)[0].request.time - at for name, at in sent.items()]


def shown(seconds: Sequence[float]) -> str:
    """Return the median and the longest but five of a hundred."""
    return f"{statistics.median(seconds):.2f} and {statistics.quantiles(seconds, n=20)[-1]:.2f}"


def started(deployed: Stack, **walk: str) -> str:
    answer = deployed.walks.start_execution(
        stateMachineArn=deployed.walks_arn, name=f"walk-{time.time_ns()}", input=json.dumps(walk)
    )
    arn: str = answer["executionArn"]
    return arn


def status(deployed: Stack, arn: str) -> str:
    described: str = deployed.walks.describe_execution(executionArn=arn)["status"]
    return described


def ended(deployed: Stack, arn: str) -> float:
    """Wait for the end of a walk, which must succeed; return the seconds."""
    begun = time.monotonic()
    while (now := status(deployed, arn)) == "RUNNING":
        time.sleep(0.2)
    if now != "SUCCEEDED":
        raise RuntimeError(f"the walk ended as {now}")
    return time.monotonic() - begun


def removed_and_killed(deployed: Stack) -> tuple[int, float]:
    """Remove an audience and kill steps of its walk; return how often, and the seconds."""
    with relay.between(deployed, deployed.walker_name) as between:
        deployed.send([subscription(AUDIENCES[0], "remove")])
        begun = time.monotonic()
        kills = 0
        for moment in (Moment.AFTER, Moment.BEFORE, Moment.AFTER):
            cut = between.cut(POST, moment, kill)
            kills += cut.done.wait(120)
        deployed.wait_until_drained()
        deployed.wait_for_walks(600)
        return kills, time.monotonic() - begun


def kill(call: relay.Call) -> None:
    os.kill(caller(call).pid, signal.SIGKILL)


def compared(deployed: Stack, seconds: float, audiences: Sequence[int]) -> tuple[int, int]:
    """Return how many of those who were stored are missing, and how many are shown otherwise."""
    expected = ",".join(f"'{audience}'" for audience in audiences)
    people = {
        person.identifiers["id"]: person.attributes["SegmentMembership"]
        for person in deployed.customerio.people(SITE_ID)
    }
    stored = [f"customer-{number}" for number in range(PEOPLE)]
    lost = sum(name not in people for name in stored)
    stale = sum(people[name] != expected for name in stored if name in people)
    tell(f"{seconds:.0f} s more until its end. Lost {lost}, stale {stale}")
    return lost, stale


if __name__ == "__main__":
    run(main)
