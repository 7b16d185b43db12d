"""Corpora: each kind from its corpus file to files on this machine, reused, and never out of date."""

from __future__ import annotations

import gzip
import hashlib
import io
import shutil
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nmt import libreoffice
from nmt.corpus import CORPORA, Corpus, TextPair, load_corpus, prepare_corpus
from nmt.corpus.grammar import PROGRAM
from nmt.corpus.help import split
from nmt.errors import InputError
from nmt.libreoffice import help_pairs, paragraphs
from nmt.text import read_lines

HEAD = "source_language: zh\ntarget_language: en\nlicence: CC0\n"


def write(directory: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text, encoding="utf-8")
    return directory


def prepare(directory: Path, yaml: str, said: list[str] | None = None) -> Corpus:
    write(directory, {"mine.yaml": yaml})
    report = said.append if said is not None else lambda _: None
    return prepare_corpus(load_corpus(directory / "mine.yaml"), directory / "downloads", report)


def refused(directory: Path, yaml: str) -> str:
    with pytest.raises(InputError) as told:
        prepare(directory, yaml)
    return str(told.value)


# ------------------------------------------------------------------------------------------------- corpus files


def test_shipped_corpus_files_are_right(repository: Path) -> None:
    kinds = set()
    for path in sorted((repository / "data").glob("*.yaml")):
        settings = load_corpus(path)
        assert settings.name == path.stem
        kinds.add(settings.kind)
    assert kinds == set(CORPORA)


@pytest.mark.parametrize(
    ("yaml", "sentence"),
    [
        ("kind: file\n" + HEAD, "mine.yaml, line 1: kind: must be "),
        (HEAD, 'mine.yaml: the key "kind" is missing'),
        ("kind: grammar\ngramar: x\n" + HEAD, 'mine.yaml, line 2: gramar: unknown key; did you mean "grammar"?'),
        ("kind: libreoffice-help\n" + HEAD.replace("zh", "en"), "source_language and target_language are both en"),
        ("kind: libreoffice-help\nname: ../up\n" + HEAD, "mine.yaml, line 2: name: "),
        (
            "kind: files\ntokenised: true\ntrain: {source: a}\ndev: {source: a, target: b}\n" + HEAD,
            "give either target",
        ),
    ],
)
def test_mistakes_in_a_corpus_file(tmp_path: Path, yaml: str, sentence: str) -> None:
    assert sentence in refused(tmp_path, yaml)


# ------------------------------------------------------------------------------------------------------ embedded

GRAMMAR = """
start: {usual: S, long: L}
lexicon:
  noun:
    columns: zh | en
    rows: [猫 | cat, 狗 | dog, 鸟 | bird, 鱼 | fish, 马 | horse]
  verb:
    columns: zh | en
    rows: [看 | sees, 爱 | loves, 怕 | fears]
rules:
  S: [{let: {a: noun, v: verb, b: noun}, source: <a.zh> <v.zh> <b.zh>, target: <a.en> <v.en> <b.en>}]
  L: [{let: {s: S(), t: S()}, source: <s> 和/x <t>, target: <s> and/x <t>}]
"""
FROM_GRAMMAR = f"kind: grammar\n{HEAD}grammar: g.yaml\ntrain: 20\ndev: 4\ntest: 5\nlong: 3\nmax_length: 3\n"


def test_grammar(tmp_path: Path) -> None:
    write(tmp_path, {"g.yaml": GRAMMAR})
    said: list[str] = []
    corpus = prepare(tmp_path, FROM_GRAMMAR, said)
    assert len(said) == 1
    assert corpus == prepare(tmp_path, FROM_GRAMMAR, said)
    assert len(said) == 1
    assert (corpus.name, corpus.source_language, corpus.target_language, corpus.tokenised) == ("mine", "zh", "en", True)
    assert list(corpus.tests) == ["test", "long"]
    lines = {}
    for name, pair in {"train": corpus.train, "dev": corpus.dev, **corpus.tests}.items():
        assert pair.gold is not None
        lines[name] = [list(read_lines(path)) for path in (pair.source, pair.target, pair.gold)]
    assert [len(lines[name][side]) for name in lines for side in range(3)] == [20] * 3 + [4] * 3 + [5] * 3 + [3] * 3
    assert set(lines["test"][2]) == {"0-0 1-1 2-2"}
    assert not set(lines["train"][0]) & set(lines["test"][0])


