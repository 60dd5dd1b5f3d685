"""One cell: trained once, scored again where the set is another one, refused where something is missing."""

from dataclasses import replace

import pytest
import torch
from accelerate import Accelerator

from selftrain import record
from selftrain.cells import Acquired, Cell, Feed, Final, Human, Pseudo, Random, Unlabelled
from selftrain.contrast_file import contrasts_digest
from selftrain.engine import Engine
from selftrain.resample import weights
from selftrain.run import preflight, run_cell
from selftrain.splits import Splits
from selftrain.system.errors import UserError
from selftrain.system.stop import Stop
from selftrain.train import Trainer
from selftrain.workplace import Workplace
from tests.toy import Greys, Toy, levels, recipe

TRAIN, VAL, TEST, POOL = Greys(levels()), Greys([0, 200]), Greys([20, 130]), Greys(range(1, 250, 7))


@pytest.fixture
def place():
    accelerator = Accelerator(cpu=True)
    splits = Splits(TRAIN, VAL, TEST, "test", POOL, "data")
    return Workplace(Engine(accelerator, Stop(accelerator)), Toy(), splits, lambda text: None)


def cell(folder, *more: Feed, **options) -> Cell:
    """A supervised cell of three steps, with more feeds if there are any."""
    few = recipe(steps=3, warmup_steps=1, eval_every=3, out=str(folder))
    human = Feed("human", TRAIN.hash, Human(), "brightness", 4)
    return Cell(few, Random(), (human, *more), VAL.hash, **options)


def test_a_later_test_set_is_scored_without_training_again(place, tmp_path, monkeypatch):
    first = run_cell(place, cell(tmp_path), "first")
    monkeypatch.setattr(Trainer, "run", None)  # nothing may train
    assert run_cell(place, cell(tmp_path), "again") == first
    later = replace(place, splits=replace(place.splits, test=Greys([250, 3])))
    second = run_cell(later, cell(tmp_path), "later")
    assert second.metrics != first.metrics and second.hashes.test == later.splits.test.hash
    assert (second.key, second.curve, second.hashes.final) == (first.key, first.curve, first.hashes.final)
    assert record.read(cell(tmp_path).folder / "record.json") == second
    more = replace(later, splits=replace(later.splits, others={"night": Greys([1, 2, 3])}))
    third = run_cell(more, cell(tmp_path, scored_on=("test", "night")), "night")
    assert third.metrics == second.metrics and third.scores["night"].metrics["error"] > 0
    assert second.resampled != first.resampled and third.resampled == second.resampled


def test_a_record_has_the_score_of_its_reported_set_under_every_resample(place, tmp_path):
    test = Greys([20, 130, 240])
    place = replace(place, splits=replace(place.splits, test=test))
    done = run_cell(place, cell(tmp_path), "one")
    assert done.scored_images == 3 and list(done.resampled) == ["error"]
    # a resample of one picture three times has that picture's error
    drawn, alone = weights(test.hash, 3), {}
    for value, times in zip(done.resampled["error"], drawn, strict=True):
        if 3 in times:
            alone.setdefault(int(times.argmax()), set()).add(value)
    assert sorted(alone) == [0, 1, 2] and all(len(values) == 1 for values in alone.values())
    mean = sum(value for values in alone.values() for value in values) / 3
    assert mean == pytest.approx(done.metrics["error"], abs=0.001)
    alike = run_cell(replace(place, splits=replace(place.splits, test=Greys([20, 130, 241]))), cell(tmp_path), "o")
    assert alike.resampled != done.resampled  # another set, other draws


def test_the_hash_of_registered_contrasts_stands_in_the_record_and_not_in_the_key(place, tmp_path):
    file = tmp_path / "contrasts.toml"
    file.write_text('[worth]\nof = "imagenet - random"\n')
    plain = cell(tmp_path)
    registered = replace(plain, recipe=replace(plain.recipe, contrasts=str(file)))
    assert registered.key == plain.key
    with pytest.raises(UserError, match="--contrasts .*none.toml: cannot be read"):
        preflight(place.task, [replace(plain, recipe=replace(plain.recipe, contrasts="none.toml"))], 1)
    assert run_cell(place, registered, "one").contrasts == contrasts_digest(file)
    other = replace(plain, recipe=replace(plain.recipe, seed=1))
    assert run_cell(place, other, "two").contrasts is None


def test_the_reported_set_is_no_part_of_the_key_and_the_curves_set_is(tmp_path):
    one = cell(tmp_path)
    assert replace(one, scored_on=("test", "night")).key == one.key
    assert replace(one, val="other").key != one.key and replace(one, freeze="backbone").key != one.key


