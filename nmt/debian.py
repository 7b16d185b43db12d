"""Packages from Debian's package manager, without root and without touching what it knows of the machine.

apt checks every package against lists that Debian signed; the lists and caches are in a folder of their own.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from nmt.errors import InputError
from nmt.kept import kept_directory, key_of, sha256_of

Report = Callable[[str], None]

# 'ADDRESS' NAME_VERSION_ARCHITECTURE.deb SIZE SHA256:SUM
_ADDRESS = re.compile(r"^'[^']*' (?P<name>\S+\.deb) (?P<size>\d+) SHA256:(?P<sha256>[0-9a-f]{64})$", re.MULTILINE)


def fetch_packages(packages: Sequence[str], place: Path, report: Report) -> dict[str, Path]:
    """The ``.deb`` file of every package, kept in the directory ``place`` and downloaded once.

    Raises ``InputError`` on a machine without apt, for a package that does not exist and when the download fails.
    """

    def build(directory: Path) -> None:
        _require("apt-get", packages)
        with TemporaryDirectory() as state:
            options = _private(Path(state))
            report("reading Debian's lists of packages")
            update = _run(["apt-get", *options, "update"], directory)
            found = _run(["apt-get", *options, "download", "--print-uris", *packages], directory)
            if found.returncode != 0:
                raise InputError(_not_found(packages, options, directory, update, found))
            addresses = list(_ADDRESS.finditer(found.stdout))
            megabytes = sum(int(address["size"]) for address in addresses) / 1e6
            report(f"downloading {' and '.join(packages)} from Debian, {megabytes:.1f} MB")
            downloaded = _run(["apt-get", *options, "download", *packages], directory)
        if downloaded.returncode != 0:
            raise InputError(f"apt-get cannot download {' and '.join(packages)}: {_complaint(downloaded)}")
        for address in addresses:
            if sha256_of(directory / address["name"]) != address["sha256"]:
                raise InputError(f"{address['name']}: not the file that Debian's list of packages tells of; try again")

    kept_directory(place, key_of(packages=list(packages)), build)
    return {package: next(place.glob(f"{package}_*.deb")) for package in packages}


def unpack(package: Path, directory: Path) -> None:
    """The files of a ``.deb`` package, below ``directory``."""
    _require("dpkg-deb", [package.name])
    unpacked = _run(["dpkg-deb", "-x", str(package.resolve()), str(directory.resolve())], directory)
    if unpacked.returncode != 0:
        raise InputError(f"{package}: cannot be unpacked: {_complaint(unpacked)}")


def _require(program: str, packages: Sequence[str]) -> None:
    if shutil.which(program) is None:
        raise InputError(
            f"{' and '.join(packages)}: Debian packages, and this machine has no {program}; prepare the corpus on "
            "Debian or Ubuntu (a container will do) and copy its downloads folder, or choose another corpus"
        )


def _private(state: Path) -> list[str]:
    for folder in ("lists/partial", "cache/archives/partial"):
        (state / folder).mkdir(parents=True)
    settings = {
        "Dir::State::Lists": state / "lists",
        "Dir::Cache": state / "cache",
        "APT::Sandbox::User": "root",  # when root runs this: another user could not write to the folder
        "APT::Get::AllowUnauthenticated": "false",
        "Acquire::Languages": "none",
        "Acquire::IndexTargets::deb-src::Sources::DefaultEnabled": "false",
        "Acquire::Retries": "2",
        "Acquire::http::Timeout": "30",
        "Acquire::https::Timeout": "30",
    }
    return ["-q", *(f"-o{name}={value}" for name, value in settings.items())]


def _run(command: list[str], directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=directory,
        env={**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )


def _not_found(
    packages: Sequence[str],
    options: list[str],
    directory: Path,
    update: subprocess.CompletedProcess[str],
    found: subprocess.CompletedProcess[str],
) -> str:
    """Why apt knows nothing of the packages: its lists could not be read, or there is no such package."""
    names = " and ".join(packages)
    stem = os.path.commonprefix(list(packages))  # noqa: RUF071 - characters are meant
    known = _run(["apt-cache", *options, "pkgnames", stem], directory).stdout.split() if len(stem) > 2 else []
    if not known:
        return f"apt-get cannot find {names}: {_complaint(update) or _complaint(found)}"
    return f"apt-get cannot find {names}: {_complaint(found)}; it knows of {', '.join(sorted(known))}"


def _complaint(run: subprocess.CompletedProcess[str]) -> str:
    """What apt says went wrong, in one line."""
    lines = [line.strip() for line in run.stderr.split("\n") if line.strip()]
    told = [line[2:].strip() for line in lines if line.startswith(("E:", "W:"))] or lines[-1:]
    return told[0] if told else ""
