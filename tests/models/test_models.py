"""The detector: equal to torchvision's where both can be set alike, to the official rules where they cannot."""

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
from torchvision.ops import box_iou

from selftrain.models.anchors import BACKGROUND, IGNORED, cell_anchors, grid_anchors, match
from selftrain.models.backbone import Backbone
from selftrain.models.fold import fold
from selftrain.models.fpn import FPN
from selftrain.models.retinanet import RetinaNet, detections, retinanet_losses
from selftrain.system.errors import UserError
from selftrain.tasks.detection.task import Detection
from tests.programs import load

COCO = load("recipes.detection").COCO

K, SIZE = 5, 128


def ours(norm: bool = True, **options) -> RetinaNet:
    torch.manual_seed(0)
    backbone = Backbone("resnet10t", (3, 4, 5))
    options = dict(anchor_offset=0.0) | options
    return RetinaNet(
        backbone,
        FPN(backbone.channels, 32, 2),
        classes=K,
        levels=(3, 4, 5, 6, 7),
        channels=32,
        norm=norm,
        **options,
    ).eval()


class Pyramid(nn.Module):
    """Our backbone and neck as torchvision wants them."""

    out_channels = 32

    def __init__(self, model: RetinaNet):
        super().__init__()
        self.backbone, self.neck = model.backbone, model.neck

    def forward(self, x):
        return OrderedDict((str(i), level) for i, level in enumerate(self.neck(self.backbone(x))))


class SameAnchors(AnchorGenerator):
    """torchvision's generator rounds anchors to whole pixels; here both networks get the exact ones."""

    def __init__(self, model: RetinaNet):
        super().__init__()
        self.model = [
            model
        ]  # in a list, or it would become a submodule and its batch norms would be set to training

    def num_anchors_per_location(self):
        return [9] * 5

    def forward(self, images, features):
        return [self.model[0].anchors(images.tensors.shape[2:], images.tensors.device)] * len(
            images.image_sizes
        )


