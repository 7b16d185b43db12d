"""``nmt-report``: a page from runs, and from files of any system."""

from __future__ import annotations

import gzip
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from commands import pipe, refused
from runs import Trained, prepared, write_project

from nmt.cli.report import main
from nmt.formats import WRITERS
from nmt.links import Links, argmax_links, read_links, write_links, write_matrices
from nmt.metrics import aer
from nmt.page.weights import unpacked
from nmt.results import write_results
from nmt.text import read_lines, write_lines
from nmt.translator import Translator

TEXTS = {"src": "s1 s2 s3\ns4\n", "ref": "r1 r2 r3\nr4\n", "one": "r1 r2 r3\nr4 r4\n", "two": "r1 r1 r1\n\n"}


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """A source, a reference, two systems, and links of theirs."""
    for name, text in TEXTS.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "one.links").write_text("0-0 1-1 2-2\n0-0\n")
    (tmp_path / "two.links").write_text("0-0 0-1\n\n")
    return tmp_path


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs ``a`` and ``b`` with their results."""
    directory = tmp_path_factory.mktemp("runs")
    recipe = write_project(directory / "project")
    for name, override in (("a", "seed=1"), ("b", "model.attention=gatt")):
        settings, data = prepared(recipe, "training.epochs=3", override)
        Trained(settings, data, directory / name).run()
        translator = Translator.load(directory / name, "cpu")
        write_results(translator, data.corpus, directory / name, pictures=0, notes=[], report=lambda _: None)
    return directory


def invoke(*arguments: object, given: str | None = None) -> Result:
    quick = ("--resamples", "20", "--trials", "20")
    return CliRunner().invoke(main, [*(str(one) for one in arguments), *quick], input=given)


def page(*arguments: object, out: Path, given: str | None = None) -> dict[str, Any]:
    """What the page's script would read."""
    result = invoke(*arguments, "--out", out, given=given)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(f"{out}: ")
    (found,) = re.findall(r'id="data">(.*?)</script>', out.read_text(encoding="utf-8"), re.DOTALL)
    value: dict[str, Any] = json.loads(found)
    return value


# ------------------------------------------------------------------------------------------------------------- texts


def test_texts_of_two_systems(texts: Path, tmp_path: Path) -> None:
    given = ["--src", texts / "src", "--ref", texts / "ref", "--hyp", texts / "one", "--hyp", f"Two={texts / 'two'}"]
    data = page(*given, "--links", texts / "one.links", "--links", texts / "two.links", out=tmp_path / "p.html")
    (section,) = data["sections"]
    assert data["title"] == "one · Two"
    one, two = section["systems"]
    assert (one["name"], two["name"]) == ("one", "Two")
    assert two["hypotheses"]["lines"] == ["r1 r1 r1", ""]
    assert (one["own"]["uncovered"], two["own"]["uncovered"]) == ([[], []], [[1, 2], [0]])
    assert not one["own"]["soft"]
    (first, second) = unpacked(two["own"]["weights"], [(3, 3), (0, 1)])
    assert first.tolist() == [[1, 0, 0], [1, 0, 0], [0, 0, 0]]
    assert second.shape == (0, 1)
    assert {column["key"]: column["values"] for column in section["columns"]}["ignored"] == [[0, 0], [66.7, 100]]
    # By name, and in another order.
    again = page(
        *given,
        *("--links", f"Two={texts / 'two.links'}", "--links", f"one={texts / 'one.links'}"),
        out=tmp_path / "q.html",
    )
    assert again == data


def test_translations_alone(texts: Path, tmp_path: Path) -> None:
    data = page("--hyp", texts / "one", out=tmp_path / "p.html")
    (section,) = data["sections"]
    assert section["sources"] is None
    assert section["systems"][0]["own"] is None