def test_another_grammar_or_size_makes_other_text(tmp_path: Path) -> None:
    write(tmp_path, {"g.yaml": GRAMMAR})
    before = list(read_lines(prepare(tmp_path, FROM_GRAMMAR).train.source))
    assert list(read_lines(prepare(tmp_path, FROM_GRAMMAR + "seed: 2\n").train.source)) != before
    write(tmp_path, {"g.yaml": GRAMMAR.replace("猫", "虎")})
    assert "虎" in "".join(read_lines(prepare(tmp_path, FROM_GRAMMAR).train.source))
    corpus = prepare(tmp_path, FROM_GRAMMAR.replace("long: 3", "long: 0"))
    assert list(corpus.tests) == ["test"]
    (tmp_path / "g.yaml").unlink()
    assert refused(tmp_path, FROM_GRAMMAR) == f"{tmp_path / 'g.yaml'}: no such file; corpus mine is generated from it"


def test_the_program_is_all_that_the_grammar_needs() -> None:
    code = "import sys, nmt; before = set(sys.modules); import nmt.grammar; print(*(set(sys.modules) - before))"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    ours = {name for name in modules if name.startswith("nmt.")}
    assert ours - {"nmt.errors", "nmt.text"} == {module.__name__ for module in PROGRAM}


# ------------------------------------------------------------------------------------------------- one's own files

OWN = f"""kind: files
{HEAD}tokenised: false
train: {{source: t.zh, target: t.en, keep: {{file: t.domain, labels: [talk, book]}}}}
dev: {{source: d.zh, references: [d.en0, d.en1]}}
tests:
  gold: {{source: d.zh, target: d.en0, gold: d.gold}}
"""
OWN_FILES = {
    "t.zh": "一\n二\n三\u2028\n\n五\n",
    "t.en": "1\n2\n3\n4\n5\n",
    "t.domain": "talk\nlaw\nbook\ntalk\nlaw\n",
    "d.zh": "六\n",
    "d.en0": "6\n",
    "d.en1": "six\n",
    "d.gold": "0-0\n",
}


def test_files_and_labels(tmp_path: Path) -> None:
    write(tmp_path, OWN_FILES)
    corpus = prepare(tmp_path, OWN)
    assert list(read_lines(corpus.train.source)) == ["一", "三\u2028", ""]
    assert list(read_lines(corpus.train.target)) == ["1", "3", "4"]
    assert corpus.dev == TextPair(tmp_path / "d.zh", tmp_path / "d.en0", None, (tmp_path / "d.en1",))
    assert corpus.tests["gold"] == TextPair(tmp_path / "d.zh", tmp_path / "d.en0", tmp_path / "d.gold")
    assert not corpus.tokenised
    write(tmp_path, {"t.domain": "law\nbook\nlaw\nlaw\ntalk\n"})
    assert list(read_lines(prepare(tmp_path, OWN).train.target)) == ["2", "5"]
    write(tmp_path, {"t.en": "i\nii\niii\niv\nv\n"})
    assert list(read_lines(prepare(tmp_path, OWN).train.target)) == ["ii", "v"]


def test_labels_choose_lines_of_every_file_of_an_entry(tmp_path: Path) -> None:
    write(tmp_path, {**OWN_FILES, "t.en2": "a\nb\nc\nd\ne\n", "t.gold": "0-0\n1-1\n2-2\n3-3\n4-4\n"})
    yaml = OWN.replace("target: t.en,", "references: [t.en, t.en2], gold: t.gold,")
    train = prepare(tmp_path, yaml).train
    assert train.gold is not None
    assert [list(read_lines(path)) for path in (train.target, *train.references, train.gold)] == [
        ["1", "3", "4"],
        ["a", "c", "d"],
        ["0-0", "2-2", "3-3"],
    ]


