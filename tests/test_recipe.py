"""Recipes: what one may say, what one may not, and what may change between two calls for the same run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from runs import RECIPE

from nmt.errors import InputError
from nmt.recipe import Recipe, keep_recipe, load_recipe
from nmt.settings import Choice

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a recipe file: the small recipe, or a text of the test's own."""

    def file(text: str = RECIPE, name: str = "small.yaml") -> Path:
        (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path / name

    return file


def mistakes(path: Path, *overrides: str) -> list[str]:
    with pytest.raises(InputError) as told:
        load_recipe(path, overrides)
    return str(told.value).split("\n")


def test_a_minimal_recipe_has_all_the_rest(write: Write, tmp_path: Path) -> None:
    minimal = "corpus: c.yaml\ntext: {source: {kind: words}, target: {kind: words}}\ntraining: {epochs: 1}\n"
    recipe = load_recipe(write(minimal))
    assert recipe.corpus == tmp_path / "c.yaml"
    assert recipe.training.optimiser.kind == "adam"
    assert recipe.model.attention.kind == "bahdanau"
    assert recipe.seed == 1


def test_a_setting_of_the_default_kind_needs_no_kind(write: Write) -> None:
    minimal = "corpus: c.yaml\ntext: {source: {kind: words}, target: {kind: words}}\ntraining: {epochs: 1}\n"
    recipe = load_recipe(write(minimal), ["training.optimiser.rate=0.01", "model.attention.size=7"])
    assert recipe.training.optimiser.kind == "adam"
    assert recipe.training.optimiser.settings["rate"] == 0.01
    assert recipe.model.attention == Choice("bahdanau", {"size": 7})


# ----------------------------------------------------------------------------------------------------------- keys


@pytest.mark.parametrize(
    ("wrong", "right", "line"),
    [("corpse", "corpus", 1), ("text", "test", 2), ("embeding", "embedding", 5), ("epoch", "epochs", 7)],
)
def test_an_unknown_key_is_told_with_its_line_and_the_nearest_name(
    write: Write, wrong: str, right: str, line: int
) -> None:
    if wrong == "text":  # here the right key is misspelt
        wrong, right = right, wrong
    path = write(RECIPE.replace(right, wrong, 1))
    assert any(
        told.startswith(f"{path}, line {line}: ") and told.endswith(f'unknown key; did you mean "{right}"?')
        for told in mistakes(path)
    )


def test_a_misplaced_key_is_told_where_it_belongs(write: Write) -> None:
    path = write(RECIPE + "accumulate: 2\n")
    (told,) = mistakes(path)
    assert told == f'{path}, line 14: accumulate: unknown key; did you mean "training.accumulate"?'


def test_all_mistakes_are_told_at_once(write: Write) -> None:
    path = write(RECIPE.replace("hidden: 8", "hiden: 8").replace("threads: 1", "threads: -1") + "seed: one\n")
    told = mistakes(path)
    assert len(told) == 3
    assert [one.split(":")[0] for one in told] == [f"{path}, line {n}" for n in (5, 9, 14)]


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("training.epochs=null", "training needs an end: epochs, updates or both"),
        ("training.batch_tokens=null", "a batch needs a size: batch_tokens, batch_sentences or both"),
        ("training.average=3", "average 3 needs as many checkpoints kept, not 2"),
        ("text.joint={}", "text.joint: must be true or false, found a mapping"),
        ("model.tie=all", 'model.tie "all" needs text.joint: true, one vocabulary for both sides'),
        ("model.readout=direct", 'choose "tanh" or "maxout", or the wiring "update-then-look"'),
        ("search.n_best=3", "n_best 3 needs a beam at least as wide, not 2"),
        ("training.epochs=0", "training.epochs"),
        ("training.epochs=1.5", "a whole number"),
        ("training.clip=0", "training.clip"),
        ("training.objective=[]", "training.objective"),
        ("model.dropout.output=1.0", "model.dropout.output"),
        ("training.precision=float16", "'float32' or 'bfloat16'"),
        ("model.cell=lstn", 'unknown kind "lstn"; did you mean "lstm"?'),
        ("model.attention={kind: gatt, inner: {kind: bahdanau, sise: 3}}", 'did you mean "size"?'),
        ("training.optimiser={kind: adam, rates: 1}", 'did you mean "rate"?'),
        ("text.source={kind: unigram}", "a vocabulary of kind unigram needs a size, such as 8000"),
    ],
)
def test_what_is_impossible_is_told(write: Write, override: str, sentence: str) -> None:
    (told,) = mistakes(write(), override)
    assert sentence in told
    assert "small.yaml" in told or "command line" in told


def test_one_vocabulary_has_one_kind_of_settings(write: Write) -> None:
    (told,) = mistakes(write(), "text.joint=true", "text.target={kind: words, size: 9}")
    assert "a joint vocabulary has the same settings for source and target" in told
    assert load_recipe(write(), ["text.joint=true", "model.tie=all"]).model.tie == "all"


# -------------------------------------------------------------------------------------------------- YAML, base, =


def test_a_number_may_be_written_as_people_do(write: Write) -> None:
    path = write(RECIPE.replace("rate: 0.01", "rate: 1e-4"))
    assert load_recipe(path).training.optimiser.settings["rate"] == 0.0001
    assert load_recipe(path, ["training.clip=5"]).training.clip == 5.0


