"""A recipe as command-line options: flat names (`--steps`), in `--help` one titled box for each group."""

import ast
import dataclasses
import functools
import inspect
import itertools
from typing import Annotated, Any

import tyro

from selftrain.fields import Group
from selftrain.recipe import Recipe

_BOX = "box_"  # begins the name of a field that stands for a group


def read_options(preset: Recipe, args: list[str], *, prog: str, description: str | None) -> Recipe:
    """The preset with the values that the options give.  `--help` and mistakes end the program (SystemExit).

    tyro draws a box for each nested dataclass.  So behind the options stands a dataclass that is made for
    this preset, with one field for each group; its options drop the prefix that nesting would give them
    (`--optimiser.steps`).  A field that is a dataclass itself has its own box after that of its group, and
    keeps its prefix (`--shapes.train`).
    """
    boxes: list[tuple[str, Any, Any]] = []
    for title, group in groups(type(preset)).items():
        plain, nested = [], []
        for field in dataclasses.fields(group):
            (nested if dataclasses.is_dataclass(field.type) else plain).append(field)
        flat = _options(group, preset, plain)
        boxes.append(
            (
                f"{_BOX}{len(boxes)}",
                Annotated[flat, tyro.conf.arg(name=title, help=inspect.getdoc(group))],
                dataclasses.field(default_factory=flat),
            )
        )
        boxes += [_option(field, group, preset) for field in nested]
    read = tyro.cli(
        dataclasses.make_dataclass("Options", boxes), args=args, prog=prog, description=description
    )
    values: dict[str, Any] = {}
    for name, value in vars(read).items():
        values |= vars(value) if name.startswith(_BOX) else {name: value}
    return dataclasses.replace(preset, **values)


def groups(recipe_class: type[Recipe]) -> dict[str, type[Group]]:
    """Title -> group, in the order of `--help`; a group that a task extends keeps its place in `Recipe`."""
    found = {}
    for base in reversed(recipe_class.__mro__):
        if issubclass(base, Group) and base.group_title and not issubclass(base, Recipe):
            found[base.group_title] = base
    return found


def _options(group: type[Group], preset: Recipe, fields: list[dataclasses.Field]) -> type:
    """A dataclass of these fields of a group, with the preset's values as defaults."""
    return dataclasses.make_dataclass(
        group.__name__, [_option(field, group, preset, prefix_name=False) for field in fields]
    )


def _option(
    field: dataclasses.Field, group: type[Group], preset: Recipe, **how: Any
) -> tuple[str, Any, dataclasses.Field]:
    """Name, annotated type and default of a field of a group, as `make_dataclass` takes them."""
    kind = Annotated[field.type, tyro.conf.arg(help=meanings(group)[field.name], **how)]
    return field.name, kind, dataclasses.field(default=getattr(preset, field.name))


@functools.cache
def meanings(group: type[Group]) -> dict[str, str]:
    """Field -> the text that stands below it in the source, on one line."""
    texts = {}
    for base in reversed(group.__mro__):
        if not (issubclass(base, Group) and base.group_title):
            continue
        (definition,) = ast.parse(inspect.getsource(base)).body
        for field, below in itertools.pairwise(definition.body):
            match field, below:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    texts[name] = " ".join(text.split())
    return texts
