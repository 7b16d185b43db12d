"""nmt-eval as its users run it: inputs, tables, JSON, bad sentences, errors and exit statuses."""

import gzip
import json
import os
import signal
import subprocess
import sys
import time

import click
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nmt.cli.common import Command
from nmt.cli.evaluate import main
from nmt.cli.tables import _highlight
from nmt.errors import InputError
from nmt.links import Links, write_links, write_matrices, write_naacl
from nmt.metrics.base import Marked

HYP, REF, SRC = ["the cat the cat sat", "a dog"], ["the cat sat down", "a dog"], ["die katze saß", "ein hund"]
GOLD = [Links([(0, 0), (1, 1)], [(2, 3)]), Links([(0, 0), (1, 1)])]
WEIGHTS = [np.array([[0.9, 0.1, 0], [0.1, 0.8, 0.1], [0, 0.5, 0.5], [0, 0, 0.9]]), np.array([[0.7, 0.3], [0.2, 0.8]])]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, lines in (("hyp", HYP), ("ref", REF), ("src", SRC), ("other", REF)):
        (tmp_path / f"{name}.txt").write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    write_links(tmp_path / "gold.txt", GOLD)
    write_matrices(tmp_path / "att.npz", WEIGHTS)
    return tmp_path


def run(*arguments, given=None):
    return CliRunner().invoke(main, list(map(str, arguments)), input=given)


def ok(*arguments, given=None):
    result = run(*arguments, given=given)
    assert result.exit_code == 0, result.output
    return result.stdout


def values(*arguments, given=None):
    """System, column and value of every number, from --json."""
    (test,) = json.loads(ok(*arguments, "--json", given=given))["tests"]
    return {(row["name"], column): cell["value"] for row in test["rows"] for column, cell in row["cells"].items()}


def bad(*arguments, given=None):
    result = run(*arguments, given=given)
    assert result.exit_code == 2
    assert result.stdout == ""
    (sentence,) = result.stderr.strip().split("\n")
    assert sentence.startswith("error: ")
    return sentence


def test_repetition_needs_nothing_but_a_text(folder):
    text = ok("--metric", "ngrr", "hyp.txt")
    assert "2-GRR" in text
    assert "12.50" in text
    assert "case:lc|tok:13a|short:zero|version:nmt-" in text


def test_reference_and_source_stand_beside_repetition(folder):
    text = ok("-m", "ngrr", "hyp.txt", "--ref", "ref.txt", "--src", "src.txt")
    assert "(reference)" in text
    assert "(source)" in text


def test_what_the_data_allow_is_reported_when_nothing_is_asked_for(folder):
    assert {column for _, column in values("hyp.txt")} == {"1-GRR", "2-GRR", "3-GRR", "4-GRR"}
    assert "BLEU" in {column for _, column in values("hyp.txt", "-r", "ref.txt")}
    assert {column for _, column in values("att.npz", "-g", "gold.txt")} == {"AER", "SAER"}
    assert {column for _, column in values("att.npz")} == {"Coverage", "Ignored", "Entropy", "Nothing"}


def test_systems_against_the_first_in_one_table(folder):
    text = ok("-m", "bleu,ngrr", "hyp.txt", "other.txt", "-r", "ref.txt")
    assert "p against hyp.txt by paired bootstrap and approximate randomisation; seed 12345" in text
    document = json.loads(ok("-m", "bleu,ngrr", "hyp.txt", "other.txt", "-r", "ref.txt", "--json"))
    first, second, reference = document["tests"][0]["rows"]
    assert [row["kind"] for row in (first, second, reference)] == ["baseline", "system", "reference"]
    assert first["cells"]["BLEU"]["p_bootstrap"] is None
    assert 0 < second["cells"]["BLEU"]["p_bootstrap"] <= 1
    assert 0 < second["cells"]["BLEU"]["p_randomisation"] <= 1
    assert first["cells"]["BLEU"]["low"] <= first["cells"]["BLEU"]["value"] <= first["cells"]["BLEU"]["high"]
    assert document["format"] == 1


def test_seeds_of_one_system_are_a_group(folder):
    text = ok("-m", "ngrr", "ours=hyp.txt,other.txt", "hyp.txt")
    assert "ours ×2" in text
    assert "6.25 ±8.84" in text
    assert "× outputs of one system: mean ± standard deviation" in text


def test_tsv_has_a_line_a_number(folder):
    header, *lines = ok("-m", "bleu,aer", "-a", "att.npz", "-g", "gold.txt", "hyp.txt", "-r", "ref.txt", "--tsv").split(
        "\n"
    )
    assert header.split("\t")[:5] == ["test", "system", "kind", "metric", "value"]
    assert [line.split("\t")[3] for line in lines if line] == ["BLEU", "AER"]


