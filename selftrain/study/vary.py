"""Values of the fields of a recipe that a study varies by --vary."""

import contextlib
import difflib
import io
import itertools
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

from selftrain.program import Benchmark
from selftrain.recipe import Recipe, identity
from selftrain.system.errors import UserError

OPTIONS_OF_A_STUDY = {
    "policy": "--policies",
    "fraction": "--fractions",
    "seed": "--seeds",
    "steps": "--budgets, multiples of --steps",
    "starts": "--starts",
    "freeze": "--freeze",
    "until": None,
    "image_ids": None,
    "no_self_training": "--supervised-only",
    "contrasts": "--contrasts",
}
"""Fields of a recipe that a study sets itself, and the option of the study that says how."""


@dataclass(frozen=True)
class Value:
    """One value of a field that is varied."""

    name: str
    """of the field"""
    value: Any
    """as the recipe has it"""
    words: tuple[str, ...]
    """the option that sets it"""


def variable_fields(recipe: Recipe) -> list[str]:
    """The fields of a recipe that --vary may name: those that decide a result and have no option in a study.

    `protocol` is one of them although it stands in no cell's settings: the labels themselves do, by their
    hash.
    """
    deciding = identity(recipe, student=True).keys() | recipe.unused() | {"protocol"}
    names = [each.name for each in fields(recipe) if each.name in deciding]
    return [name for name in names if name not in OPTIONS_OF_A_STUDY]


def varied_values(
    benchmark: Benchmark, arguments: list[str], axes: list[tuple[str, list[str]]], base: Recipe
) -> list[tuple[Value, ...]]:
    """All combinations of the values that --vary names; a single empty one without --vary.

    arguments: of the benchmark, which give `base`; axes: (field, its values as they were typed) of each.
    Raises UserError for a field or a value that the recipe does not have.
    """
    values = ([_value(benchmark, arguments, base, name, text) for text in texts] for name, texts in axes)
    return list(itertools.product(*values))


def _value(benchmark: Benchmark, arguments: list[str], base: Recipe, name: str, text: str) -> Value:
    """A value as the option itself would be read."""
    if instead := OPTIONS_OF_A_STUDY.get(name):
        raise UserError(f"--vary {name}: a study has an option of its own for that; give {instead}")
    possible = variable_fields(base)
    if name not in possible:
        near = difflib.get_close_matches(name, possible, n=1, cutoff=0)
        known = name in {each.name for each in fields(base)}
        raise UserError(
            f"--vary {name}: {'a study does not vary it' if known else 'the recipe has no such field'}; "
            f"nearest: {near[0]} (there are {', '.join(possible)})"
        )
    option = name.replace("_", "-")
    kind = get_type_hints(type(base))[name]
    if kind is bool and text in ("True", "False"):
        words = [f"--{option}" if text == "True" else f"--no-{option}"]
    else:
        words = [f"--{option}", *text.split()]
    try:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            value = getattr(benchmark.read([*arguments, *words]), name)
    except SystemExit:
        raise UserError(f"--vary {name}={text}: give {_possible_values(kind, text)}") from None
    return Value(name, value, tuple(words))


def _possible_values(kind: Any, text: str) -> str:
    """What a field of this type may be set to, for a person."""
    if kind is bool:
        return "True or False"
    each = [kind, *get_args(kind)]
    choices = [str(value) for one in each if get_origin(one) is Literal for value in get_args(one)]
    types = [one.__name__ for one in each if isinstance(one, type) and one is not type(None)]
    if choices and not types:
        near = difflib.get_close_matches(text, choices, n=1, cutoff=0)[0]
        return f"one of {', '.join(choices)}; nearest: {near}"
    return " or ".join([*(f"a value of type {name}" for name in types), *choices])
