"""Checks: what must be in order for a change to reach Customer.io, and the fix for what is not.

They change nothing. The function's own modules read the settings and the secret.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import TYPE_CHECKING, Final

from handler.domain.attribute_mapping import ALL_OTHERS, AttributeMapping
from handler.domain.options import DeliveryOptions
from handler.domain.workspace import Workspace
from handler.errors import CredentialsRefusedError, ForwarderError
from handler.http.token_auth import MIN_TOKEN_LENGTH, tokens_in
from handler.settings import IngressSettings, Settings
from ops import credentials_secret, mapping
from ops.check import DEPLOY, Check, checked, works
from ops.logs import read_log
from ops.stack import READY
from ops.stream_checks import of_stream
from ops.track_api import CustomerIo

if TYPE_CHECKING:
    from ops.stack import Aws, Stack

_PUT: Final = "put valid ones: ops credentials put --site-id {site_id}"
_PUT_OR_REMOVE: Final = (
    f"{_PUT.format(site_id='YOUR_SITE_ID')}; "
    "or remove the entry of an account: ops credentials remove --account ACCOUNT"
)
_DIFFERENT: Final = (
    "make them equal: all of them apply to the same people, and `ops` and a walk over the table "
    "use the first one"
)
_ENABLE: Final = (
    "if it is disabled, enable it: ops mapping enable; otherwise deploy again: make deploy"
)
_LONGER: Final = (
    f"put tokens of at least {MIN_TOKEN_LENGTH} characters, "
    'as in docs/connect-mparticle.md, "Register with mParticle", into the secret '
)
_DOT_IN_NAME: Final = "audience.dot_in_name"
_DOTS: Final = (
    "rename the audience in mParticle, or deploy with the parameter DotsInNames; "
    "see: Audience names have dots"
)
_NO_EVENTS: Final = (
    "no events are sent, as an event would create its person: set CreatePeople to true, or "
    "MembershipEvents to false"
)
_A_DAY_S: Final = 24 * 3600


@dataclass(slots=True)
class Checks:
    """The checks of one stack; later ones use what earlier ones read."""

    aws: Aws
    stack: Stack
    settings: Settings | None = None
    workspaces: dict[str, Workspace] = field(default_factory=dict)
    url_secret_name: str = ""
    dotted_audiences: list[int] = field(default_factory=list)

    def run(self) -> Iterator[Check]:
        """Check everything, one after another."""
        yield checked("stack", DEPLOY, lambda: (self.stack.status in READY, self.stack.status))
        yield checked("function", DEPLOY, self._function)
        yield from self.of_mappings()
        yield from self.of_queues()
        yield checked("dead-letter queue", DEPLOY, self._dead_letter_queue)
        yield checked("table", "see: The table is lost", self._table)
        yield from self.of_ingress()
        if self.stack.stream:
            yield from of_stream(self.aws, self.stack.stream)
        if self.settings is None:
            return
        yield checked("credentials secret", _PUT_OR_REMOVE, self._secret)
        credentials = {name: _without_options(each) for name, each in self.workspaces.items()}
        for workspace, of in _by_workspace(credentials):
            yield from _check_customerio(workspace, of, self.settings.track_api_url)
        yield from check_entries(self.workspaces)
        for workspace, of in _by_workspace(self.workspaces):
            yield check_options(workspace, of, self.settings.delivery_options)
        if self.settings.delivery_options.dot_replacement is None:
            yield from self.of_audience_names()

    def of_mappings(self) -> Iterator[Check]:
        """Check the event source mapping of each queue."""
        for queue in mapping.QUEUES:
            yield checked(f"mapping of the {queue}", _ENABLE, partial(self._mapping, queue))

    def of_queues(self) -> Iterator[Check]:
        """Check the queues that the function receives messages from."""
        urls = (self.stack.queue_url, self.stack.retry_queue_url)
        for queue, url in zip(mapping.QUEUES, urls, strict=True):
            yield checked(queue, DEPLOY, partial(self._queue, url))

    def of_audience_names(self) -> Iterator[Check]:
        """Search the log of the last day for warnings of audience names with a dot."""
        check = checked("audience names", DEPLOY, self._audience_names)
        yield replace(check, fix=_DOTS) if self.dotted_audiences else check

    def of_ingress(self) -> Iterator[Check]:
        """Check the ingress, if the stack has one."""
        if self.stack.ingress is None:
            return
        arn = self.stack.ingress.arn
        yield checked("ingress", DEPLOY, lambda: self._ingress(arn))
        if self.url_secret_name:
            yield checked("secret of the URL", _LONGER + self.url_secret_name, self._tokens)

    def _ingress(self, arn: str) -> tuple[bool, str]:
        function = self.aws.functions.get_function_configuration(FunctionName=arn)
        settings = IngressSettings.from_environ(function["Environment"]["Variables"])
        self.url_secret_name = settings.url_secret_name
        return works(function), f"{function.get('State', '')}, its settings readable"

    def _tokens(self) -> tuple[bool, str]:
        secret = self.aws.secrets.get_secret_value(SecretId=self.url_secret_name)
        lengths = [len(token) for token in tokens_in(secret.get("SecretString", ""))]
        too_short = sum(length < MIN_TOKEN_LENGTH for length in lengths)
        return bool(lengths) and not too_short, f"tokens: {len(lengths)}, too short: {too_short}"

    def _function(self) -> tuple[bool, str]:
        function = self.aws.functions.get_function_configuration(
            FunctionName=self.stack.function_name
        )
        self.settings = Settings.from_environ(function["Environment"]["Variables"])
        return works(function), f"{function.get('State', '')}, its settings readable"

    def _mapping(self, queue: str) -> tuple[bool, str]:
        mappings = [each for each in mapping.find(self.aws, self.stack) if each.queue == queue]
        states = " ".join(each.state for each in mappings) or "there is none"
        if not all(each.reports_failures for each in mappings):
            return False, f"{states}, without ReportBatchItemFailures"
        return states == "Enabled", states

    def _queue(self, url: str) -> tuple[bool, str]:
        attributes = self.aws.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])[
            "Attributes"
        ]
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

    def _audience_names(self) -> tuple[bool, str]:
        log = read_log(
            self.aws.logs,
            self.stack.log_group,
            [f'"{_DOT_IN_NAME}"'],
            since=time.time() - _A_DAY_S,
        )
        logged_ids = map(_dotted_audience, log.lines)
        self.dotted_audiences = sorted({key for key in logged_ids if key is not None})
        if not self.dotted_audiences:
            return True, "no warning of a dot in the last day"
        return True, f"a dot in the name of audience {', '.join(map(str, self.dotted_audiences))}"

    def _secret(self) -> tuple[bool, str]:
        if self.settings is None:
            return False, "the function's settings do not name it"
        name = self.settings.credentials_secret_name
        self.workspaces = credentials_secret.workspaces(self.aws, name)
        return True, f"readable, accounts: {', '.join(self.workspaces)}"


def _dotted_audience(line: str) -> int | None:
    """Return the audience id in a line of the log that warns of a dot; None for other lines."""
    try:
        logged = json.loads(line)
    except ValueError:
        return None
    if not isinstance(logged, Mapping) or logged.get("message") != _DOT_IN_NAME:
        return None
    audience_id = logged.get("audience_id")
    return audience_id if isinstance(audience_id, int) else None


def _without_options(workspace: Workspace) -> Workspace:
    return Workspace(workspace.site_id, workspace.api_key, workspace.region)


def _by_workspace(workspaces: Mapping[str, Workspace]) -> Iterator[tuple[Workspace, str]]:
    """Yield each workspace once, with the accounts that it is of."""
    accounts: dict[Workspace, list[str]] = {}
    for account, workspace in workspaces.items():
        accounts.setdefault(workspace, []).append(account)
    for workspace, names in accounts.items():
        yield workspace, f"of account {', '.join(names)}"


def _check_customerio(workspace: Workspace, of: str, track_api_url: str) -> Iterator[Check]:
    try:
        region = CustomerIo(workspace, track_api_url).region()
    except CredentialsRefusedError as error:
        fix = _PUT.format(site_id=workspace.site_id)
        yield Check(f"credentials {of}", is_ok=False, result=str(error), fix=fix)
        return
    except ForwarderError as error:
        fix = "see whether Customer.io is reachable, and its status page"
        yield Check(f"credentials {of}", is_ok=False, result=str(error), fix=fix)
        return
    yield Check(f"credentials {of}", is_ok=True, result="accepted by Customer.io")
    yield Check(
        f"region {of}",
        is_ok=workspace.region in {region, "auto"},
        result=f"{workspace.region} in the secret, {region} according to Customer.io",
        fix="" if workspace.region in {region, "auto"} else f"set it to {region} in the secret",
    )


def check_entries(workspaces: Mapping[str, Workspace]) -> Iterator[Check]:
    """Yield a warning for each workspace that entries of the secret describe differently."""
    by_site: dict[str, dict[str, Workspace]] = {}
    for account, workspace in workspaces.items():
        by_site.setdefault(workspace.site_id, {})[account] = workspace
    for site_id, entries in by_site.items():
        names = [each.name for each in fields(Workspace)]
        different = [
            name for name in names if len({getattr(each, name) for each in entries.values()}) > 1
        ]
        if different:
            accounts = ", ".join(entries)
            result = f"the entries of account {accounts} differ in {', '.join(different)}"
            yield Check(f"entries of {site_id}", is_ok=True, result=result, fix=_DIFFERENT)


def check_options(workspace: Workspace, of: str, stack: DeliveryOptions) -> Check:
    """Return which options are in force for a workspace: its own, or those of the stack."""
    options = stack.of(workspace)
    in_force = (
        ("CreatePeople", json.dumps(options.create_people), workspace.create_people),
        ("MembershipEvents", json.dumps(options.membership_events), workspace.membership_events),
        ("AttributeMapping", _entries(options.attribute_mapping), workspace.attribute_mapping),
        ("OnErasure", options.on_erasure, workspace.on_erasure),
    )
    return Check(
        f"options {of}",
        is_ok=True,
        result=", ".join(
            f"{name} {value}{'' if own is None else ' (in the secret)'}"
            for name, value, own in in_force
        ),
        fix=_NO_EVENTS if options.membership_events and not options.sends_events else "",
    )


def _entries(mapping: AttributeMapping) -> str:
    """Return a mapping as it is written into a setting."""
    entries = dict(mapping.names)
    if mapping.prefix_and_suffix:
        entries[ALL_OTHERS] = ALL_OTHERS.join(mapping.prefix_and_suffix)
    return json.dumps(entries, ensure_ascii=False) if entries else "empty"
