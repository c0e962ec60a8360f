"""Starting the emulator."""

from __future__ import annotations

from pathlib import Path

import pytest

from local import emulator
from local.command import FailedError


@pytest.mark.parametrize(
    ("output", "tries"), [("OSError: Address already in use", 3), ("another error", 1)]
)
def test_only_a_port_that_somebody_took_is_a_reason_to_try_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str, tries: int
) -> None:
    failing = tmp_path / "ministack"
    failing.write_text(f"#!/bin/sh\necho >> {tmp_path}/tries\necho '{output}'\nexit 1\n")
    failing.chmod(0o700)
    monkeypatch.setattr(emulator, "_MINISTACK", failing)

    with pytest.raises(FailedError, match=output), emulator.running(tmp_path):
        pass

    assert (tmp_path / "tries").read_text() == "\n" * tries
