"""Class-balanced pseudo-masks: the surest share of each class, whatever was interrupted on the way."""

import hashlib
import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from accelerate import Accelerator
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from selftrain.data.pool import listed_pool, read_pool
from selftrain.data.voc import VocDataset, encode_mask
from selftrain.engine import Engine
from selftrain.label import label_pool, labels_file
from selftrain.models.network import Network
from selftrain.recipe import identity
from selftrain.system.errors import UserError
from selftrain.system.stop import Stop
from selftrain.tasks.segmentation.class_balanced import (
    LEAST,
    LEVELS,
    balanced_thresholds,
    levelled_mask,
    levels_of,
)
from selftrain.tasks.segmentation.task import Segmentation
from tests.tasks.segmentation.small import PASCAL, K, QuarterHead

PHOTOS, SIDE = 12, 16


class Plain(nn.Module):
    """A trunk that gives the images themselves as its only map."""

    def forward(self, images):
        return [images]


@pytest.fixture
def engine():
    accelerator = Accelerator(cpu=True)
    return Engine(accelerator, Stop(accelerator))


@pytest.fixture
def photos(tmp_path):
    """Photos with human masks, as a data set."""
    rng = np.random.default_rng(0)
    for name in ("photos", "masks"):
        (tmp_path / name).mkdir()
    ids = [f"p{i:02}" for i in range(PHOTOS)]
    for name in ids:
        image = np.kron(rng.integers(0, 256, (4, 4, 3)), np.ones((4, 4, 1))).astype(np.uint8)
        cv2.imwrite(str(tmp_path / "photos" / f"{name}.png"), image)
        mask = np.kron(rng.integers(0, K, (4, 4)), np.ones((4, 4))).astype(np.uint8)
        (tmp_path / "masks" / f"{name}.png").write_bytes(encode_mask(mask))
    files = np.array([f"{name}.png".encode() for name in ids])
    return VocDataset(
        tmp_path / "photos", tmp_path / "masks", files, files, np.array(ids), tuple("abcd"), "h"
    )


def labelling(photos, folder, **options):
    """What `label_pool` takes for this pool, and the task's recipe."""
    recipe = replace(
        PASCAL["demo"](), **(dict(image_size=SIDE, eval_batch=1, teacher_scales=(1.0,)) | options)
    ).check()
    task = Segmentation(recipe, tuple("abcd")).normalised((0.5, 0.5, 0.5))
    teacher = Network(Plain(), {"segmentation": QuarterHead()})
    return task.labeller, (recipe, teacher, "teacher", listed_pool(photos), photos, folder, "label")


def products(folder) -> dict[str, bytes]:
    """The label files, reports and masks, by their paths."""
    found = [*folder.rglob("labels-*.json"), *folder.rglob("report-*.json"), *folder.rglob("*.png")]
    return {str(file.relative_to(folder)): file.read_bytes() for file in found}


# ---- levels ---------------------------------------------------------------------------------------------


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=50))
def test_a_level_is_a_step_of_the_probability(values):
    probability = np.array(values, np.float32)
    level = levels_of(probability).astype(int)
    assert (LEAST[level] <= probability).all()
    assert (probability[level < LEVELS - 1] < LEAST[level[level < LEVELS - 1] + 1]).all()


def test_levels_are_fine_where_a_good_teacher_is():
    """Even steps would put whatever is above 0.998 into one level, half of all pixels and more."""
    assert (np.diff(LEAST) > 0).all()
    assert (LEAST > 0.998).sum() > 70 and (LEAST < 0.5).sum() > 60


@given(st.integers(0, 1000), st.floats(0.05, 1))
def test_the_surest_share_of_each_class_is_kept(seed, share):
    rng = np.random.default_rng(seed)
    chances = torch.from_numpy(rng.dirichlet(np.ones(K) * 0.5, (32, 32)).astype(np.float32)).permute(2, 0, 1)
    found = levelled_mask(chances)
    thresholds = balanced_thresholds(found["levels"], share)
    best, label = (t.numpy() for t in chances.max(0))
    for k in range(K):
        own = best[label == k]
        kept, at_the_edge = own >= thresholds[k], levels_of(own) == levels_of(np.float32(thresholds[k]))
        wanted = np.ceil(share * len(own))
        assert wanted <= kept.sum() and (kept.sum() - at_the_edge.sum() < wanted or not len(own))
        assert found["best"][k] == len(own)


def test_a_class_that_is_nowhere_the_best_has_no_threshold():
    levels = np.zeros((2, LEVELS), int)
    levels[0, 100] = 7
    thresholds = balanced_thresholds(levels, 0.5)
    assert thresholds[0] == LEAST[100] and np.isinf(thresholds[1])


