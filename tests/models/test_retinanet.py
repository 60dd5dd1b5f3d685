"""The detector equals torchvision's where both can be set alike, and the official rules where they cannot."""

import math
from collections import OrderedDict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torchvision.models.detection import RetinaNet as TorchvisionRetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.ops import box_iou, clip_boxes_to_image

from selftrain.models.anchors import grid_anchors
from selftrain.models.nasfpn import NASFPN
from selftrain.models.network import Branch
from selftrain.models.retinanet import CODER, RetinaHead, detections, retinanet_losses
from selftrain.tasks.detection.task import Detection
from tests.models.networks import CLASSES, IMAGENET, SIZE, retinanet, trunk
from tests.programs import load

COCO = load("recipes.detection").COCO


class Pyramid(nn.Module):
    """Our backbone and neck as torchvision wants them."""

    out_channels = 32

    def __init__(self, model: Branch):
        super().__init__()
        self.trunk, self.neck = model.trunk.backbone, model.head.neck

    def forward(self, x):
        return OrderedDict((str(i), level) for i, level in enumerate(self.neck(self.trunk(x))))


class SameAnchors(AnchorGenerator):
    """torchvision's generator rounds anchors to whole pixels; here both networks get the exact ones."""

    def __init__(self, model: Branch):
        super().__init__()
        # in a list, or it would become a submodule and its batch norms would be set to training
        self.model = [model]

    def num_anchors_per_location(self):
        return [9] * 5

    def forward(self, images, features):
        anchors = self.model[0].head.anchors(
            tuple(each.shape[2:] for each in features), (SIZE, SIZE), images.tensors.device
        )
        return [anchors] * len(images.image_sizes)


def torchvision_twin(model: Branch) -> TorchvisionRetinaNet:
    head = RetinaNetHead(32, 9, CLASSES)
    for own, other, predictor in (
        (model.head.class_head, head.classification_head, head.classification_head.cls_logits),
        (model.head.box_head, head.regression_head, head.regression_head.bbox_reg),
    ):
        for conv, block in zip(own.convs, other.conv):
            block[0].load_state_dict(conv.state_dict())
        predictor.load_state_dict(own.predictor.state_dict())
    head.regression_head._loss_type = "smooth_l1"  # with its beta of 1 this is Huber's loss at delta 1
    return TorchvisionRetinaNet(
        Pyramid(model),
        CLASSES,
        min_size=SIZE,
        max_size=SIZE,
        anchor_generator=SameAnchors(model),
        head=head,
        fg_iou_thresh=0.5,
        bg_iou_thresh=0.5,
        score_thresh=0.3,
        nms_thresh=0.5,
        detections_per_img=100,
        topk_candidates=5000,
    ).eval()


