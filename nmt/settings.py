"""Settings: typed, strict, read from YAML with every mistake told at once.

A recipe is a YAML file read by :func:`load` into a subclass of :class:`Settings`. It contains only what differs: one
``base: other.yaml`` (relative to the file) may hold the rest. What :func:`dump` writes is read back to an equal value.

A setting that names a member of a table, ``ATTENTIONS = {"bahdanau": Bahdanau, "gatt": GAtt}``, is declared as

    attention: Annotated[Choice, choice(ATTENTIONS)] = Choice("bahdanau")

and accepts ``bahdanau`` or ``{kind: bahdanau, size: 256}``; what else the mapping may hold is read from the
*keyword-only* parameters of the constructor, their annotations and defaults. A member that wraps another of its own
table has a parameter annotated as a function, ``Callable[[int, int], Attention]`` or :data:`Builder`, and calls it:

    class GAtt(Attention):
        def __init__(self, query_size: int, memory_size: int, *, inner: Builder) -> None:
            self.inner = inner(query_size, memory_size)

``settings.attention.build(ATTENTIONS, query_size, memory_size)`` then builds the whole nest, and no member imports the
table.
"""

from __future__ import annotations

import collections.abc
import difflib
import functools
import inspect
import os
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar, cast

import pydantic
from pydantic_core import InitErrorDetails, PydanticCustomError, core_schema

from nmt import yaml_tree
from nmt.errors import InputError
from nmt.yaml_tree import Located, Origin

S = TypeVar("S", bound="Settings")

_UNKNOWN = "unknown_key"
# What pydantic's errors about types mean to the writer of a recipe.
_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "string_type": "text",
    "bool_type": "true or false",
    "none_required": "null",
    "tuple_type": "a list",
    "dict_type": "a mapping of keys to values",
    "model_type": "a mapping of keys to values",
}


class Settings(pydantic.BaseModel):
    """The base of all settings: no key that is not declared, no value of another type, no change once made.

    A whole number passes for a float; a YAML list is a tuple. Impossible combinations are refused by a
    ``pydantic.model_validator(mode="after")`` that raises ``ValueError`` with a sentence.
    """

    model_config = pydantic.ConfigDict(
        strict=True, extra="forbid", frozen=True, validate_default=True, protected_namespaces=()
    )

    @pydantic.model_validator(mode="wrap")
    @classmethod
    def _unknown_keys_know_their_neighbours(cls, data: Any, handler: pydantic.ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return handler(data)
        except pydantic.ValidationError as error:
            raise _rebuilt(error, list(cls.model_fields)) from None


def load(path: Path, schema: type[S], overrides: Sequence[str] = ()) -> S:
    """The settings in a YAML file, with ``a.b.c=value`` overrides on top (the value is YAML too).

    Raises ``InputError`` with one sentence a line, for all mistakes at once.
    """
    mistakes: list[str] = []
    tree = _read_with_base(path, mistakes)
    for override in parse_overrides(overrides, mistakes):
        tree = yaml_tree.merge(tree, override)
    try:
        settings = schema.model_validate(yaml_tree.plain(tree))
    except pydantic.ValidationError as error:
        mistakes += _sentences(error, tree, schema)
    if mistakes:
        raise InputError("\n".join(mistakes))
    return settings


def parse_overrides(overrides: Sequence[str], mistakes: list[str]) -> list[Located]:
    """Each ``a.b.c=value`` as a tree ``{a: {b: {c: value}}}``; what is not of this form is added to ``mistakes``.

    One that was written in a YAML file (:data:`Override`) is told by its line, and its paths are relative to the file.
    """
    trees = []
    for override in overrides:
        written = override if isinstance(override, yaml_tree.Text) else None
        name = f'{written.origin if written is not None else "command line"}, "{override}"'
        directory = written.directory if written is not None else Path.cwd()
        path, equals, text = override.partition("=")
        keys = path.strip().split(".")
        if not equals or not all(keys):
            where = "" if written is not None else " on the command line"
            mistakes.append(f"{name}: a setting{where} is written key=value or section.key=value")
            continue
        try:
            tree = yaml_tree.parse(text, name, directory, mistakes, first_line=0)
        except InputError as error:
            mistakes.append(str(error))
            continue
        for key in reversed(keys):
            tree = Located({key: tree}, Origin(name, 0), directory)
        trees.append(tree)
    return trees


def plain(value: Any) -> Any:
    """Settings as dictionaries, lists and scalars, every default written out; paths are text."""
    if isinstance(value, Settings):
        return {name: plain(getattr(value, name)) for name in type(value).model_fields}
    if isinstance(value, Choice):
        return {"kind": value.kind, **plain(value.settings)}
    if isinstance(value, Mapping):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, tuple | list):
        return [plain(one) for one in value]
    return str(value) if isinstance(value, Path | str) else value


def dump(settings: Settings) -> str:
    """The settings as YAML, every default written out; :func:`load` reads it back to an equal value."""
    return yaml_tree.write(plain(settings))


