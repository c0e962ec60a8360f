"""What is not measured must not be slowed down either: tracing doubles the time of the tests."""

import sys

import pytest


@pytest.mark.no_cover
def test_a_test_without_coverage_is_not_traced():
    assert sys.gettrace() is None
