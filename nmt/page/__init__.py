"""One self-contained HTML page about the output of systems: scores, sentences, and where each word came from."""

from __future__ import annotations

from nmt.page.base import Entry, Section
from nmt.page.document import document, write_document
from nmt.page.numbers import Measuring

__all__ = ["Entry", "Measuring", "Section", "document", "write_document"]
