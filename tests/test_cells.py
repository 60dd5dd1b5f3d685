"""Which cells a recipe declares, and what each is called."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from selftrain import checkpoint
from selftrain.cells import Random, plan
from selftrain.record import Arm, read_many
from selftrain.starts.start import imagenet_state
from tests.programs import SHORTENED_DEMO, load
from tests.test_program import run

demo = load("recipes.detection").demo
SPLITS = SimpleNamespace(
    train=SimpleNamespace(hash="t"), val=SimpleNamespace(hash="v"), pool=SimpleNamespace(hash="p")
)


def planned(**fields):
    return plan(replace(demo(), **fields), SPLITS, "boxes")


def test_each_depth_of_freezing_is_an_arm_of_every_pretrained_start():
    cells = planned(freeze=("none", "stages:2", "backbone"))
    assert [str(cell.arm) for cell in cells] == [
        "random",
        "random + self-training",
        "imagenet",
        "imagenet + self-training",
        "imagenet, stages:2 frozen",
        "imagenet, stages:2 frozen + self-training",
        "imagenet, frozen",
        "imagenet, frozen + self-training",
    ]
    assert [cell.freeze for cell in cells] == [*["none"] * 4, *["stages:2"] * 2, *["backbone"] * 2]
    assert len({cell.key for cell in cells}) == len({cell.folder for cell in cells}) == len(cells)
    alone = planned()
    assert [cell.key for cell in alone] == [cell.key for cell in cells[:4]]  # freezing moves no other cell


def test_a_frozen_teachers_student_from_random_weights_is_trained_whole():
    *_, teacher, student = planned(freeze=("none", "backbone"), student_start="random")
    assert student.weights == Random() and student.freeze == "none" and teacher.freeze == "backbone"
    assert student.arm == Arm("imagenet", ("self-training",), "backbone")
    again = planned(freeze=("none", "backbone"), student_start="teacher")[-1]
    assert again.freeze == "backbone" and again.arm == student.arm


@pytest.mark.slow
def test_a_frozen_backbone_ends_as_the_weights_that_it_was_given(tmp_path):
    options = ["--starts", "imagenet", "--freeze", "stages:2", "backbone", "--score-threshold", "0.001"]
    done = run("coco", *SHORTENED_DEMO, *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "imagenet, stages:2 frozen" in done.stdout and "imagenet, frozen + self-training" in done.stdout
    records = read_many(next((tmp_path / "runs").glob("*demo-*")) / "records.json")
    assert {(r.arm.freeze, r.arm.rounds) for r in records} == {
        (freeze, rounds) for freeze in ("stages:2", "backbone") for rounds in (0, 1)
    }
    given, _ = imagenet_state("tf_efficientnet_lite0", "imagenet", None)
    for folder in (tmp_path / "runs" / "cells").iterdir():
        state = checkpoint.load(folder / "final.pt")
        ours = {
            name.removeprefix("trunk.backbone.net."): tensor
            for name, tensor in state.items()
            if name.startswith("trunk.backbone.net.") and not name.endswith("num_batches_tracked")
        }
        moved = {name for name, tensor in ours.items() if not torch.equal(tensor, given[name])}
        kept = ours.keys() - moved
        whole = "stages-2" not in folder.name
        beginning = {name for name in ours if name.startswith(("conv_stem", "bn1", "blocks.0", "blocks.1."))}
        assert kept == (ours.keys() if whole else beginning)
