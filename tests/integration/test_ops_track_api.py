"""What the operator's tool asks of Customer.io."""

from dataclasses import replace

import pytest

from handler.domain.workspace import Workspace
from handler.errors import CredentialsRefusedError, UnavailableError
from local.fake_customerio.faults import Fault, FaultKind
from ops.track_api import CustomerIo

NOBODY = "http://127.0.0.1:1"
WORKSPACE = Workspace("site-a", "key-a", "auto")
IDENTIFY = (
    '{"batch": [{"type": "person", "action": "identify", "identifiers": {"id": "42"},'
    ' "attributes": {"SegmentMembership": "\'11\'"}}]}'
)


@pytest.fixture
def customerio(fake):
    """A workspace with one person."""
    workspace = CustomerIo(WORKSPACE, fake.url)
    workspace._request(f"{fake.url}/api/v2/batch", IDENTIFY.encode())
    return workspace


def test_the_region_is_the_one_that_customer_io_names(customerio) -> None:
    assert customerio.region() == "eu"


def test_wrong_credentials_are_refused(customerio) -> None:
    wrong = replace(customerio, workspace=Workspace("site-a", "another"))

    with pytest.raises(CredentialsRefusedError):
        wrong.region()
    with pytest.raises(CredentialsRefusedError):
        wrong.delete_person("42")


def test_a_person_is_shown_until_they_are_deleted(customerio, fake) -> None:
    assert "SegmentMembership = '11'" in customerio.shown_locally("42")
    assert customerio.shown_locally("43") == ""

    assert customerio.delete_person("42") == ""

    assert customerio.shown_locally("42") == ""
    assert fake.people() == []


def test_without_a_url_a_person_is_deleted_in_the_region_of_the_workspace(
    fake, customerio
) -> None:
    in_eu = replace(
        customerio,
        workspace=replace(WORKSPACE, region="eu"),
        track_api_url="",
        region_urls={"us": NOBODY, "eu": fake.url},
    )

    assert in_eu.delete_person("42") == ""
    assert fake.people() == []
    assert in_eu.shown_locally("42") == ""


def test_a_region_that_is_not_known_is_asked_for_first(fake, customerio) -> None:
    urls = {"us": fake.url, "eu": NOBODY}
    unknown = replace(customerio, track_api_url="", region_urls=urls)

    with pytest.raises(UnavailableError):
        unknown.delete_person("42")


def test_a_refused_deletion_has_its_reason(customerio, fake) -> None:
    fake.misbehave(Fault(FaultKind.REFUSE, person="42", reason="not_allowed"))
    assert "not_allowed" in customerio.delete_person("42")

    fake.misbehave(Fault(FaultKind.STATUS, status=400, path="/api/v2/batch"))
    assert customerio.delete_person("42") == "refused with 400"