def torchvision_twin(model: RetinaNet) -> TorchvisionRetinaNet:
    head = RetinaNetHead(32, 9, K)
    for mine, theirs, predictor in (
        (model.class_head, head.classification_head, head.classification_head.cls_logits),
        (model.box_head, head.regression_head, head.regression_head.bbox_reg),
    ):
        for conv, block in zip(mine.convs, theirs.conv):
            block[0].load_state_dict(conv.state_dict())
        predictor.load_state_dict(mine.predictor.state_dict())
    head.regression_head._loss_type = "smooth_l1"  # with its beta of 1 this is Huber's loss at delta 1
    return TorchvisionRetinaNet(
        Pyramid(model),
        K,
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
    model = ours(norm=False)
    for head in (model.class_head, model.box_head):
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
    features = twin.backbone((images / 255.0 - model.mean / 255) / (model.std / 255))
    theirs = twin.head(list(features.values()))
    logits, deltas = model(images)
    torch.testing.assert_close(logits, theirs["cls_logits"], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(deltas, theirs["bbox_regression"], rtol=1e-4, atol=1e-4)


def test_boxes_equal_torchvisions(pair):
    model, twin, images = pair
    with torch.no_grad():
        theirs = twin(list(images / 255.0))
        mine = detections(
            *model(images), model.anchors((SIZE, SIZE), images.device), (SIZE, SIZE), score=0.3, nms=0.5
        )
    for a, b in zip(mine, theirs):
        assert len(a) == len(b["boxes"]) > 10
        torch.testing.assert_close(a[:, 4], b["scores"], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(a[:, :4], b["boxes"], rtol=1e-3, atol=1e-2)
        assert (a[:, 5] == b["labels"]).float().mean() > 0.99  # two equal scores may stand in either order


def test_only_the_best_candidates_enter_nms(pair):
    model, _, images = pair
    with torch.no_grad():
        logits, deltas = model(images)
        anchors = model.anchors((SIZE, SIZE), images.device)
        few = detections(logits, deltas, anchors, (SIZE, SIZE), score=0.0, nms=1.0, candidates=30, most=1000)
    for found, image in zip(few, logits):
        torch.testing.assert_close(found[:, 4], image.flatten().topk(30).values.sigmoid())


def test_losses_equal_torchvisions(pair):
    model, twin, images = pair
    generator = torch.Generator().manual_seed(2)
    corner = torch.rand(3, 4, 2, generator=generator) * 60
    boxes = torch.cat([corner, corner + 20 + torch.rand(3, 4, 2, generator=generator) * 45], 2)
    classes = torch.randint(0, K, (3, 4), generator=generator)
    valid = torch.tensor([[True] * 4, [True, True, False, False], [False] * 4])
    targets = [{"boxes": b[v], "labels": c[v]} for b, c, v in zip(boxes, classes, valid)]
    twin.train()
    for norm in (m for m in twin.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.eval()
    theirs = twin(list(images / 255.0), targets)
    twin.eval()
    mine = retinanet_losses(
        *model(images),
        model.anchors((SIZE, SIZE), images.device),
        boxes,
        classes,
        valid,
        torch.zeros_like(valid),
        alpha=0.25,
        gamma=2.0,
        delta=1.0,
    )
    per_image = mine.positives.clamp(
        min=1
    )  # torchvision normalises image by image and does not divide the box loss by 4
    torch.testing.assert_close(
        (mine.classes / per_image).mean(), theirs["classification"], rtol=1e-4, atol=1e-5
    )
    torch.testing.assert_close(
        (4 * mine.boxes / per_image).mean(), theirs["bbox_regression"], rtol=1e-4, atol=1e-5
    )
    assert mine.positives.tolist()[2] == 0 < mine.positives.tolist()[0]


def test_anchors_are_torchvisions_before_its_rounding():
    generator = AnchorGenerator(
        tuple((32.0, 32 * 2 ** (1 / 3), 32 * 2 ** (2 / 3)) for _ in range(1)), ((0.5, 1.0, 2.0),)
    )
    torch.testing.assert_close(cell_anchors(32.0).round(), generator.cell_anchors[0])
    theirs = generator.grid_anchors([[4, 3]], [[torch.tensor(8), torch.tensor(8)]])[0]
    assert (grid_anchors([(4, 3)], [8], offset=0.0) - theirs).abs().max() <= 0.5 + 1e-5


def test_official_anchors_stand_in_the_middle_of_their_cells_whatever_the_image_size():
    anchors = grid_anchors([(9, 9)], [8])  # a 65 px image: torchvision would take a stride of 65 // 9 = 7
    centres = (anchors[:, :2] + anchors[:, 2:]) / 2
    assert centres[0].tolist() == [4, 4] and centres[-1].tolist() == [68, 68]
    areas = (anchors[:9, 2:] - anchors[:9, :2]).prod(1).sqrt()
    np.testing.assert_allclose(
        sorted(areas.tolist()), sorted([32 * 2 ** (k / 3) for k in (0, 1, 2)] * 3), rtol=1e-5
    )


def naive_match(anchors, boxes, ignore_boxes):
    """The official rule, an anchor at a time."""
    out = []
    iou = box_iou(anchors, boxes) if len(boxes) else torch.zeros(len(anchors), 0)
    for a, anchor in enumerate(anchors):
        best = int(iou[a].argmax()) if len(boxes) else 0
        forced = [m for m in range(len(boxes)) if int(iou[:, m].argmax()) == a]
        if forced:
            out.append(forced[0])
        elif len(boxes) and iou[a, best] >= 0.5:
            out.append(best)
        else:
            inside = 0.0
            for region in ignore_boxes:
                w = min(anchor[2], region[2]) - max(anchor[0], region[0])
                h = min(anchor[3], region[3]) - max(anchor[1], region[1])
                inside = max(
                    inside, float(max(w, 0) * max(h, 0) / ((anchor[2] - anchor[0]) * (anchor[3] - anchor[1])))
                )
            out.append(IGNORED if inside >= 0.5 else BACKGROUND)
    return out


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 50), st.integers(0, 50), st.integers(4, 60), st.integers(4, 60), st.booleans()
        ),
        max_size=5,
    ),
    st.integers(1, 3),
)
def test_matching_follows_the_official_rule(objects, copies):
    anchors = grid_anchors([(8, 8), (4, 4)], [8, 16], scale=2.0)
    boxes = torch.tensor([[x, y, x + w, y + h] for x, y, w, h, _ in objects], dtype=torch.float32).reshape(
        -1, 4
    )
    crowd = torch.tensor([c for *_, c in objects], dtype=torch.bool)
    expected = naive_match(anchors, boxes[~crowd], boxes[crowd].tolist())
    renumber = (~crowd).nonzero().squeeze(1).tolist()
    expected = [renumber[e] if e >= 0 else e for e in expected]
    batch = boxes.expand(copies, -1, -1), (~crowd).expand(copies, -1), crowd.expand(copies, -1)
    for budget in (2**24, 1):  # all images at once, one at a time
        assert match(anchors, *batch, budget=budget).tolist() == [expected] * copies


def test_every_object_gets_an_anchor_and_crowds_get_none():
    anchors = grid_anchors([(8, 8)], [8])
    boxes = torch.tensor(
        [[[3.0, 3, 5, 5], [0, 0, 64, 64]]]
    )  # an object far smaller than any anchor, and a crowd
    matched = match(anchors, boxes, torch.tensor([[True, False]]), torch.tensor([[False, True]]))
    assert (matched == 0).sum() == 1 and (matched == IGNORED).sum() > 0 and not (matched == 1).any()


