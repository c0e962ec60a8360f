import time

import pytest

from local import events
from local.operations import delete_in_customerio, import_file, resync_audience

FILES = events.all_files()


def name(path):
    return path.stem


@pytest.mark.parametrize("path", FILES, ids=name)
def test_a_sample_event_ends_as_it_says(clean, path):
    sample = events.read(path)

    message_ids = clean.send([record.body for record in sample.records])
    clean.wait_until_drained()
    clean.wait_for_walks()

    people, set_aside = clean.customerio.people(), clean.take_set_aside()
    assert not list(
        events.differences(sample, people=people, set_aside=set_aside, message_ids=message_ids)
    )


@pytest.mark.parametrize("path", FILES, ids=name)
def test_an_event_file_invokes_the_function_as_it_is(clean, path):
    succeeded, answer = clean.invoke(events.as_of(time.time(), path.read_text()).encode())

    assert succeeded
    assert answer == {"batchItemFailures": []}
    clean.wait_for_walks()
    people, set_aside = clean.customerio.people(), clean.take_set_aside()
    assert not list(events.differences(events.read(path), people=people, set_aside=set_aside))
    # The next test need not wait for what confirms an erasure half a minute later.
    clean.sqs.purge_queue(QueueUrl=clean.retry_queue_url)


@pytest.mark.parametrize("path", events.all_imports(), ids=name)
def test_a_sample_import_ends_as_it_says(clean, path):
    sample = events.read(path)

    status = import_file(clean, path.parent / sample.file)
    clean.wait_until_drained()

    people, set_aside = clean.customerio.people(), clean.take_set_aside()
    assert status == 0
    assert not list(events.differences(sample, people=people, set_aside=set_aside))


@pytest.mark.parametrize("path", events.all_resyncs(), ids=name)
def test_a_sample_resync_ends_as_it_says(clean, path):
    sample = events.read(path)
    assert sample.resync is not None
    clean.send([record.body for record in sample.records])
    clean.wait_until_drained()
    delete_in_customerio(clean, sample.resync.deleted_customer_id)
    deleted = clean.customerio.people()

    status = resync_audience(clean, sample.resync.audience_id)

    people, set_aside = clean.customerio.people(), clean.take_set_aside()
    assert (status, deleted) == (0, [])
    assert not list(events.differences(sample, people=people, set_aside=set_aside))