def test_no_is_a_word(write: Write) -> None:
    (told,) = mistakes(write(), "text.joint=no")
    assert told.endswith('text.joint: must be true or false, found the text "no"')


def test_overrides_replace_and_the_last_counts(write: Write) -> None:
    recipe = load_recipe(write(), ["training.epochs=7", "model.attention=gatt", "training.epochs=8", "seed=3"])
    assert (recipe.training.epochs, recipe.model.attention.kind, recipe.seed) == (8, "gatt", 3)
    assert recipe.training.batch_tokens == 40


@pytest.mark.parametrize("override", ["training.epochs", "=3", "training..epochs=3", "--epochs 3"])
def test_what_is_no_override_is_told(write: Write, override: str) -> None:
    (told,) = mistakes(write(), override)
    assert "is written key=value" in told


def test_a_recipe_stands_on_its_base(write: Write, tmp_path: Path) -> None:
    write()
    path = write("base: small.yaml\nmodel: {attention: {kind: gatt, inner: {kind: bahdanau, size: 5}}}\n", "more.yaml")
    recipe = load_recipe(path)
    assert recipe.model.attention.kind == "gatt"
    assert recipe.model.attention.settings["inner"] == Choice("bahdanau", {"size": 5})
    assert (recipe.model.hidden, recipe.corpus) == (8, tmp_path / "corpus.yaml")
    assert mistakes(write("base: gone.yaml\n", "x.yaml")) == [
        f"{tmp_path / 'x.yaml'}, line 1: base: {tmp_path / 'gone.yaml'}: no such file"
    ]


@pytest.mark.parametrize("name", ["nowhere.yaml", "."])
def test_a_recipe_that_is_no_file(tmp_path: Path, name: str) -> None:
    (told,) = mistakes(tmp_path / name)
    assert told.startswith(str(tmp_path))


# ----------------------------------------------------------------------------------------------------------- a run


@pytest.fixture
def run(write: Write, tmp_path: Path) -> Path:
    keep_recipe(load_recipe(write()), tmp_path / "run")
    return tmp_path / "run"


def test_what_is_kept_reads_back_equal(write: Write, run: Path, tmp_path: Path) -> None:
    overrides = [
        "model.attention=gatt",
        "training.schedule={kind: plateau, floor: 1e-5}",
        "training.objective=[{loss: {kind: cross-entropy, smoothing: 0.1}, weight: 2, start: 3}]",
    ]
    for chosen in ([], overrides):
        recipe = load_recipe(write(), chosen)
        keep_recipe(recipe, tmp_path / f"run{len(chosen)}")
        assert load_recipe(tmp_path / f"run{len(chosen)}" / "recipe.yaml") == recipe


@pytest.mark.parametrize(
    "override",
    [
        "training.epochs=9",
        "training.updates=9",
        "training.device=auto",
        "training.threads=2",
        "training.log_every=9",
        "training.save_minutes=1",
        "training.keep=5",
        "training.validation.patience=5",
        "search.beam=9",
        "pictures=9",
    ],
)
def test_what_may_change(write: Write, run: Path, override: str) -> None:
    changed = load_recipe(write(), [override])
    keep_recipe(changed, run)
    assert load_recipe(run / "recipe.yaml") == changed


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["seed=2"], "seed was 1, is now 2"),
        (
            ["model.hidden=9", "training.accumulate=2"],
            "model.hidden was 8, is now 9; training.accumulate was 1, is now 2",
        ),
        (["model.attention=gatt"], "model.attention was bahdanau, is now gatt"),
        (["model.attention={kind: bahdanau, size: 3}"], "model.attention.size was null, is now 3"),
        (["training.optimiser.rate=0.02"], "training.optimiser.rate was 0.01, is now 0.02"),
        (["text.source.lowercase=true"], "text.source.lowercase was false, is now true"),
        (["training.validation.every=5"], "training.validation.every was null, is now 5"),
        (["training.objective=[{loss: cross-entropy, weight: 2}]"], "training.objective was "),
    ],
)
def test_what_may_not_change_is_told_by_its_name(write: Write, run: Path, overrides: list[str], told: str) -> None:
    before = (run / "recipe.yaml").read_bytes()
    with pytest.raises(InputError) as refused:
        keep_recipe(load_recipe(write(), overrides), run)
    assert str(refused.value).startswith(f"{run}: holds a run of another recipe ({told}")
    assert str(refused.value).endswith("choose another directory with --run, or remove this one to begin anew")
    assert "\n" not in str(refused.value)
    assert (run / "recipe.yaml").read_bytes() == before


def test_every_setting_that_is_not_free_is_compared(write: Write, run: Path) -> None:
    """A setting added to the model or the text counts as a change without anybody's doing."""
    recipe = load_recipe(write())
    for section, settings in (("model", recipe.model), ("text", recipe.text)):
        for name in set(type(settings).model_fields) - {"kind"}:  # of another kind, all is different
            other = next((one for one in (True, 7, "tanh", 1.0) if one != getattr(settings, name)), None)
            changed = recipe.model_construct(
                **{**dict(recipe), section: type(settings).model_construct(**{**dict(settings), name: other})}
            )
            assert isinstance(changed, Recipe)
            with pytest.raises(InputError, match=f"{section}.{name} was "):
                keep_recipe(changed, run)