def test_the_same_seed_gives_the_same_table(folder):
    arguments = ("-m", "ngrr", "hyp.txt", "other.txt", "--seed", "3", "--resamples", "50", "--trials", "50")
    assert ok(*arguments) == ok(*arguments)


def test_standard_input_gzip_and_difficult_lines(folder):
    lines = "\ufeffa\u2028b\r\n\nc\x85d\n" + "w " * 1000 + "\n"
    (folder / "zipped.gz").write_bytes(gzip.compress(lines.encode()))
    assert "4 sentences" in ok("zipped.gz", "--resamples", "0")
    assert "4 sentences" in ok("-", "--resamples", "0", given=lines.encode())


def test_jsonl_gives_all_sides(folder):
    rows = [
        {"src": s, "hyp": h, "ref": [r, r], "alignment": a}
        for s, h, r, a in zip(SRC, HYP, REF, ["0-0 1-1", [[0, 0]]], strict=True)
    ]
    (folder / "out.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_links(folder / "ref.links", GOLD)
    names = ("-m", "bleu,tng,drop,cdr", "--ref-alignment", "ref.links")
    found = values("out.jsonl", *names)
    assert found["out.jsonl", "DROP"] == pytest.approx(100 * 2 / 5)
    assert "nrefs:2" in ok("out.jsonl", *names)
    assert values("-", *names, given=(folder / "out.jsonl").read_text()) == {
        ("-", column): value for (_, column), value in found.items()
    }


def test_jsonl_mistakes_are_told_with_their_place(folder):
    for text, told in [
        ("{", "line 1: not JSON"),
        ("[]", "line 1: expected an object"),
        ('{"hyp": 3}', "sentence 1: no text under 'hyp'"),
        ('{"hyp": "a", "ref": 1}', "sentence 1: 'ref' is neither"),
        ('{"hyp": "a", "ref": "b"}\n{"hyp": "a", "ref": ["b", "c"]}', "sentence 2: 2 references but 1"),
        ('{"hyp": "a", "alignment": [[0]]}', "sentence 1: 'alignment' is neither"),
        ('{"hyp": "a", "alignment": [[0, -1]]}', "sentence 1: 'alignment' is neither"),
        ('{"hyp": "a", "src": "b"}\n{"hyp": "a"}', "sentence 2: no text under 'src'"),
    ]:
        (folder / "bad.jsonl").write_text(text + "\n")
        assert told in bad("bad.jsonl")


@pytest.mark.parametrize("form", ["gold.txt", "gold.talp", "gold.naacl", "one.txt"])
def test_alignment_is_scored_from_every_format(folder, form):
    write_links(folder / "gold.talp", GOLD, base=1)
    write_links(folder / "one.txt", GOLD, base=1)
    write_naacl(folder / "gold.naacl", GOLD)
    found = values("-m", "aer,saer", "att.npz", "-g", form, "-s", "src.txt", "-r", "ref.txt")
    # argmax: 0-0 1-1 1-2 2-3 and 0-0 1-1: |A∩S| = 4, |A∩P| = 5, |A| = 6, |S| = 4
    assert found["att.npz", "AER"] == pytest.approx(100 * (1 - 9 / 10))
    in_sure, in_possible, weight = 0.9 + 0.8 + 0.7 + 0.8, 0.9 + 0.8 + 0.9 + 0.7 + 0.8, 3.9 + 2
    assert found["att.npz", "SAER"] == pytest.approx(100 * (1 - (in_sure + in_possible) / (weight + 4)))
    base = 0 if form == "gold.txt" else 1
    assert f"counts from {base} (detected)" in ok("-m", "aer", "att.npz", "-g", form, "-s", "src.txt", "-r", "ref.txt")


def test_links_alone_are_a_system(folder):
    assert values("-m", "aer", "gold.txt", "-g", "gold.txt") == {("gold.txt", "AER"): 0.0}
    links = (folder / "gold.txt").read_text()
    assert values("-m", "aer", "-", "-g", "gold.txt", given=links) == {("-", "AER"): 0.0}
    rows = [{"hyp": "", "alignment": line} for line in links.split("\n")[:-1]]
    (folder / "links.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert values("-m", "aer", "links.jsonl", "-g", "gold.txt") == {("links.jsonl", "AER"): 0.0}


def test_a_wrong_base_is_an_error_with_file_line_and_cause(folder):
    """Complaint 7 of other toolkits' users."""
    write_links(folder / "one.txt", GOLD, base=1)
    texts = ("-s", "src.txt", "-r", "ref.txt")
    told = bad("-m", "aer", "att.npz", "-g", "one.txt", "--gold-base", "0", *texts)
    assert "one.txt, line 1: link 3-4 is out of range" in told
    assert "counts from 1 and was read as counting from 0" in told
    assert "gold.txt, line 1: index 0" in bad("-m", "aer", "att.npz", "-g", "gold.txt", "--gold-base", "1", *texts)


def test_what_does_not_fit_together_is_told(folder):
    (folder / "short.txt").write_text("a\n")
    assert "short.txt has 1 lines but ref.txt has 2" in bad("short.txt", "-r", "ref.txt")
    assert "1 and 2 sentences" in bad("short.txt", "hyp.txt")
    assert "hyp.txt has 2 lines but short.txt has 1" in bad("-m", "bleu", "hyp.txt", "-r", "short.txt")
    assert "BLEU needs references" in bad("-m", "bleu", "hyp.txt")
    assert "no such file" in bad("absent.txt")
    assert "did you mean ngrr" in bad("-m", "ngr", "hyp.txt")
    (folder / "empty.txt").write_text("")
    assert "empty.txt is empty" in bad("empty.txt")
    (folder / "latin.txt").write_bytes(b"caf\xe9\n")
    assert "latin.txt, line 1: invalid UTF-8" in bad("latin.txt")
    assert "1 alignments for 2 files" in bad("hyp.txt", "other.txt", "-a", "gold.txt")
    assert "matrix of 4 by 3 but 5 target" in bad("-m", "ignored", "hyp.txt", "-s", "src.txt", "-a", "att.npz")


def test_unknown_options_and_values_exit_with_2(folder):
    for arguments in (
        ["--metrc", "ngrr", "hyp.txt"],
        [],
        ["hyp.txt", "--tokenize", "moses"],
        ["hyp.txt", "--base", "2"],
    ):
        assert run(*arguments).exit_code == 2


def test_bad_sentences_are_shown_with_their_repetitions(folder):
    text = ok("-m", "ngrr", "hyp.txt", "-r", "ref.txt", "-s", "src.txt", "--show", "1")
    assert "sentence 1 " in text
    assert "hypothesis [the cat] [the cat] sat" in text
    assert "note       “the cat” ×2" in text
    assert "source     die katze saß" in text
    assert "\x1b[" not in text


def test_a_repetition_that_is_also_in_the_reference_or_the_source_is_told(folder):
    (folder / "h.txt").write_text("bye bye bye bye\n")
    (folder / "s.txt").write_text("auf auf und auf auf\n")
    text = ok("-m", "ngrr", "h.txt", "-r", "h.txt", "-s", "s.txt", "--show", "1")
    assert "“bye bye” ×2, also in the reference ×2" in text
    assert "the source repeats “auf auf” ×2" in text


def test_dropped_and_lacking_words_are_marked(folder):
    write_links(folder / "hyp.links", [Links([(0, 0)]), Links([(0, 0), (1, 1)])])
    links = ("-a", "hyp.links", "--ref-alignment", "gold.txt")
    text = ok("-m", "drop", "hyp.txt", "-s", "src.txt", *links, "--show", "1")
    assert "source     die [katze] [saß]" in text
    assert "2 of 3 source words that the reference translates are dropped" in text
    assert "reference  the cat sat [down]" in ok("-m", "utem", "hyp.txt", "-r", "ref.txt", "--show", "1")
    text = ok("-m", "aer", "hyp.links", "-g", "gold.txt", "--show", "1")
    assert "note       wrong links: \n" in text
    assert "note       missing links: 1-1" in text
    assert "hypothesis [the] [cat] [the] [cat] sat" in ok("-m", "otem", "hyp.txt", "-r", "ref.txt", "--show", "1")


def test_the_worst_come_first_and_json_has_them(folder):
    document = json.loads(ok("-m", "bleu", "hyp.txt", "-r", "ref.txt", "--show", "2", "--json"))
    sentences = document["tests"][0]["worst"][0]["sentences"]
    assert [row["sentence"] for row in sentences] == [1, 2]
    assert sentences[0]["value"] < sentences[1]["value"]
    assert {text["text"] for text in sentences[0]["texts"]} == {"hypothesis", "reference"}


def test_the_tokeniser_is_chosen_by_the_text_and_shown(folder):
    (folder / "zh.txt").write_text("我们在这里看见猫。\n", encoding="utf-8")
    assert "tok:zh" in ok("-m", "bleu,ngrr", "zh.txt", "-r", "zh.txt")
    assert "tok:none" in ok("-m", "ngrr", "zh.txt", "--tokenize", "none")
    (folder / "source.txt").write_text("猫在这里\n狗\n", encoding="utf-8")
    assert "tok:13a|src-tok:zh" in ok("-m", "tng", "hyp.txt", "-s", "source.txt")


def make_run(folder, name, gold=True):
    place = folder / name / "translations"
    place.mkdir(parents=True)
    for suffix, lines in ((".hyp", HYP), (".ref", REF), (".src", SRC)):
        (place / f"test{suffix}").write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    write_matrices(place / "test.npz", WEIGHTS)
    write_links(place / "test.links", GOLD)
    if gold:
        write_links(place / "test.gold", GOLD)
    (place / "other.hyp").write_text("a a\n")


def test_a_run_directory_gives_every_test_set(folder):
    make_run(folder, "run")
    (folder / "run" / "translations" / "test.ref2").write_text("the cat\na dog\n")
    assert "nrefs:2" in ok("run")
    tests = {test["test"]: test for test in json.loads(ok("run", "--json"))["tests"]}
    assert list(tests) == ["other", "test"]
    assert set(tests["test"]["columns"]) == {"BLEU", "1-GRR", "2-GRR", "3-GRR", "4-GRR", "AER", "SAER"}
    assert tests["test"]["rows"][0]["cells"]["AER"]["value"] == 0  # of test.links, which equal the gold
    assert [row["kind"] for row in tests["test"]["rows"]] == ["baseline", "reference", "source"]
    assert "test" in ok("run")


def test_runs_are_compared_on_the_test_sets_that_they_share(folder):
    make_run(folder, "one")
    make_run(folder, "two", gold=False)
    (folder / "two" / "translations" / "other.hyp").unlink()
    tests = json.loads(ok("one", "two", "-m", "bleu", "--json"))["tests"]
    assert [test["test"] for test in tests] == ["test"]
    assert [row["name"] for row in tests[0]["rows"]] == ["one", "two"]


def test_mistakes_with_runs_are_told(folder):
    make_run(folder, "run")
    (folder / "empty").mkdir()
    assert "no translations" in bad("empty")
    assert "compare files with files and runs with runs" in bad("run", "hyp.txt")
    assert "give no others" in bad("run", "-r", "ref.txt")


def test_option_names_are_sacrebleus():
    names = {name for parameter in main.params for name in parameter.opts}
    assert {"--tokenize", "--lowercase", "--metric"} <= names


LINES = st.lists(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=15).filter(lambda text: "\n" not in text), min_size=1
)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=LINES.map(lambda lines: lines[:4]))
def test_any_text_is_answered(tmp_path, lines):
    (tmp_path / "h").write_bytes("".join(line + "\n" for line in lines).encode())
    names = "bleu,chrf,ter,ngrr,rep,otem,utem,tng"
    arguments = ("-m", names, tmp_path / "h", "-r", tmp_path / "h", "-s", tmp_path / "h", "--show", "1")
    assert f"{len(lines)} sentences" in ok(*arguments, "--resamples", "5", "--trials", "0")


