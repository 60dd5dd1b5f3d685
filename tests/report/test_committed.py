"""What is committed under results/ is what its records give, byte for byte."""

from dataclasses import replace
from pathlib import Path

import pytest

from selftrain.record import RANDOM, SCHEMA, read, read_many
from selftrain.report.drawing import drawn_by
from selftrain.report.figures import write_figures
from selftrain.report.matrix import read_studies
from selftrain.report.page import readmes_of, regenerate
from selftrain.report.run_table import grid
from selftrain.report.tables import main
from selftrain.system.errors import UserError
from tests.records import ARMS

ROOT = Path(__file__).resolve().parent.parent.parent
RUNS = sorted(path.parent for path in (ROOT / "results").glob("*/records.json"))
STUDIES = ROOT / "results" / "records"
FIGURES = ROOT / "results" / "figures"


@pytest.mark.parametrize("folder", RUNS, ids=lambda folder: folder.name)
def test_committed_tables_regenerate_from_their_records_byte_for_byte(folder):
    records = read_many(folder / "records.json")
    table = (folder / "table.md").read_text()
    assert grid(records) == table
    assert table in (ROOT / "benchmarks" / "README.md").read_text()
    assert folder.name != "coco-demo" or table in (ROOT / "README.md").read_text()
    frozen = {replace(arm, freeze="backbone") for arm in ARMS if arm.start == "imagenet"}
    assert {r.arm for r in records} == set(ARMS) | (frozen if folder.name == "classify-demo" else set())


def test_studies_regenerate_byte_for_byte():
    made = regenerate(read_studies(STUDIES), ROOT / "results", readmes_of(ROOT / "results"))
    for path, content in made.items():
        assert path.read_bytes() == content.encode(), path
    # and nothing that no record stands behind
    assert set((ROOT / "results" / "tables").iterdir()) <= made.keys()


def test_figures_of_studies_regenerate_byte_for_byte(tmp_path):
    then, now = (FIGURES / "versions.txt").read_text(), drawn_by()
    if then != now:
        shown = (", ".join(text.splitlines()) for text in (then, now))
        pytest.skip("drawn by {}; here are {}: pixels or compression may differ".format(*shown))
    drawn = write_figures(STUDIES, tmp_path)
    assert {path.name for path in FIGURES.iterdir()} == {path.name for path in drawn} | {"versions.txt"}
    for path in drawn:
        assert path.read_bytes() == (FIGURES / path.name).read_bytes(), path.name


def test_no_records_is_said_not_drawn(tmp_path):
    for make in (
        lambda: regenerate(read_studies(tmp_path), tmp_path),
        lambda: write_figures(tmp_path, tmp_path),
    ):
        with pytest.raises(UserError, match="study.py makes them"):
            make()


@pytest.mark.parametrize("margin", ["0", "-1", "nan", "inf"])
def test_a_margin_is_a_number_above_zero(margin, monkeypatch):
    monkeypatch.setattr("sys.argv", ["tables.py", "--margin", margin])
    with pytest.raises(UserError, match="--margin .*: give a number of points above 0"):
        main("about")


def test_records_of_studies_can_be_read_and_are_of_one_code_each():
    for file in STUDIES.glob("*/*.json"):
        record = read(file)
        assert record.schema == SCHEMA and not record.sources_changed, file
        assert bool(record.sources) == bool(record.modules), file


def test_the_demo_stands_on_three_seeds_and_every_arm_reaches_ten_ap():
    records = read_many(ROOT / "results" / "coco-demo" / "records.json")
    assert sorted(r.seed for r in records if r.arm == RANDOM) == [0, 1, 2]
    assert min(r.metrics["AP"] for r in records) >= 10 and all(r.split == "test" for r in records)


def test_the_readme_shows_the_speed_table():
    lines = (ROOT / "results" / "speed.md").read_text().splitlines()
    table = [line for line in lines if line.startswith("|")]
    readme = (ROOT / "benchmarks" / "README.md").read_text()
    assert table and all(line in readme for line in table)


def test_the_segmentation_demo_stands_on_three_seeds_and_every_arm_beats_one_class_everywhere():
    records = read_many(ROOT / "results" / "pascal-demo" / "records.json")
    assert sorted(r.seed for r in records if r.arm == RANDOM) == [0, 1, 2]
    assert all(r.metrics["mIoU"] > r.metrics["chance"] and r.split == "test" for r in records)


def test_masks_made_from_coco_are_not_called_pascal_voc():
    records = read_many(ROOT / "results" / "voc-mini" / "records.json")
    assert all("COCO-derived, not PASCAL VOC" in r.recipe for r in records)
