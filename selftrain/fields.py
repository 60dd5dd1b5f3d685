"""How a field of a recipe is declared: its default, its part in a cell's identity, and its neutral value.

    lr: float = 0.32                             decides the result of every cell, as every plain default does
    drop_path: float = always(0.0, neutral=0.0)  the same, and at 0 it does nothing
    alpha: float = student(1.0)                  decides the result of a cell with pseudo-labels, of no other
    out: str = never("runs")                     says where things lie or how they are run: decides no result

The meaning of a field stands below it, as a string; `selftrain/options.py` shows it in `--help`.
"""

import dataclasses
from typing import Any

_PART, _NEUTRAL = "part of identity", "neutral value"  # the keys of a field's metadata
_UNNAMED = object()  # None is a neutral value of some fields


class Group:
    """Fields of a recipe that belong to one subject; the docstring of a group introduces its box in `--help`.

    `class Model(Group, title="model")` begins a group.  A class that inherits from `Model` without a title of
    its own extends it: its fields stand in the same box.
    """

    group_title = ""

    def __init_subclass__(cls, title: str | None = None, **options):
        super().__init_subclass__(**options)
        if title is not None:
            cls.group_title = title


def always(default: Any, *, neutral: Any = _UNNAMED) -> Any:
    """A field that decides the result of every cell.  Only a field with a neutral value needs to say so.

    neutral: the value at which the field does nothing, so that a cell is the same as without the field.
    """
    return _declare("always", default, neutral)


def student(default: Any, *, neutral: Any = _UNNAMED) -> Any:
    """A field that decides the result of cells with pseudo-labels alone; `neutral` as in `always`."""
    return _declare("student", default, neutral)


def never(default: Any) -> Any:
    """A field that is no part of a cell's identity.

    It says where things lie or how they are run, or it lists what spans several cells, or what it names
    enters the identity of a cell by a hash of its content.
    """
    return _declare("never", default, _UNNAMED)


def _declare(part: str, default: Any, neutral: Any) -> Any:
    named = {} if neutral is _UNNAMED else {_NEUTRAL: neutral}
    return dataclasses.field(default=default, metadata={_PART: part} | named)


def identity_fields(recipe_class: type, *, student: bool) -> list[str]:
    """Names of the fields that decide the result of a cell, in their order.

    student: whether the cell learns from pseudo-labels.
    """
    parts = ("always", "student") if student else ("always",)
    return [f.name for f in dataclasses.fields(recipe_class) if f.metadata.get(_PART, "always") in parts]


def neutral_fields(recipe_class: type) -> dict[str, Any]:
    """Field -> the value at which it does nothing, of the fields that have such a value."""
    return {f.name: f.metadata[_NEUTRAL] for f in dataclasses.fields(recipe_class) if _NEUTRAL in f.metadata}
