"""Lines of the log that tell of deliveries."""

import pytest

from ops.delivery_log import read_line


def test_a_line_of_ours_has_its_time_in_unix_seconds() -> None:
    line = '{"message": "batch.done", "timestamp": "2026-01-02 03:04:05,678+0000"}'

    assert read_line(line)["at"] == pytest.approx(1767323045.678)
    assert read_line(line.replace("+0000", "+0200"))["at"] == pytest.approx(1767315845.678)


@pytest.mark.parametrize(
    "line", ["START RequestId", "7", "[1]", "{}", '{"timestamp": "yesterday"}', '{"timestamp": 1}']
)
def test_any_other_line_has_no_fields(line) -> None:
    assert read_line(line) == {}