# What commands share


@pytest.mark.parametrize(
    ("error", "status"),
    [(InputError("x"), 2), (click.UsageError("x"), 2), (KeyboardInterrupt(), 130), (click.Abort(), 130)],
)
def test_commands_end_alike(error, status):
    @click.command(cls=Command)
    def command():
        raise error

    result = CliRunner().invoke(command)
    assert result.exit_code == status
    assert result.stdout == ""


def test_a_bug_keeps_its_traceback():
    @click.command(cls=Command)
    def command():
        raise ZeroDivisionError

    assert isinstance(CliRunner().invoke(command).exception, ZeroDivisionError)


PROGRAM = "from nmt.cli.evaluate import main; main()"


def test_a_reader_who_leaves_is_no_traceback(folder):
    arguments = [sys.executable, "-c", PROGRAM, "--metric", "ngrr", "hyp.txt", "--show", "2"]
    read, write = os.pipe()
    os.close(read)
    result = subprocess.run(arguments, stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert result.returncode == 1
    assert result.stderr == b""


def test_an_interrupt_is_status_130_and_quiet(folder):
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "--metric", "ngrr", "-"], stdin=subprocess.PIPE, stderr=subprocess.PIPE
    )
    time.sleep(1.5)  # it waits for its input by then
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert b"Traceback" not in errors


def test_colour_is_for_terminals():
    marked = Marked(["a", "b", "c", "a", "b"], [(0, 2), (3, 5)])
    assert _highlight(marked, colour=False).plain == "[a b] c [a b]"
    coloured = _highlight(marked, colour=True)
    assert coloured.plain == "a b c a b"
    assert [coloured.plain[span.start : span.end] for span in coloured.spans] == ["a b", "a b"]