def _absolute(value: Any) -> Path:
    if not isinstance(value, str | Path):
        raise PydanticCustomError("path_type", "Input should be a path")
    if not str(value):
        raise ValueError("a path must not be empty")
    directory = getattr(value, "directory", Path())
    return Path(os.path.abspath(directory / Path(value).expanduser()))


FilePath = Annotated[Path, pydantic.BeforeValidator(_absolute)]
"""A path: relative to the file it is written in (to the working directory on the command line), absolute once read."""


def _override(value: Any) -> str:
    if not isinstance(value, str):
        raise PydanticCustomError("override_type", "Input should be a setting as text, such as model.hidden=256")
    return value  # as it is: it knows where it was written


Override = Annotated[str, pydantic.PlainValidator(_override)]
"""A setting of another file, ``section.key=value``, for :func:`load` to put on top of it."""


# --------------------------------------------------------------------------------------------- members of a table


@dataclass(frozen=True)
class Choice:
    """A member of a table by name, with the settings of its constructor (validated, defaults filled in)."""

    kind: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    def build(self, table: Mapping[str, Callable[..., Any]], *args: Any) -> Any:
        """``table[kind](*args, **settings)``; a parameter that is a function gets one building from the same table."""
        member = table[self.kind]
        settings = dict(self.settings)
        for name, parameter in _parameters(member).items():
            inner = settings.get(name, parameter.default)
            if _is_builder(parameter.annotation) and isinstance(inner, Choice):
                settings[name] = functools.partial(inner.build, table)
        return member(*args, **settings)

    def __call__(self, *args: Any) -> Any:
        """Never to be called: lets a ``Choice`` be the default of a parameter that is a function."""
        raise TypeError(f"{self} must be built from its table: choice.build(TABLE, ...)")


Builder = Callable[..., Any]
"""Annotates a keyword-only parameter: another member of the same table, handed over as a function that builds it."""


class choice:  # noqa: N801 - reads as a word in an annotation
    """The annotation of a field that names a member of ``table``: ``Annotated[Choice, choice(ATTENTIONS)]``.

    ``default`` is the member that is meant by settings without a ``kind``, so that ``optimiser.rate=0.01`` will do.
    """

    def __init__(self, table: Mapping[str, Callable[..., Any]], default: str | None = None) -> None:
        self.table, self.default = table, default

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(self.validate)

    def validate(self, value: Any) -> Choice:
        """A name, a mapping with ``kind``, or a ``Choice``, as a ``Choice`` with all its settings."""
        kind: Any
        place: tuple[str, ...] = ()
        if isinstance(value, str):
            kind, settings = value, {}
        elif isinstance(value, Choice):
            kind, settings = value.kind, dict(value.settings)
        elif isinstance(value, Mapping):
            settings = dict(value)
            kind, place = settings.pop("kind", self.default), ("kind",)
            if kind is None and "kind" not in value:
                raise _error("missing", "Field required", ("kind",), value)
        else:
            raise _error("choice_type", "Input should be a name or a mapping with a kind", (), value)
        if not isinstance(kind, str) or kind not in self.table:
            raise _error("unknown_kind", f'unknown kind "{kind}"{_nearest(kind, self.table)}', place, kind)
        checked = _schema(self, kind).model_validate(settings)
        return Choice(str(kind), {name: getattr(checked, name) for name in type(checked).model_fields})


def _schema(chooser: choice, kind: str) -> type[Settings]:
    """The settings of one member: its keyword-only parameters."""
    fields: dict[str, Any] = {}
    for name, parameter in _parameters(chooser.table[kind]).items():
        annotation = (
            Annotated[Choice, choice(chooser.table)] if _is_builder(parameter.annotation) else parameter.annotation
        )
        fields[name] = (annotation, ... if parameter.default is parameter.empty else parameter.default)
    return pydantic.create_model(kind, __base__=Settings, **fields)


