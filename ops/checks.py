"""Checks: what has to be in order for a change to get through, each with its mend.

They only look. Settings and the secret are read by the function's own rooms.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from handler.domain.workspace import Workspace
from handler.errors import CredentialsRefusedError, ForwarderError
from handler.http.token_auth import MIN_TOKEN_LENGTH, tokens_in
from handler.settings import IngressSettings, Settings
from ops import mapping, secret
from ops.stack import READY

if TYPE_CHECKING:
    from ops.stack import Aws, Stack

_DEPLOY: Final = "deploy again: make deploy"
_PUT: Final = "put valid ones: ops credentials put"
_PUT_OR_REMOVE: Final = f"{_PUT}; or take an account's entry out: ops credentials remove"
_ENABLE: Final = "enable it: ops mapping enable"
_LONGER: Final = (
    f"see step 5 of docs/connect-mparticle.md: put tokens of {MIN_TOKEN_LENGTH} characters into "
)


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at; `mend` is what to do about it, empty where it is in order."""

    name: str
    is_ok: bool
    found: str
    mend: str = ""


@dataclass(slots=True)
class Checks:
    """The checks of one stack; the later ones use what the earlier ones found."""

    aws: Aws
    stack: Stack
    settings: Settings | None = None
    workspaces: dict[str, Workspace] = field(default_factory=dict)
    url_secret_name: str = ""

    def run(self) -> Iterator[Check]:
        """Look at one thing after another."""
        yield _checked("stack", _DEPLOY, lambda: (self.stack.status in READY, self.stack.status))
        yield _checked("function", _DEPLOY, self._function)
        yield _checked("mapping", _ENABLE, self._mapping)
        yield _checked("queue", _DEPLOY, self._queue)
        yield _checked("dead-letter queue", _DEPLOY, self._dead_letter_queue)
        yield _checked("table", "restore it to a point in time", self._table)
        yield from self.of_ingress()
        if self.settings is None:
            return
        yield _checked("credentials secret", _PUT_OR_REMOVE, self._secret)
        accounts: dict[Workspace, list[str]] = {}
        for account, workspace in self.workspaces.items():
            accounts.setdefault(workspace, []).append(account)
        for workspace, names in accounts.items():
            of = f"of account {', '.join(names)}"
            yield from _customerio(workspace, of, self.settings.track_api_url)

    def of_ingress(self) -> Iterator[Check]:
        """Look at mParticle's own door, where there is one."""
        if self.stack.ingress is None:
            return
        arn = self.stack.ingress.arn
        yield _checked("ingress", _DEPLOY, lambda: self._ingress(arn))
        if self.url_secret_name:
            yield _checked("secret of the URL", _LONGER + self.url_secret_name, self._tokens)

    def _ingress(self, arn: str) -> tuple[bool, str]:
        found = self.aws.functions.get_function_configuration(FunctionName=arn)
        settings = IngressSettings.from_environ(found["Environment"]["Variables"])
        self.url_secret_name = settings.url_secret_name
        return _works(found), f"{found.get('State', '')}, its settings readable"

    def _tokens(self) -> tuple[bool, str]:
        held = self.aws.secrets.get_secret_value(SecretId=self.url_secret_name)
        lengths = [len(token) for token in tokens_in(held.get("SecretString", ""))]
        too_short = sum(length < MIN_TOKEN_LENGTH for length in lengths)
        of_them = f"{too_short} of them too short" if too_short else "none too short"
        return bool(lengths) and not too_short, f"tokens: {len(lengths)}, {of_them}"

    def _function(self) -> tuple[bool, str]:
        found = self.aws.functions.get_function_configuration(
            FunctionName=self.stack.function_name
        )
        self.settings = Settings.from_environ(found["Environment"]["Variables"])
        return _works(found), f"{found.get('State', '')}, its settings readable"

    def _mapping(self) -> tuple[bool, str]:
        states = [one.state for one in mapping.find(self.aws, self.stack)]
        return states == ["Enabled"], " ".join(states) or "there is none"

    def _queue(self) -> tuple[bool, str]:
        attributes = self.aws.sqs.get_queue_attributes(
            QueueUrl=self.stack.queue_url, AttributeNames=["All"]
        )["Attributes"]
        policy = json.loads(attributes.get("RedrivePolicy", "{}"))
        target = policy.get("deadLetterTargetArn")
        if target != self.stack.dead_letter_queue_arn:
            return False, "reachable, but its redrive policy names another dead-letter queue"
        return True, f"reachable, about {attributes['ApproximateNumberOfMessages']} waiting"

    def _dead_letter_queue(self) -> tuple[bool, str]:
        attributes = self.aws.sqs.get_queue_attributes(
            QueueUrl=self.stack.dead_letter_queue_url, AttributeNames=["All"]
        )["Attributes"]
        return True, f"reachable, about {attributes['ApproximateNumberOfMessages']} waiting"

    def _table(self) -> tuple[bool, str]:
        table = self.aws.dynamodb.describe_table(TableName=self.stack.table_name)["Table"]
        return table["TableStatus"] in {"ACTIVE", "UPDATING"}, table["TableStatus"]

    def _secret(self) -> tuple[bool, str]:
        if self.settings is None:
            return False, "the function's settings do not name it"
        self.workspaces = secret.workspaces(self.aws, self.settings.credentials_secret_name)
        return True, f"well-formed, accounts: {', '.join(self.workspaces)}"


def told(error: BotoCoreError | ClientError) -> str:
    """Return what AWS said, in a line."""
    if isinstance(error, ClientError):
        return "{Code}: {Message}".format(**error.response["Error"])
    return str(error)


def _works(found: Mapping[str, Any]) -> bool:
    state = found.get("State", "")
    return state in {"Active", "Inactive"} and found.get("LastUpdateStatus") != "Failed"


def _checked(name: str, mend: str, look: Callable[[], tuple[bool, str]]) -> Check:
    try:
        is_ok, found = look()
    except (BotoCoreError, ClientError) as error:
        is_ok, found = False, told(error)
        if "AccessDenied" in found:
            mend = "you may not look: ask for the permission that is named"
    except ForwarderError as error:
        is_ok, found = False, str(error)
    return Check(name, is_ok, found, "" if is_ok else mend)


def _customerio(workspace: Workspace, of: str, track_api_url: str) -> Iterator[Check]:
    try:
        region = secret.region(workspace, track_api_url=track_api_url)
    except CredentialsRefusedError as error:
        yield Check(f"credentials {of}", is_ok=False, found=str(error), mend=_PUT)
        return
    except ForwarderError as error:
        mend = "see whether Customer.io is reachable, and its status page"
        yield Check(f"credentials {of}", is_ok=False, found=str(error), mend=mend)
        return
    yield Check(f"credentials {of}", is_ok=True, found="accepted by Customer.io")
    yield Check(
        f"region {of}",
        is_ok=workspace.region in {region, "auto"},
        found=f"the secret says {workspace.region}, Customer.io {region}",
        mend="" if workspace.region in {region, "auto"} else f"set it to {region} in the secret",
    )
