"""What a study asks before its first run: registered contrasts, and the file that holds them.

A contrast is one number for each seed: a weighted sum of *terms*.  A term is the score of an arm at some
places, or with `over` its gain over another arm at the same places; over several places it is their mean.
 Only registered contrasts are tested, together (`tested.py`).  The file is TOML, to be written and read by
a person:

    [[contrast]]
    name = "fewer labels"
    question = "Is pre-training worth more with 300 labels than with 3,000, trained three times as long?"
    expect = "above zero"

    [[contrast.term]]
    weight = 1.0
    arm = { start = "imagenet" }
    over = { start = "random" }
    where = { fraction = 0.01, budget = 3.0 }

    [[contrast.term]]
    weight = -1.0
    arm = { start = "imagenet" }
    over = { start = "random" }
    where = { fraction = 0.1, budget = 3.0 }

The file may also say, above all contrasts, which seeds the study was planned with: `seeds = [0, 1, 2]`.
Only these are tested then.  A number of seeds that was not fixed may have been chosen for the answer.

`tests/report/contrasts.toml` holds the six contrasts of a whole study."""

import difflib
import itertools
import json
import math
import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from selftrain.contrast_file import contrasts_digest
from selftrain.record import Arm
from selftrain.report.places import BUDGET, multiple
from selftrain.system.errors import UserError
from selftrain.system.files import write_atomic

Value = str | int | float | bool
ABOVE, BELOW, EITHER = "above zero", "below zero", "either"


