"""Directories that are made once and kept: complete or absent, verified whenever they are used again.

A kept directory holds a manifest: the key of what it was made from, and the size and SHA-256 of every file. Another
key, or a file that is not what the manifest says, and it is made anew.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from nmt.text import written_whole

MANIFEST = "manifest.json"
# What a killed process left behind is removed a day later: until then another process may still be writing it.
ABANDONED_SECONDS = 24 * 3600
SETTLED_SECONDS = 2.0  # a file system's clock ticks more often


def kept_directory(place: Path, key: str, build: Callable[[Path], None]) -> Path:
    """``place``, holding what ``build(directory)`` wrote for ``key``; built only when it is not there, whole, already.

    ``build`` fills an empty directory beside ``place`` that is then renamed; when it fails, nothing is left of it and
    what stood at ``place`` before still stands.
    """
    if is_whole(place, key):
        return place
    place.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(place)
    building = Path(tempfile.mkdtemp(prefix=f".{place.name}.", suffix=".partial", dir=place.parent))
    try:
        os.chmod(building, 0o777 & ~_umask())
        build(building)
        _seal(building, key)
        if is_whole(place, key):  # another process was faster
            return place
        if place.exists():
            os.replace(place, building.with_suffix(".old"))
        os.replace(building, place)
    finally:
        shutil.rmtree(building, ignore_errors=True)
        shutil.rmtree(building.with_suffix(".old"), ignore_errors=True)
    return place


def is_whole(place: Path, key: str) -> bool:
    """Whether a kept directory stands at ``place``, made for ``key``, every file as it was written."""
    try:
        manifest = json.loads((place / MANIFEST).read_bytes())
        return bool(manifest["key"] == key) and all(
            _facts(place / name, expected["size"]) == expected for name, expected in manifest["files"].items()
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError):  # not there, or not a manifest
        return False


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal. A process reads a file that nobody touches only once for it: a
    training text is asked about by its corpus, its vocabularies and its ids."""
    with open(path, "rb") as stream:
        file = _version_of(stream)
        if file in _digests:
            return _digests[file]
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
        # One that has just been written may be written again within the same tick of the file system's clock.
        if file == _version_of(stream) and time.time() - max(file[-2:]) / 1e9 > SETTLED_SECONDS:
            _digests[file] = digest
    return digest


_digests: dict[tuple[int, ...], str] = {}


def _version_of(stream: BinaryIO) -> tuple[int, ...]:
    """What changes when a file does: its times, the last two, among it."""
    facts = os.fstat(stream.fileno())
    return facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns


def key_of(**parts: Any) -> str:
    """A key from anything that JSON can say (and paths, as text): the same parts, the same key, on any machine."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def _facts(path: Path, expected_size: int) -> dict[str, Any]:
    size = path.stat().st_size
    return {"size": size, "sha256": sha256_of(path) if size == expected_size else ""}


def _seal(directory: Path, key: str) -> None:
    files = {}
    for path in sorted(path for path in directory.rglob("*") if path.is_file()):
        with open(path, "rb") as stream:
            os.fsync(stream.fileno())
        files[path.relative_to(directory).as_posix()] = _facts(path, path.stat().st_size)
    with written_whole(directory / MANIFEST) as stream:
        stream.write((json.dumps({"key": key, "files": files}, indent=1) + "\n").encode())


def _remove_abandoned(place: Path) -> None:
    for ending in ("partial", "old"):
        for path in place.parent.glob(f".{place.name}.*.{ending}"):
            newest = max((inner.stat().st_mtime for inner in [path, *path.iterdir()]), default=0.0)
            if time.time() - newest > ABANDONED_SECONDS:
                shutil.rmtree(path, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