@pytest.mark.parametrize("kind", ["npz", "json", "json.gz", "jsonl", "talp", "naacl", "pharaoh"])
def test_alignments_in_every_form(texts: Path, tmp_path: Path, kind: str) -> None:
    links = [Links([(0, 0), (2, 1)]), Links([(0, 0)])]
    matrices = [np.array([[1.0, 0, 0], [0, 0, 1], [0, 0, 0]]), np.array([[1.0], [0]])]
    path = tmp_path / f"links.{kind}"
    if kind == "json.gz":
        write_matrices(tmp_path / "plain.json", matrices)
        path.write_bytes(gzip.compress((tmp_path / "plain.json").read_bytes()))
    elif kind in ("npz", "json"):
        write_matrices(path, matrices)
    elif kind == "pharaoh":
        write_links(path, links)
    else:
        from nmt.alignment import Alignment

        pairs = zip(read_lines(texts / "src"), read_lines(texts / "one"), links, strict=True)
        alignments = [Alignment(one.split(), two.split(), found) for one, two, found in pairs]
        WRITERS[{"jsonl": "json"}.get(kind, kind)](path, alignments)
    given = ("--src", texts / "src", "--hyp", texts / "one", "--links", path)
    (section,) = page(*given, out=tmp_path / "p.html")["sections"]
    (one,) = section["systems"]
    assert one["own"]["soft"] == (kind in ("npz", "json", "json.gz"))
    found = unpacked(one["own"]["weights"], [(3, 3), (2, 1)])
    assert [each.tolist() for each in found] == [each.tolist() for each in matrices]


@pytest.mark.parametrize("form", [[], ["--format", "pharaoh"]])
def test_texts_that_can_be_read_once(texts: Path, tmp_path: Path, form: list[str]) -> None:
    def given(*names: str) -> list[str]:
        options = ("--src", "--ref", "--ref", "--links", "--ref-links", "--gold")
        return ["--hyp", f"A={texts / 'one'}", *(word for pair in zip(options, names, strict=True) for word in pair)]

    files = [texts / name for name in ("src", "ref", "one", "one.links", "one.links", "one.links")]
    wanted = page(*given(*map(str, files)), *form, out=tmp_path / "p.html")
    pipes = [pipe(file.read_bytes()) for file in files[1:]]
    found = page(*given("-", *pipes), *form, out=tmp_path / "p.html", given=files[0].read_text())
    assert found == wanted


# Two words of three pieces on either side, and what Marian writes of them: both ends, which are left out.
PIECES = {
    "@@": ("s1@@ s2 s3", "t1 t2@@ t3"),
    "sentencepiece": ("▁s1 s2 ▁s3", "▁t1 ▁t2 t3"),
    "##": ("s1 ##s2 s3", "t1 t2 ##t3"),
}
MARIAN = "0.5,0.25,0.25,0 0,0.5,0.5,0 0,0,1,0 0,0,0,1"
# Of OpenNMT-py, which cuts tokens short and has no column for the end.
DEBUG = "x s y\n a 0.5000000 0.2500000 0.2500000\n b 0.0000000 0.5000000 0.5000000\n c 0.0000000 0.0000000 1.0000000\n"


@pytest.mark.parametrize("style", PIECES)
@pytest.mark.parametrize(
    ("form", "out"),
    [("marian", f"t1 ||| {MARIAN}\n"), ("marian", f"-1.5 ||| {MARIAN}\n"), ("opennmt-debug", DEBUG)],
    ids=["decoder that joins pieces", "scorer", "log with short tokens"],
)
def test_pieces_of_the_texts_stand_for_those_of_the_file(tmp_path: Path, style: str, form: str, out: str) -> None:
    (tmp_path / "src").write_text(f"{PIECES[style][0]}\n")
    (tmp_path / "pieces").write_text(f"{PIECES[style][1]}\n")
    (tmp_path / "out").write_text(out)
    given = ["--src", tmp_path / "src", "--hyp", f"A={tmp_path / 'pieces'}", "--ref", tmp_path / "pieces"]
    given += ["--links", tmp_path / "out", "--ref-links", tmp_path / "out", "--format", form, "--pieces", style]
    (section,) = page(*given, out=tmp_path / "p.html")["sections"]
    assert section["sources"]["lines"] == ["s1s2 s3"]
    (system,) = section["systems"]
    assert system["hypotheses"]["lines"] == section["references"][0]["lines"] == ["t1 t2t3"]
    for kind in ("own", "forced"):
        (found,) = unpacked(system[kind]["weights"], [(2, 2)])
        # Summed over the pieces of a source word, averaged over those of a target word; the ends left out.
        assert found == pytest.approx(np.array([[0.75, 0.25], [0.25, 0.75]]), abs=1 / 255)