def test_bad_files(tmp_path: Path) -> None:
    assert refused(tmp_path, OWN).startswith(
        f"{tmp_path / 't.zh'}: no such file; corpus mine is made of files of your own"
    )
    write(tmp_path, OWN_FILES)
    (tmp_path / "folder").mkdir()
    assert "folder: is a directory" in refused(tmp_path, OWN.replace("d.zh", "folder"))
    assert 't.domain: no line is labelled "tlak"; its labels are: book, law, talk' in refused(
        tmp_path, OWN.replace("talk,", "tlak,")
    )
    write(tmp_path, {"d.en1": "six\nseven\n"})
    assert "d.zh has 1 lines but" in refused(tmp_path, OWN)
    write(tmp_path, {"d.en1": "six\n", "t.domain": "talk\nbook\n"})
    assert "t.domain has 2 lines but" in refused(tmp_path, OWN)
    assert not list((tmp_path / "downloads").rglob("*.partial"))


# --------------------------------------------------------------------------------------------------------- the web


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A folder, tmp_path / site, on the web."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    (tmp_path / "site").mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "site"))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_url(site: str, tmp_path: Path) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, text in {"x/dev.zh": "六\n", "x/dev.en": "6\n", "x/dev.links": "0-0\n"}.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text.encode())
            tar.addfile(entry, io.BytesIO(text.encode()))
    contents = {"train.zh.gz": gzip.compress("一\n".encode()), "train.en": b"1\n", "dev.tgz": packed.getvalue()}
    yaml = f"kind: url\n{HEAD}tokenised: true\nfiles:\n"
    for name, content in contents.items():
        (tmp_path / "site" / name).write_bytes(content)
        yaml += f"  {name}:\n    url: {site}/{name}\n    sha256: {hashlib.sha256(content).hexdigest()}\n"
    yaml += "    members: {dev.zh: x/dev.zh, dev.en: x/dev.en, dev.gold: x/dev.links}\n"
    yaml += "train: {source: train.zh.gz, target: train.en}\ndev: {source: dev.zh, target: dev.en}\n"
    yaml += "tests: {seen: {source: dev.zh, references: [dev.en, train.en], gold: dev.gold}}\n"
    corpus = prepare(tmp_path, yaml)
    assert list(read_lines(corpus.train.source)) == ["一"]
    assert list(read_lines(corpus.dev.target)) == ["6"]
    seen = corpus.tests["seen"]
    assert [list(read_lines(path)) for path in (seen.target, *seen.references)] == [["6"], ["1"]]
    assert seen.gold is not None
    shutil.rmtree(tmp_path / "site")  # all is here by now
    assert prepare(tmp_path, yaml) == corpus
    seen.gold.write_text("1-1\n")  # and taken from the archive again when it is damaged
    prepare(tmp_path, yaml)
    assert seen.gold.read_text() == "0-0\n"

    assert "no file is named train.fr; there are: train.zh.gz" in refused(
        tmp_path, yaml.replace("target: train.en", "target: train.fr")
    )
    assert "two files are named train.en" in refused(tmp_path, yaml.replace("dev.gold: x", "train.en: x"))
    assert "404" in refused(
        tmp_path,
        yaml.replace("train.en:", "train.fr:")
        .replace("/train.en", "/train.fr")
        .replace("train.en}", "train.fr}")
        .replace("train.en]", "train.fr]"),
    )


