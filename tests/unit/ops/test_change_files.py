"""Files of changes: which rows they have, and which files are refused."""

import json
import os
import zipfile

import pytest

from handler.domain.change_messages import Change
from ops.change_files import ChangeFile, Unaddressed
from ops.change_rows import Defaults, RowError
from ops.downloads import FileError
from tests.builders import NOW_MS
from tests.stack_template import PROJECT

DEFAULTS = Defaults(NOW_MS - 1000, NOW_MS)
HEAD = "customer_id,email,mpid,audience_id,audience_name,action,since\n"
MEMBERS = "mpid, scanned_timestamp_ms, identity_value, identity_type\n"


@pytest.fixture
def write(tmp_path):
    def written(content, name="people.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return written


@pytest.fixture(params=["folder", "archive", "archive with a folder"])
def download(request, tmp_path):
    """Write a download of an audience, given by the content of its files."""

    def written(**files):
        texts = {
            name.replace("_csv", ".csv").replace("_json", ".json"): (
                text if isinstance(text, str) else json.dumps(text)
            )
            for name, text in files.items()
        }
        if request.param == "folder":
            for name, text in texts.items():
                (tmp_path / name).write_text(text)
            return tmp_path
        path = tmp_path / "download.zip"
        with zipfile.ZipFile(path, "w") as archive:
            if request.param != "archive":
                archive.mkdir("inside")
            for name, text in texts.items():
                archive.writestr(name if request.param == "archive" else f"inside/{name}", text)
        return path

    return written


def rows(path, defaults=DEFAULTS):
    return [*ChangeFile.open(path).rows(defaults)]


def who(path, defaults=DEFAULTS):
    """Return each row's line and identities, or why it is refused."""
    return [
        (
            row.line,
            str(row.content) if isinstance(row.content, RowError) else row.content.identities,
        )
        for row in rows(path, defaults)
    ]


def test_what_can_be_read_only_once_is_refused(tmp_path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    with pytest.raises(FileError, match="only once"):
        ChangeFile.open(pipe)


@pytest.mark.parametrize("change", [lambda path: path.write_text(MEMBERS), os.unlink])
def test_a_file_that_is_written_again_or_deleted_has_changed(write, change) -> None:
    path = write(HEAD)
    file = ChangeFile.open(path)
    before = file.is_unchanged

    change(path)

    assert (before, file.is_unchanged) == (True, False)


def test_a_download_that_is_written_again_has_changed(download) -> None:
    files = {"a_csv": MEMBERS + "7, 1, 42, customer_id\n", "manifest_json": {}}
    file = ChangeFile.open(download(**files))
    before = file.is_unchanged

    download(**files | {"a_csv": MEMBERS})

    assert (before, file.is_unchanged) == (True, False)


def test_csv_may_begin_with_a_mark_and_quote_values(write) -> None:
    path = write(
        b"\xef\xbb\xbf" + HEAD.encode() + b'42,,7,11,"Spring, ""big"" sale",left,\r\n\r\n'
    )

    (row,) = rows(path)

    assert (row.line, row.content.audience_name) == (2, 'Spring, "big" sale')
    assert (row.content.mpid, row.content.is_member) == (7, False)


def test_columns_have_any_order_and_case_and_some_may_be_missing(write) -> None:
    path = write("Audience_ID, Email\n11, ann@example.com\n")

    assert who(path) == [(2, {"email": "ann@example.com"})]


def test_a_bad_row_is_told_by_its_line_and_the_others_are_read(write) -> None:
    lines = ["42,,,11,VIP,,", "43,,,,,,", "44,,,11", '45,"a"b,,11,,,', "46,,,11,VIP,,"]

    assert who(write(HEAD + "\n".join(lines))) == [
        (2, {"customer": "42"}),
        (3, "audience_id: missing, and --audience-id is not given"),
        (4, "expected 7 values, got 4"),
        (5, "not CSV: ',' expected after '\"'"),
        (6, {"customer": "46"}),
    ]


def test_what_is_not_utf_8_is_a_bad_row(write) -> None:
    path = write(HEAD.encode() + b"4\xff2,,,11,,,\n43,,,11,,,\n")

    assert who(path) == [(2, "not valid UTF-8"), (3, {"customer": "43"})]


def test_json_lines_are_objects_with_the_same_names(write) -> None:
    lines = [
        '{"customer_id": 42, "audience_id": 11}',
        "",
        "[1]",
        '{"customer_id": "43", "audience": 11}',
        '{"customer_id": "44"',
        '{"customer_id": "45", "audience_id": "11", "mpid": null}',
    ]
    found = who(write("\n".join(lines)))

    assert [line for line, _ in found] == [1, 3, 4, 5, 6]
    assert found[1] == (3, "not a JSON object")
    assert found[2][1].startswith("has an unknown field; known: customer_id, email")
    assert found[3] == (5, "not a JSON object")
    assert [found[0][1], found[4][1]] == [{"customer": "42"}, {"customer": "45"}]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "is empty"),
        ("  \n\n", "is empty"),
        ("customer_id,audience_id,sinc\n", "unknown columns, number 3 of the first line"),
        ("ann@example.com,42\n", "unknown columns, number 1, 2 of the first line"),
        ('[{"customer_id": "42"}]', "is a JSON array; JSON lines have an object in each line"),
        ("customer_id;audience_id\n", "number 1 of the first line; .*, with commas between them"),
        ("identified_by,audience_id\n", "is of `ops export` without --reveal"),
        ("email,email\n", "the first line must name each column once"),
        ("e" * 200_000, "the first line must name each column once"),
    ],
)
def test_a_file_without_the_columns_is_refused_without_a_value(write, content, reason) -> None:
    with pytest.raises(FileError, match=reason) as refused:
        ChangeFile.open(write(content))

    assert "ann@" not in str(refused.value)


