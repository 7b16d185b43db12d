"""What a finished run shows, against the files it has written and the scores of others."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import sacrebleu
from runs import Trained, prepared, quiet, reversals, write_project, write_reversals

from nmt.corpus import Corpus
from nmt.links import argmax_links, read_links, read_matrices
from nmt.metrics import aer, ngrr
from nmt.results import write_results
from nmt.text import read_lines
from nmt.translator import Translator


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Translator, Corpus, Path]:
    """A run that has learned something, so that scores lie between nothing and all."""
    path = write_project(tmp_path_factory.mktemp("finished"))
    write_reversals(path.parent, "test", [*reversals(40, seed=3), ["a", "a", "a", "a"]])
    recipe, data = prepared(path, "training.epochs=25")
    Trained(recipe, data, path.parent / "run").run()
    return Translator.load(path.parent / "run", "cpu"), data.corpus, path.parent / "run"


def test_the_table_is_of_the_files(finished: tuple[Translator, Corpus, Path]) -> None:
    translator, corpus, run = finished
    said: list[str] = []
    table = write_results(translator, corpus, run, pictures=0, notes=["A note."], report=said.append)
    directory = run / "translations"
    source, hypotheses, reference = (list(read_lines(directory / f"held-out.{end}")) for end in ("src", "hyp", "ref"))
    assert source == list(read_lines(corpus.tests["held-out"].source))
    assert reference == list(read_lines(corpus.tests["held-out"].target))
    assert hypotheses == [one.text for one in translator.translate(source)]

    head, _, row, *_ = table.split("\n")
    heads, cells = ([cell.strip() for cell in line.strip("|").split("|")] for line in (head, row))
    told = dict(zip(heads, cells, strict=True))
    assert (told["test set"], told["sentences"]) == ("held-out", "41")
    assert told["BLEU"] == f"{sacrebleu.corpus_bleu(hypotheses, [reference], tokenize='none').score:.2f}"
    for order in (1, 2, 3, 4):
        own, beside = (ngrr(text, order=order, tokenize="none").value for text in (hypotheses, reference))
        assert told[f"{order}-GRR (reference)"] == f"{own:.2f} / {beside:.2f}"
    assert float(told["4-GRR (reference)"].split(" / ")[1]) == 0.0
    assert float(told["1-GRR (reference)"].split(" / ")[1]) > 0.0

    gold = read_links(directory / "held-out.gold", base=0).links
    links = read_links(directory / "held-out.links", base=0).links
    assert gold == read_links(corpus.tests["held-out"].gold or "", base=0).links
    assert told["AER"] == f"{aer(links, gold).value:.2f}"
    assert 0 < aer(links, gold).value < 100

    matrices = read_matrices(directory / "held-out.npz")
    aligned = translator.align(source, reference)
    for matrix, one, made, line, words in zip(matrices, aligned, links, source, reference, strict=True):
        assert matrix.shape == (len(words.split()), len(line.split()))
        np.testing.assert_allclose(matrix, one.matrix(), atol=1e-6)
        assert argmax_links(matrix) == made
    report = (run / "report.md").read_text(encoding="utf-8")
    assert table in report
    assert "A note." in report
    assert report.startswith("# run\n")
    assert said == ["translating held-out"]


def test_pictures_are_in_the_report(finished: tuple[Translator, Corpus, Path]) -> None:
    translator, corpus, run = finished
    write_results(translator, corpus, run, pictures=2, notes=[], report=quiet)
    shown = re.findall(r"!\[(.*)\]\((.*)\)", (run / "report.md").read_text(encoding="utf-8"))
    assert shown == [(f"held-out, sentence {n}", f"pictures/held-out-{n}.png") for n in (1, 2)]
    assert sorted(one.name for one in (run / "pictures").iterdir()) == ["held-out-1.png", "held-out-2.png"]
    assert all((run / path).read_bytes().startswith(b"\x89PNG") for _, path in shown)


def test_several_references_and_empty_lines(finished: tuple[Translator, Corpus, Path], tmp_path: Path) -> None:
    translator, corpus, _ = finished
    for name, lines in {"s": "a b\n\nc d\n", "r1": "b a\n\nd c\n", "r2": "b a a\n\nd\n"}.items():
        (tmp_path / name).write_text(lines, encoding="utf-8")
    test = corpus.tests["held-out"]._replace(
        source=tmp_path / "s", target=tmp_path / "r1", references=(tmp_path / "r2",), gold=None
    )
    table = write_results(
        translator, corpus._replace(tests={"two": test}), tmp_path / "run", pictures=1, notes=[], report=quiet
    )
    assert "nrefs:2" in table
    assert "AER" not in table
    directory = tmp_path / "run" / "translations"
    assert sorted(one.name for one in directory.iterdir()) == ["two.hyp", "two.ref", "two.ref2", "two.src"]
    hypotheses = list(read_lines(directory / "two.hyp"))
    assert hypotheses[1] == ""
    assert len(hypotheses) == 3


def test_a_corpus_without_test_sets(finished: tuple[Translator, Corpus, Path], tmp_path: Path) -> None:
    translator, corpus, _ = finished
    write_results(translator, corpus._replace(tests={}), tmp_path, pictures=1, notes=["Kept."], report=quiet)
    assert "Kept." in (tmp_path / "report.md").read_text(encoding="utf-8")
