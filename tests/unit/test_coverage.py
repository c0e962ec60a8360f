"""What is not measured must not be slowed down either: tracing doubles the time of the tests."""

import pytest
from coverage import Coverage


@pytest.mark.no_cover
def test_a_test_without_coverage_is_not_traced():
    assert Coverage.current() is None
