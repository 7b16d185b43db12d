"""Downloads from a server on loopback that breaks, lies and refuses; archives; Debian's package manager."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import stat
import subprocess
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from nmt import debian, download
from nmt.debian import fetch_packages, unpack
from nmt.download import extract, fetch
from nmt.errors import InputError

CONTENT = bytes(range(256)) * 4096  # 1 MiB
SUM = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Answers every path with ``content``, in the ways that the tests set."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.content = CONTENT
        self.ranges = True  # honours Range
        self.says_length = True
        self.breaks_after: list[int] = []  # for one request after the other: bytes sent before the connection is cut
        self.statuses: list[int] = []  # for one request after the other: an error
        self.location = ""
        self.asked: list[str | None] = []  # the Range of every request

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/corpus.gz"


class Answer(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server, wanted = self.server, self.headers.get("Range")
        server.asked.append(wanted)
        if server.statuses and (status := server.statuses.pop(0)):
            self.send_error(status)
            return
        if server.location:
            self.send_response(302)
            self.send_header("Location", server.location)
            self.end_headers()
            return
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and server.ranges else 0
        if start >= len(server.content) > 0:
            self.send_error(416)
            return
        body = server.content[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(server.content) - 1}/{len(server.content)}")
        if server.says_length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if server.breaks_after:
            body = body[: server.breaks_after.pop(0)]
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(download, "PAUSE_SECONDS", 0.001)
    with Server() as serving:
        thread = threading.Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield serving
        serving.shutdown()
        thread.join()


@pytest.fixture
def told() -> list[str]:
    return []


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir()) if directory.exists() else []


def test_fetched_once(server: Server, tmp_path: Path, told: list[str]) -> None:
    place = tmp_path / "folder" / "corpus.gz"
    for _ in range(2):
        assert fetch(server.url, place, SUM, told.append, size=len(CONTENT)) == place
    assert place.read_bytes() == CONTENT
    assert server.asked == [None]
    assert names(place.parent) == ["corpus.gz"]
    place.write_bytes(b"damaged")
    assert fetch(server.url, place, SUM, told.append).read_bytes() == CONTENT
    assert len(server.asked) == 2


def test_goes_on_after_a_break(server: Server, tmp_path: Path, told: list[str]) -> None:
    server.breaks_after = [300_000, 500_000]
    assert fetch(server.url, tmp_path / "f", SUM, told.append).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=300000-", "bytes=800000-"]
    assert "the connection broke after 300000 of 1048576 bytes; trying again" in told[0]


def test_goes_on_in_another_run(server: Server, tmp_path: Path, told: list[str]) -> None:
    server.breaks_after = [300_000]
    server.statuses = [0, 404]
    with pytest.raises(InputError, match="404"):
        fetch(server.url, tmp_path / "f", SUM, told.append)
    (partial,) = names(tmp_path)  # hidden, and ignored by git
    assert partial.startswith(".f.")
    assert partial.endswith(".partial")
    server.asked.clear()
    assert fetch(server.url, tmp_path / "f", SUM, told.append).read_bytes() == CONTENT
    assert server.asked == ["bytes=300000-"]
    assert names(tmp_path) == ["f"]


def test_a_server_that_knows_no_ranges_starts_again(server: Server, tmp_path: Path, told: list[str]) -> None:
    server.ranges = False
    server.breaks_after = [300_000]
    assert fetch(server.url, tmp_path / "f", SUM, told.append).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=300000-"]


@pytest.mark.parametrize("kept", [b"not what is there", CONTENT + b"more"])
def test_what_does_not_fit_is_thrown_away(server: Server, tmp_path: Path, told: list[str], kept: bytes) -> None:
    (tmp_path / f".f.{SUM[:12]}.partial").write_bytes(kept)
    assert fetch(server.url, tmp_path / "f", SUM, told.append).read_bytes() == CONTENT


def test_killed_between_download_and_renaming(server: Server, tmp_path: Path, told: list[str]) -> None:
    (tmp_path / f".f.{SUM[:12]}.partial").write_bytes(CONTENT)
    assert fetch(server.url, tmp_path / "f", SUM, told.append).read_bytes() == CONTENT
    assert server.asked == []


@pytest.mark.parametrize("before", [None, b"an older version"])
def test_a_wrong_sum_is_refused(server: Server, tmp_path: Path, told: list[str], before: bytes | None) -> None:
    server.content = CONTENT[:-1] + b"?"
    if before:
        (tmp_path / "f").write_bytes(before)
    with pytest.raises(InputError, match=rf"/corpus\.gz: the SHA-256 is [0-9a-f]{{64}}, but {SUM} was expected"):
        fetch(server.url, tmp_path / "f", SUM, told.append)
    assert names(tmp_path) == (["f"] if before else [])
    assert not before or (tmp_path / "f").read_bytes() == before


def test_a_wrong_size_is_refused_at_once(server: Server, tmp_path: Path, told: list[str]) -> None:
    with pytest.raises(InputError, match="has 1048576 bytes, but 3 were expected"):
        fetch(server.url, tmp_path / "f", SUM, told.append, size=3)
    assert names(tmp_path) == []


def test_without_a_length(server: Server, tmp_path: Path, told: list[str]) -> None:
    server.says_length = False
    assert fetch(server.url, tmp_path / "f", SUM, told.append).read_bytes() == CONTENT
    server.breaks_after = [1000]
    assert fetch(server.url, tmp_path / "g", SUM, told.append, size=len(CONTENT)).read_bytes() == CONTENT
    assert server.asked[1:] == [None, "bytes=1000-"]


def test_refusals(server: Server, tmp_path: Path, told: list[str]) -> None:
    server.statuses = [403]
    with pytest.raises(InputError, match=r"/corpus\.gz: the server answers 403 Forbidden"):
        fetch(server.url, tmp_path / "f", SUM, told.append)
    server.statuses = [503, 0]
    assert fetch(server.url, tmp_path / "f", SUM, told.append).read_bytes() == CONTENT
    server.statuses = [500] * download.ATTEMPTS
    with pytest.raises(InputError, match="500 Internal Server Error; gave up after"):
        fetch(server.url, tmp_path / "g", SUM, told.append)


def test_nobody_there(server: Server, tmp_path: Path, told: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "ATTEMPTS", 2)
    url = server.url
    server.server_close()
    with pytest.raises(InputError, match="refused"):
        fetch(url, tmp_path / "f", SUM, told.append)


def test_only_the_web(server: Server, tmp_path: Path, told: list[str]) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(CONTENT)
    for url in (f"file://{secret}", "ftp://127.0.0.1/f", str(secret)):
        with pytest.raises(InputError, match="only http and https"):
            fetch(url, tmp_path / "f", SUM, told.append)
    for location in (f"file://{secret}", "ftp://127.0.0.1:1/f"):
        server.location = location
        with pytest.raises(InputError):
            fetch(server.url, tmp_path / "f", SUM, told.append)
    assert names(tmp_path) == ["secret"]


def test_progress_is_told(server: Server, tmp_path: Path, told: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "REPORT_SECONDS", 0.0)
    fetch(server.url, tmp_path / "f", SUM, told.append)
    assert told[-1] == f"{server.url}: 1.0 MB of 1.0 MB"


# ------------------------------------------------------------------------------------------------------ archives


def pack(path: Path, members: dict[str, bytes]) -> Path:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
            for name, content in members.items():
                zipped.writestr(name, content)
        return path
    with tarfile.open(path, "w:" + path.suffix.removeprefix(".").removeprefix("tar")) as tar:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
        tar.addfile(_folder("folder"))
    return path


def _folder(name: str) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type = tarfile.DIRTYPE
    return entry


every_archive = pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.tar.xz", "a.tar.bz2"])
MEMBERS = {"deep/train.zh": "猫\n".encode(), "../../outside.en": b"cat\n", "/root.en": b"root\n"}


@every_archive
def test_members_go_where_we_say(tmp_path: Path, name: str) -> None:
    inside = tmp_path / "one" / "two"
    inside.mkdir(parents=True)
    archive = pack(tmp_path / name, MEMBERS)
    extract(archive, {inside / "zh": "deep/train.zh", inside / "en": "../../outside.en"})
    assert (inside / "zh").read_bytes() == MEMBERS["deep/train.zh"]
    assert (inside / "en").read_bytes() == b"cat\n"
    assert names(tmp_path) == sorted([name, "one"])
    assert names(inside) == ["en", "zh"]


@every_archive
def test_members_that_are_not_there(tmp_path: Path, name: str) -> None:
    archive = pack(tmp_path / name, MEMBERS)
    with pytest.raises(InputError, match=r'no member "deep/tran.zh"; did you mean "deep/train.zh"\?'):
        extract(archive, {tmp_path / "zh": "deep/tran.zh"})
    if name != "a.zip":
        for member in ("link", "folder"):
            with pytest.raises(InputError, match=f'the member "{member}" is not a plain file'):
                extract(archive, {tmp_path / "zh": member})
    assert names(tmp_path) == [name]


def test_no_archives(tmp_path: Path) -> None:
    plain = tmp_path / "train.gz"
    plain.write_bytes(gzip.compress(b"text"))
    with pytest.raises(InputError, match="neither a zip nor a tar archive"):
        extract(plain, {tmp_path / "x": "y"})
    cut = pack(tmp_path / "cut.tar.gz", {"a": os.urandom(200_000)})
    cut.write_bytes(cut.read_bytes()[:100_000])
    with pytest.raises(InputError, match="damaged or unreadable archive"):
        extract(cut, {tmp_path / "x": "a"})


# --------------------------------------------------------------------------------------- Debian's package manager

needs_dpkg = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="no dpkg-deb: not a Debian machine")


def make_package(directory: Path, name: str, files: dict[str, str]) -> Path:
    """A real .deb of a made-up package."""
    root = directory / f"{name}.root"
    for path, text in {**files, "DEBIAN/control": CONTROL.format(name=name)}.items():
        place = root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")
    package = directory / f"{name}_1%3a7.4_all.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "-b", root, package], check=True, capture_output=True)
    return package


CONTROL = (
    "Package: {name}\nVersion: 1:7.4\nArchitecture: all\nMaintainer: nobody <nobody@example.org>\nDescription: test\n"
)

# Stands in for apt-get: knows the packages of the folder $ARCHIVE and counts its calls in $ARCHIVE/calls.
APT = """#!/bin/sh
echo "$@" >> "$ARCHIVE/calls"
for last; do
  case "$last" in
    update) exit 0;;
    --print-uris) uris=1;;
    libreoffice-*)
      package=$(ls "$ARCHIVE"/"$last"_*.deb 2>/dev/null)
      if [ -z "$package" ]; then echo "E: Unable to locate package $last" >&2; exit 100; fi
      sum=${SUM:-$(sha256sum "$package" | cut -d' ' -f1)}
      if [ -n "$uris" ]; then echo "'http://example.org/x.deb' $(basename "$package") 1000 SHA256:$sum"
      else cp "$package" .; fi;;
  esac
