"""Anchors equal torchvision's but for its rounding; matching follows the official rule."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops import box_iou

from selftrain.models.anchors import BACKGROUND, IGNORED, cell_anchors, grid_anchors, match


def test_anchors_are_torchvisions_before_its_rounding():
    generator = AnchorGenerator(((32.0, 32 * 2 ** (1 / 3), 32 * 2 ** (2 / 3)),), ((0.5, 1.0, 2.0),))
    torch.testing.assert_close(cell_anchors(32.0).round(), generator.cell_anchors[0])
    theirs = generator.grid_anchors([[4, 3]], [[torch.tensor(8), torch.tensor(8)]])[0]
    # torchvision begins at the edge, not half a stride from it
    assert (grid_anchors([(4, 3)], [8], (32, 24)) - 4 - theirs).abs().max() <= 0.5 + 1e-5


def test_a_stride_is_exact_and_a_grid_centred_whatever_the_image_size():
    # of a 65 px image torchvision would take a stride of 65 // 9 = 7
    anchors = grid_anchors([(9, 9)], [8], (65, 65))
    centres = (anchors[:, :2] + anchors[:, 2:]) / 2
    assert centres[0].tolist() == [0.5, 0.5] and centres[-1].tolist() == [64.5, 64.5]
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
    anchors = grid_anchors([(8, 8), (4, 4)], [8, 16], (64, 64), scale=2.0)
    corners = [[x, y, x + w, y + h] for x, y, w, h, _ in objects]
    boxes = torch.tensor(corners, dtype=torch.float32).reshape(-1, 4)
    crowd = torch.tensor([c for *_, c in objects], dtype=torch.bool)
    expected = naive_match(anchors, boxes[~crowd], boxes[crowd].tolist())
    renumber = (~crowd).nonzero().squeeze(1).tolist()
    expected = [renumber[e] if e >= 0 else e for e in expected]
    batch = boxes.expand(copies, -1, -1), (~crowd).expand(copies, -1), crowd.expand(copies, -1)
    for budget in (2**24, 1):  # all images at once, one at a time
        assert match(anchors, *batch, budget=budget).tolist() == [expected] * copies


def test_every_object_gets_an_anchor_and_crowds_get_none():
    anchors = grid_anchors([(8, 8)], [8], (64, 64))
    # an object far smaller than any anchor, and a crowd
    boxes = torch.tensor([[[3.0, 3, 5, 5], [0, 0, 64, 64]]])
    matched = match(anchors, boxes, torch.tensor([[True, False]]), torch.tensor([[False, True]]))
    assert (matched == 0).sum() == 1 and (matched == IGNORED).sum() > 0 and not (matched == 1).any()