def test_a_wrong_sum_leaves_nothing(site: str, tmp_path: Path) -> None:
    (tmp_path / "site" / "a").write_text("1\n")
    yaml = f"kind: url\n{HEAD}tokenised: true\nfiles: {{a: {{url: '{site}/a', sha256: '{'0' * 64}'}}}}\n"
    yaml += "train: {source: a, target: a}\ndev: {source: a, target: a}\n"
    assert "was expected; nothing of it was kept" in refused(tmp_path, yaml)
    assert [path for path in (tmp_path / "downloads").rglob("*") if path.is_file()] == []
    assert "url: String should match" in refused(tmp_path, yaml.replace("http://", "file://"))
    assert "sha256: String should match" in refused(tmp_path, yaml.replace("0" * 64, "0" * 63))


# ------------------------------------------------------------------------------------------------ LibreOffice's help

PAGE = """<!DOCTYPE html><html><head><title>No</title></head><body>
<header><p dir="auto">No id</p></header>
<h1 id="hd_id1">A &amp; B</h1>
<p id="par_id2" class="x">Press <span class="switchinline"><span hidden="true" id="MACtext_1" class="MAC"><span
 class="keycode">Command</span></span><span hidden="true" id="defaulttext_1"><span>Ctrl</span></span></span>
<span>+F</span>
   to<br>open <img src="i.svg" alt="icon"> the   <b>bar</b>.</p>
<p id="par_id3"></p>
<table><tr><td><p id="par_id4">cell</p></td></tr></table>
<span hidden="true" class="CALC"><p id="par_id5">shown in Calc</p></span>
<p id="par_id6">unclosed <b>bold<p id="par_id7">next</p>outside
<p id="par_id4">the id again</p>
</body></html>"""


def test_paragraphs_of_a_page() -> None:
    assert list(paragraphs(PAGE)) == [
        ("hd_id1", "A & B"),
        ("par_id2", "Press Ctrl +F to open the bar."),
        ("par_id3", ""),
        ("par_id4", "cell"),
        ("par_id5", "shown in Calc"),
        ("par_id6", "unclosed bold"),
        ("par_id7", "next"),
        ("par_id4", "the id again"),
    ]


def page(**paragraphs: str) -> str:
    return "".join(f'<p id="{number}">{text}</p>' for number, text in paragraphs.items())


def help_pages(directory: Path, language: str, pages: dict[str, str]) -> Path:
    folder = directory / language / "usr/share/libreoffice/help"
    write(folder, {f"{language}/text/{name}": text for name, text in pages.items()})
    write(folder, {"media/icon.html": page(a="no page")})
    return directory / language


def test_help_pairs(tmp_path: Path) -> None:
    chinese = help_pages(
        tmp_path,
        "zh-CN",
        {
            "a/1.html": page(a="一", b="same", c="二", e="") + page(x="甲") + page(x="乙"),
            "a/2.html": page(a="一", b="三") + page(y="丙"),
            "only.html": page(a="四"),
        },
    )
    english = help_pages(
        tmp_path,
        "en-US",
        {
            "a/1.html": page(c="two", a="one", b="same", d="new", e="x") + page(x="A") + page(x="B"),
            "a/2.html": page(a="one", b="three") + page(y="C") + page(y="C2"),
        },
    )
    expected = [("一", "one"), ("二", "two"), ("甲", "A"), ("乙", "B"), ("三", "three")]
    assert help_pairs(chinese, english) == expected
    assert help_pairs(english, chinese)[:2] == [("two", "二"), ("one", "一")]
    with pytest.raises(InputError, match="0 folders of pages"):
        help_pairs(tmp_path / "nothing", english)


texts = st.text("abcdef", min_size=1, max_size=2)


@given(pairs=st.lists(st.tuples(texts, texts), unique=True, max_size=60), dev=st.integers(1, 8), test=st.integers(1, 8))
def test_split_shares_nothing(pairs: list[tuple[str, str]], dev: int, test: int) -> None:
    splits, dropped = split(pairs, dev=dev, test=test)
    everything = [pair for part in splits.values() for pair in part]
    assert len(everything) == len(set(everything)) == len(pairs) - dropped
    assert set(everything) <= set(pairs)
    for side in (0, 1):
        sides = {name: [pair[side] for pair in part] for name, part in splits.items()}
        held = sides["dev"] + sides["test"]
        assert len(set(held)) == len(held)
        assert not set(held) & set(sides["train"])
    assert len(splits["test"]) <= test
    assert len(splits["dev"]) <= dev
    if dropped == 0 and len(pairs) >= dev + test:
        assert (len(splits["test"]), len(splits["dev"])) == (test, dev)
    assert [pair for pair in pairs if pair in set(splits["train"])] == splits["train"]  # in the order of the pages


