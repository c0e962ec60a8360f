"""Deployment: the real template, built and deployed to an emulator, beside a fake Customer.io.

run.py, serve.py, invoke.py and the end-to-end tests use it. sam.py builds and deploys,
emulator.py and fake_customerio run AWS and Customer.io. ministack.py makes the changes that the
emulator needs.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import boto3

from local import emulator, ministack, sam
from local.emulator import Emulator
from local.fake_customerio.process import FakeCustomerio
from local.stack import API_KEY, INGRESS_TOKEN, MPARTICLE, NAME, SECRET_ENTRIES, SITE_ID, Stack

_ATTRIBUTE_MAPPING: Final = {
    "Loyalty points": "loyalty_points",
    "Interests": "interests",
    "Coupon": "coupon",
}
"""The user attributes that events/user_attributes.json shows."""

_BUCKET: Final = "artifacts"
_SECRET_NAME: Final = "customerio/credentials"  # noqa: S105 - a name, and the template's default
_URL_SECRET_NAME: Final = "mparticle/token"  # noqa: S105 - a name


@contextmanager
def running(
    tell: Callable[[str], None] = lambda _: None, *, template: Path | None = None
) -> Iterator[Stack]:
    """Deploy and run the stack until the block ends; `tell` gets each step.

    Without a template that `build` returned, this builds one.
    """
    emulator.isolate(os.environ)
    # The worker threads come last, so that they are awaited first.
    with (
        tempfile.TemporaryDirectory(prefix="forwarder-", ignore_cleanup_errors=True) as folder,
        FakeCustomerio.start({SITE_ID: API_KEY}) as customerio,
        ThreadPoolExecutor(1) as threads,
    ):
        directory = Path(folder)
        tell("Building the function, and starting the embedded AWS")
        built = threads.submit(lambda: template or build(directory / "build"))
        with emulator.running(directory) as running_emulator:
            built.result()
            tell("Deploying template.yaml")
            prepare(running_emulator)
            yield deploy(running_emulator, built.result(), customerio)


def build(directory: Path) -> Path:
    """Build the functions into a directory, and return the template for the emulator."""
    template = ministack.without_metric_math(sam.build(directory))
    sam.share_package(template)
    return template


def prepare(running_emulator: Emulator) -> None:
    """Create what a deployment needs: the secrets, and a bucket for packages."""
    options = running_emulator.client_options
    secrets = boto3.client("secretsmanager", **options)
    secrets.create_secret(
        Name=_SECRET_NAME,
        SecretString=json.dumps({"accounts": SECRET_ENTRIES}),
    )
    secrets.create_secret(Name=_URL_SECRET_NAME, SecretString=INGRESS_TOKEN)
    boto3.client("s3", **options).create_bucket(Bucket=_BUCKET)


def deploy(running_emulator: Emulator, template: Path, customerio: FakeCustomerio) -> Stack:
    """Deploy a built template, to a new or an existing stack."""
    sam.deploy(
        running_emulator,
        template,
        stack_name=NAME,
        bucket=_BUCKET,
        parameters={
            "TrackApiUrl": customerio.url,
            "MParticlePrincipals": MPARTICLE,
            "IngressUrlSecretName": _URL_SECRET_NAME,
            "SuspendOnRefusedCredentials": "true",
            "OnAudienceRemoved": "clear",
            "AudienceStream": "true",
            "AudienceStreamAccount": "1001",
            "OnErasure": "delete",
            "AttributeMapping": json.dumps(_ATTRIBUTE_MAPPING),
        },
    )
    stack = Stack(running_emulator, customerio)
    ministack.widen_policies(stack.iam, stack.roles())
    ministack.write_concurrency_as_number(stack.functions, stack.function_name)
    return stack
