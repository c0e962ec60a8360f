"""mParticle's own door: a record in at the audience stream, attributes out at Customer.io."""

import json
import time

import boto3
import pytest

from local import events
from tests.e2e.messages import memberships, somebody


def record(customer_id, *, is_member=True, **fields):
    """A record as mParticle writes it."""
    content = {
        "MembershipChangedTimestamp": str(int(time.time())),
        "AudienceId": 30005,
        "AudienceName": "Streamed 30005",
        "IsMember": is_member,
        "UserIdentities": {"CustomerId": customer_id},
        **fields,
    }
    return json.dumps(content).encode()


@pytest.fixture
def archived(clean):
    """What has come to the bucket: the text of each object, by its key."""
    s3 = boto3.client("s3", **clean.emulator.client_options)
    bucket = clean.stream_bucket

    def keys():
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        return {item["Key"] for page in pages for item in page.get("Contents", ())}

    before = keys()

    def archived():
        new = keys() - before
        return {key: s3.get_object(Bucket=bucket, Key=key)["Body"].read() for key in new}

    return archived


def test_a_record_is_delivered_and_archived_as_it_came(clean, archived):
    who = somebody()

    clean.put(record(who))
    clean.wait_until_drained()

    assert memberships(clean, who) == "'30005'"
    ((key, content),) = archived().items()
    assert key.startswith(time.strftime("records/%Y/%m/%d/", time.gmtime()))
    assert json.loads(content)["UserIdentities"] == {"CustomerId": who}
    assert content.endswith(b"}\n")


@pytest.mark.parametrize("path", events.all_stream_records(), ids=lambda path: path.stem)
def test_a_sample_record_ends_as_it_says(clean, path):
    sample = events.read(path)

    clean.put(sample.text.encode())
    clean.wait_until_drained()

    people, set_aside = clean.customerio.people(), clean.take_set_aside()
    assert not list(events.differences(sample, people=people, set_aside=set_aside))


def test_people_of_one_record_enter_and_leave(clean):
    stays, leaves = somebody(), somebody()

    clean.put(record(stays) + record(leaves) + b"\n" + record(leaves, is_member=False))
    clean.wait_until_drained()

    assert (memberships(clean, stays), memberships(clean, leaves)) == ("'30005'", "")


def test_what_cannot_be_read_is_set_aside_and_harms_nobody(clean, archived):
    who = somebody()

    clean.put(record(who) + b'{"AudienceId": "vip"}')
    clean.wait_until_drained()

    assert memberships(clean, who) == "'30005'"
    (letter,) = clean.take_set_aside()
    assert letter.error_type == "MalformedMessage"
    assert json.loads(letter.body)["user_profiles"] == [{"AudienceId": "vip"}]
    assert len(archived()) == 1
