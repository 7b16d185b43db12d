"""Settings: what YAML means, what a recipe inherits, what every mistake is told, and that dump and load agree."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from nmt import yaml_tree
from nmt.errors import InputError
from nmt.settings import Builder, Choice, FilePath, Settings, choice, dump, load

Positive = Annotated[int, pydantic.Field(gt=0)]


class Plain:
    """A member that stands alone."""

    def __init__(self, query_size: int, *, size: Positive = 256, mode: Literal["dot", "sum"] = "dot") -> None:
        self.made = ("plain", query_size, size, mode)


PLAIN = Choice("plain")


class Wrapper:
    """A member that wraps another and gives it twice the query."""

    def __init__(self, query_size: int, *, inner: Builder = PLAIN, rate: float = 0.5) -> None:
        self.made = ("wrapper", query_size, rate, inner(2 * query_size).made)


class Sampler:
    """A member whose inner one has no default, with the signature spelled out."""

    def __init__(self, query_size: int, *, inner: Callable[[int], Any]) -> None:
        self.made = ("sampler", query_size, inner(query_size).made)


TABLE: dict[str, Callable[..., Any]] = {"plain": Plain, "wrapper": Wrapper, "sampler": Sampler}


class Training(Settings):
    rate: float = 0.1
    updates: Positive = 10
    warmup: int | None = None

    @pydantic.model_validator(mode="after")
    def _warmup_ends_before_training_does(self) -> Training:
        if self.warmup is not None and self.warmup > self.updates:
            raise ValueError("warmup is longer than updates; lower it")
        return self


class Recipe(Settings):
    name: str
    language: str | int = "en"
    verbose: bool = False
    sizes: tuple[int, ...] = ()
    files: dict[str, FilePath] = pydantic.Field(default_factory=dict)
    corpus: FilePath = Path("/nowhere")
    attention: Annotated[Choice, choice(TABLE)] = Choice("plain")
    training: Training = Training()


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes a file of a temporary directory and gives its path."""

    def write(text: str, name: str = "recipe.yaml") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write


def mistakes(path: Path, *overrides: str) -> list[str]:
    """What loading the file as a Recipe complains about, without the directory."""
    with pytest.raises(InputError) as caught:
        load(path, Recipe, overrides)
    return str(caught.value).replace(f"{path.parent}/", "").split("\n")


def read_scalar(text: str) -> Any:
    found: list[str] = []
    value = yaml_tree.plain(yaml_tree.parse(text, "test", Path(), found))
    assert not found
    return value


# ------------------------------------------------------------------------------------------------- what YAML means


@pytest.mark.parametrize(
    "text", ["no", "yes", "on", "off", "y", "N", "No", "12:30", "2024-05-01", "0x1F", "0o17", "<<", "="]
)
def test_text_stays_text(text: str) -> None:
    assert read_scalar(text) == text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4), ("1E5", 1e5), ("3e+2", 300.0), ("1.", 1.0), (".5", 0.5), ("-0.25", -0.25), ("1_000.5", 1000.5),
        ("1_000", 1000), ("012", 12), ("-7", -7), ("+3", 3), ("0", 0), (".inf", float("inf")), ("-.inf", -float("inf")),
        ("true", True), ("False", False), ("null", None), ("~", None), ("", None), ("'1e-4'", "1e-4"), ("e4", "e4"),
    ],
)  # fmt: skip
def test_numbers_are_what_a_person_expects(text: str, value: Any) -> None:
    got = read_scalar(text)
    assert got == value
    assert type(got) is type(value) or isinstance(value, str)


def test_a_list_and_a_mapping() -> None:
    assert read_scalar("{a: [1, no, {1: x}]}") == {"a": (1, "no", {"1": "x"})}


# ------------------------------------------------------------------------------------------------------ good recipes


def test_whole_numbers_pass_for_floats_and_only_there(write: Callable[..., Path]) -> None:
    path = write("name: no\nlanguage: 012\nsizes: [1, 2]\ntraining: {rate: 1, updates: 1_000}\n")
    assert load(path, Recipe) == Recipe(name="no", language=12, sizes=(1, 2), training=Training(rate=1.0, updates=1000))


def test_base_is_merged_mapping_by_mapping(write: Callable[..., Path]) -> None:
    write("name: ground\ntraining: {rate: 0.5, updates: 7}\n", "low/ground.yaml")
    write("base: low/ground.yaml\nname: middle\ntraining: {updates: 8}\n", "middle.yaml")
    path = write("base: middle.yaml\ntraining: {warmup: 3}\n")
    assert load(path, Recipe) == Recipe(name="middle", training=Training(rate=0.5, updates=8, warmup=3))


