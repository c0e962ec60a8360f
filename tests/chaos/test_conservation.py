"""Nothing is lost and nothing is stale. `make chaos` shows the same at full size."""

import pytest

from tests.chaos.run import SMALL, called, troubles


@pytest.mark.timeout(300)
def test_every_change_is_visible_or_set_aside_once_whatever_goes_wrong(chaos):
    figures = chaos.run(seed=1)

    assert not figures.findings, "\n".join(figures.findings)
    assert figures.faults.keys() >= {called(fault) for fault in troubles(SMALL)}
    assert figures.faults.keys() >= {"outage", "401 until rotated"}
    assert set(figures.set_aside) == {
        "InvalidIdentity",
        "MalformedMessage",
        "MalformedProfile",
        "NoIdentity",
        "RejectedByCustomerIo",
        "UnknownAccount",
        "UnsupportedMessage",
    }
    assert figures.redriven
    assert figures.retries
