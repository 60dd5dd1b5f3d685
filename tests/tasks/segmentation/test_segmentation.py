"""Segmentation in training and in scoring: losses and averaged probabilities by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from augment import Sample
from selftrain.tasks.protocol import Loss
from selftrain.tasks.segmentation import pseudo_masks
from selftrain.tasks.segmentation.task import Segmentation
from tests.tasks.segmentation.small import PASCAL, K, Quarter, QuarterHead, task


def losses(batch, **options) -> Loss:
    (images,) = batch["images"]
    return task(**options).objectives["masks"].loss([[images]], QuarterHead(), batch)


def collate(*samples: Sample):
    return task().objectives["masks"].collate([(sample,) for sample in samples])


def test_losses_are_sums_over_the_labelled_pixels_of_each_image():
    torch.manual_seed(0)
    images = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    masks = torch.randint(0, K, (2, 16, 16), dtype=torch.uint8)
    masks[0, :8] = 255
    sums, counts = losses({"images": [images], "masks": masks})
    assert counts.tolist() == [128, 256]
    logits = F.interpolate(Quarter()(images), (16, 16), mode="bilinear")
    for i in range(2):
        chances = logits[i].double().softmax(0)
        wanted = sum(
            -chances[int(masks[i, y, x]), y, x].log()
            for y in range(16)
            for x in range(16)
            if masks[i, y, x] != 255
        )
        assert float(sums[i]) == pytest.approx(float(wanted), rel=1e-5)


@pytest.mark.parametrize("side", [16, 33, 37])
@pytest.mark.parametrize("soft", [False, True])
def test_at_the_size_of_the_logits_the_labels_at_the_cells_count(side, soft):
    torch.manual_seed(0)
    images = torch.randint(0, 256, (2, 3, side, side), dtype=torch.uint8)
    masks = torch.randint(0, K, (2, side, side), dtype=torch.uint8)
    masks[0, : side // 2] = 255
    given = np.stack([pseudo_masks.soften(mask.numpy()) for mask in masks]) if soft else masks.numpy()
    sums, counts = losses({"images": [images], "masks": torch.from_numpy(given)}, loss_at="logits")
    logits = Quarter()(images).double().log_softmax(1)
    cells = logits.shape[2]
    assert cells == -(-side // 4)
    # the cells are centred on the picture; of two pixels as near the first counts
    centres = [(i - (cells - 1) / 2) * 4 + side / 2 for i in range(cells)]
    pixels = [min(range(side), key=lambda j: abs(j + 0.5 - at)) for at in centres]
    assert side % 4 != 1 or pixels == list(range(0, side, 4))
    for n in range(2):
        labels = {(i, j): int(masks[n, y, x]) for i, y in enumerate(pixels) for j, x in enumerate(pixels)}
        labels = {place: k for place, k in labels.items() if k != 255}
        assert int(counts[n]) == len(labels)
        wanted = -sum(float(logits[n, k, i, j]) for (i, j), k in labels.items())
        assert float(sums[n]) == pytest.approx(wanted, rel=1e-5)


def test_an_image_without_labelled_pixels_has_a_loss_of_zero():
    masks = torch.full((1, 16, 16), 255, dtype=torch.uint8)
    sums, counts = losses({"images": [torch.zeros(1, 3, 16, 16, dtype=torch.uint8)], "masks": masks})
    assert sums.tolist() == [0.0] and counts.tolist() == [0]


def test_soft_labels_with_all_on_one_class_are_hard_labels():
    rng = np.random.default_rng(0)
    image, mask = rng.integers(0, 256, (16, 16, 3), np.uint8), rng.integers(0, K, (16, 16)).astype(np.uint8)
    mask[:3] = 255
    hard = Sample(image, np.zeros((0, 4)), [], [], mask)
    soft = replace(hard, mask=pseudo_masks.soften(mask))
    one = losses(collate(hard, hard))
    two = losses(collate(hard, soft))  # a student's batch: people's labels beside soft ones
    torch.testing.assert_close(one.sum, two.sum)
    assert one.count.tolist() == two.count.tolist()


def test_soft_labels_weigh_two_classes():
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)

    def loss(mask):
        return losses(collate(Sample(image, np.zeros((0, 4)), [], [], mask))).sum

    def full(k):
        return np.full((16, 16), k, np.uint8)

    half = np.stack([full(1), full(2), full(127)], 2)
    torch.testing.assert_close(loss(half), (loss(full(1)) + loss(full(2))) / 2)


@pytest.mark.parametrize("height, width", [(16, 16), (40, 20), (9, 31)])
def test_a_prediction_has_the_size_of_its_photo_and_no_padding(height, width):
    """Averaged over scales and mirror, against one pass at a time.

    The padding of such a pass is cut off before it is resized.
    """
    scorer = task().scorer
    photo = np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)
    batch = scorer.prepare([Sample.unlabelled(photo)])
    (scale,) = batch["scales"]
    assert batch["sizes"] == [(height, width)]
    (chances,) = scorer.probabilities(Quarter(), batch, (0.5, 1.0), True)
    assert chances.shape == (K, height, width)
    torch.testing.assert_close(chances.sum(0), torch.ones(height, width))
    passes = []
    for side in (8, 16):
        images = F.interpolate(batch["images"].float(), (side, side), mode="bilinear")
        for turn in (lambda x: x, lambda x: x.flip(-1)):
            passes.append(turn(F.interpolate(Quarter()(turn(images)), (16, 16), mode="bilinear").softmax(1)))
    mean = torch.stack(passes).mean(0)[:, :, : max(1, round(height * scale)), : max(1, round(width * scale))]
    torch.testing.assert_close(chances, F.interpolate(mean, (height, width), mode="bilinear")[0])


def test_assess_counts_at_the_photos_own_size():
    scorer = task().scorer
    photo, truth = np.full((40, 20, 3), 200, np.uint8), np.zeros((40, 20), np.uint8)
    batch = scorer.prepare([replace(Sample.unlabelled(photo), mask=truth)])
    assert batch["sizes"] == [(40, 20)]
    (prediction,) = scorer.assess(Quarter(), batch)
    matrix = prediction["confusion"]
    assert matrix.sum() == 800 and matrix[1:].sum() == 0


def test_a_lost_image_is_noticed():
    with pytest.raises(AssertionError, match="1 predictions for 2 images"):
        task().scorer.score({0: {"confusion": np.eye(K, dtype=int)}}, [0, 1])


@pytest.mark.parametrize("side", [16, 65, 33, 90])
def test_probabilities_stand_at_the_pixels_that_the_cells_look_at(side):
    """A network that says of each cell where it is, at several sizes of one picture."""

    class Position(nn.Module):
        def forward(self, images):
            scaled = images.shape[2]
            cells = -(-scaled // 4)
            # the middle of the cells is the middle of the picture
            at = ((torch.arange(cells) - (cells - 1) / 2) * 4 / scaled + 0.5) * side
            zero = torch.zeros(cells, cells)
            return torch.stack([at[:, None] + zero, at + zero, zero, zero]).div(side)[None]

    scorer = Segmentation(replace(PASCAL["demo"](), image_size=side), tuple("abcd")).scorer
    batch = scorer.prepare([Sample.unlabelled(np.zeros((side, side, 3), np.uint8))])
    (chances,) = scorer.probabilities(Position(), batch, (0.75, 1.0, 1.5), True)
    logits = chances.log()
    at = ((torch.arange(side) + 0.5) / side)[6:-6]  # as far as there are cells on both sides
    found = (logits[0] - logits[2])[6:-6, 6:-6]
    torch.testing.assert_close(found, at[:, None].expand_as(found), rtol=1e-3, atol=2e-3)