class Term(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a contrast: an arm's score at some places, or its gain there."""

    weight: float
    """what it counts for in the sum"""
    arm: Arm
    """by its fields: start, methods, freeze"""
    over: Arm | None = None
    """another arm: the term is then the gain over it at the same places"""
    where: dict[str, Value | list[Value]] = {}
    """values of axes of the study, such as policy, fraction or budget.  Of a list of values the mean is
    taken, and over all places of the study that match"""
    metric: str | None = None
    """its own score, where it is not the contrast's"""
    share_of_missing: bool = False
    """the gain as a percentage of what the other arm lacks to 100: for gains of two metrics, one of which is
    near its end"""

    @property
    def arms(self) -> tuple[Arm, ...]:
        """The arm, and the one that it is compared with."""
        return (self.arm, self.over) if self.over else (self.arm,)

    @property
    def corners(self) -> list[dict[str, Value]]:
        """Every combination of the values that `where` lists; budgets as the tables have them."""
        values = [value if isinstance(value, list) else [value] for value in self.where.values()]
        return [
            {axis: _as_in_tables(axis, value) for axis, value in zip(self.where, chosen)}
            for chosen in itertools.product(*values)
        ]


def _as_in_tables(axis: str, value: Value) -> Value:
    return multiple(value) if axis == BUDGET and isinstance(value, float) else value


class Contrast(msgspec.Struct, frozen=True, kw_only=True):
    """A question, the number that answers it, and what is expected of the number."""

    name: str
    """a few words, different from those of the other contrasts"""
    question: str
    """a sentence"""
    expect: Literal["above zero", "below zero", "either"] = EITHER
    """the test is one-sided where a direction is registered"""
    metric: str | None = None
    """the score; default the study's main one"""
    terms: tuple[Term, ...] = msgspec.field(name="term")
    """what is summed"""

    def metrics(self, main: str) -> set[str]:
        """The scores that it is made of; main: the study's main one."""
        return {term.metric or self.metric or main for term in self.terms}


CONTRASTS = "contrasts.toml"  # the file's name, beside a study's records


@dataclass(frozen=True)
class Registered:
    """What stands in the file of a study."""

    contrasts: list[Contrast]
    hash: str
    """of the file's content, as it stands in the records of the study"""
    seeds: tuple[int, ...] | None = None
    """those that the study was planned with, which alone are tested; None where the file does not say"""


def read_registered(path: Path) -> Registered:
    """What stands in the file of a study, and its hash.  Raises UserError as `read_contrasts` does."""
    contrasts, seeds = _read(path)
    return Registered(contrasts, contrasts_digest(path), seeds)


# ---- reading -------------------------------------------------------------------------------------------


def read_contrasts(path: Path) -> list[Contrast]:
    """The contrasts of a file.

    Raises UserError that names the file, the contrast and the cure, where the file cannot be read, an entry
    is unknown, missing or of another type, two contrasts have one name, or a sum would be no difference.
    """
    return _read(path)[0]


def _read(path: Path) -> tuple[list[Contrast], tuple[int, ...] | None]:
    """The contrasts of a file, and the seeds that it plans."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"{path}: cannot be read as TOML ({error})") from None
    _refuse_unknown(content, ("contrast", "seeds"), f"{path}:")
    entries = content.get("contrast", [])
    if not isinstance(entries, list) or not entries:
        raise UserError(f"{path}: registers no contrast; write at least one [[contrast]], or delete the file")
    contrasts = [_contrast(entry, number, path) for number, entry in enumerate(entries, 1)]
    twice = [name for name, count in Counter(each.name for each in contrasts).items() if count > 1]
    if twice:
        raise UserError(f"{path}: two contrasts are called {twice[0]!r}; give each a name of its own")
    return contrasts, _seeds(content["seeds"], path) if "seeds" in content else None


def _seeds(entry: Any, path: Path) -> tuple[int, ...]:
    """The planned seeds of a file, checked."""
    whole = isinstance(entry, list) and all(type(seed) is int and seed >= 0 for seed in entry)
    if not whole or not entry or len(set(entry)) < len(entry):
        raise UserError(f"{path}: seeds = {entry}: list the planned seeds, each once, such as [0, 1, 2]")
    return tuple(sorted(entry))


def _contrast(entry: Any, number: int, path: Path) -> Contrast:
    """One entry of a file, checked."""
    if not isinstance(entry, Mapping):
        raise UserError(f"{path}: a contrast is written [[contrast]], with two brackets")
    called = f"{path}: contrast {number}" + (f" ({entry['name']})" if "name" in entry else "") + ":"
    _refuse_unknown(entry, Contrast.__struct_encode_fields__, called)
    terms = entry.get("term", [])
    for term in (each for each in terms if isinstance(each, Mapping)) if isinstance(terms, list) else ():
        _refuse_unknown(term, Term.__struct_encode_fields__, called)
        for name in ("arm", "over"):
            if isinstance(term.get(name), Mapping):
                _refuse_unknown(term[name], ("start", "methods", "freeze"), f"{called} {name}:")
    try:
        contrast = msgspec.convert(entry, Contrast)
    except msgspec.ValidationError as error:
        raise UserError(f"{called} {error}") from None
    if wrong := _no_difference(contrast):
        raise UserError(f"{called} {wrong}")
    return contrast


def _refuse_unknown(entry: Mapping[str, Any], known: Iterable[str], called: str) -> None:
    for name in entry:
        if name not in known:
            raise UserError(f"{called} {name!r} is no entry here{nearest(name, known)}")


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of a message on an unknown word: the nearest known one, or all of them."""
    known = sorted(map(str, known))
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; there are: {', '.join(known) or 'none'}"


def _no_difference(contrast: Contrast) -> str | None:
    """Why a contrast would mean nothing, if it would."""
    terms = contrast.terms
    if not contrast.name.strip() or not contrast.question.strip():
        return "name and question must say something"
    if not terms:
        return "it has no term; write at least one [[contrast.term]]"
    if any(not math.isfinite(term.weight) or term.weight == 0 for term in terms):
        return "a weight must be a number other than 0"
    if "" in (contrast.metric, *(term.metric for term in terms)):
        return "metric is empty; leave it out for the study's main one"
    if any(value == [] for term in terms for value in term.where.values()):
        return "a list of values in `where` is empty"
    if any(term.arm == term.over for term in terms):
        return "an arm less itself is always 0; name another arm in `over`"
    if any(term.share_of_missing and not term.over for term in terms):
        return "share_of_missing is of a gain; say over which arm with `over`"
    if abs(sum(term.weight for term in terms if not term.over)) > 1e-9:
        return (
            "the weights of the terms without `over` must add up to 0: else it is a score, and no difference"
        )
    if len({frozenset(term.where) for term in terms}) > 1:
        axes = ", ".join(sorted({axis for term in terms for axis in term.where}))
        return (
            f"`where` must name the same axes in every term (here: {axes}), with a list where several count"
        )
    return None


def check_planned(
    contrasts: list[Contrast], planned: Iterable[tuple[Arm, Mapping[str, Any]]], source: str
) -> None:
    """Refuses contrasts that no run of a study would answer, before the first one.

    planned: arm and place (axis -> value) of every cell that the study will train.  source: the file's name.

    Raises UserError that names the term and the nearest axis, arm or value.
    """
    planned = list(planned)
    axes = {axis for _, place in planned for axis in place}
    for contrast, term in ((contrast, term) for contrast in contrasts for term in contrast.terms):
        called = f"{source}: {contrast.name}:"
        for axis in term.where:
            if axis not in axes:
                raise UserError(f"{called} this study has no axis {axis!r}{nearest(axis, axes)}")
        for arm in term.arms:
            places = [place for each, place in planned if each == arm]
            if not places:
                arms = {str(each) for each, _ in planned}
                raise UserError(f"{called} this study has no arm {str(arm)!r}{nearest(str(arm), arms)}")
            for corner in term.corners:
                if not any(_matches(corner, place) for place in places):
                    where = ", ".join(f"{axis} = {value}" for axis, value in corner.items())
                    raise UserError(f"{called} this study will not train {arm} where {where}")


def _matches(corner: Mapping[str, Value], place: Mapping[str, Any]) -> bool:
    """An axis that an arm's recipe does not have is no obstacle."""
    return all(
        axis not in place or _as_in_tables(axis, place[axis]) == value for axis, value in corner.items()
    )


# ---- writing -------------------------------------------------------------------------------------------


def write_contrasts(path: Path, contrasts: list[Contrast], seeds: Iterable[int] | None = None) -> None:
    """Writes the file, whole or not at all, with a word on what it is; seeds: the planned ones."""
    write_atomic(path, lambda file: file.write(to_toml(contrasts, seeds).encode()))


def to_toml(contrasts: list[Contrast], seeds: Iterable[int] | None = None) -> str:
    """The text of a file of contrasts; seeds: the planned ones, where they are fixed."""
    lines = ["# What this study asks, written before its first run.  A change to it is another question:"]
    lines += ["# every record of the study holds the digest of these contrasts."]
    if seeds is not None:
        lines += ["", f"seeds = {to_toml_value(sorted(seeds))}"]
    for contrast in contrasts:
        lines += ["", "[[contrast]]", *_entries(_plain(contrast))]
        for term in contrast.terms:
            lines += ["", "[[contrast.term]]", *_entries(_plain(term))]
    return "\n".join(lines) + "\n"


def _entries(part: dict[str, Any]) -> list[str]:
    return [f"{name} = {to_toml_value(value)}" for name, value in part.items() if name != "term"]


def _plain(part: Contrast | Term | Arm) -> dict[str, Any]:
    """What is written of a part: the entries that say something, in their order."""
    if isinstance(part, Arm):
        methods = {"methods": list(part.methods)} if part.methods else {}
        return {"start": part.start} | methods | ({"freeze": part.freeze} if part.freeze != "none" else {})
    names = dict(zip(part.__struct_encode_fields__, part.__struct_fields__))
    values = {name: getattr(part, field) for name, field in names.items()}
    return {
        name: _plain(value) if isinstance(value, Arm) else value
        for name, value in values.items()
        if value is not None and value is not False and value != {}
    }


def to_toml_value(value: Any) -> str:
    """A value in TOML.  Its strings are those of json, but for the one character that json leaves bare."""
    if isinstance(value, Mapping):
        inside = ", ".join(f"{_key(name)} = {to_toml_value(each)}" for name, each in value.items())
        return f"{{ {inside} }}" if inside else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(to_toml_value, value))}]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else repr(value)


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else to_toml_value(name)