@pytest.mark.parametrize(
    ("below", "above", "result"),
    [
        ("{kind: plain, size: 5}", "{kind: wrapper, rate: 1.0}", Choice("wrapper", {"rate": 1.0})),
        ("{kind: plain, size: 5}", "{kind: plain, mode: sum}", Choice("plain", {"size": 5, "mode": "sum"})),
        ("{kind: plain, size: 5}", "{mode: sum}", Choice("plain", {"size": 5, "mode": "sum"})),
        ("plain", "{mode: sum}", Choice("plain", {"mode": "sum"})),
        ("{kind: plain, size: 5}", "plain", Choice("plain")),
        ("{kind: plain, size: 5}", "wrapper", Choice("wrapper")),
    ],
)
def test_settings_of_another_kind_are_not_inherited(
    write: Callable[..., Path], below: str, above: str, result: Choice
) -> None:
    write(f"name: x\nattention: {below}\n", "base.yaml")
    path = write(f"base: base.yaml\nattention: {above}\n")
    assert load(path, Recipe) == Recipe(name="x", attention=result)


def test_paths_are_relative_to_the_file_they_stand_in(
    write: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("name: x\ncorpus: text.zh\nfiles: {a: ../a.txt, b: /b.txt}\n", "deep/base.yaml")
    path = write("base: deep/base.yaml\nfiles: {c: c.txt}\n")
    monkeypatch.chdir(write("", "elsewhere/here").parent)
    recipe = load(Path("../recipe.yaml"), Recipe, ["files.d=d.txt"])
    assert recipe == load(path, Recipe, ["files.d=d.txt"])
    assert recipe.corpus == tmp_path / "deep" / "text.zh"
    expected = {"a": tmp_path / "a.txt", "b": Path("/b.txt"), "c": tmp_path / "c.txt"}
    assert recipe.files == {**expected, "d": tmp_path / "elsewhere" / "d.txt"}


def test_overrides_win_in_their_order(write: Callable[..., Path]) -> None:
    path = write("name: x\nattention: plain\ntraining: {rate: 0.5}\n")
    recipe = load(path, Recipe, ["training.rate=1e-4", "attention.size=3", "name=a=b", "name=no", "sizes=[4, 5]"])
    assert recipe == Recipe(
        name="no", sizes=(4, 5), attention=Choice("plain", {"size": 3}), training=Training(rate=1e-4)
    )


def test_choices_validate_fill_in_and_build_inside_out(write: Callable[..., Path]) -> None:
    path = write("name: x\nattention: {kind: sampler, inner: {kind: wrapper, inner: {kind: plain, size: 3}}}\n")
    attention = load(path, Recipe).attention
    plain = Choice("plain", {"size": 3, "mode": "dot"})
    assert attention == Choice("sampler", {"inner": Choice("wrapper", {"inner": plain, "rate": 0.5})})
    assert attention.build(TABLE, 5).made == ("sampler", 5, ("wrapper", 5, 0.5, ("plain", 10, 3, "dot")))
    assert Choice("wrapper").build(TABLE, 5).made == ("wrapper", 5, 0.5, ("plain", 10, 256, "dot"))


def test_an_untyped_parameter_is_a_bug_of_ours() -> None:
    def member(*, size=3):  # type: ignore[no-untyped-def]
        return size

    with pytest.raises(TypeError, match="annotation"):
        choice({"member": member}).validate("member")


# ---------------------------------------------------------------------------------------------------------- dump


NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
TRICKY = st.sampled_from(
    [
        "no",
        "1e-4",
        "012",
        "1_0",
        "null",
        "~",
        "",
        " x",
        "a: b",
        "#",
        "- a",
        "\t",
        "é\n\nö",
        "\u2028",
        "\x85",
        "a\u2029b",
        "0.",
        "=",
    ]
)
CHOICES = st.recursive(
    st.builds(lambda size: Choice("plain", {"size": size}), st.integers(1, 10**20)),
    lambda inner: st.builds(
        lambda kind, one: Choice(kind, {"inner": one}), st.sampled_from(["wrapper", "sampler"]), inner
    ),
    max_leaves=4,
)


@given(
    st.builds(
        Recipe,
        name=NAMES | TRICKY,
        language=NAMES | TRICKY | st.integers(),
        verbose=st.booleans(),
        sizes=st.lists(st.integers(), max_size=3).map(tuple),
        files=st.dictionaries(NAMES | TRICKY, st.sampled_from([Path("/a"), Path("b/c d"), Path("/no")]), max_size=2),
        attention=CHOICES,
        training=st.builds(Training, rate=st.floats(allow_nan=False), updates=st.integers(min_value=1)),
    )
)
def test_dump_is_read_back_to_an_equal_value(tmp_path_factory: pytest.TempPathFactory, recipe: Recipe) -> None:
    path = tmp_path_factory.mktemp("dump") / "resolved.yaml"
    path.write_text(dump(recipe), encoding="utf-8", newline="")
    assert load(path, Recipe) == recipe


def test_dump_says_every_default() -> None:
    read = yaml.safe_load(dump(Recipe(name="x")))
    assert read["attention"] == {"kind": "plain", "size": 256, "mode": "dot"}
    assert read["training"] == {"rate": 0.1, "updates": 10, "warmup": None}


# -------------------------------------------------------------------------------------------------------- mistakes


def test_all_mistakes_at_once_each_with_its_line(
    write: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write("name: x\ntraining:\n  updates: 1.5\n", "base.yaml")
    path = write(
        """base: base.yaml
nane: y
rate: 3
verbose: no
sizes: 3
attention:
  kind: wrapper
  inner: {kind: sampler,
    inner: {kind: plane, size: 3}}
  rat: 1
training:
  rate: fast
  rate: slow
  warmup: [1]
"""
    )
    assert mistakes(Path(path.name), "language=null", "training", "training.x.y=1", "attention.rate=[") == [
        'recipe.yaml, line 13: the key "rate" is given twice (first in line 12)',
        'command line, "training": a setting on the command line is written key=value or section.key=value',
        'command line, "attention.rate=[": not YAML: while parsing a flow node, expected the node content, '
        "but found '<stream end>'",
        "base.yaml, line 3: training.updates: must be a whole number, found 1.5",
        'command line, "language=null": language: must be text or a whole number, found nothing',
        'command line, "training.x.y=1": training.x: unknown key; known here: rate, updates, warmup',
        'recipe.yaml, line 2: nane: unknown key; did you mean "name"?',
        'recipe.yaml, line 3: rate: unknown key; did you mean "training.rate"?',
        'recipe.yaml, line 4: verbose: must be true or false, found the text "no"',
        "recipe.yaml, line 5: sizes: must be a list, found 3",
        'recipe.yaml, line 9: attention.inner.inner.kind: unknown kind "plane"; did you mean "plain"?',
        'recipe.yaml, line 10: attention.rat: unknown key; did you mean "rate"?',
        'recipe.yaml, line 12: training.rate: must be a number, found the text "fast"',
        "recipe.yaml, line 14: training.warmup: must be a whole number, found a list",
    ]


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("attention: {size: 3}", 2, 'attention: the key "kind" is missing'),
        ("attention: {kind: sampler}", 2, 'attention: the key "inner" is missing'),
        ("attention: 3", 2, "attention: must be a name or a mapping with a kind, found 3"),
        ("attention: {kind: plain, size: 0}", 2, "attention.size: must be greater than 0, found 0"),
        ("attention: {kind: plain, mode: x}", 2, "attention.mode: must be 'dot' or 'sum', found the text \"x\""),
        ("verbose: 1", 2, "verbose: must be true or false, found 1"),
        ("corpus: [1]", 2, "corpus: must be a path, found a list"),
        ("corpus: ''", 2, "corpus: a path must not be empty"),
        ("training: 1e-4", 2, "training: must be a mapping of keys to values, found 0.0001"),
        ("sizes: [1,\n true]", 3, "sizes.1: must be a whole number, found true"),
        ("training:\n  warmup: 11", 2, "training: warmup is longer than updates; lower it"),
        ("\tverbose: true", 2, "not YAML: a tab where spaces were expected; indent with spaces"),
        ("sizes: [1\nx: y", 3, "not YAML: while parsing a flow sequence, expected ',' or ']', but got ':'"),
        ("a: &a x\nb: *a", 3, "not YAML: an alias (*name) is not read here, write the value out"),
        ("a: !!python/name:os.system x", 2, "the tag tag:yaml.org,2002:python/name:os.system is not allowed"),
        ("language: !!int x", 2, "the tag tag:yaml.org,2002:int is not allowed"),
        ("a: \x00", 2, "not YAML: the character U+0000 is not allowed"),
        ("? [a]\n: b", 2, "a key must be plain text"),
        ("base: 3", 2, "base: must be the path of another file, found 3"),
        ("base: none.yaml", 2, "base: none.yaml: no such file"),
        ("base: ./recipe.yaml", 2, "base: ./recipe.yaml leads back to a file that builds on it; break the circle"),
    ],
)
def test_mistake(write: Callable[..., Path], text: str, line: int, reason: str) -> None:
    assert mistakes(write(f"name: x\n{text}\n"))[0] == f"recipe.yaml, line {line}: {reason}"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", 'the key "name" is missing'),
        ("# nothing\n", 'the key "name" is missing'),
        ("- a\n", "must be a mapping of keys to values, found a list"),
        ("--- {}\n--- {}\n", "not YAML"),
    ],
)
def test_mistake_of_a_whole_file(write: Callable[..., Path], text: str, reason: str) -> None:
    (sentence,) = mistakes(write(text))
    assert sentence.startswith("recipe.yaml")
    assert reason in sentence


def test_a_longer_circle_of_bases(write: Callable[..., Path]) -> None:
    write("base: recipe.yaml\n", "other.yaml")
    assert mistakes(write("base: other.yaml\nname: x\n")) == [
        "other.yaml, line 1: base: recipe.yaml leads back to a file that builds on it; break the circle"
    ]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert mistakes(tmp_path / "none.yaml") == ["none.yaml: no such file or directory"]
    (tmp_path / "directory").mkdir()
    assert mistakes(tmp_path / "directory") == ["directory: is a directory"]
    (tmp_path / "latin.yaml").write_bytes(b"name: x\n# caf\xe9\n")
    assert mistakes(tmp_path / "latin.yaml") == ["latin.yaml, line 2: invalid UTF-8; convert the file to UTF-8"]


def test_settings_do_not_change() -> None:
    recipe = Recipe(name="x")
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        recipe.name = "y"  # type: ignore[misc]
