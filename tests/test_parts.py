"""The store of predictions gives back what was written, however it was cut, or says what is wrong."""

import re
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selftrain.parts import PART, Parts, PartWriter
from selftrain.system.errors import UserError

CURE = "delete the folder, and the pool is labelled again"


def predictions_of(lengths: list[int]) -> dict[int, dict[str, np.ndarray]]:
    """Of each image: as many `rows` as given, and two arrays that are of one length for all images."""
    rng = np.random.default_rng(0)
    return {
        index: {
            "rows": rng.random((length, 6), np.float32),
            "size": rng.integers(1, 900, 2, np.int32),
            "table": rng.integers(0, 99, (3, 4)),
        }
        for index, length in enumerate(lengths)
    }


@st.composite
def cut(draw):
    """(lengths of the images' rows, the images of each part, the number of each part): any order, any cut."""
    lengths = draw(st.lists(st.integers(0, 4), min_size=1, max_size=12))
    order = draw(st.permutations(range(len(lengths))))
    ends = draw(st.sets(st.integers(1, len(lengths) - 1))) if len(lengths) > 1 else set()
    places = [0, *sorted(ends), len(lengths)]
    groups = [order[first:end] for first, end in zip(places, places[1:])]
    numbers = draw(
        st.lists(st.integers(0, 10**8 - 1), min_size=len(groups), max_size=len(groups), unique=True)
    )
    return lengths, groups, numbers


def write(folder: Path, predictions, groups, numbers) -> Parts:
    """A store of the images of each group; another object reads it, as another command would."""
    for group, number in zip(groups, numbers, strict=True):
        Parts(folder).write(number, {index: predictions[index] for index in group}, 0.5)
    return Parts(folder)


def assert_same(one: np.ndarray, other: np.ndarray) -> None:
    np.testing.assert_array_equal(one, other)
    assert one.dtype == other.dtype and one.shape == other.shape


@settings(max_examples=60, deadline=None)
@given(cut())
def test_what_was_written_comes_back_whatever_the_order_of_parts(case):
    lengths, groups, numbers = case
    predictions = predictions_of(lengths)
    with tempfile.TemporaryDirectory() as folder:
        parts = write(Path(folder), predictions, groups, numbers)
        assert parts.covered() == set(predictions)
        assert parts.seconds == 0.5 * len(groups)
        assert parts.has("rows") and not parts.has("by_threshold")
        parts.check_whole(len(predictions), CURE)

        read = parts.by_image()
        assert set(read) == set(predictions)
        for index, prediction in predictions.items():
            assert set(read[index]) == set(prediction)
            for key, array in prediction.items():
                assert_same(read[index][key], array)

        values, images = parts.flat("rows")
        assert len(values) == len(images) == sum(lengths)
        for index, prediction in predictions.items():
            places = np.flatnonzero(images == index)
            assert_same(values[places], prediction["rows"])
            assert (np.diff(places) == 1).all()  # the rows of an image stand together

        for key in ("size", "table"):
            assert_same(parts.each(key), np.stack([predictions[i][key] for i in sorted(predictions)]))


@settings(max_examples=30, deadline=None)
@given(cut(), st.data())
def test_a_missing_image_is_refused_by_name(case, data):
    lengths, groups, numbers = case
    lost = data.draw(st.integers(0, len(lengths)))  # the last one: a store that is whole, of a larger pool
    images = max(len(lengths), lost + 1)
    groups = [[index for index in group if index != lost] for group in groups]
    written = [(group, number) for group, number in zip(groups, numbers) if group]
    if not written:
        return
    with tempfile.TemporaryDirectory() as folder:
        parts = write(Path(folder), predictions_of(lengths), *zip(*written))
        message = (
            f"{folder}: its parts do not hold each of the {images} photos once "
            f"({images - 1} predictions of {images - 1} photos); {CURE}"
        )
        with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
            parts.check_whole(images, CURE)


@settings(max_examples=30, deadline=None)
@given(cut(), st.data())
def test_a_doubled_image_is_refused_by_name(case, data):
    lengths, groups, numbers = case
    images = len(lengths)
    twice = data.draw(st.integers(0, images - 1))
    with tempfile.TemporaryDirectory() as folder:
        parts = write(Path(folder), predictions_of(lengths), [*groups, [twice]], [*numbers, 10**8])
        message = (
            f"{folder}: its parts do not hold each of the {images} photos once "
            f"({images + 1} predictions of {images} photos); {CURE}"
        )
        with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
            parts.check_whole(images, CURE)


def test_a_writer_stores_what_is_to_be_kept_and_loses_nothing_when_it_stops(tmp_path):
    predictions = predictions_of([1] * (PART + 3))
    seen = []

    def keep(found):
        seen.append(sorted(found))
        return {index: {"rows": one["rows"]} for index, one in found.items()}

    parts = Parts(tmp_path)
    writer = PartWriter(parts, keep)
    for index, prediction in predictions.items():
        writer.add(index, {index: prediction})
    assert parts.covered() == set(range(PART))  # written as they came
    writer.flush()
    writer.flush()  # nothing is left
    assert parts.covered() == set(predictions) and len(parts.files()) == 2
    assert seen == [list(range(PART)), list(range(PART, PART + 3))]
    assert Parts(tmp_path).has("rows") and not Parts(tmp_path).has("size")
