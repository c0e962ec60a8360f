"""`make bench`: the function beside what people would write instead, in one run.

Each figure is the median of several runs, each in a process of its own, with the least and the
most; CPU time is that of the process that runs the handler, all its threads together.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Final

from bench import known, measure
from bench.events import Shape
from bench.measure import OURS, PEERS, SITE_ID, WARM_UP, Bench, Counts, Server, Took, item_bytes
from handler.customerio.wire import MAX_ENTITIES
from local.command import run

MIB: Final = 1 << 20
SMALL_BEFORE: Final = 20  # small invocations before the one that is measured
DYNAMODB_MS: Final = 8
CUSTOMERIO_MS: Final = 100
SQS_MS: Final = 15
LARGE_PROFILES: Final = 25_800
READ, VERIFY, WRITE = "BatchGetItem", "BatchGetItem to verify", "BatchExecuteStatement"


_QUEUE: Final = """
import os, boto3
os.environ["QUEUE_URL"] = boto3.client("sqs").create_queue(QueueName="q")["QueueUrl"]
"""
_ANSWERED: Final = """
import types
from handler import ingress
context = types.SimpleNamespace(
    aws_request_id="r", get_remaining_time_in_millis=lambda: 10_000)
request = {{
    "type": "audience_membership_change_request", "id": "i", "timestamp_ms": 1790000000000,
    "firehose_version": "3.2.0", "account": {{"account_id": 1}}, "user_profiles": [{{
        "mpid": "1", "user_identities": [
            {{"type": "customer", "encoding": "raw", "value": "someone"}}],
        "audiences": [{{"audience_id": 1, "audience_name": "A", "action": "add"}}]}}] * {profiles},
}}
for _ in range({times}):
    ingress.lambda_handler(request, context)
"""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured."""

    runs: int
    people: int
    many: int
    starts: int
    slow_people: int


FULL: Final = Sizes(runs=5, people=1000, many=10_000, starts=15, slow_people=100)
QUICK: Final = Sizes(runs=2, people=200, many=2000, starts=3, slow_people=20)


@dataclass(frozen=True, slots=True)
class Spread:
    """The figures of several runs."""

    figures: Sequence[float]

    @property
    def median(self) -> float:
        """The one in the middle."""
        return statistics.median(self.figures)

    def __truediv__(self, other: Spread) -> float:
        """Return the ratio of the medians."""
        return self.median / other.median

    def shown(self, unit: str, digits: int = 0) -> str:
        """Return the median, the least and the most."""
        low, high = min(self.figures), max(self.figures)
        return f"{self.median:.{digits}f} {unit} ({low:.{digits}f} to {high:.{digits}f})"


class Table:
    """The rows, printed as they come."""

    def __init__(self) -> None:
        """Print the head."""
        self.missed: list[str] = []
        print("| figure | target | measured | |\n| --- | --- | --- | --- |", flush=True)

    def add(self, figure: str, target: str, measured: str, *, met: bool | None) -> None:
        """Print a row; `met` None where there is no target."""
        if met is False:
            self.missed.append(figure)
        verdict = {True: "met", False: "**not met**", None: ""}[met]
        print(f"| {figure} | {target} | {measured} | {verdict} |", flush=True)


