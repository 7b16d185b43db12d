"""A small page about two made-up systems, with everything on it that a page may hold."""

from __future__ import annotations

import numpy as np

from nmt.alignment import Alignment
from nmt.links import Links
from nmt.page import Entry, Section

SCRIPT = "<script>window.harmed = true</script> </script> <!-- & &amp; <img src=x onerror=alert(1)>"
ARABIC = "قرأ الولد الكتاب"
CHINESE = "我 喜欢 苹果 。"
SENTENCES = 120  # more than two pages of the list


def diagonal(source: str, target: str, weight: float = 0.75) -> Alignment:
    """Every target word looks at the source word of its number, and at nothing where there is none."""
    words, said = source.split(), target.split()
    weight_TS = np.zeros((len(said), len(words)))
    for place in range(min(len(words), len(said))):
        weight_TS[place, place] = weight
    return Alignment(words, said, weight_TS=weight_TS)


def section() -> Section:
    """Sentence n says the words 0 to n % 7; system B leaves out the last word, or says the last two again where n is a
    multiple of 5. The first three sentences are a script, Arabic and Chinese."""
    sources = [" ".join(f"s{n}w{word}" for word in range(n % 7 + 1)) for n in range(SENTENCES)]
    references = [" ".join(f"t{n}w{word}" for word in range(n % 7 + 1)) for n in range(SENTENCES)]
    sources[:3] = [SCRIPT, ARABIC, CHINESE]
    references[:3] = [SCRIPT, "the boy read", "i like apples"]
    first = list(references)
    second = []
    for n, line in enumerate(references):
        words = line.split()
        second.append(" ".join([*words, *words[-2:]] if n % 5 == 0 and n else words[:-1]))
    aligned = [[diagonal(*pair) for pair in zip(sources, lines, strict=True)] for lines in (first, second, references)]
    gold = [Links([(word, word) for word in range(len(line.split()))]) for line in sources]
    gold[:3] = [Links(), Links([(0, 0)], [(1, 1)]), Links([(2, 0)])]
    # The Chinese sentence is off the diagonal, and longer than its reference: it tells rows from columns.
    aligned[2][2] = Alignment(CHINESE.split(), references[2].split(), weight_TS=[[0, 0, 0.75, 0], [0] * 4, [0] * 4])
    entries = [Entry("A", first, aligned[0], aligned[2]), Entry("B <i>", second, aligned[1], aligned[2])]
    return Section("held-out", entries, sources, [references], gold)
