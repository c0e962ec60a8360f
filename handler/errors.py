"""Every error this project raises on purpose, sorted by what to do about it.

* ForwarderError
  - RetryableError              leave the message on the queue
    - ThrottledError            Customer.io asked us to slow down
    - UnavailableError          Customer.io or AWS could not be reached, or failed
    - CredentialsRefusedError   Customer.io refused the credentials, even newly read ones
    - UnusableCredentialsError  the secret's entry for an account cannot be used
    - WrongAddressError         Customer.io answered with a redirect or 404: wrong region or URL
    - VersionConflictError      other invocations kept writing this person first
    - OutOfTimeError            the invocation ends before this could be finished
    - UnreadableStateError      a person's item in the table cannot be read
    - UnconfirmedErasureError   an erasure is done, and is to be done once more
  - PermanentError              set aside; no retry can help
    - MalformedMessageError     the body is not an audience change
    - UnsupportedMessageError   the body is another message of mParticle
    - MalformedProfileError     one profile of a message cannot be read
    - NoIdentityError           a profile without a raw customer id or email
    - InvalidIdentityError      a customer id or email that Customer.io cannot hold
    - UnknownAccountError       the credentials secret does not know the account
    - PersonRejectedError       Customer.io refused this person
    - EventRejectedError        Customer.io refused an event of this person, not the person
    - TooOldError               a join older than the exits that are remembered
    - RetriesExhaustedError     it was retried for as long as the stack allows
  - MisconfiguredError          stop the whole batch; a human must act

No error text may contain a secret, an email, a name, an id value or a message body.
"""

from __future__ import annotations

from typing import ClassVar


class ForwarderError(Exception):
    """Anything this project raises on purpose."""


class RetryableError(ForwarderError):
    """It may work later: leave the message on the queue."""


class ThrottledError(RetryableError):
    """Customer.io asked to slow down."""


class UnavailableError(RetryableError):
    """Customer.io or an AWS service could not be reached, or answered with an error."""


class CredentialsRefusedError(RetryableError):
    """Customer.io refused the credentials, also after the secret was read again."""


class UnusableCredentialsError(RetryableError):
    """The secret's entry for an account cannot be used; it says which field is wrong."""


class WrongAddressError(RetryableError):
    """Customer.io answered with a redirect or 404: the region or the URL is wrong."""


class VersionConflictError(RetryableError):
    """Other invocations wrote this person first, again and again."""


class OutOfTimeError(RetryableError):
    """The invocation would end before this could be finished."""


class UnreadableStateError(RetryableError):
    """A person's item in the table cannot be read, perhaps because a newer version wrote it."""


class UnconfirmedErasureError(RetryableError):
    """The erasure is done. It is done again, for changes that were handled at the same time."""


class PermanentError(ForwarderError):
    """No retry can help: set aside. The DLQ message has `error_type` as an attribute."""

    error_type: ClassVar[str]


class MalformedMessageError(PermanentError):
    """The body is not a message that can be read."""

    error_type = "MalformedMessage"


class UnsupportedMessageError(PermanentError):
    """The body is a message of a type that is not handled."""

    error_type = "UnsupportedMessage"


class MalformedProfileError(PermanentError):
    """One profile cannot be read; its neighbours can."""

    error_type = "MalformedProfile"


class NoIdentityError(PermanentError):
    """The profile has neither a raw customer id nor a raw email."""

    error_type = "NoIdentity"


class InvalidIdentityError(PermanentError):
    """The customer id or email is longer than Customer.io can hold."""

    error_type = "InvalidIdentity"


class UnknownAccountError(PermanentError):
    """The credentials secret has no entry for the message's mParticle account."""

    error_type = "UnknownAccount"


class PersonRejectedError(PermanentError):
    """Customer.io rejected this person."""

    error_type = "RejectedByCustomerIo"


class EventRejectedError(PermanentError):
    """Customer.io accepted the person's attributes, but rejected an event."""

    error_type = "EventRejected"


class TooOldError(PermanentError):
    """A join older than the exits that are remembered; the person's state lacks the audience."""

    error_type = "TooOld"


class RetriesExhaustedError(PermanentError):
    """It was retried for as long as the stack allows; the reason ends with the last error."""

    error_type = "RetriesExhausted"


Failure = PermanentError | RetryableError
"""Why something failed: set it aside, or retry it."""


class MisconfiguredError(ForwarderError):
    """A setting or the credentials secret is missing or unreadable: a human must act."""
