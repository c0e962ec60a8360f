"""Metrics: every metric, with what it counts."""

from __future__ import annotations

from enum import Enum
from typing import Final

from aws_lambda_powertools.metrics import MetricUnit


class MetricName(Enum):
    """Every metric, with what it counts. All carry the one dimension `service`."""

    RecordsReceived = "SQS records in the batch"
    ProfilesReceived = "profiles in the batch's messages"
    ChangesReceived = "profiles received, and messages that could not be read"
    PeopleChanged = "people whose state in the table changed"
    PeopleDelivered = "people whose newest state Customer.io accepted"
    EventsSent = "events sent for delivered people; Customer.io ignores those that it has"
    WalkPeopleRead = "people that walks over the table read"
    WalkPeopleDelivered = "people delivered by walks, whatever became of them meanwhile"
    WalkPeopleSkipped = "people whom walks could not deliver; the log has the reasons"
    PeopleOvertaken = "people posted again, as another invocation wrote them meanwhile"
    VersionConflicts = "writes that lost to another invocation's and were repeated"
    RecordsRetried = "records to be retried later"
    SetAside = "profiles set aside, and messages that could not be read; the sum of the following"
    SetAsideMalformedMessage = "messages set aside: the body is not an audience change"
    SetAsideUnsupportedMessage = "messages set aside: of another type of mParticle"
    SetAsideMalformedProfile = "profiles set aside: not readable"
    SetAsideNoIdentity = "profiles set aside: neither a raw customer id nor a raw email"
    SetAsideInvalidIdentity = "profiles set aside: an id or email that Customer.io cannot hold"
    SetAsideUnknownAccount = "profiles set aside: the secret does not know the account"
    SetAsideTooOld = "profiles set aside: a join older than the exits that are remembered"
    SetAsideRetriesExhausted = "profiles set aside: retried for as long as the stack allows"
    SetAsideRejectedByCustomerIo = "profiles set aside: Customer.io refused the person"
    SetAsideEventRejected = "profiles set aside: Customer.io refused an event, not the person"
    CustomerIoRequests = "requests to Customer.io"
    CustomerIoLatency = "milliseconds from a request to the end of its answer"
    CustomerIoRetries = "requests retried after an error or throttling"
    CustomerIoThrottles = "answers that asked to slow down (408, 429)"
    CustomerIoFailures = "requests without an answer, or answered with an error (5xx)"
    CredentialsRefused = "deliveries without usable credentials"
    MembershipListOverflows = "people in more audiences than one attribute value holds"
    AttributesLeftOut = "user attributes too long for Customer.io"
    AudiencesOfAPerson = "most audiences of one person in the batch that have an attribute each"
    OldestChangeAge = (
        "seconds from mParticle's time to delivery, of the oldest change in the batch"
    )
    StreamRecords = "records that the audience stream passed on"
    StreamRecordsUnreadable = "parts of these records that could not be read, to be set aside"
    StreamRecordsFailed = "records that no queue took: they are in the stream's bucket"
    UnexpectedErrors = "unexpected errors; the log has the kind and the place"

    @property
    def unit(self) -> MetricUnit:
        """Its unit in CloudWatch."""
        return _UNITS.get(self.name, MetricUnit.Count)


_UNITS: Final = {
    "CustomerIoLatency": MetricUnit.Milliseconds,
    "OldestChangeAge": MetricUnit.Seconds,
}