def test_split_is_of_the_sentences_alone() -> None:
    pairs = [(f"源{n}", f"target {n}") for n in range(200)]
    splits, dropped = split(pairs, dev=20, test=20)
    assert dropped == 0
    again, _ = split(pairs[::-1], dev=20, test=20)
    assert {name: set(part) for name, part in again.items()} == {name: set(part) for name, part in splits.items()}
    grown, _ = split([*pairs, ("新", "new")], dev=20, test=20)
    assert len(set(grown["test"]) & set(splits["test"])) >= 19


HELP = "kind: libreoffice-help\nsource_language: zh-cn\ntarget_language: en-us\nlicence: MPL-2.0\ndev: {n}\ntest: {n}\n"


def test_help_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole way, but for the packages, which are folders here."""
    pages = {
        "zh-cn": help_pages(tmp_path, "zh-CN", {"p.html": page(**{f"p{n}": f"第{n}" for n in range(30)})}),
        "en-us": help_pages(tmp_path, "en-US", {"p.html": page(**{f"p{n}": f"no. {n}" for n in range(30)})}),
    }

    def fetched(names: list[str], place: Path, report: object) -> dict[str, Path]:
        assert place == tmp_path / "downloads" / "mine" / "packages"
        return {name: write(tmp_path, {name: name}) / name for name in names}

    def unpacked(package: Path, directory: Path) -> None:
        shutil.copytree(pages[package.name.removeprefix("libreoffice-help-")], directory, dirs_exist_ok=True)

    monkeypatch.setattr("nmt.corpus.help.fetch_packages", fetched)
    monkeypatch.setattr("nmt.corpus.help.unpack", unpacked)
    said: list[str] = []
    corpus = prepare(tmp_path, HELP.format(n=5), said)
    assert (corpus.source_language, corpus.target_language, corpus.tokenised) == ("zh", "en", False)
    assert [sum(1 for _ in read_lines(pair.target)) for pair in (corpus.train, corpus.dev, corpus.tests["test"])] == [
        20,
        5,
        5,
    ]
    assert said[-1] == "mine: 20 train, 5 dev, 5 test pairs; 0 left out that share a side with dev or test"
    assert prepare(tmp_path, HELP.format(n=5), said) == corpus
    assert len(said) == 2  # nothing was read again
    assert "too few translated paragraphs" in refused(tmp_path, HELP.format(n=15))
    monkeypatch.setattr(libreoffice, "FORMAT", 99)  # read in another way: made anew
    prepare(tmp_path, HELP.format(n=5), said)
    assert len(said) == 4


@pytest.mark.network
@pytest.mark.slow
def test_help_from_debian(tmp_path: Path) -> None:
    """The real package manager. Whoever runs it has a network; where the fetch fails the reason is in the skip."""
    try:
        corpus = prepare(tmp_path, HELP.format(n=500))
    except InputError as error:
        pytest.skip(str(error))
    sizes = [sum(1 for _ in read_lines(pair.source)) for pair in (corpus.train, corpus.dev, corpus.tests["test"])]
    assert sizes[1:] == [500, 500]
    assert sizes[0] > 15_000
    chinese = [
        line for line in read_lines(corpus.train.source) if any("\u4e00" <= letter <= "\u9fff" for letter in line)
    ]
    assert len(chinese) > 0.95 * sizes[0]
    assert not any("<span" in line or "&amp;" in line for line in read_lines(corpus.train.target))
