"""The tables of a study, and that of a run, say what the records say."""

import csv
import io
import re
import subprocess
import sys

import pytest
from rich.console import Console

from selftrain.record import RANDOM, Arm
from selftrain.report.matrix import Matrix
from selftrain.report.page import fill, study_tables
from selftrain.report.reach import speed_up
from selftrain.report.run_table import arms_table
from selftrain.report.verdict import verdict
from tests.records import (
    IMAGENET,
    IMAGENET_STUDENT,
    NOISY,
    RANDOM_STUDENT,
    made_up,
    with_hashes,
    with_settings,
)
from tests.report.studies import said, study


def tables(*records) -> dict:
    """By name; of the made-up study where no records are given."""
    matrix = Matrix("x", list(records)) if records else study()
    return {table.name: table for table in study_tables(matrix)}


def test_cells_have_mean_interval_and_n_the_published_number_beside_it_and_nothing_where_nothing_ran():
    made = tables()
    assert list(made) == ["table2", "table3", "product", "cost", "steps", "gains"]
    rows = {row[0]: row[1:] for row in made["table2"].rows}
    assert made["table2"].header == ["arm", "S1", "S4"]
    assert rows["random"] == ["41.0 ± 2.5, n 3 [39.2]", "41.0 ± 2.5, n 3 [44.3]"]
    first, second = rows["imagenet + self-training"]
    assert first.endswith("n 3") and second.endswith("[44.6]")
    rows = {row[0]: row[1:] for row in made["table3"].rows}
    assert rows["random"] == ["33.0 ± 2.5, n 3 [30.7]", "41.0 ± 2.5, n 3 [44.3]"]
    few = tables(made_up(RANDOM, "S1"), made_up(RANDOM, "S2"), made_up(IMAGENET, "S2"))
    rows = {row[0]: row[1:] for row in few["table2"].rows}
    assert rows["imagenet"] == ["[39.5]", "30.0, n 1 [40.7]"]


def test_the_numbers_behind_a_table_are_there_in_long_form():
    numbers = list(csv.DictReader(io.StringIO(tables()["table2"].csv())))
    assert numbers[0] == {
        "arm": "random",
        "policy": "S1",
        "fraction": "1.0",
        "labels": "train",
        "metric": "AP",
        "mean": "41.0",
        "half_width_95": "2.4841",
        "n": "3",
        "published": "39.2",
        "source": "Zoph et al. 2020, arXiv 2006.06882, Table 2",
        "mark": "read",
    }


def test_latex_has_no_character_that_it_would_choke_on():
    for table in tables().values():
        body = table.tex()
        assert not re.search(r"(?<!\\)[%#_]", body) and body.isascii(), table.name
        lines = [line for line in body.splitlines() if line.endswith(r"\\")]
        assert len({len(re.findall(r"(?<!\\)&", line)) for line in lines}) == 1
        assert len(lines) == 1 + len(table.rows)


def test_steps_to_target_and_speed_up_are_steps_that_were_evaluated():
    random, quick = made_up(RANDOM, curve=[10, 20, 30, 30]), made_up(IMAGENET, curve=[31, 50, 60, 60])
    assert tables(random, quick, made_up(NOISY, curve=[1, 2, 3, 4]))["steps"].rows == [
        ["S1, 100 %: imagenet", "600", "≤ 200", "≥ 3.0x", "1"],
        ["S1, 100 %: imagenet++", "600", "not reached", "not reached", "1"],
    ]
    later = made_up(IMAGENET, curve=[20, 40, 50, 50])
    assert tables(random, later)["steps"].rows == [["S1, 100 %: imagenet", "600", "400", "1.5x", "1"]]
    assert speed_up(600, 200, 200) == (3, "≥ 3.0x")
    assert speed_up(200, 600, 200)[1] == "≤ 0.3x" and speed_up(200, 200, 200)[1] == "unknown"
    assert not tables(made_up(RANDOM, curve=[0, 0, 0, 0]), later)["steps"].rows


def test_a_students_cost_includes_its_teachers():
    rows = {row[0]: row for row in tables()["cost"].rows}
    assert rows["S1, 100 %: random"][1:3] == ["6,400", "1 min 20 s"]
    assert rows["S1, 100 %: random + self-training"][1:3] == ["19,200", "2 min 40 s"]


def segmentation() -> list:
    """A start on fine labels, with the coarse ones too, and with pseudo-labels of the same photos."""
    arms = [
        (IMAGENET, "train", "train+pseudo_aug", 80),
        (IMAGENET, "train_aug", "train_aug", 82),
        (IMAGENET_STUDENT, "train", "train+pseudo_aug", 84),
        (NOISY, "train", "train", 85),
    ]
    return [
        made_up(arm, "S4", 1.0, 0, score, labels=labels, metric="mIoU", protocol=protocol)
        for arm, labels, protocol, score in arms
    ]


def test_human_labels_and_pseudo_labels_of_the_same_photos_stand_side_by_side():
    made = tables(*segmentation())
    assert made["table8"].rows == [
        ["imagenet, S4", "80.0, n 1", "82.0, n 1", "84.0, n 1"],
        ["imagenet++, S4", "85.0, n 1 [85.2]", "[84.8 (r)]", "[86.7]"],
    ]
    assert made["table6"].rows[0][1] == "80.0, n 1"
    # its pool is the aug photos: it stands nowhere else
    assert made["table6"].rows[-1] == ["imagenet + self-training", "84.0, n 1"]
    text = said(Matrix("x", segmentation()), "S4, 100 % of the labels, train+pseudo_aug")
    assert "Self-training from imagenet: **open**: +4.0 mIoU" in text
    # the number for these labels, not that for the fine ones
    alone = tables(made_up(NOISY, "S4", labels="train_aug", metric="mIoU"))
    assert alone["table6"].rows == [["imagenet++", "30.0, n 1 [84.8 (r)]"]]


