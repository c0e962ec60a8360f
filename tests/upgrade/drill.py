"""Drill: one stack, upgraded, rolled back and upgraded again, while messages flow.

The older version is deployed, and over it the working copy, the older one again, and the working
copy again. During each deployment Customer.io refuses one workspace, so that messages wait to be
retried. But before a version without a retry queue, that queue must be empty, see CHANGELOG.md.

What a version set aside goes back to the queue under the next one, which must set it aside again
for the same reason. At the end the reasons are removed, and all is compared with the model of
tests/chaos.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence
from itertools import cycle, islice
from typing import Final

import boto3
from botocore.config import Config

from local import deployment
from local.emulator import Emulator
from local.events import SetAside
from local.fake_customerio.process import FakeCustomerio
from local.stack import API_KEY, Stack
from tests.chaos import model
from tests.chaos.changes import ACCOUNTS, Human, Sent, story
from tests.chaos.run import (
    Figures,
    compare_letters,
    compare_people,
    open_up,
    refusals,
    refused_again,
    serials,
    wait_until,
)
from tests.upgrade.build import Version

_SITES: Final = {account.site_id for account in ACCOUNTS}
_BATCH: Final = 10
"""Messages that are sent at a time, about every second."""
_STEADY: Final = 150
"""Messages that are sent between two deployments, at least."""
_SECONDS_TO_DRAIN: Final = 1200.0
"""Longer than retries wait."""


def tell(step: str) -> None:
    print(time.strftime("%H:%M:%S"), step, flush=True)  # noqa: T201 - a person waits for it


class Drill:
    """One stack, what was sent to it, and what came of it."""

    def __init__(
        self,
        running_emulator: Emulator,
        customerio: FakeCustomerio,
        older: Version,
        newer: Version,
        *,
        has_moves: bool,
    ) -> None:
        self._emulator = running_emulator
        self._customerio = customerio
        self._older = older
        self._newer = newer
        self._told = story(1, people=300, messages=1200, now=time.time())
        if not has_moves:
            self._told.sent = [
                one for one in self._told.sent if not any(p.human.moves for p in one.profiles)
            ]
        self._sent: list[tuple[str, Sent]] = []
        self._stopped = threading.Event()
        self._letters: list[SetAside] = []
        self._set_aside_again: Counter[model.Letter] = Counter()

    def run(self) -> int:
        """Run the drill, and return the exit status."""
        self._stack = self._deployed(self._older)
        open_up(self._stack, API_KEY, ACCOUNTS)
        self._customerio.misbehave(*refusals(self._told))
        tell(f"{self._older.name} is deployed, and messages are sent")
        sending = threading.Thread(target=self._keep_sending)
        sending.start()
        try:
            self._steady(self._older)
            self._change(self._older, self._newer)
            self._change(self._newer, self._older)
            self._change(self._older, self._newer)
        finally:
            self._stopped.set()
            sending.join()
        figures = self._compared()
        tell(f"lost {figures.lost}, stale {figures.stale}, surplus {figures.surplus}")
        for finding in figures.findings[:20]:
            tell(finding)
        return 1 if figures.findings else 0

    def _deployed(self, version: Version) -> Stack:
        deployed = deployment.deploy(self._emulator, version.template, self._customerio)
        # The emulator may answer late while it deploys. A request that is repeated for that would
        # send its messages twice, the first time under ids that nobody knows.
        patient = Config(read_timeout=600, retries={"total_max_attempts": 1})
        deployed.sqs = boto3.client("sqs", config=patient, **self._emulator.client_options)
        return deployed

    def _keep_sending(self) -> None:
        # A story that is over is told again: what is sent twice changes nothing.
        messages = cycle(self._told.sent)
        while not self._stopped.wait(1):
            self._sent += self._send(list(islice(messages, _BATCH)))

    def _send(self, messages: Sequence[Sent]) -> list[tuple[str, Sent]]:
        return list(zip(self._send_texts([one.text for one in messages]), messages, strict=True))

    def _send_texts(self, texts: Sequence[str]) -> list[str]:
        return [
            message_id
            for start in range(0, len(texts), _BATCH)
            for message_id in self._stack.send(texts[start : start + _BATCH])
        ]

    def _steady(self, version: Version) -> None:
        sent, delivered = len(self._sent), self._answered(200)
        wait_until(
            lambda: len(self._sent) >= sent + _STEADY and self._answered(200) > delivered + 10
        )
        tell(f"{version.name}: {len(self._sent) - sent} messages sent")

    def _answered(self, status: int) -> int:
        return sum(request.status == status for request in self._customerio.requests())

    def _change(self, before: Version, after: Version) -> None:
        """Deploy one version over another."""
        retry_queue_url = self._stack.retry_queue_url
        if before.has_retry_queue and not after.has_retry_queue:
            wait_until(lambda: not self._stack._on(retry_queue_url))
        else:
            self._refuse_a_workspace(before)
        letters = self._take_letters()
        sent, started = len(self._sent), time.monotonic()
        self._stack = self._deployed(after)
        tell(
            f"{after.name} is deployed over {before.name}, in {time.monotonic() - started:.0f} s; "
            f"{len(self._sent) - sent} messages sent meanwhile"
        )
        self._customerio.rotate(dict.fromkeys(_SITES, API_KEY))
        if before.has_retry_queue and not after.has_retry_queue:
            # Or the next deployment would find its name taken. What it still holds is lost.
            self._stack.sqs.delete_queue(QueueUrl=retry_queue_url)
        ids = self._send_texts([letter.body for letter in letters])
        for message_id, letter in zip(ids, letters, strict=True):
            self._set_aside_again.update(_keys(letter, message_id))
        tell(f"{len(letters)} dead letters of {before.name} are sent back")
        self._steady(after)

    def _refuse_a_workspace(self, version: Version) -> None:
        """Have messages wait for another try."""
        before = self._answered(401)
        self._customerio.rotate(dict.fromkeys(_SITES - {ACCOUNTS[-1].site_id}, API_KEY))
        wait_until(lambda: self._answered(401) > before)
        if version.has_retry_queue:
            wait_until(lambda: self._stack._on(self._stack.retry_queue_url) > 0)

    def _take_letters(self) -> list[SetAside]:
        letters = self._stack.take_set_aside()
        self._letters += letters
        return letters

    def _compared(self) -> Figures:
        """Compare what came of all, before and after the reasons for letters are removed."""
        tell(f"{len(self._sent)} messages sent; waiting until the queues are empty")
        self._stack.wait_until_drained(_SECONDS_TO_DRAIN)
        figures, told = Figures(1), self._told
        letters = self._take_letters()
        known = [one for _, one in self._sent if one.account is not told.stranger]
        expected = model.people(known)
        for human in filter(_is_refused, told.humans):
            for site_id in _SITES:
                expected.pop((site_id, human.name()), None)
        compare_people(figures, self._customerio, expected, model.former_people(known))
        once = model.letters(self._sent, is_refused=_is_refused) + self._set_aside_again
        # Who is killed while setting aside does so again. The union has the larger count of each.
        found = Counter(
            key for letter in self._letters for key in _keys(letter, letter.source_message_id)
        )
        as_found = once | Counter({key: found[key] for key in once})
        compare_letters(figures, self._letters, as_found)
        tell(
            f"{len(expected)} people and {len(self._letters)} dead letters compared; "
            f"{(as_found - once).total()} profiles were set aside twice"
        )

        self._customerio.replan()
        open_up(self._stack, "another", [*ACCOUNTS, told.stranger])
        news = self._send(told.news)
        self._stack.wait_until_drained(_SECONDS_TO_DRAIN)
        cured = [
            one for one in letters if one.error_type in {"RejectedByCustomerIo", "UnknownAccount"}
        ]
        ids = self._send_texts([letter.body for letter in cured])
        self._stack.wait_until_drained(_SECONDS_TO_DRAIN)
        everything = [one for _, one in [*self._sent, *news]]
        people = model.people(everything)
        compare_people(figures, self._customerio, people, model.former_people(everything))
        compare_letters(
            figures, self._stack.take_set_aside(), refused_again(ids, cured, everything)
        )
        tell(
            f"{len(cured)} letters sent back whose reasons are gone; {len(people)} people compared"
        )
        return figures


def _keys(letter: SetAside, message_id: str) -> list[model.Letter]:
    return [(message_id, letter.error_type, serial) for serial in serials(letter.body) or [0]]


def _is_refused(human: Human) -> bool:
    return human.refusal is not None
