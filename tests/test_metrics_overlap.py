"""BLEU, chrF and TER equal sacrebleu's own command to the last digit."""

import json
import random
import subprocess
import sys

import pytest

from nmt.errors import InputError
from nmt.metrics import bleu, chrf, ter
from nmt.metrics.base import Output
from nmt.metrics.overlap import Bleu, Chrf, Ter

WORDS = """the a cat dog Sat on , under mat . it's 3.5 well-known (red) & quickly runs""".split()  # noqa: SIM905
HAN = "我们在这里看见一只猫和两条狗跑过街道。，！"


def text(seed, words, joiner, lines=40):
    rng = random.Random(seed)
    return [joiner.join(rng.choice(words) for _ in range(rng.randint(1, 18))) for _ in range(lines)]


ENGLISH = [text(seed, WORDS, " ") for seed in (1, 2, 3)]
CHINESE = [text(seed, HAN, "") for seed in (4, 5, 6)]
for hypothesis, *references in (ENGLISH, CHINESE):  # something in common, as translations have
    for number in range(0, 40, 2):
        hypothesis[number] = references[0][number][: len(hypothesis[number]) + 10]


def command(tmp_path, hypotheses, references, *options):
    """What sacrebleu's command prints with nine decimals: value and signature."""
    files = []
    for name, lines in [("hyp", hypotheses), *((f"ref{n}", lines) for n, lines in enumerate(references))]:
        path = tmp_path / name
        path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        files.append(str(path))
    arguments = [sys.executable, "-m", "sacrebleu", *files[1:], "-i", files[0], "-w", "9", *options]
    found = json.loads(subprocess.run(arguments, check=True, capture_output=True, text=True).stdout)
    return found["score"], found["signature"]


@pytest.mark.parametrize("nrefs", [1, 2])
@pytest.mark.parametrize(
    ("ours", "options"),
    [
        (lambda h, *r: bleu(h, *r), ["-m", "bleu"]),
        (lambda h, *r: bleu(h, *r, tokenize="none", lowercase=True), ["-m", "bleu", "-tok", "none", "-lc", "--force"]),
        (lambda h, *r: bleu(h, *r, tokenize="intl"), ["-m", "bleu", "-tok", "intl"]),
        (lambda h, *r: chrf(h, *r), ["-m", "chrf"]),
        (lambda h, *r: chrf(h, *r, lowercase=True), ["-m", "chrf", "--chrf-lowercase"]),
        (lambda h, *r: ter(h, *r), ["-m", "ter"]),
        (lambda h, *r: ter(h, *r, lowercase=False), ["-m", "ter", "--ter-case-sensitive"]),
    ],
)
def test_english_equals_the_command(tmp_path, ours, options, nrefs):
    hypotheses, references = ENGLISH[0], ENGLISH[1 : 1 + nrefs]
    value, signature = command(tmp_path, hypotheses, references, *options)
    score = ours(hypotheses, *references)
    assert 0 < value < 200
    assert round(score.value, 9) == value
    assert score.signature == signature


@pytest.mark.parametrize(
    ("ours", "options"),
    [
        (bleu, ["-m", "bleu", "-tok", "zh"]),
        (chrf, ["-m", "chrf"]),
        (ter, ["-m", "ter", "--ter-normalized", "--ter-asian-support"]),
    ],
)
def test_chinese_is_chosen_and_equals_the_command(tmp_path, ours, options):
    value, signature = command(tmp_path, CHINESE[0], CHINESE[1:2], *options)
    score = ours(CHINESE[0], CHINESE[1])
    assert 0 < value < 200
    assert round(score.value, 9) == value
    assert score.signature == signature


def test_a_reference_is_needed():
    with pytest.raises(InputError, match="BLEU needs references"):
        bleu(["a"])


@pytest.mark.parametrize("metric", [Bleu(), Chrf(), Ter()])
def test_empty_lines_are_scored(metric):
    assert metric.score(Output(["", "a b"], [["a", ""]])).value >= 0


def test_sums_of_parts_are_the_sum_of_the_whole():
    output = Output(ENGLISH[0], ENGLISH[1:])
    statistics = Bleu().statistics(output)
    parts = [Bleu().statistics(Output(ENGLISH[0][a:b], [r[a:b] for r in ENGLISH[1:]])) for a, b in [(0, 15), (15, 40)]]
    assert sum(part.sum(axis=0) for part in parts).tolist() == statistics.sum(axis=0).tolist()
