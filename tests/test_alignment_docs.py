"""The page on alignment: its examples give what it says, every format is on it, and its script finds dropped words."""

from __future__ import annotations

import doctest
import re
import subprocess
import sys
from pathlib import Path

import pytest
from runs import Trained, prepared, write_project

from nmt import Alignment, Translator
from nmt.formats import READERS, WRITERS
from nmt.links import parse_links
from nmt.readings import best_reading_of_run
from nmt.symmetrise import SYMMETRISATIONS


@pytest.fixture
def page(repository: Path) -> str:
    return (repository / "docs" / "alignment.md").read_text(encoding="utf-8")


def test_examples_give_what_the_page_says(page: str) -> None:
    source = "\n".join(re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL))
    examples = doctest.DocTestParser().get_doctest(source, {}, "alignment.md", "alignment.md", 0)
    assert len(examples.examples) > 15
    assert doctest.DocTestRunner().run(examples).failed == 0


WITHOUT_TORCH = """\
import sys
sys.modules["torch"] = None  # importing it is an error from here on
import doctest, re, runpy
import numpy as np
page, script, folder = sys.argv[1:]
source = "\\n".join(re.findall(r"```python\\n(.*?)```", open(page, encoding="utf-8").read(), flags=re.DOTALL))
assert doctest.DocTestRunner().run(doctest.DocTestParser().get_doctest(source, {}, "page", "page", 0)).failed == 0
from nmt import Alignment, Links
from nmt.aligners import align_by
from nmt.formats import READERS, WRITERS
from nmt.metrics import aer, saer
from nmt.pictures import draw_attention, draw_coverage, draw_systems
one = Alignment("ab", "xy", Links([(0, 0)]), [[0.9, 0.1], [1.0, 0.0]])
for name in ("source", "target"):
    open(f"{folder}/{name}", "w").write(" ".join(getattr(one, name)) + "\\n")
for name, write in WRITERS.items():
    write(f"{folder}/{name}", [one])
    (read,) = READERS[name].read(f"{folder}/{name}", f"{folder}/source", f"{folder}/target")
    assert read.links == (None if name == "npz" else one.links)
assert aer([one.links], [one.links]).value == 0 and saer([one.weight_TS], [one.links]).value > 0
draw_attention(f"{folder}/a.png", one.weight_TS, one.source, one.target)
draw_systems(f"{folder}/b.svg", {"one": one})
draw_coverage(f"{folder}/c.pdf", {"one": one})
sys.argv = [script, "json", f"{folder}/json"]
runpy.run_path(script, run_name="__main__")
import nmt.cli.align
nmt.cli.align.main(["--help"], standalone_mode=False)
"""


def test_all_but_running_a_model_works_without_torch(repository: Path, tmp_path: Path) -> None:
    """The page, every format there and back, the pictures, the metrics and the script, where torch cannot be had."""
    places = [repository / "docs" / "alignment.md", repository / "docs" / "dropped_words.py", tmp_path]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *places], capture_output=True, text=True, check=False, encoding="utf-8"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("1: b  (0.10)\nmost often: b 1\n")
    assert "N lines in, N lines out" in done.stdout


@pytest.mark.parametrize("name", [*READERS, *SYMMETRISATIONS])
def test_every_format_and_symmetrisation_is_on_the_page(page: str, name: str) -> None:
    assert f"`{name}`" in page
    if name in READERS:
        (row,) = (line for line in page.split("\n") if line.startswith(f"| `{name}` |"))
        needs = {"both": ("source", "target"), "source": ("source",), "–": ()}
        assert needs[re.split(r"(?<!\\)\|", row)[3].strip()] == READERS[name].needs


def drop(repository: Path, *arguments: str | Path) -> str:
    script = repository / "docs" / "dropped_words.py"
    assert len([line for line in script.read_text(encoding="utf-8").split("\n") if line]) <= 20
    done = subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_the_script_tells_the_dropped_words_of_a_system(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "source").write_text("ich mag Äp@@ fel sehr\nja\n", encoding="utf-8")
    (tmp_path / "output").write_text(
        "I like ||| 0.8,0.1,0,0,0,0.1 0.1,0.8,0.05,0,0,0.05 0,0,0,0,0,1\nyes ||| 1,0 0,1\n", encoding="utf-8"
    )
    found = drop(repository, "marian", tmp_path / "output", tmp_path / "source")
    assert found == "1: Äpfel sehr  (0.03)\nmost often: Äpfel 1, sehr 1\n"


def test_from_a_trained_run_to_its_dropped_words(repository: Path, tmp_path: Path) -> None:
    """A run that was trained for a moment: its matrices go through a file to the script, and gold chooses a reading."""
    recipe, data = prepared(write_project(tmp_path))
    Trained(recipe, data, tmp_path / "run").run()
    translator = Translator.load(tmp_path / "run", device="cpu")
    sources = ["a b c", "d e"]
    said = [Alignment.of(one) for one in translator.align(sources, ["c b a", "e d"])]
    assert all(one.has_source_end and one.has_target_end for one in said)
    WRITERS["json"](tmp_path / "said.json", said)
    assert list(READERS["json"].read(tmp_path / "said.json", None, None)) == said
    found = drop(repository, "json", tmp_path / "said.json")
    expected = sum(len(span.words) for one in said for span in one.dropped())
    assert sum(len(line.split("  ")[0].split()) - 1 for line in found.strip().split("\n")[:-1]) == expected

    gold = [parse_links("0-2 1-1 2-0"), parse_links("0-1 1-0")]
    by_name = best_reading_of_run(tmp_path / "run", sources, ["c b a", "e d"], gold)
    assert by_name == best_reading_of_run(translator, sources, ["c b a", "e d"], gold)
    assert by_name.aer["produced"] != by_name.aer["fed"] or by_name.best == "produced"
