"""Fuzz bodies with atheris: bytes in as the body of a record, every check of the oracle after.

`make fuzz` runs it on a folder, with the corpus of tests/hostile.py and the sample events as
seeds; given a file instead, it judges that alone.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris  # type: ignore[import-untyped]  # in an environment of its own

with atheris.instrument_imports(include=["handler"]):
    from tests import hostile
    from tests.fuzz.oracle import judge
    from tests.stand_ins.aws import NOT_FOR_SQS

LARGEST_SEED = 20_000


def judge_bytes(data: bytes) -> None:
    """Judge the body that the bytes are, without what SQS would not carry."""
    text = NOT_FOR_SQS.sub("", data.decode("utf-8", "ignore"))
    if text:
        judge(text)


def seed(folder: Path) -> None:
    """Write a file for each body to begin from."""
    folder.mkdir(parents=True, exist_ok=True)
    placed = [text for place in hostile.PLACES for text in hostile.at(place).values()]
    bodies = [*hostile.sample_bodies(), *hostile.bodies().values(), *placed]
    small = [text for text in bodies if len(text) < LARGEST_SEED]
    for number, text in enumerate(small):
        (folder / f"seed-{number}").write_bytes(text.encode())


if __name__ == "__main__":
    if not Path(sys.argv[1]).is_file():
        seed(Path(sys.argv[1]))
    atheris.Setup(sys.argv, judge_bytes)
    atheris.Fuzz()
