"""Kept directories: complete or absent, whatever happens, and never out of date."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nmt.kept import ABANDONED_SECONDS, is_whole, kept_directory, key_of, sha256_of


class Builder:
    """Writes two files and counts how often it was asked to."""

    def __init__(self, content: str = "content") -> None:
        self.content = content
        self.calls = 0

    def __call__(self, directory: Path) -> None:
        assert list(directory.iterdir()) == []
        self.calls += 1
        (directory / "one").write_text(self.content)
        (directory / "inner").mkdir()
        (directory / "inner" / "two").write_text("2")


def test_built_once(tmp_path: Path) -> None:
    build = Builder()
    for _ in range(3):
        assert kept_directory(tmp_path / "deep" / "kept", "key", build) == tmp_path / "deep" / "kept"
    assert build.calls == 1
    assert (tmp_path / "deep" / "kept" / "inner" / "two").read_text() == "2"
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["kept"]


def test_another_key_builds_anew(tmp_path: Path) -> None:
    kept_directory(tmp_path / "kept", "old", Builder("old"))
    kept_directory(tmp_path / "kept", "new", Builder("new"))
    assert (tmp_path / "kept" / "one").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


@pytest.mark.parametrize("damage", ["same size", "shorter", "gone", "no manifest", "bad manifest"])
def test_damage_builds_anew(tmp_path: Path, damage: str) -> None:
    build = Builder()
    place = kept_directory(tmp_path / "kept", "key", build)
    assert is_whole(place, "key")
    if damage == "same size":
        (place / "one").write_text("CONTENT")
    elif damage == "shorter":
        (place / "one").write_text("cont")
    elif damage == "gone":
        (place / "inner" / "two").unlink()
    elif damage == "no manifest":
        (place / "manifest.json").unlink()
    else:
        (place / "manifest.json").write_text('{"key": "key", "files": 3}')
    assert not is_whole(place, "key")
    kept_directory(place, "key", build)
    assert build.calls == 2
    assert (place / "one").read_text() == "content"


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    def fail(directory: Path) -> None:
        (directory / "half").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kept_directory(tmp_path / "kept", "key", fail)
    assert list(tmp_path.iterdir()) == []
    kept_directory(tmp_path / "kept", "old", Builder("old"))
    with pytest.raises(KeyboardInterrupt):
        kept_directory(tmp_path / "kept", "new", fail)
    assert is_whole(tmp_path / "kept", "old")
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_killed_in_the_middle(tmp_path: Path) -> None:
    program = """
import sys, time
from pathlib import Path
from nmt.kept import kept_directory
def build(directory):
    (directory / "one").write_text("half")
    print("half", flush=True)
    time.sleep(60)
kept_directory(Path(sys.argv[1]), "key", build)
"""
    place = tmp_path / "kept"
    process = subprocess.Popen([sys.executable, "-c", program, str(place)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "half\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not place.exists()
    (abandoned,) = tmp_path.iterdir()  # hidden, and ignored by git
    assert abandoned.name.startswith(".kept.")
    assert abandoned.name.endswith(".partial")

    build = Builder()
    kept_directory(place, "key", build)
    assert build.calls == 1
    assert abandoned.exists()  # for all we know its process is still writing
    old = time.time() - ABANDONED_SECONDS - 10
    os.utime(abandoned / "one", (old, old))
    os.utime(abandoned, (old, old))
    kept_directory(place, "other key", build)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_two_at_once(tmp_path: Path) -> None:
    def build(directory: Path) -> None:
        kept_directory(tmp_path / "kept", "key", Builder())  # another process, which is faster
        Builder()(directory)

    kept_directory(tmp_path / "kept", "key", build)
    assert is_whole(tmp_path / "kept", "key")
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_keys_and_sums(tmp_path: Path) -> None:
    assert key_of(a=1, b=[2]) == key_of(b=[2], a=1)
    assert len({key_of(a=1), key_of(a="1"), key_of(b=1), key_of(a=None), key_of()}) == 5
    (tmp_path / "abc").write_bytes(b"abc")  # FIPS 180-2, appendix B.1
    assert sha256_of(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
