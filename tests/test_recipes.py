"""Every recipe and every corpus file that is shipped: read, built and run for two steps."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from runs import Trained, quiet, reversals, write_project, write_reversals

from nmt.corpus import load_corpus
from nmt.corpus.files import FilesCorpus
from nmt.corpus.grammar import GrammarCorpus
from nmt.model import build_model
from nmt.preparation import prepare
from nmt.recipe import Recipe, load_recipe
from nmt.text import write_lines

REPOSITORY = Path(__file__).resolve().parent.parent
RECIPES = sorted((REPOSITORY / "recipes").glob("*.yaml"))
CORPORA = sorted((REPOSITORY / "data").glob("*.yaml"))
LARGE = 12_000_000  # parameters; a model that has more is stepped with other sizes
MOST_WORDS = 40_000

every_recipe = pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)


def test_there_are_recipes() -> None:
    assert {"zh-en-gatt", "zh-en-rnnsearch"} <= {path.stem for path in RECIPES}


@every_recipe
def test_is_complete_and_says_how_to_run_it(path: Path) -> None:
    recipe = load_recipe(path)
    assert path.read_text(encoding="utf-8").startswith(f"# nmt-train recipes/{path.name}\n#")
    assert recipe.corpus in CORPORA


@pytest.mark.parametrize("path", CORPORA, ids=lambda path: path.stem)
def test_corpus_file_is_read(path: Path) -> None:
    assert load_corpus(path).name == path.stem


@every_recipe
def test_is_built_at_its_own_sizes(path: Path) -> None:
    """On the meta device, which counts parameters without holding them."""
    recipe = load_recipe(path)
    words = [side.size or MOST_WORDS for side in (recipe.text.source, recipe.text.target)]
    with torch.device("meta"):
        model = build_model(recipe.model, *words)
    weights = {name: one.shape for name, one in model.named_parameters()}
    assert weights["encoder.embedding.weight"] == (words[0], recipe.model.encoder.embedding)
    assert weights["decoder.embedding.weight"] == (words[1], recipe.model.decoder.embedding)


def cut(recipe: Recipe, directory: Path) -> Path:
    """A corpus file for a tiny piece of a recipe's corpus, or for generated text where it is not at hand."""
    corpus = load_corpus(recipe.corpus)
    write_project(directory)
    place = directory / "corpus.yaml"
    if isinstance(corpus, GrammarCorpus):
        tiny = corpus.model_copy(update={"name": "tiny", "train": 60, "dev": 4, "test": 3, "long": 2})
        lines = [f"{name}: {value}" for name, value in tiny.model_dump().items()]
        place.write_text("\n".join(lines) + "\n", encoding="utf-8")
    elif isinstance(corpus, FilesCorpus) and corpus.train.source.exists():
        for name, text in (("train", corpus.train), ("dev", corpus.dev)):
            for side, file in (("src", text.pair().source), ("trg", text.pair().target)):
                with open(file, encoding="utf-8") as stream:
                    lines = [stream.readline().removesuffix("\n") for _ in range(60)]
                write_lines(directory / f"{name}.{side}", [" ".join(line.split()[:20]) for line in lines])
    else:
        write_reversals(directory, "train", reversals(60, seed=1, longest=9))
    return place


@every_recipe
def test_runs_two_steps(path: Path, tmp_path: Path) -> None:
    overrides = ["training.updates=2", "training.validation.sentences=2", "training.device=cpu", "training.threads=1"]
    recipe = load_recipe(path)
    overrides += [f"corpus={cut(recipe, tmp_path)}"]
    for side in ("source", "target"):  # so little text allows no vocabulary of the recipe's size
        is_words = getattr(recipe.text, side).kind == "words"
        overrides.append(f"text.{side}.size=null" if is_words else f"text.{side}={{kind: words}}")
    with torch.device("meta"):
        size = sum(one.numel() for one in build_model(recipe.model, 100, 100).parameters())
    if size > LARGE:
        overrides += ["model.embedding=32", "model.hidden=32"]
    recipe = load_recipe(path, overrides)
    run = Trained(recipe, prepare(recipe, quiet), tmp_path / "run")

    trainer = run.trainer()
    trainer.run()

    assert trainer.progress.update == 2
    unreached = [name for name, one in trainer.model.named_parameters() if one.grad is None or not one.grad.any()]
    assert unreached == []
    assert all(bool(one.isfinite().all()) for one in trainer.model.parameters())
