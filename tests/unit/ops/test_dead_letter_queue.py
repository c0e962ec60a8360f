"""Walks through the dead-letter queue, and redrives."""

from ops.dead_letter_queue import DeadLetterQueue, Redriven


def test_a_walk_returns_each_letter_once_and_leaves_it_in_the_queue(
    queue, stack, set_aside, bodies
) -> None:
    for number in range(12):
        set_aside(body=f"{number:02}")

    read = [letter.body for batch in queue.walk() for letter in batch]

    assert sorted(read) == [f"{number:02}" for number in range(12)]
    assert len(bodies(stack.dead_letter_queue_url)) == 10  # visible at once; more do not fit
    assert queue.count() == 12
    assert queue.hidden == 0


def test_a_redrive_keeps_to_its_rate(aws, stack, set_aside) -> None:
    pauses: list[float] = []
    queue = DeadLetterQueue(aws.sqs, stack, sleep=pauses.append, poll_s=0)
    set_aside(body="a")
    set_aside(body="b")

    redriven = [result for batch in queue.walk() for result in queue.redrive(batch, rate=4)]

    assert redriven == [Redriven(sent=2, not_sent=0, not_deleted=0)]
    assert pauses == [0.5]  # two messages, at four a second


def test_letters_that_somebody_else_has_received_are_counted(
    aws, stack, queue, set_aside, receive
) -> None:
    for name in "abcd":
        set_aside(body=name)
    received = [receive() for _ in range(3)]

    walk = queue.walk()
    first = next(walk)
    aws.sqs.delete_message(
        QueueUrl=stack.dead_letter_queue_url, ReceiptHandle=received[0]["ReceiptHandle"]
    )
    others = list(walk)

    assert (len(first), others) == (1, [])
    assert queue.hidden == 2


def test_a_letter_that_sqs_does_not_take_is_not_deleted(
    queue, stack, set_aside, bodies, taking_last_only
) -> None:
    set_aside(body="a")
    set_aside(body="b")
    walk = queue.walk()
    batch = next(walk)

    redriven = list(queue.redrive(batch, rate=50))
    walk.close()

    assert redriven == [Redriven(sent=1, not_sent=1, not_deleted=0)]
    assert bodies(stack.dead_letter_queue_url) == [batch[0].body]