@pytest.fixture(scope="module")
def pair():
    model = retinanet(norm=False)
    for head in (model.head.class_head, model.head.box_head):
        nn.init.normal_(head.predictor.weight, std=0.3)
        nn.init.zeros_(head.predictor.bias)
        for conv in head.convs:
            nn.init.kaiming_normal_(conv.weight)
    images = torch.randint(
        0, 256, (3, 3, SIZE, SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    )
    return model, torchvision_twin(model), images


def test_logits_and_deltas_equal_torchvisions(pair):
    model, twin, images = pair
    features = twin.backbone((images / 255.0 - model.trunk.mean / 255) / (model.trunk.std / 255))
    theirs = twin.head(list(features.values()))
    logits, deltas, _ = model(images)
    torch.testing.assert_close(logits, theirs["cls_logits"], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(deltas, theirs["bbox_regression"], rtol=1e-4, atol=1e-4)


def test_boxes_equal_torchvisions(pair):
    model, twin, images = pair
    with torch.no_grad():
        theirs = twin(list(images / 255.0))
        logits, deltas, anchors = model(images)
        found = detections(logits, deltas, anchors, (SIZE, SIZE), score=0.3, nms=0.5)
    for a, b in zip(found, theirs, strict=True):
        assert len(a) == len(b["boxes"]) > 10
        torch.testing.assert_close(a[:, 4], b["scores"], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(a[:, :4], b["boxes"], rtol=1e-3, atol=1e-2)
        assert (a[:, 5] == b["labels"]).float().mean() > 0.99  # two equal scores may stand in either order


def test_only_the_best_candidates_of_each_class_enter_nms(pair):
    model, _, images = pair
    with torch.no_grad():
        logits, deltas, anchors = model(images)
        few = detections(logits, deltas, anchors, (SIZE, SIZE), score=0.0, nms=1.0, candidates=30, most=1000)
    for found, image in zip(few, logits):
        best = image.topk(30, 0).values.flatten().sort(descending=True).values
        torch.testing.assert_close(found[:, 4], best.sigmoid())


def official_detections(logits, deltas, anchors, size, score, nms, candidates, most):
    """The official rule for one image, a class at a time and a box at a time."""
    boxes = clip_boxes_to_image(CODER.decode_single(deltas, anchors), (size, size))
    apart = (box_iou(boxes, boxes) <= nms).tolist()
    found = []
    for k in range(logits.shape[1]):
        chances = logits[:, k].sigmoid()
        kept = []
        for a in chances.argsort(descending=True, stable=True)[:candidates].tolist():
            if chances[a] >= score and all(apart[a][b] for b in kept):
                kept.append(a)
        found += [[*boxes[a].tolist(), float(chances[a]), k] for a in kept[:most]]
    return sorted(found, key=lambda row: -row[4])[:most]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([3, 20, 5000]), st.sampled_from([5, 100]), st.booleans())
def test_detections_follow_the_official_rule(seed, candidates, most, ties):
    generator = torch.Generator().manual_seed(seed)
    anchors = grid_anchors([(4, 4)], [16], (64, 64), scale=2.0)
    logits = torch.randn(3, len(anchors), 4, generator=generator) * 2
    logits[..., 0] += 3  # one class is found everywhere, with the highest scores
    if ties:
        logits = logits.round()
    deltas = torch.randn(3, len(anchors), 4, generator=generator) * 0.2
    options = dict(score=0.3, nms=0.5, candidates=candidates, most=most)
    found = detections(logits, deltas, anchors, (64, 64), **options)
    for rows, *image in zip(found, logits, deltas, strict=True):
        wanted = torch.tensor(official_detections(*image, anchors, 64, **options))
        torch.testing.assert_close(rows, wanted)
    assert all(rows[:, 5].unique().tolist() == [0, 1, 2, 3] for rows in found) or most == 5


def test_images_without_detections_stay():
    anchors = grid_anchors([(4, 4)], [16], (64, 64))
    logits = torch.full((3, len(anchors), 2), -9.0)
    logits[1, 5, 1] = 2.0
    found = detections(logits, torch.zeros(3, len(anchors), 4), anchors, (64, 64))
    assert [len(rows) for rows in found] == [0, 1, 0] and found[1][0, 5] == 1
    assert [len(rows) for rows in detections(logits[:1], logits.new_zeros(1, 144, 4), anchors, (64, 64))] == [
        0
    ]


def test_losses_equal_torchvisions(pair):
    model, twin, images = pair
    generator = torch.Generator().manual_seed(2)
    corner = torch.rand(3, 4, 2, generator=generator) * 60
    boxes = torch.cat([corner, corner + 20 + torch.rand(3, 4, 2, generator=generator) * 45], 2)
    classes = torch.randint(0, CLASSES, (3, 4), generator=generator)
    valid = torch.tensor([[True] * 4, [True, True, False, False], [False] * 4])
    targets = [{"boxes": b[v], "labels": c[v]} for b, c, v in zip(boxes, classes, valid)]
    twin.train()
    for norm in (m for m in twin.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.eval()
    theirs = twin(list(images / 255.0), targets)
    twin.eval()
    losses = retinanet_losses(
        *model(images),
        boxes,
        classes,
        valid,
        torch.zeros_like(valid),
        alpha=0.25,
        gamma=2.0,
        delta=1.0,
    )
    # torchvision normalises image by image and does not divide the box loss by 4
    per_image = losses.positives.clamp(min=1)
    classes_mean, boxes_mean = (losses.classes / per_image).mean(), (4 * losses.boxes / per_image).mean()
    torch.testing.assert_close(classes_mean, theirs["classification"], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(boxes_mean, theirs["bbox_regression"], rtol=1e-4, atol=1e-5)
    assert losses.positives.tolist()[2] == 0 < losses.positives.tolist()[0]


def test_loss_has_the_official_constants_by_golden_numbers():
    """One object, logits and offsets by hand: focal alpha 0.25, gamma 1.5; Huber delta 0.1, divided by 4."""
    anchor = torch.tensor([[0.0, 0, 10, 10], [100, 100, 110, 110]])
    logits = torch.tensor([[[0.0, -1.0], [2.0, -3.0]]])
    deltas = torch.tensor([[[0.05, 0.0, 0.5, 0.0], [9.0] * 4]])
    loss = retinanet_losses(
        logits,
        deltas,
        anchor,
        anchor[None, :1],
        torch.tensor([[0]]),
        torch.tensor([[True]]),
        torch.tensor([[False]]),
    )

    def focal(x, positive):
        p = 1 / (1 + np.exp(-x))
        return 0.25 * (1 - p) ** 1.5 * -np.log(p) if positive else 0.75 * p**1.5 * -np.log(1 - p)

    assert loss.positives.tolist() == [1]
    np.testing.assert_allclose(
        loss.classes.item(),
        focal(0.0, True) + focal(-1.0, False) + focal(2.0, False) + focal(-3.0, False),
        rtol=1e-5,
    )
    np.testing.assert_allclose(loss.boxes.item(), (0.5 * 0.05**2 + 0.1 * (0.5 - 0.05)) / 4, rtol=1e-5)


def test_ignored_anchors_leave_the_class_loss():
    model, images = retinanet(), torch.zeros(1, 3, SIZE, SIZE, dtype=torch.uint8)
    logits, deltas, anchors = model(images)
    none = torch.zeros(1, 1, dtype=torch.bool)
    region = torch.tensor([[[0.0, 0, SIZE, SIZE]]])
    free = retinanet_losses(logits, deltas, anchors, region, torch.zeros(1, 1, dtype=torch.long), none, none)
    ignored = retinanet_losses(
        logits, deltas, anchors, region, torch.zeros(1, 1, dtype=torch.long), none, ~none
    )
    assert 0 < ignored.classes.item() < 0.3 * free.classes.item()


def test_heads_start_at_one_percent_and_norm_each_level_by_itself():
    model = retinanet()
    scores = model(torch.zeros(1, 3, SIZE, SIZE, dtype=torch.uint8))[0].sigmoid()
    assert torch.allclose(scores.mean(), torch.tensor(0.01), atol=1e-3)
    norms = model.head.class_head.norms
    assert len(norms) == 5 and len({id(norm) for level in norms for norm in level}) == 20


@torch.no_grad()
@pytest.mark.parametrize("size", [(64, 64), (65, 65), (96, 80)])
def test_nasfpn_can_be_its_neck(size):
    maps = trunk()
    neck = NASFPN(maps.channels, 16, repeats=2)
    head = RetinaHead(neck, classes=3, levels=(3, 4, 5, 6, 7), channels=16, head_depth=1)
    logits, deltas, anchors = Branch(maps, head).eval()(torch.zeros(2, 3, *size, dtype=torch.uint8))
    cells = sum(math.ceil(size[0] / 2**n) * math.ceil(size[1] / 2**n) for n in (3, 4, 5, 6, 7))
    assert len(anchors) == 9 * cells
    assert logits.shape == (2, len(anchors), 3) and deltas.shape == (2, len(anchors), 4)


def test_paper_recipe_builds_efficientnet_b7_at_640():
    """EfficientNet-B7's channels, 66.35 M parameters with the classifier of 2.56 M; P3-P7, 9 anchors."""
    recipe = COCO["paper"]()
    hyper_parameters = (recipe.lr, recipe.batch_size, recipe.weight_decay, recipe.warmup())
    assert recipe.optimizer == "sgd" and hyper_parameters == (0.32, 256, 1e-4, 1000)
    with torch.device("meta"):
        task = Detection(recipe, tuple(f"class{k}" for k in range(80)))
        maps = task.trunk(*IMAGENET)
        model = Branch(maps, task.head("detection", maps))
        assert maps.channels == [80, 224, 640]
        levels = model.head.neck(maps.backbone(torch.empty(1, 3, 640, 640)))
        assert [tuple(level.shape) for level in levels] == [(1, 256, n, n) for n in (80, 40, 20, 10, 5)]
        logits, deltas, _ = model(torch.empty(1, 3, 640, 640, dtype=torch.uint8))
    assert logits.shape == (1, 9 * 8525, 80) and deltas.shape == (1, 9 * 8525, 4)
    backbone = sum(p.numel() for p in maps.backbone.parameters())
    classifier, last_convolution = 2560 * 1000 + 1000, 640 * 2560 + 2 * 2560
    assert abs(backbone + classifier + last_convolution - 66.35e6) < 0.01e6