def test_a_file_was_made_when_it_was_last_written(write) -> None:
    path = write(HEAD)
    os.utime(path, (1000, 1000))

    assert ChangeFile.open(path).made_ms == 1_000_000


def test_the_fingerprint_is_that_of_the_content(write) -> None:
    before = ChangeFile.open(write(HEAD)).fingerprint()

    assert ChangeFile.open(write(HEAD, "copy.csv")).fingerprint() == before
    assert ChangeFile.open(write(HEAD + "42,,,11,,,\n")).fingerprint() != before


@pytest.mark.parametrize(
    ("name", "count"), [("people.csv", 4), ("people.jsonl", 2), ("download", 2)]
)
def test_the_samples_have_no_bad_row(name, count) -> None:
    found = rows(PROJECT / "events" / "import" / name, Defaults(NOW_MS, 1_795_600_000_000))

    assert [type(row.content) for row in found] == [Change] * count


# --- downloads of an audience ---


def test_lines_of_one_mpid_are_one_person(download) -> None:
    path = download(
        a_csv=MEMBERS
        + "-7, 1795564800001, 42, customer_id\n"
        + "-7, 1795564800001, ann@example.com, email\n"
        + "8, 1795564800002, 74587f4b, ios_idfv\n"
        + "9, 1795564800003, bob@example.com, Email\n"
        + "x, 1795564800003, 43, customer_id\n"
        + ", 1795564800003, 44, customer_id\n"
        + ", 1795564800003, 45, customer_id\n",
        manifest_json={"files": [{"file_name": "a.csv"}], "audience_ids": [11]},
    )

    found = rows(path)

    assert [(row.part, row.line) for row in found] == [
        ("a.csv", line) for line in (2, 4, 5, 6, 7, 8)
    ]
    ann, device, bob, bad, *unnamed = [row.content for row in found]
    assert (ann.mpid, ann.identities) == (-7, {"customer": "42", "email": "ann@example.com"})
    assert (ann.audience_id, ann.is_member, ann.at_ms) == (11, True, DEFAULTS.as_of_ms)
    assert device == Unaddressed(8, 11)
    assert bob.identities == {"email": "bob@example.com"}
    assert str(bad) == "mpid: Expected `int | null`, got `str`"
    assert [each.identities["customer"] for each in unnamed] == ["44", "45"]


