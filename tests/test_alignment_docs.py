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