@pytest.mark.parametrize("style", PIECES)
def test_a_reference_of_words_beside_pieces(tmp_path: Path, style: str) -> None:
    (tmp_path / "src").write_text(f"{PIECES[style][0]}\n")
    (tmp_path / "ref").write_text("r1  r2 r3\n")
    (tmp_path / "links").write_text("0-0 1-1 2-2\n")
    given = ["--src", tmp_path / "src", "--ref", tmp_path / "ref", "--ref-links", tmp_path / "links", "--pieces", style]
    (section,) = page(*given, out=tmp_path / "p.html")["sections"]
    assert section["references"][0]["lines"] == ["r1  r2 r3"]
    (found,) = unpacked(section["systems"][0]["forced"]["weights"], [(3, 2)])
    assert found.tolist() == [[1, 0], [1, 0], [0, 1]]


def test_aligners_against_gold(texts: Path, tmp_path: Path) -> None:
    write_links(tmp_path / "gold", [Links([(0, 0)], [(1, 1)]), Links([(0, 0)])])
    write_links(tmp_path / "good", [Links([(0, 0), (1, 1)]), Links([(0, 0)])])
    write_links(tmp_path / "bad", [Links([(0, 2)]), Links([(0, 0)])])
    given = ["--src", texts / "src", "--ref", texts / "ref", "--gold", tmp_path / "gold", "--title", "Aligners"]
    given += ["--ref-links", tmp_path / "good", "--ref-links", f"Bad={tmp_path / 'bad'}"]
    data = page(*given, out=tmp_path / "p.html")
    assert data["title"] == "Aligners"
    (section,) = data["sections"]
    assert [one["name"] for one in section["systems"]] == ["good", "Bad"]
    assert section["gold"] == ["0-0 1p1", "0-0"]
    # 1 − (1 + 2) / (2 + 1) and 1 − (0 + 0) / (1 + 1)
    assert {one["key"]: one["values"] for one in section["columns"]}["aer"] == [[0, 0], [100, 0]]


# -------------------------------------------------------------------------------------------------------------- runs


def test_runs_with_their_attention(runs: Path, tmp_path: Path) -> None:
    data = page(runs / "a", runs / "b", "--device", "cpu", out=tmp_path / "p.html")
    (section,) = data["sections"]
    assert (section["name"], data["title"]) == ("held-out", "a · b")
    for name, system in zip("ab", section["systems"], strict=True):
        directory = runs / name / "translations"
        hypotheses = list(read_lines(directory / "held-out.hyp"))
        sources = list(read_lines(directory / "held-out.src"))
        assert (system["name"], system["hypotheses"]["lines"]) == (name, hypotheses)
        said = Translator.load(runs / name, "cpu").align(sources, hypotheses)
        shapes = [(len(two.split()), len(one.split())) for one, two in zip(sources, hypotheses, strict=True)]
        for one, weight_TS in zip(said, unpacked(system["own"]["weights"], shapes), strict=True):
            assert one.matrix() == pytest.approx(weight_TS, abs=1 / 255 + 1e-6)
        references = list(read_lines(directory / "held-out.ref"))
        shapes = [(len(two.split()), len(one.split())) for one, two in zip(sources, references, strict=True)]
        with np.load(directory / "held-out.npz", allow_pickle=False) as kept:
            for n, weight_TS in enumerate(unpacked(system["forced"]["weights"], shapes)):
                assert kept[str(n)] == pytest.approx(weight_TS, abs=1 / 255 + 1e-6)
    assert {column["key"] for column in section["columns"]} >= {"bleu", "ngrr", "ignored", "aer", "saer"}