def test_loss_has_the_official_constants_by_golden_numbers():
    """One anchor, one object, logits and offsets by hand: focal alpha 0.25, gamma 1.5; Huber delta 0.1, divided by 4."""
    anchor = torch.tensor([[0.0, 0, 10, 10], [100, 100, 110, 110]])
    logits, deltas = (
        torch.tensor([[[0.0, -1.0], [2.0, -3.0]]]),
        torch.tensor([[[0.05, 0.0, 0.5, 0.0], [9.0] * 4]]),
    )
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
    model, images = ours(), torch.zeros(1, 3, SIZE, SIZE, dtype=torch.uint8)
    logits, deltas = model(images)
    anchors = model.anchors((SIZE, SIZE), images.device)
    none = torch.zeros(1, 1, dtype=torch.bool)
    region = torch.tensor([[[0.0, 0, SIZE, SIZE]]])
    free = retinanet_losses(logits, deltas, anchors, region, torch.zeros(1, 1, dtype=torch.long), none, none)
    ignored = retinanet_losses(
        logits, deltas, anchors, region, torch.zeros(1, 1, dtype=torch.long), none, ~none
    )
    assert 0 < ignored.classes.item() < 0.3 * free.classes.item()


def test_heads_start_at_one_percent_and_norm_each_level_by_itself():
    model = ours()
    assert torch.allclose(
        model(torch.zeros(1, 3, SIZE, SIZE, dtype=torch.uint8))[0].sigmoid().mean(),
        torch.tensor(0.01),
        atol=1e-3,
    )
    assert (
        len(model.class_head.norms) == 5
        and len({id(n) for level in model.class_head.norms for n in level}) == 20
    )
    assert len(model.class_head.convs) == 4


def test_paper_recipe_builds_efficientnet_b7_at_640():
    """EfficientNet-B7's channels, 66.35 M parameters with the classifier of 2.56 M; P3-P7, 9 anchors."""
    recipe = COCO["paper"]()
    assert (recipe.optimizer, recipe.lr, recipe.batch_size, recipe.weight_decay, recipe.warmup_steps) == (
        "sgd",
        0.32,
        256,
        1e-4,
        1000,
    )
    with torch.device("meta"):
        task = Detection(recipe, tuple(f"class{k}" for k in range(80)))
        model = task.model((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
        assert model.backbone.channels == [80, 224, 640]
        levels = model.neck(model.backbone(torch.empty(1, 3, 640, 640)))
        assert [tuple(level.shape) for level in levels] == [(1, 256, n, n) for n in (80, 40, 20, 10, 5)]
        logits, deltas = model(torch.empty(1, 3, 640, 640, dtype=torch.uint8))
    assert logits.shape == (1, 9 * 8525, 80) and deltas.shape == (1, 9 * 8525, 4)
    backbone = sum(p.numel() for p in model.backbone.parameters())
    classifier, last_convolution = 2560 * 1000 + 1000, 640 * 2560 + 2 * 2560
    assert abs(backbone + classifier + last_convolution - 66.35e6) < 0.01e6


def test_pruned_backbone_keeps_no_unused_weight():
    backbone = Backbone("tf_efficientnet_lite0", (3, 4))
    sum(level.sum() for level in backbone(torch.randn(2, 3, 65, 65))).backward()
    assert all(p.grad is not None for p in backbone.parameters())
    assert [level.shape[1:] for level in backbone(torch.randn(1, 3, 65, 65))] == [(40, 9, 9), (112, 5, 5)]


@pytest.mark.parametrize("name, word", [("resnet5", "nearest"), ("vit_tiny_patch16_224", "strides")])
def test_unfit_backbones_are_refused_by_name(name, word):
    with pytest.raises(UserError, match=word):
        Backbone(name)


# ---- batch norm folded for prediction -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "resnet18", "regnetx_002", "resnetv2_50"])
def test_folding_changes_no_output(name):
    """Also where it must not fold: the last net is pre-activated, its convolutions are read by the residual sum as well."""
    torch.manual_seed(0)
    net = Backbone(name)
    images = torch.rand(4, 3, 64, 64)
    for _ in range(3):
        net.train()(images)  # running statistics that are not those of a fresh layer
    folded = fold(net, images[:1])
    norms = [sum(isinstance(m, torch.nn.BatchNorm2d) for m in n.modules()) for n in (net, folded)]
    assert norms[1] == 0 or name == "resnetv2_50"
    with torch.no_grad():
        for a, b in zip(net.eval()(images), folded(images)):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4 * float(a.abs().max()))


def test_a_convolution_shared_by_levels_keeps_its_norms():
    model = ours()
    images = torch.randint(
        0, 256, (2, 3, SIZE, SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    )
    folded = fold(model, images)
    assert folded is not model
    heads = [m for m in folded.class_head.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert (
        len(heads) == len([m for m in model.class_head.modules() if isinstance(m, torch.nn.BatchNorm2d)]) > 0
    )
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in folded.backbone.modules())
    with torch.no_grad():
        for a, b in zip(model(images), folded(images)):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4 * float(a.abs().max()))


def test_a_wrong_fold_is_noticed_and_left():
    class Read(torch.nn.Module):
        """The convolution's output goes to the norm and past it."""

        def __init__(self):
            super().__init__()
            self.conv, self.norm = torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)

        def forward(self, x):
            x = self.conv(x)
            return self.norm(x) + x

    model = Read()
    model.norm.running_mean.fill_(3.0)
    assert fold(model, torch.rand(1, 3, 8, 8)) is model