@functools.cache
def _parameters(member: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The keyword-only parameters of a class or function, their annotations as types."""
    keywords = {
        name: parameter
        for name, parameter in inspect.signature(member).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }
    constructor: Any = member
    if isinstance(member, type):
        constructor = member.__init__  # type: ignore[misc]
    hints = typing.get_type_hints(constructor, include_extras=True) if keywords else {}
    if unfit := {name for name in keywords if name == "kind" or name not in hints}:
        raise TypeError(f"{member!r}: keyword-only parameters need an annotation and a name other than kind: {unfit}")
    return {name: parameter.replace(annotation=hints[name]) for name, parameter in keywords.items()}


def _is_builder(annotation: Any) -> bool:
    """A function cannot be written in a recipe, so it is the name of another member of the table that is meant."""
    return typing.get_origin(annotation) is collections.abc.Callable


# ------------------------------------------------------------------------------------------------ files and bases


def _read_with_base(path: Path, mistakes: list[str], above: tuple[Path, ...] = ()) -> Located:
    """A file merged over its base, which may have a base of its own."""
    tree = yaml_tree.read(path, mistakes)
    if tree.value is None:
        return tree._replace(value={})
    if not isinstance(tree.value, dict):
        raise InputError(f"{path}: must be a mapping of keys to values, found {_found(yaml_tree.plain(tree))}")
    base = tree.value.pop("base", None)
    if base is None:
        return tree
    if not isinstance(base.value, str):
        mistakes.append(f"{base.origin}: base: must be the path of another file, found {_found(yaml_tree.plain(base))}")
        return tree
    below, chain = path.parent / base.value, (*above, path)
    if any(os.path.realpath(below) == os.path.realpath(one) for one in chain):
        raise InputError(f"{base.origin}: base: {base.value} leads back to a file that builds on it; break the circle")
    if not below.is_file():
        raise InputError(f"{base.origin}: base: {below}: no such file")
    return yaml_tree.merge(_read_with_base(below, mistakes, chain), tree)


# ------------------------------------------------------------------------------------------ mistakes as sentences


def _error(kind: str, message: str, place: tuple[str, ...], value: Any) -> pydantic.ValidationError:
    details = InitErrorDetails(type=PydanticCustomError(cast(Any, kind), cast(Any, message)), loc=place, input=value)
    return pydantic.ValidationError.from_exception_data("settings", [details])


def _rebuilt(error: pydantic.ValidationError, names: list[str]) -> pydantic.ValidationError:
    """The same error, with the names that would have been right beside each unknown key of this mapping."""
    details = []
    for one in error.errors(include_url=False):
        kind, context = one["type"], one.get("ctx")
        if kind == "extra_forbidden" and len(one["loc"]) == 1:
            kind, context = _UNKNOWN, {"names": names}
        custom = PydanticCustomError(cast(Any, kind), cast(Any, one["msg"]), context)
        details.append(InitErrorDetails(type=custom, loc=one["loc"], input=one["input"]))
    return pydantic.ValidationError.from_exception_data(error.title, details)


def _sentences(error: pydantic.ValidationError, tree: Located, schema: type[Settings]) -> list[str]:
    """One sentence for each mistake, in the order of the file; the branches of a union make one sentence."""
    told: dict[tuple[Origin, str], list[tuple[str, str]]] = {}
    for one in error.errors(include_url=False):
        place = tree
        names: list[str] = []
        for step in one["loc"]:  # steps that are not in the tree: the branch of a union, or the key that is missing
            if isinstance(place.value, dict) and step in place.value:
                place, names = place.value[str(step)], [*names, str(step)]
            elif isinstance(place.value, list) and isinstance(step, int) and step < len(place.value):
                place, names = place.value[step], [*names, str(step)]
        told.setdefault((place.origin, ".".join(names)), []).append(_told(cast(Any, one), schema))
    sentences = []
    for (origin, name), reasons in sorted(told.items(), key=lambda item: item[0][0]):
        lead = f"{origin}: {name}: " if name else f"{origin}: "
        wanted = {reason: None for must, reason in reasons if must}
        ending = next((must for must, _ in reasons if must), "")
        sentences += [lead + reason for must, reason in reasons if not must]
        if wanted:
            sentences.append(f"{lead}must be {' or '.join(wanted)}{ending}")
    return sentences


def _told(error: dict[str, Any], schema: type[Settings]) -> tuple[str, str]:
    """("", sentence), or (what was found, what was wanted) where the value is wrong."""
    kind, message, value = error["type"], error["msg"], error["input"]
    context = error.get("ctx") or {}
    if kind == "missing":
        return "", f'the key "{error["loc"][-1]}" is missing'
    if kind == _UNKNOWN:
        return "", f"unknown key{_nearest(str(error['loc'][-1]), context['names'], schema)}"
    if kind == "value_error":
        return "", str(context["error"]) if "error" in context else message
    found = f", found {_found(value)}"
    if kind in _EXPECTED:
        return found, _EXPECTED[kind]
    if message.startswith("Input should be "):
        return found, message.removeprefix("Input should be ")
    return "", message


def _nearest(name: Any, names: typing.Iterable[str], schema: type[Settings] | None = None) -> str:
    """What was probably meant: a name written nearly so, the same name elsewhere in the schema, or all the names."""
    near = difflib.get_close_matches(str(name), list(names), n=1)
    if not near and schema is not None:
        near = [path for path in _key_paths(schema) if path.rpartition(".")[2] == name][:1]
    return f'; did you mean "{near[0]}"?' if near else f"; known here: {', '.join(names) or 'nothing'}"


def _key_paths(schema: type[Settings], prefix: str = "") -> Iterator[str]:
    for name, info in schema.model_fields.items():
        yield prefix + name
        if isinstance(info.annotation, type) and issubclass(info.annotation, Settings):
            yield from _key_paths(info.annotation, f"{prefix}{name}.")


def _found(value: Any) -> str:
    if isinstance(value, str):
        return f'the text "{value}"'
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return str(value)
    if value is None:
        return "nothing"
    return {"tuple": "a list", "dict": "a mapping"}.get(type(value).__name__, f"a {type(value).__name__}")