def test_the_reading_is_that_of_the_whole_page(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "a", tmp_path / "a")
    place = tmp_path / "a" / "translations" / "held-out"
    sources, references = (list(read_lines(place.with_suffix(end))) for end in (".src", ".ref"))
    gold = read_links(place.with_suffix(".gold"), base=0).links
    write_links(place.with_suffix(".links"), gold)  # as if what it kept of the producing step were without an error
    # Letters are words, so the row of the next step is where a word is fed.
    fed = [one.weight_TS[1:, :-1] for one in Translator.load(runs / "a", "cpu").align(sources, references)]
    rates = [aer([argmax_links(one)], [links]).value for one, links in zip(fed, gold, strict=True)]
    assert min(rates) > 0
    for reading, wanted in (("produced", [0.0] * len(rates)), ("fed", rates)):
        out = tmp_path / "p.html"
        (section,) = page(tmp_path / "a", "--reading", reading, "--device", "cpu", out=out)["sections"]
        assert f"attention is read where a word is {reading}" in out.read_text(encoding="utf-8")
        columns = {one["key"]: one["values"][0] for one in section["columns"]}
        assert columns["aer"] == pytest.approx(wanted, abs=0.051)
    shown = unpacked(section["systems"][0]["forced"]["weights"], [one.shape for one in fed])
    for one, weight_TS in zip(fed, shown, strict=True):
        assert one == pytest.approx(weight_TS, abs=1 / 255 + 1e-6)


def test_a_test_set_by_its_name(runs: Path, tmp_path: Path) -> None:
    out = ("--device", "cpu", "--out", tmp_path / "p.html")
    assert invoke(runs / "a", "--test", "held-out", *out).exit_code == 0
    assert "have no test set 'other' in common; there are held-out" in refused(
        invoke(runs / "a", "--test", "other", *out)
    )


# --------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "there is nothing to show; give runs, or texts"),
        (["--test", "x"], "--test names a test set of runs"),
        (["--reading", "fed"], "--reading is of the attention of runs"),
        (["{d}/nothing"], "is no run directory"),
        (["{d}", "--src", "{d}/src"], "give runs or texts, not both"),
        (["{d}"], "no translations/*.hyp in this directory"),
        (["--hyp", "{d}/nothing"], "no such file"),
        (["--hyp", "{d}/one", "--hyp", "one={d}/two"], "two systems are called one"),
        (["--hyp", "{d}/one", "--ref", "{d}/one.links", "--src", "{d}/long"], "lines but"),
        (
            ["--src", "{d}/long", "--ref", "{d}/ref", "--ref-links", "{d}/one.links"],
            "ref has 2 lines but {d}/long has 3",
        ),
        (["--src", "{d}/src", "--hyp", "{d}/a.jsonl", "--links", "{d}/one.links"], "a.jsonl has 1 lines but {d}/src"),
        (["--hyp", "{d}/one", "--links", "{d}/one.links"], "an alignment needs the source text; give --src"),
        (["--hyp", "{d}/one", "--src", "{d}/src", "--gold", "{d}/one.links"], "give some with --ref-links"),
        (["--src", "{d}/src", "--links", "{d}/one.links"], "there is nothing to show"),
        (["--src", "{d}/src", "--hyp", "{d}/one", "--links", "X={d}/one.links"], "no system is called X"),
        (["--src", "{d}/src", "--hyp", "{d}/two", "--links", "{d}/one.links"], "link 0-0 is out of range"),
        (["--src", "{d}/src", "--hyp", "{d}/one", "--hyp", "{d}/two", "--links", "{d}/one.links"], "1 files for 2"),
        (["--src", "-", "--hyp", "{d}/one", "--links", "-"], "standard input can be read once"),
        (["--hyp", "{d}/one", "--metric", "blue"], "did you mean bleu?"),
        (["--hyp", "{d}/one", "--metric", "bleu"], "BLEU needs references"),
        (["--hyp", "{d}/one", "--out", "{d}/src/p.html"], "cannot be written"),
    ],
)
def test_mistakes_are_told_in_a_sentence(texts: Path, arguments: list[str], sentence: str) -> None:
    write_lines(texts / "long", ["a"] * 3)
    write_lines(texts / "a.jsonl", ['{"hyp": "a"}'])
    before = sorted(texts.iterdir())
    filled = [one.format(d=texts) for one in arguments]
    if "--out" not in filled:
        filled += ["--out", str(texts / "p.html")]
    assert sentence.format(d=texts) in refused(invoke(*filled))
    assert sorted(texts.iterdir()) == before
