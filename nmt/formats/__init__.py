"""Alignments from the files of other tools, and back: tables of what can be read and written.

    for alignment in READERS["marian"].read("output", "source.bpe", None):
        print(alignment.to_words("@@").dropped())

Reading streams: one sentence is in memory at a time, but for fairseq and NAACL, whose files are in another order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from nmt.alignment import Alignment
from nmt.formats.base import File, Format
from nmt.formats.ctranslate2 import read_ctranslate2
from nmt.formats.fairseq import read_fairseq
from nmt.formats.huggingface import from_heads, one_matrix, read_huggingface
from nmt.formats.marian import read_marian
from nmt.formats.opennmt import read_debug, read_report_align
from nmt.formats.own import from_json, read_json, write_json, write_naacl_links, write_npz, write_pharaoh, write_talp
from nmt.formats.pharaoh import read_naacl, read_pharaoh, read_simalign, read_talp
from nmt.formats.sockeye import read_nematus, read_sockeye, read_sockeye_links

_BOTH = ("source", "target")

# A format is added by writing its function in a file beside this one, its line here and its line in docs/alignment.md.
READERS: dict[str, Format] = {
    "pharaoh": Format(read_pharaoh, _BOTH, "links 0-0 1p2, from 0"),
    "talp": Format(read_talp, _BOTH, "links 1-1 2p3, from 1"),
    "naacl": Format(read_naacl, _BOTH, "a link a line, from 1"),
    "json": Format(read_json, (), "all that an alignment holds, a line a sentence"),
    "npz": Format(read_huggingface, _BOTH, "matrices between words"),
    "fast-align": Format(read_pharaoh, _BOTH, "links 0-0 1-2"),
    "eflomal": Format(read_pharaoh, _BOTH, "links 0-0 1-2"),
    "awesome-align": Format(read_pharaoh, _BOTH, "links 0-0 1-2"),
    "simalign": Format(read_simalign, _BOTH, "identifiers and links"),
    "marian": Format(read_marian, ("source",), "marian-decoder or marian-scorer --alignment, soft or hard"),
    "fairseq": Format(read_fairseq, (), "fairseq-generate --print-alignment, soft or hard"),
    "opennmt": Format(read_report_align, ("source",), "OpenNMT-py or eole with report_align"),
    "opennmt-debug": Format(read_debug, (), "OpenNMT-py or eole with attn_debug or align_debug"),
    "sockeye": Format(read_sockeye, (), "translation_with_alignment_matrix"),
    "sockeye-links": Format(read_sockeye_links, ("source",), "translation_with_alignments"),
    "nematus": Format(read_nematus, (), "matrices as text or JSON"),
    "ctranslate2": Format(read_ctranslate2, ("source",), "results with attention, as JSON"),
    "huggingface": Format(read_huggingface, _BOTH, "cross-attention of layers and heads, as .npz"),
}

WRITERS: dict[str, Callable[[File, Iterable[Alignment]], None]] = {
    "pharaoh": write_pharaoh,
    "talp": write_talp,
    "naacl": write_naacl_links,
    "json": write_json,
    "npz": write_npz,
}

__all__ = ["READERS", "WRITERS", "Format", "from_heads", "from_json", "one_matrix"]
