"""Classification in training and in scoring: losses and accuracies by hand and by other libraries."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torchmetrics.functional.classification import multiclass_accuracy

from selftrain.tasks.classification.classes import accuracies, resampled
from tests.tasks.classification.small import picture, task


class Head(nn.Module):
    """Four logits from a map of the picture's mean colours."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 4)
        nn.init.normal_(self.linear.weight, generator=torch.Generator().manual_seed(0))

    def forward(self, maps, size):
        return self.linear(maps[0].flatten(1))


def losses(*samples, **options):
    objective, head = task(**options).objectives["classes"], Head()
    batch = objective.collate([(sample,) for sample in samples])
    (images,) = batch["images"]
    maps = [images.float().mean((2, 3), keepdim=True) / 255]
    return objective.loss([maps], head, batch), head.linear(maps[0].flatten(1)).double().log_softmax(1)


def test_the_loss_is_the_cross_entropy_of_each_picture_with_a_label_of_any_distribution():
    soft = [0.1, 0.2, 0.3, 0.4]
    loss, log = losses(picture(0, [0, 1, 0, 0]), picture(1, soft))
    torch.testing.assert_close(loss.sum[0].double(), -log[0, 1])
    torch.testing.assert_close(loss.sum[1].double(), -(torch.tensor(soft).double() * log[1]).sum())
    assert loss.count.tolist() == [1, 1]


def test_label_smoothing_spreads_a_share_over_all_classes():
    loss, log = losses(picture(0, [0, 1, 0, 0]), label_smoothing=0.1)
    torch.testing.assert_close(loss.sum[0].double(), -(0.9 * log[0, 1] + 0.1 * log[0].mean()))


def test_a_batch_is_divided_by_its_pictures_and_nothing_else():
    """The mean over the batch, as every other trainer of classifiers takes it."""
    assert task().objectives["classes"].floor == 0


@pytest.mark.parametrize("policy", ["S1", "S2", "S3", "S4"])
def test_a_view_is_augmented_and_keeps_its_label(policy):
    objective = task(policy=policy).objectives["classes"]
    sample = picture(3, [0, 0, 1, 0], side=50)
    views = [objective.views(sample, seed)[0] for seed in range(6)]
    assert all(view.image.shape == (33, 33, 3) and view.target is sample.target for view in views)
    assert len({view.image.tobytes() for view in views}) > 1
    assert objective.views(sample, 4)[0].image.tobytes() == views[4].image.tobytes()


def test_accuracies_are_those_of_torchmetrics():
    rng = np.random.default_rng(0)
    truth, logits = rng.integers(0, 7, 300), rng.normal(size=(300, 7))
    logits[np.arange(300), truth] += 1
    best = logits.argsort(1)[:, ::-1][:, :5]
    names = tuple("abcdefg")
    found = accuracies(best, truth, names)
    asked = torch.tensor(logits), torch.tensor(truth), 7
    for name, average, top in (("top-1", "micro", 1), ("top-5", "micro", 5), ("macro accuracy", "macro", 1)):
        wanted = 100 * float(multiclass_accuracy(*asked, average=average, top_k=top))
        assert found[name] == pytest.approx(wanted, abs=1e-4), name
    own = 100 * multiclass_accuracy(*asked, average="none")
    assert list(found["per_class"].values()) == pytest.approx(own.tolist(), abs=1e-4)
    assert found["chance"] == pytest.approx(100 * np.bincount(truth).max() / 300)


def test_a_class_without_a_picture_is_neither_right_nor_wrong():
    best, truth = np.array([[0, 1], [1, 0], [2, 0], [1, 0]]), np.array([0, 0, 1, 1])
    found = accuracies(best, truth, ("a", "b", "c"))
    assert found["per_class"] == {"a": 50, "b": 50, "c": None} and found["macro accuracy"] == 50
    assert found["top-1"] == 50 and "top-5" not in found


def test_scores_of_few_classes_have_no_top_5_and_know_chance():
    few, many = task("abcd").scorer, task("abcdefgh").scorer
    assert [m.name for m in few.metrics] == ["top-1", "macro accuracy"] and few.metrics[0].chance == 25
    assert [m.name for m in many.metrics] == ["top-1", "top-5", "macro accuracy"]
    assert many.metrics[1].chance == 62.5


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([3, 7]))
def test_weights_are_copies_of_pictures(seed, classes):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, 9)
    best = rng.permuted(np.tile(np.arange(classes), (9, 1)), axis=1)[:, :5]
    drawn = np.concatenate([np.ones((1, 9), int), rng.multinomial(9, [1 / 9] * 9, 6)])
    found = resampled(best, truth, classes, drawn)
    assert ("top-5" in found) == (classes == 7)
    for b, times in enumerate(drawn):
        wanted = accuracies(np.repeat(best, times, 0), np.repeat(truth, times), tuple("abcdefg"[:classes]))
        for name, values in found.items():
            assert values[b] == pytest.approx(wanted[name], abs=1e-9), name


def test_a_class_that_was_not_drawn_is_left_out_of_the_mean():
    best, truth = np.array([[0, 1], [0, 1]]), np.array([0, 1])
    found = resampled(best, truth, 2, np.array([[1, 1], [2, 0], [0, 2]]))
    assert found["macro accuracy"].tolist() == found["top-1"].tolist() == [50, 100, 0]
    found = resampled(best[[0, 0, 1]], truth[[0, 0, 1]], 2, np.array([[1, 1, 1], [2, 1, 0]]))
    assert found["macro accuracy"].tolist() == [50, 100] and found["top-1"][0] == pytest.approx(200 / 3)


class Data:
    classes = np.array([2, 0])

    def __len__(self):
        return 2


def test_assess_keeps_the_best_classes_and_a_lost_picture_is_noticed():
    scorer = task().scorer
    batch = scorer.prepare([picture(0), picture(1, side=20)])
    assert batch["images"].shape == (2, 3, 33, 33)
    logits = torch.tensor([[0.0, 1, 3, 2], [5, 1, 2, 3]])
    found = scorer.assess(lambda images: logits, batch)
    assert [each["best"].tolist() for each in found] == [[2, 3, 1, 0], [0, 3, 2, 1]]
    assert scorer.score(dict(enumerate(found)), Data())["top-1"] == 100
    with pytest.raises(AssertionError, match="1 predictions for 2 images"):
        scorer.score({0: found[0]}, Data())
