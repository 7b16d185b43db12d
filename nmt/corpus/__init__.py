"""Corpora: a corpus file in ``data/`` says where parallel text comes from; here it becomes files on this machine.

Each kind is one class of settings that knows how to prepare itself, and one line in :data:`CORPORA`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import ConfigDict

from nmt.corpus.base import Corpus, CorpusSettings, Report, TextPair
from nmt.corpus.files import FilesCorpus
from nmt.corpus.grammar import GrammarCorpus
from nmt.corpus.help import HelpCorpus
from nmt.corpus.url import UrlCorpus
from nmt.settings import Settings, load

__all__ = ["CORPORA", "Corpus", "CorpusSettings", "TextPair", "load_corpus", "prepare_corpus"]

CORPORA: dict[str, type[CorpusSettings]] = {
    "grammar": GrammarCorpus,
    "libreoffice-help": HelpCorpus,
    "files": FilesCorpus,
    "url": UrlCorpus,
}


class _Kind(Settings):
    """Only what kind of corpus a file describes."""

    model_config = ConfigDict(extra="ignore")

    kind: Literal["grammar", "libreoffice-help", "files", "url"]


def load_corpus(path: Path) -> CorpusSettings:
    """The settings in a corpus file. Raises ``InputError`` with one sentence for each of its mistakes."""
    settings = load(path, CORPORA[load(path, _Kind).kind])
    return settings if "name" in settings.model_fields_set else settings.model_copy(update={"name": path.stem})


def prepare_corpus(settings: CorpusSettings, downloads: Path, report: Report) -> Corpus:
    """The corpus on this machine. What is made or fetched lies in ``downloads/NAME``, complete or absent.

    ``report`` gets lines that tell what is going on. Raises ``InputError`` when the text cannot be had.
    """
    return settings.prepare(downloads / settings.name, report)
