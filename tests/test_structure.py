"""The house: who may import whom, what nobody may do, and what everybody must say."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "nmt"
MODULES = sorted(PACKAGE.rglob("*.py"))

# A file imports from floors below its own only. A half floor holds what the files of the floor above it share.
FLOORS: dict[float, str] = {
    0: "errors machine tree version native triton_kernels loops",
    0.5: "score text yaml_tree kernels",
    0.75: "kept lexicon",
    0.8: "rules",
    1: "settings links cells layers grammar download debian libreoffice",
    1.25: "words symmetrise quantised",
    1.5: "vocabulary unknown positions",
    2: "corpus bitext batching attention metrics initialisation",
    2.5: "alignment aligners sublayers",
    2.75: "formats depth",
    3: "encoder decoder transformer",
    3.5: "recurrent tabulated",
    3.75: "mixed",
    4: "model",
    4.5: "ensemble",
    5: "losses search optim",
    5.5: "flow",
    6: "recipe report pictures page journal",
    6.5: "preparation",
    7: "checkpoint",
    8: "translator variance replay",
    8.25: "readings",
    8.5: "train results diagnostics heads cost",
    8.75: "rehearsal ending memory_tasks study_analyses",
    8.8: "study study_plots",
    8.85: "study_runs",
    8.9: "study_results study_forecast",
    8.95: "study_tables",
    9: "cli __init__",
}
FLOOR = {name: floor for floor, names in FLOORS.items() for name in names.split()}
# The same within each package, from below; * is every file that is not named.
WITHIN = {
    "attention": ["base gates", "after_look bahdanau", "dot", "gatt", "*", "__init__"],
    "cells": ["base", "*", "stacked", "__init__"],
    "corpus": ["base", "*", "__init__"],
    "formats": ["base", "*", "__init__"],
    "losses": ["base", "*", "__init__"],
    "search": ["penalties blocking", "base", "*", "__init__"],
    "page": ["base weights", "*", "data", "document", "__init__"],
    "metrics": ["base tokens", "spans significance", "*", "comparison", "__init__"],
    "cli": ["common tables", "*", "__init__"],
}

# A file longer than this is looked at again; the reason why it stays so stands here.
LONGEST = 400
LONG_FOR_A_REASON: dict[str, str] = {}

# These must start at once and on a machine without torch's memory: measuring and reading files needs no tensors.
WITHOUT_TORCH = [
    "nmt",
    "nmt.metrics",
    "nmt.links",
    "nmt.settings",
    "nmt.formats",
    "nmt.readings",
    "nmt.heads",
    "nmt.pictures",
    "nmt.page",
]


def name_of(path: Path) -> str:
    """``nmt.attention.gatt`` for nmt/attention/gatt.py, ``nmt.attention.__init__`` for the package itself."""
    return ".".join(("nmt", *path.relative_to(PACKAGE).with_suffix("").parts))


NAMES = {name_of(path) for path in MODULES}
by_module = pytest.mark.parametrize("path", MODULES, ids=name_of)


def imports(tree: ast.Module) -> Iterator[str]:
    """The full names of all that is imported anywhere in a file, inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are absolute here"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own_module(imported: str) -> str | None:
    """The module of this package that an imported name comes from."""
    if imported.split(".")[0] != "nmt":
        return None
    parts = imported.split(".")
    for end in (len(parts), len(parts) - 1):  # the module itself, or something in it
        for name in (".".join(parts[:end]), ".".join([*parts[:end], "__init__"])):
            if name in NAMES:
                return name
    raise AssertionError(f"{imported} does not exist")


def place(name: str) -> tuple[float, int]:
    """A module's floor, and its height within its package."""
    _, first, *rest = name.split(".")
    assert first in FLOOR, f"{name}: give it a floor in the table of this test (and of CONTRIBUTING.md)"
    if not rest:
        return FLOOR[first], 0
    named = {file: height for height, files in enumerate(WITHIN[first]) for file in files.split()}
    return FLOOR[first], named.get(rest[0], named["*"])


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@by_module
def test_imports_come_from_below(path: Path) -> None:
    name = name_of(path)
    for imported in imports(parsed(path)):
        module = own_module(imported)
        assert module is None or place(module) < place(name), f"{name} may not import {imported}"


@by_module
def test_nothing_runs_code_from_data_or_miscounts_lines(path: Path) -> None:
    tree = parsed(path)
    for imported in imports(tree):
        assert imported.split(".")[0] not in {"pickle", "dill", "marshal", "shelve", "joblib"}, imported
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            assert node.id not in {"eval", "exec", "__import__"}, f"line {node.lineno}: {node.id}"
        if isinstance(node, ast.Attribute):
            assert node.attr != "splitlines", f"line {node.lineno}: splitlines ends lines at U+2028; see nmt.text"
            whole = ast.unparse(node)
            assert whole not in {"torch.load", "torch.save"}, f"line {node.lineno}: {whole} is a pickle"
        if isinstance(node, ast.keyword):
            pickled = node.arg == "allow_pickle" and ast.unparse(node.value) != "False"
            assert not pickled, f"line {node.value.lineno}: allow_pickle"


@by_module
def test_public_names_say_what_they_are(path: Path) -> None:
    tree = parsed(path)
    assert ast.get_docstring(tree) or not tree.body, "the file says in its first lines what it is"
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"line {node.lineno}: {node.name} has no docstring"


@by_module
def test_files_are_short(path: Path) -> None:
    lines = path.read_bytes().count(b"\n")
    name = name_of(path)
    assert (lines > LONGEST) == (name in LONG_FOR_A_REASON), f"{name} has {lines} lines (limit {LONGEST})"


def test_the_table_of_floors_has_each_name_once() -> None:
    assert sum(len(names.split()) for names in FLOORS.values()) == len(FLOOR)


def test_the_readme_says_what_every_file_is() -> None:
    table = (PACKAGE.parent / "README.md").read_text(encoding="utf-8").split("## What every file is")[1]
    named = table.replace("`nmt/", "`")  # the first file of a row stands with its directory
    files = [path.name for path in PACKAGE.glob("*.py") if path.name != "__init__.py"]
    packages = [f"{path.parent.name}/" for path in PACKAGE.glob("*/__init__.py")]
    assert [name for name in (*files, *packages) if f"`{name}`" not in named] == []


@pytest.mark.parametrize("name", WITHOUT_TORCH)
def test_starts_without_torch(name: str) -> None:
    loaded = f"import sys, {name}; print(*sorted({{'torch', 'matplotlib'}} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "", "")