done
"""


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place, programs = tmp_path / "archive", tmp_path / "programs"
    place.mkdir()
    programs.mkdir()
    for name, text in {"apt-get": APT, "apt-cache": "#!/bin/sh\nls $ARCHIVE | sed -n 's/_.*//p'\n"}.items():
        (programs / name).write_text(text)
        (programs / name).chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("ARCHIVE", str(place))
    make_package(place, "libreoffice-help-zh-cn", {"usr/share/page": "猫"})
    return place


@needs_dpkg
def test_packages_are_fetched_once_and_verified(archive: Path, tmp_path: Path, told: list[str]) -> None:
    for _ in range(2):
        packages = fetch_packages(["libreoffice-help-zh-cn"], tmp_path / "kept", told.append)
    package = packages["libreoffice-help-zh-cn"]
    assert package.name == "libreoffice-help-zh-cn_1%3a7.4_all.deb"
    assert len((archive / "calls").read_text().split("\n")) == 4  # update, print, download, and the last line's end
    (tmp_path / "x").mkdir()
    unpack(package, tmp_path / "x")
    assert (tmp_path / "x/usr/share/page").read_text(encoding="utf-8") == "猫"
    package.write_bytes(b"damaged")
    assert (
        fetch_packages(["libreoffice-help-zh-cn"], tmp_path / "kept", told.append)[package.name.split("_")[0]]
        == package
    )
    assert package.stat().st_size > 100


@needs_dpkg
def test_packages_that_apt_does_not_know(archive: Path, tmp_path: Path, told: list[str]) -> None:
    with pytest.raises(InputError) as error:
        fetch_packages(["libreoffice-help-xx", "libreoffice-help-zh-cn"], tmp_path / "kept", told.append)
    assert str(error.value) == (
        "apt-get cannot find libreoffice-help-xx and libreoffice-help-zh-cn: "
        "Unable to locate package libreoffice-help-xx; it knows of libreoffice-help-zh-cn"
    )
    assert not (tmp_path / "kept").exists()


@needs_dpkg
def test_a_package_of_another_sum(
    archive: Path, tmp_path: Path, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUM", "0" * 64)
    with pytest.raises(InputError, match=r"deb: not the file that Debian's list of packages tells of"):
        fetch_packages(["libreoffice-help-zh-cn"], tmp_path / "kept", told.append)
    assert not (tmp_path / "kept").exists()


@needs_dpkg
def test_a_damaged_package(tmp_path: Path) -> None:
    (tmp_path / "x.deb").write_bytes(b"no package")
    with pytest.raises(InputError, match=r"x\.deb: cannot be unpacked: "):
        unpack(tmp_path / "x.deb", tmp_path)


def test_a_machine_without_apt(tmp_path: Path, told: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debian.shutil, "which", lambda _: None)
    with pytest.raises(InputError, match=r"^libreoffice-help-de: Debian packages, and this machine has no apt-get; "):
        fetch_packages(["libreoffice-help-de"], tmp_path / "kept", told.append)
    assert names(tmp_path) == []
