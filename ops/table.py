"""Table: the stack's table, opened for one command."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

from handler.table.table import Table, open_table

if TYPE_CHECKING:
    from ops.stack import Aws, Stack


@contextmanager
def opened(aws: Aws, stack: Stack) -> Iterator[Table]:
    """Open the table until the block ends."""
    with ThreadPoolExecutor(1) as executor:
        yield open_table(
            aws.dynamodb,
            stack.table_name,
            executor,
            backoff=lambda _: 1.0,
            now=time.time,
            sleep=time.sleep,
        )