def test_starts_are_compared_once_and_not_again_beside_the_pool():
    random = made_up(RANDOM, "S4", score=70, metric="mIoU", protocol="train+pseudo_aug")
    records = [*segmentation(), random]
    asked = {place: "\n".join(lines) for place, lines in verdict(Matrix("x", records))}
    assert [place for place, text in asked.items() if "Pre-training" in text] == ["S4, 100 % of the labels"]
    gains = [row[0] for row in tables(*records)["gains"].rows]
    assert gains == ["S4, 100 %: imagenet", "S4, 100 %: imagenet++"]


def test_the_readme_blocks_are_filled_and_the_rest_is_left_alone(tmp_path):
    text = (
        "a\n<!-- results/tables/x.md -->\nold\n<!-- end -->\nb\n"
        "<!-- results/tables/gone.md -->\nkept\n<!-- end -->\n"
    )
    files = {tmp_path / "results" / "tables" / "x.md": "new\n"}
    assert fill(text, tmp_path, files) == text.replace("old", "new")


# ---- a run's table ---------------------------------------------------------------------------------


def test_a_runs_table_counts_the_teacher_and_pairs_by_seed():
    random = made_up(RANDOM, score=20.0, curve=[10.0, 20.0], steps=10)
    imagenet = made_up(IMAGENET, score=30.0, curve=[21.0, 31.0], steps=10)
    student = made_up(RANDOM_STUDENT, score=19.0, curve=[9.0, 19.0], steps=10)
    table = arms_table([random, student, imagenet])
    header = ["arm", "AP", "AP50", "AP75", "ΔAP to random", "steps to random's AP", "images seen", "time"]
    assert table.header == header
    assert [[row[0], row[1], *row[4:]] for row in table.rows] == [
        ["random", "20.0", "–", "10", "80", "1 s"],
        ["imagenet", "30.0", "+10.0", "≤ 5", "80", "1 s"],  # ≤: at its first evaluation, perhaps before
        ["random + self-training", "19.0", "-1.0", "not reached", "240", "2 s"],
    ]
    more = [
        made_up(RANDOM, seed=1, score=22.0, curve=[10.0, 20.0], steps=10),
        made_up(IMAGENET, seed=1, score=33.0, curve=[11.0, 31.0], steps=10),
    ]
    rows = arms_table([random, imagenet, *more]).rows
    assert rows[0][1] == "21.0 ± 12.7"  # t(0.975, 1) = 12.706, standard error 1
    assert [rows[1][1], *rows[1][4:6]] == [
        "31.5 ± 19.1",
        "+10.5 ± 6.4",
        "≤ 5 to 10",
    ]  # paired by seed: 10 and 11


TWICE_FROZEN = ("self-training", "self-training", "frozen")
LONG = Arm("timm:convnext_tiny.dinov3_lvd1689m", TWICE_FROZEN)


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("longest", [RANDOM_STUDENT, Arm("imagenet", TWICE_FROZEN), LONG])
@pytest.mark.parametrize("width", [60, 80, 200])
def test_a_runs_table_keeps_one_row_a_line_in_a_narrow_terminal(seeds, longest, width):
    teachers = [Arm(longest.start, longest.methods[n:]) for n in range(1 + longest.rounds)]
    arms = list(dict.fromkeys([RANDOM, *reversed(teachers)]))
    table = arms_table(
        [made_up(arm, seed=seed, score=40.0 + seed, steps=120_000) for arm in arms for seed in range(seeds)]
    )
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(table.rich(console.width))
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= width
    first = next(n for n, line in enumerate(lines) if line.startswith("random"))
    rows, below = lines[first : first + len(arms)], " ".join(" ".join(lines[first + len(arms) :]).split())
    for row, line in zip(table.rows, rows, strict=True):
        if len(f"{row[0]} {row[1]}") > width:
            assert line.startswith(row[0][:40]) and line.rstrip().endswith(row[1])
            continue
        # nothing is cut off, and what is not there is named
        assert line.startswith(row[0]) and row[1] in line
        for head, cell in zip(table.header, row, strict=True):
            assert f" {cell}" in line or head == "arm" or head in below, head
    assert (width < 200) or not below


def test_a_runs_table_refuses_records_of_several_settings():
    random, imagenet = made_up(RANDOM), made_up(IMAGENET)
    for words, other in (
        ("lr", with_settings(imagenet, lr=2)),
        ("policy", with_settings(imagenet, policy="S2")),
        ("test split", with_hashes(imagenet, test="other")),
        ("two records of one arm and seed", random),
    ):
        with pytest.raises(ValueError, match=words):
            arms_table([random, other])


def test_a_training_waits_for_no_library_that_only_draws_or_tests():
    """matplotlib is imported to draw and scipy for an interval: at the end, not when a training starts."""
    code = "import sys, selftrain.program; print(sorted({'matplotlib', 'scipy.stats'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_arms_are_printed_with_their_rounds_and_never_read_back():
    twice = Arm("random", ("self-training", "self-training"))
    assert str(twice) == "random + self-training x2" and twice.rounds == 2 and twice.supervised == RANDOM
    assert Arm("checkpoint:a + self-training").rounds == 0
