"""Thresholds by class: they keep what is wanted where they can, never go below the floor, and ties do not
depend on an order.
"""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from selftrain.tasks.thresholds import class_thresholds, global_threshold, vanished, wanted_like_human

K = 4
LABELS = st.lists(
    st.tuples(st.sampled_from([x / 16 for x in range(1, 17)]), st.integers(0, K - 1)), max_size=60
)
WANTED = st.lists(st.integers(0, 30), min_size=K, max_size=K).map(np.array)


def arrays(labels) -> tuple[np.ndarray, np.ndarray]:
    return np.array([score for score, _ in labels], np.float32), np.array([label for _, label in labels], int)


def kept(scores, classes, thresholds) -> np.ndarray:
    return np.bincount(classes[scores >= thresholds[classes]], minlength=K)


@given(LABELS, WANTED, st.sampled_from([0.0, 0.25, 0.3, 0.9]))
def test_each_class_keeps_what_is_wanted_where_it_can_and_nothing_below_the_floor(labels, wanted, floor):
    scores, classes = arrays(labels)
    thresholds = class_thresholds(scores, classes, wanted, floor=floor)
    assert (thresholds >= floor).all() and np.isinf(thresholds[wanted == 0]).all()
    for label, (number, threshold) in enumerate(zip(wanted, thresholds)):
        own = scores[classes == label]
        left, ties, reachable = (own >= threshold).sum(), (own == threshold).sum(), (own >= floor).sum()
        if reachable <= number:
            assert left == (reachable if number else 0)
        elif number:
            assert number <= left and left - ties < number  # without the weakest it would be too few
        if number and threshold != floor:
            assert threshold in own  # a score itself, which is met exactly in any precision


@given(LABELS, WANTED, st.randoms())
def test_the_order_of_labels_decides_nothing(labels, wanted, random):
    shuffled = random.sample(labels, len(labels))
    assert (class_thresholds(*arrays(labels), wanted) == class_thresholds(*arrays(shuffled), wanted)).all()


@given(LABELS, WANTED, st.integers(0, K - 1))
def test_more_wanted_or_a_lower_floor_never_keeps_less(labels, wanted, label):
    scores, classes = arrays(labels)
    before = class_thresholds(scores, classes, wanted, floor=0.5)
    more = wanted + (np.arange(K) == label)
    assert (class_thresholds(scores, classes, more, floor=0.5) <= before).all()
    assert (class_thresholds(scores, classes, wanted, floor=0.2) <= before).all()


@given(LABELS, WANTED)
def test_a_class_does_not_depend_on_the_others(labels, wanted):
    scores, classes = arrays(labels)
    whole = class_thresholds(scores, classes, wanted)
    for label in range(K):
        own = classes == label
        assert class_thresholds(scores[own], classes[own], wanted)[label] == whole[label]


@given(LABELS, WANTED)
def test_a_histogram_gives_the_thresholds_of_the_labels_that_it_counts(labels, wanted):
    scores, classes = arrays(labels)
    bins = np.tile(np.arange(1, 17) / 16, K)  # every score there is
    of = np.repeat(np.arange(K), 16)
    counts = np.array([((scores == s) & (classes == k)).sum() for s, k in zip(bins, of)], np.int64)
    found = class_thresholds(bins, of, wanted, counts=counts)
    assert (found == class_thresholds(scores, classes, wanted)).all()


def test_wanted_is_the_rate_of_people_and_at_least_one_of_a_class_that_they_labelled():
    wanted = wanted_like_human(np.array([1272, 109, 1, 0]), 200, 100)
    assert wanted.tolist() == [636, 54, 1, 0]


@given(st.lists(st.floats(0.0625, 1, width=32), min_size=1, max_size=60), st.floats(0.5, 80))
def test_one_threshold_leaves_as_many_labels_as_are_wanted(scores, wanted):
    scores = np.array(scores, np.float32)
    left = (scores >= global_threshold(scores, wanted)).sum()
    ties = (scores == np.float32(global_threshold(scores, wanted))).sum()
    target = min(max(1, round(wanted)), len(scores))
    assert target <= left < target + ties


def test_a_class_has_vanished_when_under_a_tenth_of_it_is_left():
    expected = np.array([1272, 116, 116, 0.5, 0])
    assert vanished(expected, np.array([1215, 11, 12, 0, 0])).tolist() == [False, True, False, False, False]