def test_a_bad_line_of_a_download_is_told_even_if_nobody_can_be_addressed_by_it(download) -> None:
    text = MEMBERS + '7, 1, "a"b, email\nx, 1, 74587f4b, ios_idfv\n'
    path = download(a_csv=text, manifest_json={"audience_ids": [11]})

    assert who(path) == [
        (2, "not CSV: ',' expected after '\"'"),
        (3, "mpid: Expected `int | null`, got `str`"),
    ]


def test_the_customer_id_of_a_member_is_the_identity_that_the_stack_reads(download) -> None:
    text = MEMBERS + "7, 1, 42, customer_id\n7, 1, abc, Other2\n8, 1, 43, customer_id\n"
    path = download(a_csv=text, manifest_json={"audience_ids": [11]})

    defaults = Defaults(NOW_MS, NOW_MS, customer_id_type="other2")
    first, second = [row.content for row in rows(path, defaults)]

    assert first.identities == {"other2": "abc"}
    assert second == Unaddressed(8, 11)


@pytest.mark.parametrize(
    ("manifest", "audience"),
    [
        ({"files": [{"file_name": "8_Vip.csv", "audience_id": "12"}]}, (12, "")),
        ({"files": [{"file_name": "8_Vip.csv"}], "audience_ids": [8, 9]}, (8, "")),
        ({"files": [{"file_name": "8_Vip.csv", "audience_name": "Very"}]}, (8, "Very")),
        ({"files": [{"file_name": "8_Vip.csv"}], "audience_ids": [9]}, (9, "")),
        ({"files": [{"file_name": "8_Vip.csv"}], "audience_ids": [9, 10]}, (99, "")),
        ({}, (8, "")),
    ],
)
def test_the_audience_is_that_of_the_manifest_or_of_the_name_or_the_option(
    download, manifest, audience
) -> None:
    path = download(**{"8_Vip_csv": MEMBERS + "1, 2, 42, customer_id\n"}, manifest_json=manifest)

    (row,) = rows(path, Defaults(NOW_MS, NOW_MS, audience_id=99))

    assert (row.content.audience_id, row.content.audience_name) == audience


@pytest.mark.parametrize(
    ("manifest", "made_ms"),
    [
        ({"min_timestamp_ms": 5}, 5),
        ({"files": [{"file_name": "a.csv", "min_timestamp_ms": 3}], "min_timestamp_ms": 5}, 3),
        (
            {"files": [{"file_name": "a.csv", "min_timestamp_ms": 3}, {"file_name": "b.csv"}]},
            None,
        ),
        ({}, None),
    ],
)
def test_a_download_was_made_when_its_first_row_was(download, manifest, made_ms) -> None:
    path = download(a_csv=MEMBERS, b_csv=MEMBERS, manifest_json=manifest)

    assert ChangeFile.open(path).made_ms == made_ms


def test_a_file_of_a_download_alone_does_not_say_when_it_was_made(write) -> None:
    assert ChangeFile.open(write(MEMBERS)).made_ms is None


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"a_csv": MEMBERS}, "there is no manifest.json"),
        ({"a_csv": MEMBERS, "manifest_json": "{"}, "manifest.json: "),
        ({"a_csv": MEMBERS, "manifest_json": {"files": 1}}, "manifest.json: Expected `array"),
        ({"manifest_json": {}}, "has no CSV file"),
        ({"manifest_json": {"files": [{"file_name": "a.csv"}]}}, "are missing: a.csv"),
        ({"a_csv": "", "manifest_json": {}}, "a.csv is empty"),
    ],
)
def test_a_download_that_is_not_complete_is_refused(download, files, reason) -> None:
    with pytest.raises(FileError, match=reason):
        ChangeFile.open(download(**files))
