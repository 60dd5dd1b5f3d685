"""The published numbers are those of the reference, cell by cell and with its marks.

Where the reference does not lie beside this checkout, nothing is compared.
"""

import re
from pathlib import Path

import pytest

from selftrain.record import RANDOM, Arm, Setting
from selftrain.report.published import HE_GAINS, OTHERS, SCORES, SPEED_UP, ZOPH, Number, published

PAPER = Path(__file__).resolve().parents[3] / "shared" / "reference" / "paper.md"
IMAGENET, NOISY = Arm("imagenet"), Arm("imagenet++")
NAMES = {RANDOM: "Rand Init", IMAGENET: "ImageNet Init", NOISY: "ImageNet++ Init"}


def student(arm: Arm) -> Arm:
    return Arm(arm.start, ("self-training",))


def at(policy: str, fraction: float = 1.0, labels: str = "train") -> Setting:
    return Setting(policy=policy, fraction=fraction, labels=labels)


def reference(heading: str) -> dict[tuple[str, str], str]:
    """(row, column) -> cell, of the tables below a heading of the reference."""
    if not PAPER.exists():
        pytest.skip("the reference is not beside this checkout")
    found, header = {}, []
    for line in PAPER.read_text().split(heading, 1)[1].split("\n##", 1)[0].splitlines():
        cells = [cell.strip(" *") for cell in line.strip("|").split("|")] if line.startswith("|") else []
        if not cells or cells[0].startswith("--"):
            header = header if cells else []
        elif not header:
            header = cells
        else:
            found |= {(cells[0], column): cell for column, cell in zip(header[1:], cells[1:])}
    return found


def first_number(cell: str) -> float:
    return float(re.search(r"[\d.]+", cell)[0])


def test_published_policies_are_those_of_the_reference():
    """Every cell of its tables, with the reference's mark."""
    figure, table2 = reference("### 1.1"), reference("### 1.2")
    for (row, policy), cell in figure.items():
        arm = next(arm for arm, name in NAMES.items() if row == name or row.startswith(f"{name} ("))
        number = published("coco", arm, at(policy))
        assert number.value == first_number(cell) and (number.mark == "plotted") == cell.startswith("≈")
    for (row, policy), cell in table2.items():
        arm = next((arm for arm, name in NAMES.items() if row == name), student(RANDOM))
        assert arm in NAMES or row.endswith("Self-training")
        number = published("coco", arm, at(policy))
        assert (number.value, number.mark) == (first_number(cell), "read") and "Table 2" in number.source


def test_published_fractions_are_those_of_the_reference_and_there_is_no_other_score():
    section = PAPER.read_text().split("### 1.3", 1)[1].split("\n##", 1)[0] if reference("### 1.3") else ""
    lines = [line for line in section.splitlines() if line.startswith("|")]
    header, arm, seen = [cell.strip(" %") for cell in lines[0].split("|")], RANDOM, 12 + 4
    for line in lines[2:]:
        cells = [cell.strip() for cell in line.split("|")]
        self_trained = cells[1].startswith("+")
        arm = student(arm) if self_trained else next(arm for arm, name in NAMES.items() if cells[1] == name)
        for percent, cell in list(zip(header, cells))[2:5]:
            number = published("coco", arm, at("S4", int(percent) / 100))
            assert (number.value, number.mark) == (first_number(cell), "read"), (arm, percent)
            seen += int(percent) < 100 or arm not in (*NAMES, student(RANDOM))
    assert seen == sum(task == "coco" for task, *_ in SCORES)