# ---- labelling ------------------------------------------------------------------------------------------


def test_auto_keeps_the_surest_share_of_each_class_and_the_report_says_it(engine, photos, tmp_path):
    labeller, arguments = labelling(photos, tmp_path / "out", pseudo_threshold="auto", pseudo_share=0.3)
    file, report, _ = label_pool(engine, labeller, *arguments)
    labels = labeller.read(file, arguments[3])
    classes = {row["class"]: row for row in report["by_class"]}
    found = [row["kept"] for row in classes.values() if row["kept"] is not None]
    assert len(found) > 1 and all(0.3 <= kept < 0.45 for kept in found)
    pixels = labels.class_counts
    for k, name in enumerate("abcd"):
        assert classes[name]["human"] == pytest.approx((photos.class_counts / photos.class_counts.sum())[k])
        assert classes[name]["pseudo"] == pytest.approx(pixels[k] / pixels.sum())
        assert report["threshold"][name] == classes[name]["threshold"]
    right = sum(row["recall"] * n for row, n in zip(report["by_class"], photos.class_counts))
    assert right / pixels.sum() == pytest.approx(report["accuracy"])
    text = labeller.describe(report)
    assert text.startswith("pseudo-masks of the surest 30% of each class: ") and "people" in text
    assert max(map(len, text.splitlines()[2:7])) <= 80


def test_with_two_unsure_classes_one_threshold_keeps_every_pixel_and_auto_half_of_each():
    """The better of two classes has at least 0.5: the paper's threshold does nothing there."""
    rng = np.random.default_rng(0)
    sure = torch.from_numpy(rng.uniform(0.5, 0.9, (32, 32)).astype(np.float32))
    chances = torch.stack([sure, 1 - sure])
    chances[:, 16:] = chances[:, 16:].flip(0)
    found = levelled_mask(chances)
    assert (chances.max(0).values >= 0.5).all()
    thresholds = balanced_thresholds(found["levels"], 0.5)
    for half, threshold in zip((sure[:16], sure[16:]), thresholds):
        assert 0.5 <= (half >= threshold).double().mean() < 0.54


def test_interrupted_labelling_ends_where_an_uninterrupted_one_ends(engine, photos, tmp_path, monkeypatch):
    monkeypatch.setattr("selftrain.parts.PART", 2)
    options = dict(pseudo_threshold="auto")
    labeller, arguments = labelling(photos, tmp_path / "straight", **options)
    label_pool(engine, labeller, *arguments)
    whole = products(tmp_path / "straight")
    assert len(whole) == 2 + 2 * PHOTOS  # labels, report; of each photo the levels and the mask

    labeller, arguments = labelling(photos, tmp_path / "broken", **options)
    predict, seen = labeller.predict, []

    def _dies(model, batch, truth=None):
        seen.append(batch["indices"])
        if len(seen) == 6:
            raise KeyboardInterrupt
        return predict(model, batch, truth)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(labeller, "predict", _dies)
        label_pool(engine, labeller, *arguments)
    assert 0 < len(products(tmp_path / "broken")) < PHOTOS
    with monkeypatch.context() as patched, pytest.raises(OSError):  # the next is broken while masks appear
        written = iter([encode_mask] * 5)
        patched.setattr(
            "selftrain.tasks.segmentation.class_balanced.encode_mask",
            lambda mask: next(written, _full_disk)(mask),
        )
        label_pool(engine, labeller, *arguments)
    assert not list((tmp_path / "broken").rglob("labels-*.json"))
    label_pool(engine, labeller, *arguments)
    assert products(tmp_path / "broken") == whole


def _full_disk(mask):
    raise OSError("no space left")


def test_how_photos_are_dealt_out_decides_nothing(engine, photos, tmp_path, monkeypatch):
    """As over more processes: other parts, in another order, with another batch in each."""
    found = []
    for part in (1, 5, 32):
        monkeypatch.setattr("selftrain.parts.PART", part)
        labeller, arguments = labelling(photos, tmp_path / str(part), pseudo_threshold="auto")
        label_pool(engine, labeller, *arguments)
        found.append(products(tmp_path / str(part)))
    assert found[0] == found[1] == found[2]


def test_another_share_needs_no_second_pass(engine, photos, tmp_path, monkeypatch):
    labeller, arguments = labelling(photos, tmp_path, pseudo_threshold="auto", pseudo_share=0.5)
    half, report, _ = label_pool(engine, labeller, *arguments)
    before = {path: path.read_bytes() for path in half.with_suffix("").rglob("*.png")}
    labeller, arguments = labelling(photos, tmp_path, pseudo_threshold="auto", pseudo_share=0.9)
    monkeypatch.setattr(labeller, "predict", _never)
    more, other, _ = label_pool(engine, labeller, *arguments)
    assert more != half and more.parent == half.parent
    assert other["kept_pixels"] > report["kept_pixels"]
    assert {path: path.read_bytes() for path in half.with_suffix("").rglob("*.png")} == before