class Measured:
    """What `make bench` measures, one row or a few at a time."""

    def __init__(self, bench: Bench, sizes: Sizes) -> None:
        """Start the servers."""
        self.bench = bench
        self.sizes = sizes
        self.table = Table()
        self.fast = bench.server()
        self.counting = bench.server("--remember")
        # One person to a message, with 1 to 10 audiences, all that AWS adds to a record.
        self.usual = Shape(sizes.people)
        # Ten people to a message, most in few audiences: what fits into an event of 6 MB.
        self.many = Shape(sizes.many, people_in_a_message=10, few=True)

    def all(self) -> Table:
        """Measure everything."""
        for measured in (
            self.calls,
            self.cpu,
            self.wall,
            self.write_units,
            self.growth,
            self.memory,
            self.cold_start,
            self.ingress,
            self.warm,
        ):
            measured()
        return self.table

    # --- the rows ---

    def calls(self) -> None:
        """Count requests and calls, and check that all handlers say the same of everybody."""
        for name, shape in (("", self.usual), ("few audiences each, ", self.many)):
            event = self.bench.event(shape)
            counts = self._counts(OURS, event)
            requests, sent = counts.requests["Customer.io"], sum(counts.sizes)
            bound = math.ceil(max(sent / 500_000, shape.people / MAX_ENTITIES)) + 1
            few = 1.1 * shape.people / MAX_ENTITIES if shape.few else math.inf
            self.table.add(
                f"requests to Customer.io, {name}{shape.people:,} people",
                f"at most {bound} ({sent:,} bytes)" + (f", and {few:.1f}" if shape.few else ""),
                f"{requests}",
                met=requests <= min(bound, max(few, 1.1)),
            )
            self._calls(f"DynamoDB calls, {shape.people:,} people, all changed", counts, shape, 1)
            again = self._counts(OURS, event)
            self._calls("the same event again, nothing changed", again, shape, 0)
            if shape is self.usual:
                self._same_work(event, again)

    def _calls(self, figure: str, counts: Counts, shape: Shape, changed: int) -> None:
        wanted = {
            READ: math.ceil(shape.people / 100),
            WRITE: changed * math.ceil(shape.people / 25),
            VERIFY: math.ceil(shape.people / 100),
        }
        found = {name: counts.requests.get(name, 0) for name in wanted}
        self.table.add(
            figure,
            "{} to read, {} to write, {} to verify".format(*wanted.values()),
            "{}, {}, {}".format(*found.values()),
            met=all(found[name] <= wanted[name] for name in wanted),
        )

    def _same_work(self, event: Path, ours: Counts) -> None:
        for name, handler in PEERS.items():
            theirs = self._counts(handler, event)
            same = (theirs.people, theirs.memberships) == (ours.people, ours.memberships)
            if not same:
                sys.exit(f"{name} told Customer.io something else of {theirs.people} people")
            aws = sum(theirs.requests.values()) - theirs.requests["Customer.io"]
            self.table.add(
                f"{name}: requests to Customer.io, calls to AWS",
                "",
                f"{theirs.requests['Customer.io']}, {aws}",
                met=None,
            )

    def _counts(self, handler: str, event: Path) -> Counts:
        self.bench.invoke(
            handler, event, self.counting, table="counted", aws=self.counting, warm_up=()
        )
        return self.counting.counts()

    def cpu(self) -> None:
        """Measure the CPU time for people known already, all of whom change."""
        figures: dict[str, Spread] = {}
        tables = {name: self._known(name, self.usual) for name in (OURS, *PEERS.values())}
        taken: dict[str, list[float]] = {name: [] for name in tables}
        for _ in range(self.sizes.runs):  # in turn, so that a slow minute is everybody's
            for name, table in tables.items():
                took = self.bench.invoke(
                    name, self.bench.event(self.usual), self.fast, table=table
                )
                taken[name].append(took.cpu_s * 1e6 / self.sizes.people)
        figures = {name: Spread(one) for name, one in taken.items()}
        ours = figures[OURS]
        self.table.add(
            "CPU per 1,000 people", "at most 120 ms", ours.shown("ms"), met=ours.median <= 120
        )
        for name, handler in PEERS.items():
            ratio = figures[handler] / ours
            first = handler == PEERS[next(iter(PEERS))]
            self.table.add(
                f"… of {name}",
                "at least 18 times ours" if first else "",
                f"{figures[handler].shown('ms')}: {ratio:.1f} times ours",
                met=ratio >= 18 if first else None,
            )

    def wall(self) -> None:
        """Measure the wall time with slow servers."""
        slow = self.bench.server(
            f"--dynamodb-ms={DYNAMODB_MS}", f"--customerio-ms={CUSTOMERIO_MS}"
        )
        self._invoke(OURS, self.many, slow, "slow", aws=slow)
        ours = self._spread(
            lambda took: took.wall_s,
            lambda: self._invoke(OURS, self.many, slow, "slow", aws=slow),
        )
        self.table.add(
            f"wall time for {self.sizes.many:,} people, "
            f"DynamoDB {DYNAMODB_MS} ms and Customer.io {CUSTOMERIO_MS} ms away",
            "at most 2 s",
            ours.shown("s", 2),
            met=ours.median <= 2,
        )
        few = replace(self.many, people=self.sizes.slow_people)
        for name, handler in PEERS.items():
            took = self._invoke(handler, few, slow, "slow-peers", aws=slow)
            self.table.add(
                f"… of {name}, for {few.people} people", "", f"{took.wall_s:.2f} s", met=None
            )

    def write_units(self) -> None:
        """Reckon what a change costs of somebody in 80 audiences."""
        shape = Shape(100, audiences=range(1, 2))
        table = self.bench.table("pk")
        known.keep(self.bench.dynamodb, table, SITE_ID, shape, 79)
        self._invoke(OURS, shape, self.fast, table)
        items = self.bench.dynamodb.scan(TableName=table)["Items"]
        sizes = [item_bytes(item) for item in items if item["version"]["N"] == "2"]
        units = math.ceil(max(sizes) / 1024)
        self.table.add(
            "write units per change of a person in 80 audiences",
            "1",
            f"{units} (item of {max(sizes)} bytes; one more for the index when new)",
            met=units == 1 and len(sizes) == shape.people,
        )

    def growth(self) -> None:
        """Measure how CPU time grows with people, and with the audiences kept of each."""
        fewer = replace(self.many, people=self.sizes.many // 10)
        spreads = []
        for shape in (fewer, self.many):
            table = self._known(OURS, shape)
            spreads.append(
                self._spread(
                    lambda took: took.cpu_s * 1000,
                    lambda s=shape, t=table: self._invoke(OURS, s, self.fast, t),  # type: ignore[misc]
                )
            )
        ratio = spreads[1] / spreads[0]
        self.table.add(
            f"CPU for {self.many.people:,} people over that for {fewer.people:,}",
            "at most 11 times",
            f"{ratio:.1f} times: {spreads[1].shown('ms')} over {spreads[0].shown('ms')}",
            met=ratio <= 11,
        )
        one_change = Shape(self.sizes.people, audiences=range(1, 2))
        by_stored = {}
        for stored in (1, 300):
            figures = []
            for _ in range(self.sizes.runs):
                table = self.bench.table("pk")
                known.keep(self.bench.dynamodb, table, SITE_ID, one_change, stored)
                took = self._invoke(OURS, one_change, self.fast, table)
                figures.append(took.cpu_s * 1e6 / self.sizes.people)
            by_stored[stored] = Spread(figures)
        each = (by_stored[300].median - by_stored[1].median) / 299
        self.table.add(
            "CPU per stored membership, from 1 to 300 audiences a person",
            "at most 3 µs",
            f"{each:.2f} µs: {by_stored[1].shown('µs')} to {by_stored[300].shown('µs')} a person",
            met=each <= 3,
        )

    def memory(self) -> None:
        """Measure the peak resident memory for the largest event."""
        full = Shape(self.sizes.many, audiences=range(1, 2), lean=True)
        for stored, target in ((0, 120), (300, 200)):
            table = self.bench.table("pk")
            known.keep(self.bench.dynamodb, table, SITE_ID, full, stored or 1)
            taken = [self._invoke(OURS, full, self.fast, table) for _ in range(self.sizes.runs)]
            peak = Spread([took.rss_bytes / MIB for took in taken])
            size = taken[0].event_bytes / 1e6
            self.table.add(
                f"peak memory, an event of {full.people:,} records and {size:.1f} MB"
                + (f", {stored} audiences kept of each person" if stored else ""),
                f"at most {target} MiB",
                peak.shown("MiB"),
                met=peak.median <= target,
            )

    def cold_start(self) -> None:
        """Measure import, wiring and first clients, beside the least that any handler needs."""
        ours = "from handler import app; app.telemetry(); app.forwarder()"
        least = "import boto3; boto3.client('dynamodb')"
        taken: dict[str, list[tuple[float, float]]] = {ours: [], least: []}
        for _ in range(self.sizes.starts + 1):
            for code, artifact in ((ours, self.bench.artifact), (least, None)):
                taken[code].append(self.bench.started(code, self.fast, artifact=artifact))
        for place, kind in enumerate(("CPU", "wall")):
            spreads = [
                Spread([one[place] * 1000 for one in taken[code][1:]]) for code in (ours, least)
            ]
            ratio = spreads[0] / spreads[1]
            self.table.add(
                f"cold start, {kind}",
                "at most 1.1 times `import boto3` and a DynamoDB client",
                f"{ratio:.2f} times: {spreads[0].shown('ms')} over {spreads[1].shown('ms')}",
                met=ratio <= 1.1,
            )

    def ingress(self) -> None:
        """Measure what mParticle waits for at the ingress: a cold start, a warm answer."""
        wired = "from handler import ingress; ingress.receiver()"
        least = "import boto3; boto3.client('sqs')"
        taken: dict[str, list[float]] = {wired: [], least: [], "warm": [], "large": []}
        away = self.bench.server(f"--sqs-ms={SQS_MS}")
        for _ in range(self.sizes.starts + 1):
            for code, artifact in ((wired, self.bench.artifact), (least, None)):
                taken[code].append(self.bench.started(code, self.fast, artifact=artifact)[1])
            # The queue is the emulator's: most of a warm answer is its.
            taken["warm"].append(self._answered(_QUEUE + _ANSWERED, profiles=1, answers=50))
            taken["large"].append(
                self._answered(_ANSWERED, profiles=LARGE_PROFILES, answers=5, aws=away)
            )
        cold, floor, warm, large = (Spread([s * 1000 for s in one[1:]]) for one in taken.values())
        self.table.add(
            "ingress, cold start, wall",
            "",
            f"{cold.shown('ms')}, {cold / floor:.2f} times `import boto3` and an SQS client",
            met=None,
        )
        self.table.add(
            "ingress, a warm answer to a request of one profile, wall",
            "",
            warm.shown("ms", 1),
            met=None,
        )
        self.table.add(
            f"ingress, a warm answer to a request of 4 MB, SQS {SQS_MS} ms away, wall",
            "",
            large.shown("ms"),
            met=None,
        )

    def _answered(
        self, code: str, *, profiles: int, answers: int, aws: Server | None = None
    ) -> float:
        """Return the seconds that a warm answer takes to a request of so many profiles."""
        one, many = (
            self.bench.started(
                code.format(profiles=profiles, times=times),
                self.fast,
                artifact=self.bench.artifact,
                aws=aws,
            )[1]
            for times in (1, 1 + answers)
        )
        return (many - one) / answers

    def warm(self) -> None:
        """Measure a warm invocation with one small record."""
        table = self.bench.table("pk")
        small = Shape(1, audiences=range(1, 2))
        others = [replace(small, first=number) for number in range(1000, 1000 + SMALL_BEFORE)]
        taken = [
            self.bench.invoke(
                OURS, self.bench.event(small), self.fast, table=table, warm_up=[WARM_UP, *others]
            )
            for _ in range(self.sizes.starts)
        ]
        spread = Spread([took.cpu_s * 1000 for took in taken])
        first = self._spread(
            lambda took: took.cpu_s * 1000,
            lambda: self.bench.invoke(
                OURS, self.bench.event(self.usual), self.fast, table=table, warm_up=()
            ),
        )
        self.table.add(
            f"the first invocation, {self.usual.people:,} people: wiring, connections, CPU",
            "",
            first.shown("ms"),
            met=None,
        )
        self.table.add(
            "a warm invocation with one small record, CPU",
            "at most 5 ms",
            spread.shown("ms", 1),
            met=spread.median <= 5,
        )

    # --- how ---

    def _known(self, handler: str, shape: Shape) -> str:
        """Return a new table, in which a handler keeps everybody of a shape already."""
        table = self.bench.table("pk" if handler == OURS else "mpid")
        self._invoke(handler, shape, self.fast, table)
        return table

    def _invoke(
        self,
        handler: str,
        shape: Shape,
        customerio: Server,
        table: str,
        aws: Server | None = None,
    ) -> Took:
        event = self.bench.event(shape)
        return self.bench.invoke(handler, event, customerio, table=table, aws=aws)

    def _spread(self, figure: Callable[[Took], float], invoke: Callable[[], Took]) -> Spread:
        return Spread([figure(invoke()) for _ in range(self.sizes.runs)])


def facts() -> str:
    """Tell what this ran on."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    model = models[0] if models else platform.processor()
    packages = ", ".join(f"{name} {version(name)}" for name in ("boto3", "msgspec", "urllib3"))
    return (
        f"{os.cpu_count()} cores, {model} ({platform.machine()}), {platform.system()} "
        f"{platform.release()}; Python {platform.python_version()}; {packages}; "
        f"load before: {os.getloadavg()[0]:.2f}"
    )


def main() -> int:
    """Measure, print the table, and return 1 if a target was missed."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, which show less")
    parser.add_argument("--only", help="one of: " + ", ".join(_ROWS), choices=_ROWS)
    options = parser.parse_args()
    started = time.monotonic()
    sizes = QUICK if options.quick else FULL
    print(f"Measured on {time.strftime('%Y-%m-%d')}: {facts()}.")
    print(f"Medians of {sizes.runs} runs (starts: {sizes.starts}), with the least and the most.\n")
    with (
        tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder,
        measure.running(Path(folder)) as bench,
    ):
        measured = Measured(bench, sizes)
        if options.only:
            getattr(measured, options.only)()
        else:
            measured.all()
    missed = measured.table.missed
    print(f"\n{len(missed)} targets not met. {time.monotonic() - started:.0f} s.")
    return 1 if missed else 0


_ROWS: Final = (
    "calls",
    "cpu",
    "wall",
    "write_units",
    "growth",
    "memory",
    "cold_start",
    "ingress",
    "warm",
)

if __name__ == "__main__":
    run(main)