def test_published_segmentation_is_that_of_the_reference():
    table6, table8 = reference("### 1.6"), reference("### 1.8")
    for row, arm in (
        ("Eff-B7 NAS-FPN (S4, ImageNet++)", NOISY),
        ("Eff-B7 NAS-FPN + self-training", student(NOISY)),
    ):
        number = Number(first_number(table6[row, "val"]), f"{ZOPH}, Tables 6 and 8", "read")
        assert published("pascal", arm, at("S4")) == number
    larger, self_trained = "Eff-L2 NAS-FPN", "Eff-L2 NAS-FPN + self-training"
    others, name = dict(OTHERS), "mIoU, EfficientNet-L2 NAS-FPN"
    for what, cell in (
        (f"{name}, val", table6[larger, "val"]),
        (f"{name} with self-training, val", table6[self_trained, "val"]),
        (f"{name} with self-training, test", table6[self_trained, "test"]),
    ):
        assert (others[what].value, others[what].mark) == (first_number(cell), "read")
    columns = {
        "train": (NOISY, "train"),
        "train+aug (labels)": (NOISY, "train_aug"),
        "train + self-train on aug": (student(NOISY), "train+pseudo_aug"),
    }
    for (row, column), cell in table8.items():
        arm, labels = columns[column]
        number = published("pascal", arm, at(row.removeprefix("Augment-"), labels=labels))
        mark = "read" if first_number(cell) in (85.2, 86.7) else "recalled"
        assert (number.value, number.mark) == (first_number(cell), mark), (row, column)
    assert sum(task == "pascal" for task, *_ in SCORES) == len(table8) + 1  # 86.7 stands in both


def test_a_place_that_the_paper_does_not_have_has_no_number():
    assert published("coco", RANDOM, at("S4").but(backbone="resnet18")) is None


def test_the_other_published_numbers_are_those_of_the_reference():
    joint, he, spine = reference("### 1.7"), reference("## 3. He"), reference("### 1.5")
    others = {what: number for what, number in OTHERS if number.mark == "read"}
    for start, row in (("random", "Rand Init"), ("imagenet", "ImageNet Init")):
        for name, column in (
            ("supervised", "Sup."),
            ("self training", "w/ Self-training"),
            ("joint training", "w/ Joint"),
            ("both", "w/ both"),
        ):
            assert others.pop(f"AP, S4, 20 % of the labels, from {start}, {name}").value == first_number(
                joint[row, column]
            )
        for net in ("R50", "R101"):
            for n in range(2, 7):
                assert others.pop(f"AP, Mask R-CNN {net}, {start}, {n}x").value == first_number(
                    he[f"{net} {'random' if start == 'random' else 'pre-train'}", f"{n}×"]
                )
        for images in ("35,000", "10,000", "3,500", "1,000"):
            cell = he[
                f"{int(images.replace(',', '')) / 1000:g}k", "scratch" if start == "random" else "pre-train"
            ]
            assert others.pop(f"AP, Mask R-CNN, {images} images of COCO, {start}").value == first_number(cell)
        assert others.pop(f"mAP, R101-FPN, {start}").value == first_number(
            he["VOC07+12 (R101-FPN GN, mAP)", "scratch" if start == "random" else "pre-train"]
        )
    assert (
        others.pop("AP, Mask R-CNN, 1,000 images of COCO, random tuned for it").value == 5.4
        and "5.4 if tuned" in he["1k", "scratch"]
    )
    for row in ("SpineNet-143", "SpineNet-190", "SpineNet-190 + self-training"):
        for split, column in (("val", "AP val"), ("test dev", "AP test-dev")):
            assert others.pop(f"AP, {row.replace('+', 'with')}, {split}").value == first_number(
                spine[row, column]
            )
    section = PAPER.read_text().split("### 1.4", 1)[1].split("\n##", 1)[0]
    for name, text in (
        ("random", "Rand Init"),
        ("imagenet", "ImageNet Init (supervised)"),
        ("SimCLR", "ImageNet Init (SimCLR)"),
        ("random with self training", "Rand Init w/ Self-training"),
    ):
        assert f"{text} **{others.pop(f'AP, ResNet-50, S4, all labels, {name}').value}**" in section
    assert {what for what in others} == {
        f"{what}, {split}"
        for what, splits in (
            ("AP, SpineNet-143 with self-training", ("val", "test dev")),
            ("mIoU, EfficientNet-L2 NAS-FPN", ("val",)),
            ("mIoU, EfficientNet-L2 NAS-FPN with self-training", ("val", "test")),
        )
        for split in splits
    }
    for net, found in HE_GAINS.items():
        for metric, number in found.items():
            assert number.value == -first_number(he[f"Δ {net}", metric]), (net, metric)
    assert "1.3× to 8×" in reference("### 1.10")["speed-up from pre-training", "value"] and [
        n.value for n in SPEED_UP
    ] == [1.3, 8.0]