def test_a_field_at_its_neutral_value_is_no_part_of_the_key(tmp_path):
    one = cell(tmp_path)
    assert "drop_path" in one.settings() and "drop_path" not in one.settings(neutral=False)
    assert replace(one, recipe=replace(one.recipe, drop_path=0.1)).key != one.key


def test_what_is_not_built_is_refused_by_name(place, tmp_path):
    run_cell(place, cell(tmp_path), "teacher")
    bought = Feed("bought", POOL.hash, Acquired(cell(tmp_path), "brightest", 3), "brightness", 4)
    with pytest.raises(UserError, match="no strategy 'brightest' to buy labels by; there are: darkest"):
        run_cell(place, cell(tmp_path, bought), "student")
    with pytest.raises(UserError, match="no data set of this run has the hash elsewhere"):
        run_cell(place, cell(tmp_path, Feed("other", "elsewhere", Human(), "brightness", 4)), "other")


def test_weights_of_another_network_are_refused_with_what_is_missing(place, tmp_path):
    teacher = cell(tmp_path)
    run_cell(place, teacher, "teacher")
    file = teacher.folder / "final.pt"
    saved = torch.load(file)
    del saved["model"]["trunk.net.0.weight"]
    torch.save(saved, file)
    student = replace(teacher, weights=Final(teacher, "trunk"))
    with pytest.raises(UserError, match="do not fit this network: 1 tensors missing, 0 unknown"):
        run_cell(place, student, "student")
    file.unlink()
    with pytest.raises(UserError, match="record is there but its final.pt is not"):
        run_cell(place, student, "student")


def test_what_decides_how_feeds_are_mixed_is_part_of_the_key(tmp_path):
    dark = Feed("dark", TRAIN.hash, Human(), "dark", 4)
    one = cell(tmp_path, dark)
    for field in ("alpha", "loss_momentum"):
        assert replace(one, recipe=replace(one.recipe, **{field: 0.25})).key != one.key
        alone = cell(tmp_path)
        assert replace(alone, recipe=replace(alone.recipe, **{field: 0.25})).key == alone.key


def test_another_reported_set_is_scored_and_an_unscored_cell_is_another_cell(place, tmp_path):
    night = Greys([1, 2, 3])
    place = replace(place, splits=replace(place.splits, others={"night": night}))
    by_night = run_cell(place, cell(tmp_path, scored_on=("night",)), "night")
    assert by_night.split == "night" and by_night.hashes.test == night.hash
    by_day = run_cell(place, cell(tmp_path), "day")
    assert by_day.split == "test" and by_day.metrics != by_night.metrics and by_day.hashes.test == TEST.hash
    unscored = cell(tmp_path, scored_on=())
    assert unscored.key != cell(tmp_path).key
    done = run_cell(place, unscored, "unscored")
    assert done.metrics == done.resampled == {} and done.scored_images == 0


def test_a_score_that_no_feed_trains_for_is_refused(place, tmp_path):
    few = recipe(steps=3, warmup_steps=1, eval_every=3, out=str(tmp_path))
    views = Feed("views", POOL.hash, Unlabelled(), "agreement", 4)
    with pytest.raises(UserError, match="no feed trains the head 'brightness' that its score needs"):
        run_cell(place, Cell(few, Random(), (views,), VAL.hash), "views")


def test_pseudo_labels_are_of_the_pool_that_the_feed_declares(place, tmp_path):
    teacher, other = cell(tmp_path), Greys([7, 9, 11, 200])
    place = replace(place, splits=replace(place.splits, others={"other": other}))
    run_cell(place, teacher, "teacher")
    finals = {
        run_cell(
            place, cell(tmp_path, Feed("pseudo", pool.hash, Pseudo(teacher), "brightness", 4)), "s"
        ).hashes.final
        for pool in (POOL, other)
    }
    assert len(finals) == 2


def test_a_cell_has_one_teacher(tmp_path):
    teachers = [cell(tmp_path), cell(tmp_path, freeze="backbone")]
    feeds = [Feed(f"p{n}", POOL.hash, Pseudo(each), "brightness", 4) for n, each in enumerate(teachers)]
    with pytest.raises(ValueError, match="one cell a role, not teacher, teacher"):
        cell(tmp_path, *feeds)


def test_an_empty_test_set_is_refused_by_name(place, tmp_path):
    place = replace(place, splits=replace(place.splits, test=Greys([])))
    with pytest.raises(UserError, match="there is no photo to predict"):
        run_cell(place, cell(tmp_path), "empty")
