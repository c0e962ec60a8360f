"""The objects that a stream leaves in its bucket, found by time and read."""

import gzip
import string
from datetime import UTC, datetime, timedelta
from io import BytesIO
from types import SimpleNamespace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from handler.domain.change_messages import Change
from ops.stream_archive import Folder, StoredObject, UnreadableRecord, find, read
from tests.builders import NOW, failed_record
from tests.unit.ops.builders import STREAM, record

HOUR = timedelta(hours=1)


def failed_lines(records):
    return b"".join(map(failed_record, records))


@pytest.fixture
def written_now():
    """The hour in which moto says that all objects are written."""
    return datetime.now(UTC).replace(minute=0, second=0, microsecond=0)


def key(folder, hour):
    return f"{folder}{hour:%Y/%m/%d/%H}/stream-1"


def customers(aws, store, data, name="records/2026/11/25/10/o"):
    """Store an object, and return whom it is about, and what of it cannot be read."""
    store(name, data)
    (stored,) = find(aws.s3, STREAM.bucket, Folder(name.split("/")[0] + "/"), start=0, end=1e11)
    found = [*read(aws.s3, STREAM.bucket, stored, now=NOW)]
    return [
        each.identities["customer"] if isinstance(each, Change) else (each.line, each.reason)
        for each in found
    ]


def test_objects_are_found_by_the_time_in_which_their_records_arrived(aws, store, written_now):
    first, last = written_now - 3 * HOUR, written_now
    for hour in (first, last):
        store(key(Folder.RECORDS, hour), b"")
    store(key(Folder.FAILED + "processing-failed/", last), b"")

    def found(folder, start, end):
        objects = find(aws.s3, STREAM.bucket, folder, start=start.timestamp(), end=end.timestamp())
        return [each.key for each in objects]

    both = [key(Folder.RECORDS, first), key(Folder.RECORDS, last)]
    assert found(Folder.RECORDS, first - HOUR, last + HOUR) == both
    assert found(Folder.RECORDS, first - HOUR, first - HOUR / 2) == []
    # The object of an earlier hour may end with records of the last minutes.
    assert found(Folder.RECORDS, written_now, written_now) == both
    assert found(Folder.RECORDS, first, last - HOUR / 2) == both[:1]
    assert found(Folder.RECORDS, written_now + 2 * HOUR, written_now + 3 * HOUR) == []
    assert len(found(Folder.FAILED, last, last)) == 1


@pytest.fixture
def short_pages(aws):
    """Have S3 list two objects in an answer."""

    def limit(params, **_):
        params["MaxKeys"] = 2

    event = "before-parameter-build.s3.ListObjectsV2"
    aws.s3.meta.events.register(event, limit)
    yield
    aws.s3.meta.events.unregister(event, limit)


@pytest.mark.usefixtures("short_pages")
def test_more_objects_than_one_answer_holds_are_found(aws, store):
    for number in range(5):
        store(f"records/2026/11/25/10/{number}", b"")

    assert len(find(aws.s3, STREAM.bucket, Folder.RECORDS, start=0, end=1e11)) == 5


@pytest.mark.parametrize("between", [b"", b"\n", b" \r\n"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_records_are_read_whatever_is_between_them(aws, store, between, pack):
    data = between.join([record("a"), record("b"), record("c")])

    assert customers(aws, store, pack(data)) == ["a", "b", "c"]


def test_failed_records_are_read_from_the_lines_that_aws_writes(aws, store):
    data = failed_record(record("a") + record("b")) + failed_record(record("c"))

    name = "failed/processing-failed/2026/11/25/10/o"
    assert customers(aws, store, data, name) == ["a", "b", "c"]


def test_what_cannot_be_read_is_named_by_its_line_and_harms_nothing_else(aws, store):
    data = record("a") + b"\nsecret\n" + record("b")

    assert customers(aws, store, data) == ["a", (2, "$: expected a JSON object"), "b"]


@pytest.mark.parametrize(
    "line", [b"secret", b"[]", b'{"rawData": 1}', b'{"rawData": "secret"}', b'"secret"', b"\xff"]
)
def test_a_line_that_aws_does_not_write_is_named(aws, store, line):
    data = (
        failed_record(record("a"))
        + line
        + b"\n"
        + failed_record(b"secret")
        + failed_record(record("b"))
    )

    assert customers(aws, store, data, "failed/x/2026/11/25/10/o") == [
        "a",
        (2, "not a failed record of the stream"),
        (3, "$: expected a JSON object"),
        "b",
    ]


@pytest.mark.parametrize(
    "data", [gzip.compress(b"x" * 99)[:-9], b"\x1f\x8bsecret"], ids=["cut off", "no gzip"]
)
def test_a_broken_gzip_file_is_named(aws, store, data):
    assert customers(aws, store, data) == [(1, "not a complete gzip file")]


def test_what_cannot_be_read_names_its_object(aws, store):
    store("records/2026/11/25/10/o", b"secret")
    (stored,) = find(aws.s3, STREAM.bucket, Folder.RECORDS, start=0, end=1e11)

    (found,) = read(aws.s3, STREAM.bucket, stored, now=NOW)

    assert found == UnreadableRecord("records/2026/11/25/10/o", 1, "$: expected a JSON object")


def stored_in(folder):
    return StoredObject(f"{folder}2026/11/25/10/o", 1, 0, 0)


def found_in(data, folder):
    s3 = SimpleNamespace(get_object=lambda **_: {"Body": BytesIO(data)})
    return [*read(s3, STREAM.bucket, stored_in(folder), now=NOW)]


@given(st.sampled_from(Folder), st.binary() | st.lists(st.binary()).map(failed_lines))
@example(Folder.FAILED, b"[" * 100_000)
@example(Folder.FAILED, b'{"a":' + b"[" * 100_000)
def test_whatever_is_in_an_object_is_read_or_named(folder, data):
    for found in found_in(data, folder):
        assert isinstance(found, Change | UnreadableRecord)


@given(
    st.lists(st.lists(st.text(string.ascii_letters, min_size=1), min_size=1)),
    st.sampled_from([bytes, gzip.compress]),
)
def test_nobody_is_lost_however_records_are_put_together(groups, pack):
    records = [b"".join(map(record, group)) for group in groups]
    everybody = [customer for group in groups for customer in group]

    for folder, data in (
        (Folder.RECORDS, b"\n".join(records)),
        (Folder.FAILED, failed_lines(records)),
    ):
        found = found_in(pack(data), folder)
        assert [each.identities["customer"] for each in found] == everybody
