"""The labels of people and teachers by class, as a run and a study show them afterwards."""

import numpy as np
from msgspec.structs import replace

from selftrain.class_report import SHARE, by_class
from selftrain.report.label_tables import run_labels, study_labels
from selftrain.report.matrix import Matrix
from selftrain.report.page import study_tables
from selftrain.report.run_table import write_report
from tests.records import ARMS, IMAGENET_STUDENT, RANDOM_STUDENT, made_up
from tests.report.studies import study

NAMES = ("red", "white", "platelet")


def labelled(record, pseudo, gone=(), unit="boxes an image"):
    """The record with labels by class, of a teacher that gives `pseudo` of each."""
    human = np.array([6.4, 0.5, 0.6]) if unit != SHARE else np.array([0.8, 0.15, 0.05])
    rows = by_class(NAMES, human=human, pseudo=np.array(pseudo), threshold=np.array([0.4, 0.3, np.inf]))
    more = {"by_class": rows, "counted_in": unit, "vanished": list(gone)}
    return replace(record, pseudo_labels=record.pseudo_labels | more)


def run():
    supervised, (random, imagenet) = [made_up(arm) for arm in ARMS[:2]], [made_up(arm) for arm in ARMS[2:]]
    return [
        *supervised,
        labelled(random, (6.1, 0.53, 0.0), ("platelet",)),
        labelled(imagenet, (6.3, 0.5, 0.58)),
    ]


def test_the_folder_of_a_run_shows_people_and_each_teacher_side_by_side(tmp_path):
    write_report(run(), tmp_path)
    text = (tmp_path / "labels.md").read_text()
    assert text.count("**Labels of people and of the teacher:") == 2
    assert "| red | 6.4 | 6.1 | 0.4 |" in text and "| platelet | 0.6 | 0.58 | – |" in text
    assert "(hardly any label of platelet)" in text
    assert text.count("(no class that people labelled has vanished)") == 1


def test_records_that_do_not_know_their_classes_have_no_such_file(tmp_path):
    """As those of older code, and those of supervised arms alone."""
    write_report([made_up(arm) for arm in ARMS], tmp_path)
    assert not (tmp_path / "labels.md").exists() and run_labels([made_up(ARMS[0])]) == ""
    assert study_labels(study()) is None and "labels" not in {t.name for t in study_tables(study())}


def test_shares_of_pixels_are_percentages():
    record = labelled(made_up(IMAGENET_STUDENT, metric="mIoU"), (0.9, 0.1, 0.0), unit=SHARE)
    assert "| red | 80.0% | 90.0% | 0.4 |" in run_labels([record])


def test_a_study_shows_a_column_for_each_teacher_and_every_number_in_its_file():
    records = []
    for seed in (0, 1):
        for fraction in (0.2, 0.5, 1.0):
            for arm in ARMS:
                r = made_up(arm, "S4", fraction, seed)
                records.append(labelled(r, (fraction, 0.5, 0.0), ("platelet",)) if arm.rounds else r)
    table = study_labels(Matrix("made-up", records))
    assert table.header == [
        "boxes an image",
        *(
            f"{who}, S4, {share} %"
            for share in (100, 20)
            for who in ("people", "random teacher", "imagenet teacher")
        ),
    ]
    assert table.rows[0] == ["red", "6.4", "1", "1", "6.4", "0.2", "0.2"]
    assert "random, S4, 20 %: hardly any label of platelet" in table.note
    assert len(table.numbers) == 2 * 3 * 2 * len(NAMES)
    assert {row["start"] for row in table.numbers} == {RANDOM_STUDENT.start, IMAGENET_STUDENT.start}
    assert (
        table.csv() and table.markdown() and table.tex() and table in study_tables(Matrix("made-up", records))
    )
