"""Files: `python -m bench.files`, CPU time and memory of `ops import`, `reconcile` and `export`.

The file is made up, and so are SQS, which takes everything, and the table, which has everybody but
one in ten; for an export, DynamoDB answers with people in ten audiences each. CPU time is that of
the tool; what SQS and DynamoDB take comes on top.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import resource
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
from botocore import UNSIGNED
from botocore.awsrequest import AWSResponse, HTTPHeaders

from bench import report
from handler.domain.audience import Catalogue
from handler.domain.membership import PersonState, stamp
from handler.domain.state_codec import pack
from handler.domain.update import Identifier
from handler.table.people import Page
from local.command import run
from ops import exports, imports, reconcile, scan
from ops.change_files import ChangeFile, Row
from ops.change_rows import Defaults
from ops.comparison import Comparison
from ops.exports import Selection
from ops.imports import Importer, Progress
from ops.stack import Aws

_SITE_ID = "site"
_AUDIENCE = 11034


def main() -> int:
    """Measure, and print each figure."""
    parser = argparse.ArgumentParser(prog="python -m bench.files", description=__doc__)
    parser.add_argument("rows", nargs="?", type=int, default=1_000_000)
    count: int = parser.parse_args().rows
    print(f"Measured on {time.strftime('%Y-%m-%d')}: {report.machine()}.")
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        path = Path(folder) / "people.csv"
        _write(path, count)
        print(f"{count:,} rows, {path.stat().st_size / 1e6:.0f} MB")
        file = ChangeFile.open(path)
        defaults = Defaults(int(time.time() * 1000), int(time.time() * 1000))

        def rows() -> Iterator[Row]:
            return file.rows(defaults)

        with _measured("import: check"):
            survey, _ = imports.survey(rows(), on_rows=lambda _: None)
        print(f"  {survey.messages:,} messages")
        progress = Progress(file.fingerprint(), defaults.as_of_ms, survey)
        with _measured("import: send"):
            _importer().run(path, rows(), progress, check=lambda: None, on_sent=lambda _: None)
        comparison = Comparison(_SITE_ID, defaults.as_of_ms, defaults.customer_id_type)
        with _measured("reconcile: read the file"):
            reconcile.add_rows(comparison, rows(), on_rows=lambda _: None)
        with _measured("reconcile: compare with as many people"):
            reconcile.compare(comparison, _pages(count))
        (counts,) = comparison.counts
        print(f"  drift {counts.drift:,}")
        _export(Path(folder) / "everybody.csv", count)
    return 0


@contextmanager
def _measured(name: str) -> Iterator[None]:
    started = time.process_time()
    yield
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{name}: {time.process_time() - started:.1f} s of CPU, peak memory {peak:.0f} MiB")


def _write(path: Path, count: int) -> None:
    with path.open("w") as file:
        file.write("customer_id,email,mpid,audience_id,audience_name,action,since\n")
        for number in range(count):
            person = f"customer-{number},person.{number}@example.com,{_mpid(number)}"
            file.write(f"{person},{_AUDIENCE},Spring sale,entered,\n")


def _mpid(number: int) -> int:
    return 1_234_567_890_123 + number * 7919


def _importer() -> Importer:
    def take(**request: Any) -> dict[str, Any]:
        return {"Successful": [{"Id": entry["Id"]} for entry in request["Entries"]]}

    aws: Any = SimpleNamespace(sqs=SimpleNamespace(send_message_batch=take))
    stack: Any = SimpleNamespace(queue_url="queue")
    return Importer(aws, stack, 1001, 1e9, sleep=lambda _: None, clock=time.monotonic)


def _pages(count: int) -> Iterable[Page]:
    for start in range(0, count, 1000):
        numbers = range(start, min(count, start + 1000))
        yield Page(dict(map(_person, numbers)), scanned=len(numbers), last_key=None)


def _person(number: int) -> tuple[str, PersonState]:
    known_as = Identifier(is_id=True, set_at_ms=1, value=f"customer-{number}")
    state = PersonState(
        1, identifier=known_as, memberships={_AUDIENCE: stamp(1, removed=number % 10 == 0)}
    )
    return f"{_SITE_ID}#{hashlib.sha256(f'mpid:{_mpid(number)}'.encode()).hexdigest()}", state


_PAGE_PEOPLE = 3700  # about 1 MB
_AUDIENCES = dict.fromkeys(range(_AUDIENCE, _AUDIENCE + 10), stamp(1, removed=False))


def _export(path: Path, count: int) -> None:
    aws = Aws(region="us-east-1", profile=None, endpoint_url="http://localhost")
    stack: Any = SimpleNamespace(table_name="table")
    rounds = max(1, count // (_PAGE_PEOPLE * scan.SEGMENTS))
    _answer_scans(aws.dynamodb.meta.events, rounds)
    selection = Selection(_SITE_ID, Catalogue(), None, reveal=True)
    with _measured("export"), path.open("wb") as file:
        write = exports.WRITERS[path.suffix](file, selection.columns)
        done = exports.export(scan.pages(aws, stack), selection, write)
    print(f"  people {done.people:,}, rows {done.memberships:,}")


def _answer_scans(events: Any, rounds: int) -> None:
    """Have DynamoDB answer each scan with the same page; the last round has no more after it."""
    people = dict(map(_person, range(_PAGE_PEOPLE)))
    items = [_item(key, state) for key, state in people.items()]
    last = {"Items": items, "Count": len(items), "ScannedCount": len(items)}
    more = last | {"LastEvaluatedKey": {"pk": items[-1]["pk"]}}
    bodies = [msgspec.json.encode(each) for each in (more, last)]
    asked = itertools.count()

    def answer(request: Any, **_: object) -> AWSResponse:
        is_last = next(asked) >= (rounds - 1) * scan.SEGMENTS
        raw = SimpleNamespace(stream=lambda: [bodies[is_last]])
        return AWSResponse(request.url, 200, HTTPHeaders(), raw)

    events.register("choose-signer.dynamodb.Scan", lambda **_: UNSIGNED)
    events.register("before-send.dynamodb.Scan", answer)


def _item(key: str, state: PersonState) -> dict[str, Any]:
    known_as = state.identifier
    content = msgspec.structs.replace(state, memberships=_AUDIENCES)
    return {
        "pk": {"S": key},
        "version": {"N": "1"},
        "timestamp": {"N": "1764000000"},
        "identifier": {"S": known_as.text if known_as else ""},
        "memberships": {"B": pack(content)},
        "expires_at": {"NULL": True},
    }


if __name__ == "__main__":
    run(main)
