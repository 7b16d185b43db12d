"""What a finished run shows: its test sets translated and aligned, the table of scores, pictures of the attention.

RUN/translations/TEST.src .hyp .ref (.ref2 …)       a line a sentence
RUN/translations/TEST.links .npz .gold              words of source and reference, where there are gold links
RUN/report.md, RUN/pictures/TEST-N.png
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from nmt.corpus import Corpus, TextPair
from nmt.links import Links, read_links, write_links, write_matrices
from nmt.metrics import aer, bleu, ngrr, saer
from nmt.pictures import draw_attention
from nmt.report import Row, result_table, write_report
from nmt.text import read_lines, write_lines
from nmt.translator import Translation, Translator

TRANSLATIONS = "translations"
ORDERS = (1, 2, 3, 4)


def write_results(
    translator: Translator,
    corpus: Corpus,
    run: Path,
    *,
    pictures: int,
    notes: Sequence[str],
    report: Callable[[str], None],
) -> str:
    """Translate and score every test set of a corpus, write all of it into the run; the table in Markdown."""
    rows, drawn = [], []
    for name, test in corpus.tests.items():
        report(f"translating {name}")
        row, shown = _examine(translator, name, test, run / TRANSLATIONS, "none" if corpus.tokenised else None)
        rows.append(row)
        for number, (translation, gold) in enumerate(shown[:pictures], start=1):
            place = Path("pictures") / f"{name}-{number}.png"
            draw_attention(
                run / place, translation.matrix(), translation.source_words, translation.words, gold=gold, title=name
            )
            drawn.append((f"{name}, sentence {number}", place))
    origin = f"Corpus {corpus.name}; licence of its text: {corpus.licence}."
    write_report(run / "report.md", run.resolve().name, rows, notes=[*notes, origin], pictures=drawn)
    return result_table(rows)


def _examine(
    translator: Translator, name: str, test: TextPair, directory: Path, tokenize: str | None
) -> tuple[Row, list[tuple[Translation, Links | None]]]:
    """The scores of one test set, and sentences to draw: aligned references where there are gold links."""
    sources = list(read_lines(test.source))
    references = [list(read_lines(path)) for path in (test.target, *test.references)]
    translations = translator.translate(sources)
    hypotheses = [one.text for one in translations]
    write_lines(directory / f"{name}.src", sources)
    write_lines(directory / f"{name}.hyp", hypotheses)
    for number, reference in enumerate(references, start=1):
        write_lines(directory / f"{name}.ref{number if number > 1 else ''}", reference)
    scores = [bleu(hypotheses, *references, tokenize=tokenize)]
    scores += [ngrr(hypotheses, order=order, tokenize=tokenize) for order in ORDERS]
    own = [ngrr(*references, order=order, tokenize=tokenize) for order in ORDERS]
    shown: list[tuple[Translation, Links | None]] = [(one, None) for one in translations]
    if test.gold is not None:
        aligned = translator.align(sources, references[0])
        lengths = [(len(one.source_words), len(one.words)) for one in aligned]
        gold = read_links(test.gold, base=0, lengths=lengths).links
        links, matrices = [one.links() for one in aligned], [one.matrix() for one in aligned]
        write_links(directory / f"{name}.gold", gold)
        write_links(directory / f"{name}.links", links)
        write_matrices(directory / f"{name}.npz", matrices)
        scores += [aer(links, gold), saer(matrices, gold)]
        shown = list(zip(aligned, gold, strict=True))
    return Row(name, len(sources), scores, own), shown
