"""Downloads: the files of an audience that mParticle lets users download, and their manifest.

A download is a zip archive, or the folder that it was extracted to. Read of the manifest are
`files`, with `file_name`, `audience_id`, `audience_name` and `min_timestamp_ms` of each, and
`audience_ids` and `min_timestamp_ms` of all. Whatever is missing is found otherwise, or left open.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any, Final

import msgspec

MANIFEST: Final = "manifest.json"

Open = Callable[[], IO[bytes]]

DAMAGES: Final = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError)
"""What zipfile raises for an archive that is damaged, or needs a password."""


class FileError(ValueError):
    """A file that cannot be used at all; the text says why."""


@dataclass(frozen=True, slots=True)
class Part:
    """One file with rows, and what is known of all of them.

    `made_ms`: when its first row was read, in Unix milliseconds; None if that is not known.
    """

    name: str
    open: Open
    made_ms: int | None
    audience_id: int | None = None
    audience_name: str = ""


def opener(path: Path) -> Open:
    """Return what opens a file."""
    return lambda: path.open("rb")


class _File(msgspec.Struct):
    file_name: str
    audience_id: int | None = None
    audience_name: str = ""
    min_timestamp_ms: int | None = None


class _Manifest(msgspec.Struct):
    files: list[_File] | None = None
    audience_ids: list[int] = []
    min_timestamp_ms: int | None = None


def parts_of(path: Path) -> list[Part]:
    """Return the files of a download. Raises FileError, or OSError."""
    opens = _in_folder(path) if path.is_dir() else _in_archive(path)
    if MANIFEST not in opens:
        raise FileError(f"there is no {MANIFEST}, so it is no download of an audience")
    with opens[MANIFEST]() as content:
        try:
            manifest = msgspec.json.decode(content.read(), type=_Manifest, strict=False)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise FileError(f"{MANIFEST}: {error}") from None
    files = manifest.files
    if files is None:
        files = [_File(name) for name in sorted(opens) if name.lower().endswith(".csv")]
    names = [PurePosixPath(file.file_name).name for file in files]
    if missing := [name for name in names if name not in opens]:
        raise FileError(f"{MANIFEST} names files that are missing: {', '.join(missing)}")
    if not files:
        raise FileError("the download has no CSV file")
    return [
        _part(name, opens[name], file, manifest) for name, file in zip(names, files, strict=True)
    ]


def _in_folder(path: Path) -> Mapping[str, Open]:
    return {each.name: opener(each) for each in path.iterdir() if each.is_file()}


def _in_archive(path: Path) -> Mapping[str, Open]:
    def opened(name: str) -> IO[bytes]:
        with zipfile.ZipFile(path) as archive:
            return archive.open(name)  # which keeps the archive open for as long as it is needed

    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/")]
    return {PurePosixPath(name).name: partial(opened, name) for name in names}


def _part(name: str, content: Open, file: _File, manifest: _Manifest) -> Part:
    made_ms = file.min_timestamp_ms
    return Part(
        name,
        content,
        made_ms=manifest.min_timestamp_ms if made_ms is None else made_ms,
        audience_id=_audience_id(name, file, manifest.audience_ids),
        audience_name=file.audience_name,
    )


_NAMED: Final = re.compile(r"([0-9]{1,19})_")


def _audience_id(name: str, file: _File, audience_ids: list[int]) -> int | None:
    if file.audience_id is not None:
        return file.audience_id
    # mParticle's names begin with the id, as in 8754_Parisians_172136Nov292018.csv.
    match: Any = _NAMED.match(name)
    if match and (not audience_ids or int(match[1]) in audience_ids):
        return int(match[1])
    return audience_ids[0] if len(audience_ids) == 1 else None
