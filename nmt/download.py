"""Files from the web: fetched whole, resumed after a break, and refused unless their SHA-256 is the expected one."""

from __future__ import annotations

import difflib
import http.client
import lzma
import os
import shutil
import tarfile
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from nmt.errors import InputError
from nmt.kept import sha256_of
from nmt.version import VERSION

Report = Callable[[str], None]

ATTEMPTS = 4  # in a row without a byte received
PAUSE_SECONDS = 1.0  # before the second attempt; twice as long before every further one
TIMEOUT_SECONDS = 30.0
REPORT_SECONDS = 2.0
_BLOCK = 1 << 16
_PASSING = {408, 425, 429, 500, 502, 503, 504}  # statuses that another attempt may mend


class _BrokenError(Exception):
    """The transfer stopped; another attempt may go on."""


def fetch(url: str, place: Path, sha256: str, report: Report, *, size: int | None = None) -> Path:
    """The file behind an http or https address at ``place``, with this SHA-256 (hexadecimal, lower case).

    A file that is there already and right is not fetched again. What a broken transfer received stays beside
    ``place`` under a hidden name, and the next call goes on from there. ``size`` in bytes, where known, stops a wrong
    download early. Raises ``InputError`` when the server refuses, breaks off again and again, or sends something else;
    then ``place`` is as it was before.
    """
    if place.is_file() and sha256_of(place) == sha256:
        return place
    if not url.startswith(("http://", "https://")):
        raise InputError(f"{url}: only http and https addresses can be fetched")
    place.parent.mkdir(parents=True, exist_ok=True)
    partial = place.with_name(f".{place.name}.{sha256[:12]}.partial")
    continued = partial.exists()
    if not continued or sha256_of(partial) != sha256:
        _receive_all(url, partial, size, report)
        if sha256_of(partial) != sha256 and continued:
            report(f"{url}: what was kept of an earlier download does not fit; starting again")
            partial.unlink()
            _receive_all(url, partial, size, report)
    if (found := sha256_of(partial)) != sha256:
        partial.unlink()
        raise InputError(f"{url}: the SHA-256 is {found}, but {sha256} was expected; nothing of it was kept")
    with open(partial, "rb") as stream:
        os.fsync(stream.fileno())
    os.replace(partial, place)
    return place


def _receive_all(url: str, partial: Path, size: int | None, report: Report) -> None:
    failures = 0
    while True:
        before = _size(partial)
        try:
            return _receive(url, partial, size, report)
        except (_BrokenError, urllib.error.URLError, http.client.HTTPException, OSError) as error:
            reason = getattr(error, "reason", None) or error
        failures = 1 if _size(partial) > before else failures + 1
        if failures >= ATTEMPTS:
            raise InputError(
                f"{url}: {reason}; gave up after {ATTEMPTS} attempts, and the same command goes on from here"
            )
        report(f"{url}: {reason}; trying again")
        time.sleep(PAUSE_SECONDS * 2 ** (failures - 1))


def _receive(url: str, partial: Path, size: int | None, report: Report) -> None:
    """One request, its answer added to ``partial``. Raises ``_BrokenError`` when it ends before its announced end."""
    start = _size(partial)
    headers = {"User-Agent": f"nmt/{VERSION}", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    with _answer(urllib.request.Request(url, headers=headers), partial) as response:
        resumed = response.status == http.client.PARTIAL_CONTENT
        if resumed and not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            partial.unlink()
            raise _BrokenError("the server sends another part than was asked for")
        start = start if resumed else 0
        length = response.headers.get("Content-Length")
        total = start + int(length) if length is not None else size
        if size is not None and total != size:
            raise InputError(f"{url}: has {total} bytes, but {size} were expected")
        next_report = time.monotonic() + REPORT_SECONDS
        with open(partial, "ab" if resumed else "wb") as stream:
            while block := response.read(_BLOCK):
                stream.write(block)
                if time.monotonic() > next_report:
                    report(f"{url}: {_megabytes(stream.tell())}{f' of {_megabytes(total)}' if total else ''}")
                    next_report = time.monotonic() + REPORT_SECONDS
            received = stream.tell()
    if total is not None and received < total:
        raise _BrokenError(f"the connection broke after {received} of {total} bytes")


@contextmanager
def _answer(request: urllib.request.Request, partial: Path) -> Iterator[http.client.HTTPResponse]:
    try:
        with _opener().open(request, timeout=TIMEOUT_SECONDS) as response:
            yield response
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and partial.exists():
            partial.unlink()
            raise _BrokenError("the server has less of it than was kept of an earlier download") from None
        if error.code in _PASSING:
            raise _BrokenError(f"the server answers {error.code} {error.reason}") from None
        raise InputError(f"{request.full_url}: the server answers {error.code} {error.reason}") from None


def _opener() -> urllib.request.OpenerDirector:
    """Opens http and https and nothing else: urllib's usual opener would follow a redirection to ftp."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.UnknownHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPErrorProcessor,
    ):
        opener.add_handler(handler())
    return opener


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


# ------------------------------------------------------------------------------------------------------ archives


def extract(archive: Path, members: dict[Path, str]) -> None:
    """Write members of a zip or tar archive (compressed or not) to places of the caller's choosing.

    ``members`` says, for every file to be written, the name of its member. What an archive says about paths, links and
    rights is never followed. Raises ``InputError`` for a member that is not there or not a plain file, and for a file
    that is no archive.
    """
    try:
        with _reader(archive) as (names, opened):
            for place, name in members.items():
                if name not in names:
                    near = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
                    hint = f'; did you mean "{near[0]}"?' if near else ""
                    raise InputError(f'{archive}: no member "{name}"{hint}')
                member = opened(name)
                if member is None:
                    raise InputError(f'{archive}: the member "{name}" is not a plain file')
                with member, open(place, "wb") as stream:
                    shutil.copyfileobj(member, stream)
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, RuntimeError) as error:
        raise InputError(f"{archive}: damaged or unreadable archive ({error})") from None


@contextmanager
def _reader(archive: Path) -> Iterator[tuple[list[str], Callable[[str], IO[bytes] | None]]]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as zipped:
            yield zipped.namelist(), lambda name: None if name.endswith("/") else zipped.open(name)
    elif tarfile.is_tarfile(archive):
        with tarfile.open(archive) as tar:
            yield tar.getnames(), lambda name: tar.extractfile(name) if tar.getmember(name).isfile() else None
    else:
        raise InputError(f"{archive}: neither a zip nor a tar archive; leave members out to use the file itself")
