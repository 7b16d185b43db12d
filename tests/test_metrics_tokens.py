"""Tokenisers: 13a equals sacrebleu's, the text's own is chosen."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sacrebleu.metrics.bleu import BLEU

from nmt.errors import InputError
from nmt.metrics.tokens import TOKENIZERS, choose, tokenizer, words_13a

CHARACTERS = "ab1 2.,-'\"&<>;:/\\[]{}|~`^_@#$%()*+=!?quotampltskied\n\t\u2028\x85中文。é¿"
TRICKY = st.text(st.sampled_from(CHARACTERS), max_size=30)


@pytest.mark.parametrize("name", TOKENIZERS)
@given(line=st.one_of(TRICKY, st.text(max_size=20)))
@settings(max_examples=100)
def test_words_are_sacrebleus(name, line):
    assert tokenizer(name, lowercase=False)(line) == BLEU(tokenize=name).tokenizer(line).split()
    assert tokenizer(name, lowercase=True)(line) == BLEU(tokenize=name).tokenizer(line.lower()).split()


@pytest.mark.parametrize(
    "line",
    ["&amp;quot;", "<skipped> a-\nb", "1,000.5 a.b..c,,", "3-4 a-b", "...", "&amp;lt;", "U.S. 1.", "-\n-", ".1-1."],
)
def test_tricky_lines_are_split_as_sacrebleu_does(line):
    assert words_13a(line) == BLEU(tokenize="13a").tokenizer(line).split()


def test_real_lines_are_split_as_sacrebleu_does(shared_data):
    folder = shared_data / "systems" / "wmt22-zh-en"
    plain = BLEU(tokenize="13a").tokenizer
    for path in (folder / "src.zh", folder / "ref.A.en", folder / "hyp.Online-G.en"):
        for line in path.read_text(encoding="utf-8").split("\n"):
            assert words_13a(line) == plain(line).split()


@pytest.mark.parametrize(
    ("lines", "name"),
    [
        (["A cat.", "猫"], "13a"),
        (["我们在这里 see 3"], "zh"),
        (["これは猫です"], "char"),
        (["นี่คือแมว"], "char"),
        (["Это кошка"], "13a"),
        (["这是猫", "", "1234 !"], "zh"),
        ([], "13a"),
        (["", "12 !"], "13a"),
    ],
)
def test_the_text_chooses(lines, name):
    assert choose(lines) == name


def test_an_unknown_tokeniser_is_refused():
    with pytest.raises(InputError, match="'moses'; known are 13a"):
        tokenizer("moses", lowercase=True)