def _never(*_, **__):
    raise AssertionError("the pool is predicted again")


def test_a_class_that_the_teacher_never_finds_is_named(engine, photos, tmp_path):
    class Blind(QuarterHead):
        def forward(self, maps, size):
            logits = super().forward(maps, size)
            return torch.cat([logits[:, :2], logits[:, 2:3] - 100, logits[:, 3:]], 1)

    for threshold in ("auto", 0.3):
        labeller, arguments = labelling(photos, tmp_path / str(threshold), pseudo_threshold=threshold)
        teacher = Network(Plain(), {"segmentation": Blind()})
        file, report, _ = label_pool(engine, labeller, arguments[0], teacher, *arguments[2:])
        assert report["vanished"] == ["c"] and report["by_class"][2]["pseudo"] == 0
        assert "[yellow]warning: the teacher's labels have hardly any of c," in labeller.describe(report)
        assert 2 not in np.unique(labeller.read(file, arguments[3]).mask(0))


def test_a_lost_file_names_the_folder_to_delete(engine, photos, tmp_path):
    labeller, arguments = labelling(photos, tmp_path / "out", pseudo_threshold="auto")
    file, *_ = label_pool(engine, labeller, *arguments)
    file.unlink()
    (file.parent / "levels" / "p03.png.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=f"p03.png.png: cannot be read.*delete the folder {file.parent}"):
        label_pool(engine, labeller, *arguments)


def test_the_disk_that_it_takes_is_announced(photos):
    pool = read_pool([photos.folder])
    for options, words in (({}, None), (dict(pseudo_threshold="auto"), "512 bytes a photo")):
        labeller, _ = labelling(photos, photos.folder, **options)
        text = labeller.announce(pool)
        assert text is None if words is None else words in text


# ---- numbers are what they were -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options, content",
    [
        (dict(pseudo_threshold=0.3), "7332e9ca2916a84a"),
        (dict(pseudo_threshold=0.5, teacher_flip=False), "109cc0acf1f93c6c"),
        (dict(soft=True), "8843f56dff2d4580"),
    ],
)
def test_masks_at_one_threshold_are_those_of_before_there_were_thresholds_by_class(
    engine, photos, tmp_path, options, content
):
    """Path, list and pixels of every mask; a PNG's bytes are a matter of Pillow's release."""
    labeller, arguments = labelling(photos, tmp_path / "out", **options)
    file, *_ = label_pool(engine, labeller, *arguments)
    labels = labeller.read(file, arguments[3])
    whole = json.loads(file.read_text())
    whole["info"].pop("report", None)
    pixels = hashlib.blake2b(b"".join(labels.mask(i).tobytes() for i in range(len(labels))))
    found = [str(file.relative_to(tmp_path)), json.dumps(whole, sort_keys=True), pixels.hexdigest()]
    assert hashlib.blake2b(repr(found).encode(), digest_size=8).hexdigest() == content


def test_a_share_is_part_of_a_key_and_of_the_labels_place_only_with_auto(photos, tmp_path):
    def _made(**options):
        labeller, (recipe, _, teacher, pool, human, folder, _) = labelling(photos, tmp_path, **options)
        return identity(recipe, student=True), labels_file(labeller, recipe, teacher, pool, human, folder)

    assert _made(pseudo_threshold=0.5) == _made(pseudo_threshold=0.5, pseudo_share=0.2)
    assert "pseudo_share" not in _made(pseudo_threshold=0.5)[0]
    one, other = (_made(pseudo_threshold="auto", pseudo_share=share) for share in (0.5, 0.2))
    assert one[0] != other[0] and one[1] != other[1] and one[1].parent == other[1].parent


@pytest.mark.parametrize(
    "options, words",
    [
        (dict(soft=True, pseudo_threshold="auto"), "--soft keeps every pixel.*--pseudo-threshold auto"),
        (dict(pseudo_threshold="auto", pseudo_share=0.0), r"--pseudo-share 0.0 is not in \(0, 1\]"),
        (dict(pseudo_share=1.5), r"--pseudo-share 1.5 is not in \(0, 1\]"),
    ],
)
def test_what_makes_no_sense_is_refused(options, words):
    with pytest.raises(UserError, match=words):
        replace(PASCAL["demo"](), **options).check()
