"""Study folders as they come over the network: JSON or ZIP, every name and size checked."""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Final

from data.errors import Problem
from dso.api.problems import Refusal

ZIP_MEDIA_TYPE: Final = "application/zip"
FILES_MAX: Final = 20
# Of a whole study, unpacked [B].
BYTES_MAX: Final = 64_000_000
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,60}\.(toml|json|csv|m)")
NEEDED: Final = ("study.toml", "orders.json")
# What Python says of archives that are none, damaged, encrypted or of an unknown kind.
UNREADABLE: Final = (
    zipfile.BadZipFile, EOFError, OSError, RuntimeError, ValueError, NotImplementedError,
    zlib.error,
)  # fmt: skip
# A fixed instant, so that equal studies give equal archives.
ZIP_TIME: Final = (1980, 1, 1, 0, 0, 0)


def check_files(files: Mapping[str, bytes]) -> None:
    """Refuse names and sizes that no study has; raises `Refusal` 422 with all problems."""
    problems = [
        Problem(where=f"files.{name[:60]}", what="is no name of a file of a study",
                remedy="study.toml, orders.json, profiles.csv, import_price.csv, network.json, ...")
        for name in sorted(files)
        if not NAME.fullmatch(name)
    ]  # fmt: skip
    problems += [
        Problem(where=f"files.{name}", what="is missing") for name in NEEDED if name not in files
    ]
    if len(files) > FILES_MAX:
        problems.append(Problem(where="files", what=f"are more than {FILES_MAX}"))
    if sum(map(len, files.values())) > BYTES_MAX:
        problems.append(Problem(where="files", what=f"are larger than {BYTES_MAX} bytes"))
    if problems:
        raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, problems)


def unpack(content: bytes) -> dict[str, bytes]:
    """Return the files of an archive; one common folder around them is taken off.

    No more is unpacked than a study may hold, whatever the archive says of its sizes.

    Raises
    ------
    Refusal
        422 for what is no archive, damaged, or too large.
    """
    problem = Problem(where="body", what="is no ZIP archive that can be read")
    found: dict[str, bytes] = {}
    room = BYTES_MAX
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            if len(entries) > FILES_MAX:
                what = f"are more than {FILES_MAX}"
                raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, [Problem(where="files", what=what)])
            prefix = _common_folder([entry.filename for entry in entries])
            for entry in entries:
                with archive.open(entry) as stream:
                    data = stream.read(room + 1)
                room -= len(data)
                if room < 0:
                    what = f"are larger than {BYTES_MAX} bytes"
                    too_large = Problem(where="files", what=what)
                    raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, [too_large])
                found[entry.filename.removeprefix(prefix)] = data
    except (
        zipfile.BadZipFile,
        EOFError,
        OSError,
        RuntimeError,
        ValueError,
        NotImplementedError,
    ) as error:
        # RuntimeError: encrypted
        raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, [problem]) from error
    return found


def _common_folder(names: list[str]) -> str:
    folders = {name.partition("/")[0] for name in names if "/" in name}
    if len(folders) == 1 and all("/" in name for name in names):
        return f"{folders.pop()}/"
    return ""


def pack(files: Mapping[str, bytes]) -> bytes:
    """Return files as an archive; equal files give equal bytes."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):
            archive.writestr(zipfile.ZipInfo(name, date_time=ZIP_TIME), files[name],
                             compress_type=zipfile.ZIP_DEFLATED)  # fmt: skip
    return target.getvalue()


def write_files(files: Mapping[str, bytes], folder: Path) -> None:
    """Write checked files into a new folder."""
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)


def read_folder(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder by its name there."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def read_member(content: bytes, name: str) -> bytes:
    """Return one file of an archive of ours."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return archive.read(name)
