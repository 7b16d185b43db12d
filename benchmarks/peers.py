"""The peers' environments: versions pinned, and what had to be worked around.

Each is a virtual environment ``DIRECTORY/NAME`` of the interpreter that runs this, with the very torch that we run on
ourselves: all are measured on one, and none brings a CUDA build along where we have none.
"""

from __future__ import annotations

import subprocess
import sys
import venv
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

TORCH = "torch"  # in a step: ours


class Peer(NamedTuple):
    """The steps of pip's, each its arguments, and the workarounds that they or its module hold."""

    steps: tuple[tuple[str, ...], ...]
    workarounds: tuple[str, ...]


PEERS: dict[str, Peer] = {
    "joeynmt": Peer(
        steps=((TORCH, "joeynmt==2.3.0", "importlib_metadata==10.2.0"),),
        workarounds=(
            "importlib_metadata is installed beside it: it imports that and does not declare it",
            "a schedule by epochs, which does nothing here: its plateau schedule fails on this torch",
        ),
    ),
    "fairseq": Peer(
        steps=(
            # Before torch: its C++ extensions for torch are not needed and take minutes to compile.
            (
                *("numpy==1.23.5", "Cython==0.29.37", "setuptools==69.5.1", "wheel==0.48.0", "cffi==2.1.1"),
                *("regex==2026.11.19", "sacrebleu==2.6.0", "tqdm==4.70.1", "bitarray==3.12.3"),
                *("omegaconf==2.0.6", "hydra-core==1.0.7"),
            ),
            ("--no-deps", "--no-build-isolation", "fairseq==0.12.2"),
            (TORCH,),
        ),
        workarounds=(
            "installed without torchaudio, and built before torch is there: only its Cython extensions are compiled",
            "numpy 1.23.5 and Cython 0.29: it uses names that later ones have removed",
            "Python 3.11: dataclasses are made hashable while it is imported, for they are defaults of others",
        ),
    ),
    "opennmt": Peer(
        steps=(
            (
                *(TORCH, "numpy==2.4.6", "configargparse==1.9.0", "ctranslate2==4.8.5", "pyonmttok==1.38.1"),
                *("pyyaml==6.0.4", "sacrebleu==2.6.0", "rapidfuzz==3.14.6", "pyahocorasick==2.3.1", "six==1.17.0"),
                *("tensorboard==2.21.0", "flask==3.1.3", "waitress==3.0.2"),
            ),
            ("--no-deps", "OpenNMT-py==3.5.1"),
        ),
        workarounds=(
            "installed without its dependencies' limits: it asks for torch<2.3 and runs on this one",
            "spacy and fasttext are empty modules: it imports them for transforms that are not used here",
            "its bidirectional encoder is as wide as its decoder: a memory of 1024 makes the decoder 1024 too",
        ),
    ),
}


def our_torch() -> str:
    """The requirement that is met by nothing but the build of torch that is installed here."""
    return f"torch=={version('torch')}"


def install(directory: Path, names: Sequence[str], torch: str, say: Callable[[str], None]) -> None:
    """Make the environments that are not there yet.

    Raises ``CalledProcessError`` where pip fails; what it said stands above.
    """
    for name in names:
        place = directory / name
        peer = PEERS[name]
        if not (place / "bin" / "python").exists():
            say(f"{name}: making {place}")
            venv.create(place, with_pip=True)
        for step in peer.steps:
            wanted = [torch if one == TORCH else one for one in step]
            say(f"{name}: pip install {' '.join(wanted)}")
            python = str(place / "bin" / "python")
            command = [
                python,
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "--no-compile",
                *wanted,
            ]
            subprocess.run(command, check=True, stdout=sys.stderr)
        for workaround in peer.workarounds:
            say(f"{name}: worked around: {workaround}")
