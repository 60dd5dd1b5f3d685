"""The file of registered contrasts: read, refused, written, and the one that a study registers by itself."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from selftrain.record import RANDOM, Arm
from selftrain.report.contrasts import (
    Contrast,
    Term,
    check_planned,
    read_contrasts,
    read_registered,
    to_toml,
    write_contrasts,
)
from selftrain.report.registered import default_contrasts
from selftrain.system.errors import UserError
from tests.records import ARMS, IMAGENET, IMAGENET_STUDENT, NOISY, RANDOM_STUDENT

SIX = Path(__file__).parent / "contrasts.toml"
ONE = """
[[contrast]]
name = "worth"
question = "Does pre-training help?"
expect = "above zero"

[[contrast.term]]
weight = 1.0
arm = { start = "imagenet" }
over = { start = "random" }
where = { policy = ["S1", "S4"], budget = 3.0 }
"""

TEXT = some.text(min_size=1).filter(str.strip)
VALUE = some.one_of(
    TEXT,
    some.booleans(),
    some.integers(-(10**12), 10**12),
    some.floats(allow_nan=False, allow_infinity=False),
)
ARM = some.builds(
    Arm,
    TEXT,
    some.sampled_from([(), ("self-training",), ("joint", "self-training")]),
    some.sampled_from(["none", "backbone"]),
)
WHERE = some.dictionaries(TEXT, some.one_of(VALUE, some.lists(VALUE, min_size=1, max_size=3)), max_size=3)
WEIGHT = some.floats(0.01, 100) | some.floats(-100, -0.01)


@some.composite
def contrasts(draw) -> list[Contrast]:
    found = []
    for name in draw(some.lists(TEXT, min_size=1, max_size=3, unique=True)):
        where, arms = draw(WHERE), draw(some.lists(ARM, min_size=2, max_size=2, unique=True))
        terms = [
            Term(
                weight=draw(WEIGHT),
                arm=arms[0],
                over=arms[1],
                where=where,
                metric=draw(some.none() | TEXT),
                share_of_missing=draw(some.booleans()),
            )
            for _ in range(draw(some.integers(1, 3)))
        ]
        expect = draw(some.sampled_from(["above zero", "below zero", "either"]))
        found.append(
            Contrast(
                name=name,
                question=draw(TEXT),
                expect=expect,
                metric=draw(some.none() | TEXT),
                terms=tuple(terms),
            )
        )
    return found


@settings(max_examples=50, deadline=None)  # files are written
@given(contrasts())
def test_what_is_written_is_read_again(tmp_path_factory, registered):
    path = tmp_path_factory.getbasetemp() / "contrasts.toml"
    write_contrasts(path, registered)
    assert read_contrasts(path) == registered


def test_a_file_is_written_for_people(tmp_path):
    (tmp_path / "given.toml").write_text(ONE)
    registered = read_contrasts(tmp_path / "given.toml")
    assert to_toml(registered).endswith(ONE) and to_toml(registered).startswith("# What this study asks")
    term = Term(weight=1.0, arm=IMAGENET, over=RANDOM, where={"policy": ["S1", "S4"], "budget": 3.0})
    question = "Does pre-training help?"
    assert registered == [Contrast(name="worth", question=question, expect="above zero", terms=(term,))]


def test_the_planned_seeds_stand_above_the_contrasts(tmp_path):
    path = tmp_path / "contrasts.toml"
    path.write_text(ONE)
    plain = read_registered(path)
    assert plain.seeds is None
    write_contrasts(path, plain.contrasts, {2, 0, 1})
    planned = read_registered(path)
    assert "\n\nseeds = [0, 1, 2]\n\n[[contrast]]\n" in path.read_text()
    assert (planned.seeds, planned.contrasts) == ((0, 1, 2), plain.contrasts) and planned.hash != plain.hash
    assert read_contrasts(path) == plain.contrasts


def test_a_file_without_new_keys_keeps_its_hash():
    """Records of studies that were run under it name the hash."""
    assert read_registered(SIX).hash == "64f9ef665178"


@pytest.mark.parametrize("seeds", ["[]", "[0, 0]", "[0.5]", "[-1]", "[true]", "3", '["0"]'])
def test_planned_seeds_that_are_none_are_refused(tmp_path, seeds):
    path = tmp_path / "contrasts.toml"
    path.write_text(f"seeds = {seeds}\n{ONE}")
    with pytest.raises(UserError, match="contrasts.toml: seeds = .*list the planned seeds, each once"):
        read_registered(path)


def test_the_hash_of_a_file_is_of_what_is_asked_and_not_of_layout(tmp_path):
    first = read_registered(SIX).hash
    assert len(read_registered(SIX).contrasts) == 6
    for old, new, same in (
        ("# The six", "# Six", True),
        ("fraction = 0.333", "fraction = 0.3", False),
        ("below zero", "either", False),
    ):
        text = SIX.read_text()
        assert old in text
        (tmp_path / "other.toml").write_text(text.replace(old, new))
        assert (read_registered(tmp_path / "other.toml").hash == first) is same, old


def _read(text: str, path: Path) -> list[Contrast]:
    try:
        path.write_text(text)
        return read_contrasts(path)
    finally:
        path.unlink()


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("[[contrast]]", "[[contrasts]]", r"'contrasts' is no entry here; did you mean 'contrast'\?"),
        ("expect", "expects", r"contrast 1 \(worth\): 'expects' is no entry here; did you mean 'expect'\?"),
        ("weight", "wait", r"\(worth\): 'wait' is no entry here; did you mean 'weight'\?"),
        ("over = { start", "over = { strat", r"over: 'strat' is no entry here; did you mean 'start'\?"),
        ("above zero", "above", r"\(worth\): Invalid enum value 'above'"),
        (
            "weight = 1.0",
            'weight = "1"',
            r"\(worth\): Expected `float`, got `str` - at `\$.term\[0\].weight`",
        ),
        ("weight = 1.0", "", r"missing required field `weight`"),
        ("weight = 1.0", "weight = 0", "a weight must be a number other than 0"),
        ("weight = 1.0", "weight = nan", "a weight must be a number other than 0"),
        ('name = "worth"', 'name = " "', "name and question must say something"),
        ('["S1", "S4"]', "[]", "a list of values in `where` is empty"),
        ('over = { start = "random" }', "", r"weights of the terms without `over` must add up to 0"),
        ('over = { start = "random" }', 'over = { start = "imagenet" }', "an arm less itself is always 0"),
        ('over = { start = "random" }', "share_of_missing = true", "say over which arm"),
        ("where", 'metric = ""\nwhere', "metric is empty"),
        ("[[contrast]]", "[contrast]", r"\[\[contrast\]\], with two brackets|registers no contrast"),
        ("budget = 3.0", "budget = { a = 1 }", r"Expected `str \| float|Expected `"),
        ("weight = 1.0", "weight = ", "cannot be read as TOML"),
        (ONE, "", "registers no contrast; write at least one"),
        (ONE, ONE + ONE, "two contrasts are called 'worth'"),
        (ONE[ONE.index("[[contrast.term]]") :], "term = []", "it has no term"),
    ],
)
def test_mistakes_are_named_with_their_cure(tmp_path, old, new, message):
    assert old in ONE
    with pytest.raises(UserError, match=message) as error:
        _read(ONE.replace(old, new), tmp_path / "contrasts.toml")
    assert str(error.value).startswith(str(tmp_path / "contrasts.toml"))


def test_terms_that_do_not_say_the_same_axes_are_refused(tmp_path):
    second = ONE[ONE.index("[[contrast.term]]") :].replace(", budget = 3.0", "")
    with pytest.raises(UserError, match=r"same axes in every term \(here: budget, policy\)"):
        _read(ONE + second, tmp_path / "contrasts.toml")


def test_no_file_is_a_mistake_too(tmp_path):
    with pytest.raises(UserError, match="none.toml: cannot be read"):
        read_contrasts(tmp_path / "none.toml")


PLANNED = [
    (arm, {"policy": policy, "budget": b}) for arm in ARMS for policy in ("S1", "S4") for b in (1.0, 3.0)
]


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("budget", "budgte", r"f.toml: worth: this study has no axis 'budgte'; did you mean 'budget'\?"),
        ('"imagenet"', '"imagenet++"', r"this study has no arm 'imagenet\+\+'; did you mean 'imagenet'\?"),
        ('"S4"', '"S3"', r"this study will not train imagenet where policy = S3, budget = 3.0"),
    ],
)
def test_a_contrast_that_no_run_will_answer_is_refused(tmp_path, old, new, message):
    check_planned(_read(ONE, tmp_path / "contrasts.toml"), PLANNED, "f.toml")
    with pytest.raises(UserError, match=message):
        check_planned(_read(ONE.replace(old, new), tmp_path / "contrasts.toml"), PLANNED, "f.toml")


def test_budgets_are_rounded_alike_everywhere(tmp_path):
    """3.3333333333333335 is written by nobody, and a matrix has 3.333."""
    planned = [(arm, {"policy": policy, "budget": 1 / 0.3}) for arm, policy in zip(ARMS, ("S1", "S4"))]
    planned += [(arm, place | {"policy": "S4"}) for arm, place in planned[:1]]
    planned += [(arm, place | {"policy": "S1"}) for arm, place in planned[1:2]]
    for budget in ("3.333", "3.3333333333333335"):
        text = ONE.replace("budget = 3.0", f"budget = {budget}")
        check_planned(_read(text, tmp_path / "contrasts.toml"), planned, "f.toml")
    found = default_contrasts(list(ARMS), ["S1"], [1.0], [0.3, 1.0], equal_cost=1 / 0.3)
    assert {term.where["budget"] for each in found for term in each.terms} == {1.0, 3.333}
    assert found[0].question == (
        "Is a start from imagenet better than a random one, trained 3.333 times as long?"
    )


def test_equal_cost_is_that_of_the_students_and_left_out_where_no_rung_has_it():
    def budgets(equal_cost: float | None) -> set:
        found = default_contrasts([RANDOM, RANDOM_STUDENT], ["S1"], [1.0], [1.0, 2.5, 3.0], equal_cost)
        return {term.where["budget"] for each in found if "equal cost" in each.name for term in each.terms}

    assert budgets(3.0) == {1.0, 3.0} and budgets(2.5) == {1.0, 2.5}
    assert budgets(4.0) == budgets(None) == set()


def test_a_study_registers_six_contrasts_by_itself(tmp_path):
    found = default_contrasts(list(ARMS), ["S1", "S4"], [0.2, 1.0], [1.0, 3.0])
    assert [(each.name, each.expect) for each in found] == [
        ("starting from imagenet", "above zero"),
        ("starting from imagenet, S4 and most labels", "either"),
        ("self-training from random", "above zero"),
        ("self-training from imagenet", "above zero"),
        ("self-training at equal cost from random", "either"),
        ("self-training at equal cost from imagenet", "either"),
    ]
    assert "trained 3 times as long" in found[0].question and "largest budget" not in found[1].question
    assert found[1].terms[0].where == {"policy": "S4", "fraction": 1.0, "budget": 3.0}
    student, supervised = found[5].terms
    assert (student.arm, student.where) == (IMAGENET_STUDENT, {"budget": 1.0})
    assert (supervised.arm, supervised.where, supervised.weight) == (IMAGENET, {"budget": 3.0}, -1)
    write_contrasts(tmp_path / "contrasts.toml", found)
    assert read_contrasts(tmp_path / "contrasts.toml") == found


def test_more_starts_are_asked_together_so_that_there_are_never_more_than_six(tmp_path):
    many = [*ARMS, NOISY, Arm("imagenet++", ("self-training",)), Arm("checkpoint:a.pt")]
    found = default_contrasts(many, ["S1", "S4"], [1.0], [1.0, 3.0])
    assert len(found) <= 6 and found[-1].name == (
        "self-training at equal cost from random and imagenet and imagenet++"
    )
    write_contrasts(tmp_path / "contrasts.toml", found)
    assert read_contrasts(tmp_path / "contrasts.toml") == found


def test_only_what_a_study_can_answer_is_registered():
    assert default_contrasts([RANDOM], ["S1"], [1.0], [1.0]) == []
    assert default_contrasts([RANDOM, Arm("imagenet", freeze="backbone")], ["S1"], [1.0], [1.0]) == []
    [only] = default_contrasts([RANDOM, IMAGENET], ["S1"], [1.0], [800])
    assert only.name == "starting from imagenet" and only.terms[0].where == {"budget": 1.0}
    three = default_contrasts([RANDOM, RANDOM_STUDENT], ["S1"], [0.2, 1.0], [800, 1600])
    assert [each.name for each in three] == ["self-training from random"]
    assert three[0].terms[0].where == {"budget": 1.0}
