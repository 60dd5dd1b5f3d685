"""What is committed under results/ is what its records give, and the README shows it."""

import json
from pathlib import Path

import pytest

from tables import arms_markdown

ROOT = Path(__file__).resolve().parent.parent
RUNS = sorted(path.parent for path in (ROOT / "results").glob("*/records.json"))


@pytest.mark.parametrize("folder", RUNS, ids=lambda folder: folder.name)
def test_committed_tables_regenerate_from_their_records_byte_for_byte(folder):
    records = json.loads((folder / "records.json").read_text())
    table = (folder / "table.md").read_text()
    assert arms_markdown(records) == table
    assert table in (ROOT / "README.md").read_text()
    assert sorted({r["arm"] for r in records}) == ["imagenet", "imagenet + self-training", "random", "random + self-training"]


def test_the_demo_stands_on_three_seeds_and_every_arm_reaches_ten_ap():
    records = json.loads((ROOT / "results" / "coco-demo" / "records.json").read_text())
    assert sorted(r["settings"]["seed"] for r in records if r["arm"] == "random") == [0, 1, 2]
    assert min(r["metrics"]["AP"] for r in records) >= 10 and all(r["split"] == "test" for r in records)


def test_the_readme_shows_the_speed_table():
    table = [line for line in (ROOT / "results" / "speed.md").read_text().splitlines() if line.startswith("|")]
    readme = (ROOT / "README.md").read_text()
    assert table and all(line in readme for line in table)


def test_the_segmentation_demo_stands_on_three_seeds_and_every_arm_beats_one_class_everywhere():
    records = json.loads((ROOT / "results" / "pascal-demo" / "records.json").read_text())
    assert sorted(r["settings"]["seed"] for r in records if r["arm"] == "random") == [0, 1, 2]
    assert all(r["metrics"]["mIoU"] > r["metrics"]["chance"] and r["split"] == "test" for r in records)


def test_masks_made_from_coco_are_not_called_pascal_voc():
    records = json.loads((ROOT / "results" / "voc-mini" / "records.json").read_text())
    assert all("COCO-derived, not PASCAL VOC" in r["recipe"] for r in records)
