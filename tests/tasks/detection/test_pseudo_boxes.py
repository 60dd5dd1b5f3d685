"""Which of a teacher's boxes become labels: one threshold, one for each class, and what the report says."""

import hashlib
import json
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from selftrain.class_report import by_class, class_table
from selftrain.data.coco import CocoDataset
from selftrain.data.pool import Pool
from selftrain.parts import Parts
from selftrain.system.errors import UserError
from selftrain.tasks.detection.pseudo_boxes import auto_thresholds, is_sure
from selftrain.tasks.detection.task import Detection
from tests.programs import load

COCO = load("recipes.detection").COCO
NAMES = ("red", "white", "platelet")
IMAGES, POOL = 100, 200
DRAWN = (400, 40, 40)
"""boxes of each class that people drew in IMAGES images"""


def boxes_of(folder, counts: tuple[int, ...], images: int) -> CocoDataset:
    """Boxes of equal size, of which each image has its part, in order of classes."""
    classes = np.repeat(np.arange(3), counts).astype(np.int16)
    at = np.sort(np.arange(len(classes)) % images, kind="stable")
    place = np.argsort(np.arange(len(classes)) % images, kind="stable")
    corner = np.stack([np.arange(len(classes)) * 7.0 % 300, np.arange(len(classes)) * 3.0 % 300], 1)[place]
    return CocoDataset(
        folder=folder,
        names=np.array([f"{i}.jpg".encode() for i in range(images)]),
        image_ids=np.arange(images) + 1,
        sizes=np.full((images, 2), 400, np.int32),
        offsets=np.searchsorted(at, np.arange(images + 1)),
        boxes=np.concatenate([corner, corner + 20], 1),
        classes=classes[place],
        crowd=np.zeros(len(classes), bool),
        areas=np.full(len(classes), 400.0),
        scores=np.ones(len(classes), np.float32),
        class_names=NAMES,
        category_ids=(1, 2, 3),
        hash="h",
        dropped={},
    )


def detections(scores: dict[int, np.ndarray], seed: int = 0) -> np.ndarray:
    """(N, 6) rows from the scores of each class, anywhere in the picture."""
    rng = np.random.default_rng(seed)
    parts = []
    for label, own in scores.items():
        corner = rng.integers(0, 350, (len(own), 2)).astype(np.float32)
        parts.append(np.column_stack([corner, corner + 20, own, np.full(len(own), label)]))
    return np.concatenate(parts).astype(np.float32)


@pytest.fixture
def label(tmp_path):
    """Labels a pool of POOL photos with these detections, dealt out over it; report and data set."""
    human = boxes_of(tmp_path, DRAWN, IMAGES)
    names = np.array([f"{i}.jpg".encode() for i in range(POOL)])

    def _label(rows, hidden=None, **options):
        pool = Pool(tmp_path, names, np.ones(POOL, np.int64), "pool", hidden)
        labeller = Detection(replace(COCO["demo"](), **options), NAMES).labeller
        predictions = {
            i: {"rows": rows[i::POOL], "size": np.array((400, 400), np.int32)} for i in range(POOL)
        }
        Parts(tmp_path).write(0, predictions, 1.0)
        path = tmp_path / "labels.json"
        report = labeller.select(path, Parts(tmp_path), pool, human, {"teacher": "t"})
        return report, labeller.read(path, pool), labeller

    return _label


def blood() -> np.ndarray:
    """A teacher that is sure of the red cells, and never surer than 0.3 of the platelets it finds."""
    rng = np.random.default_rng(1)
    sure, some, hard = rng.uniform(0.3, 1, 900), rng.uniform(0.2, 0.9, 120), rng.uniform(0.05, 0.3, 300)
    return detections({0: sure, 1: some, 2: hard})


def counts(data) -> list[int]:
    return data.class_counts.tolist()


def test_auto_keeps_of_each_class_as_many_as_people_drew(label):
    """One threshold for all of them leaves none of the class that the teacher is less sure of."""
    report, together, _ = label(blood(), pseudo_threshold="auto-global")
    assert sum(counts(together)) == 960 and counts(together)[2] == 0 and report["vanished"] == ["platelet"]
    report, data, _ = label(blood(), pseudo_threshold="auto")
    assert counts(data) == [800, 80, 80]  # twice as many photos as people labelled
    assert report["vanished"] == [] and report["short_of_human"] == []
    by_class = {row["class"]: row for row in report["by_class"]}
    assert by_class["platelet"]["human"] == by_class["platelet"]["pseudo"] == 0.4
    assert 0.2 < by_class["platelet"]["threshold"] < 0.3 < by_class["red"]["threshold"]
    assert report["threshold"] == {name: by_class[name]["threshold"] for name in NAMES}


def test_the_floor_holds_and_a_class_that_vanishes_is_named(label):
    weak = detections({0: np.linspace(0.3, 1, 900), 1: np.linspace(0.02, 0.5, 100), 2: np.full(300, 0.09)})
    report, data, labeller = label(weak, pseudo_threshold="auto")
    assert counts(data)[2] == 0 and report["floor"] == 0.1
    assert (data.scores >= np.float32(0.1)).all()
    assert report["vanished"] == ["platelet"] and report["short_of_human"] == ["platelet"]
    text = labeller.describe(report)
    assert "[yellow]warning: the teacher's labels have hardly any of platelet" in text
    assert "note: at score >= 0.1" in text and "people drew of platelet" in text


def test_a_teacher_unsure_of_everything_still_gives_labels(label):
    """As in the first minutes of a demo: the floor is then where one threshold for all would lie."""
    rng = np.random.default_rng(2)
    dim = detections({0: rng.uniform(0.01, 0.06, 900), 1: rng.uniform(0.01, 0.06, 900)})
    report, data, _ = label(dim, pseudo_threshold="auto")
    assert 0.01 < report["floor"] < 0.1
    assert 0 < counts(data)[0] <= 800 and counts(data)[1] == 80 and report["vanished"] == ["platelet"]


def test_the_ignore_band_reaches_to_the_threshold_of_each_class(label):
    report, data, _ = label(blood(), pseudo_threshold="auto", pseudo_ignore=0.06)
    thresholds = np.array([row["threshold"] for row in report["by_class"]])[data.classes]
    assert ((data.scores < thresholds - 1e-6) == data.crowd).all()  # a file has six decimals
    assert set(data.classes[data.crowd]) == {0, 1, 2} and data.scores.min() >= np.float32(0.06)
    # above the threshold of the platelets, below that of the others: no band there, and no refusal
    report, data, _ = label(blood(), pseudo_threshold="auto", pseudo_ignore=0.3)
    assert 2 not in data.classes[data.crowd] and 0 in data.classes[data.crowd] and counts(data)[2] == 80
    with pytest.raises(UserError, match="--pseudo-ignore 0.99 is not below the threshold that auto chose"):
        label(blood(), pseudo_threshold="auto", pseudo_ignore=0.99)


@pytest.mark.parametrize(
    "options, content",
    [
        (dict(pseudo_threshold=0.5), "8257ac146539b504"),
        (dict(pseudo_threshold=0.7, pseudo_ignore=0.2), "9349d29ba2f9f569"),
        (dict(pseudo_threshold=0.7, pseudo_empty="keep"), "84b18a5272579aeb"),
        (dict(pseudo_threshold="auto-global"), "9574461977157ff7"),
    ],
)
def test_labels_at_one_threshold_are_those_of_before_there_were_thresholds_by_class(
    label, tmp_path, options, content
):
    """Byte for byte, but for the report, which the file no longer holds; 0.7 is itself one of the scores."""
    rows = blood()
    rows[:40, 4] = np.float32(0.7)
    label(rows, **options)
    whole = json.loads((tmp_path / "labels.json").read_text())
    whole["info"].pop("report", None)
    found = hashlib.blake2b(msgspec.json.encode(whole, order="deterministic"), digest_size=8).hexdigest()
    assert found == content


def test_the_table_shows_people_and_teacher_side_by_side(label, tmp_path):
    hidden = boxes_of(tmp_path, (800, 80, 0), POOL)
    report, _, labeller = label(blood(), hidden, pseudo_threshold="auto")
    by_class = {row["class"]: row for row in report["by_class"]}
    found = sum(row["recall"] * n for row, n in zip(report["by_class"][:2], (800, 80)))
    assert found == pytest.approx(report["recall"] * 880)  # the classes add up to the whole
    assert by_class["platelet"]["recall"] is None  # there is none to be found
    lines = labeller.describe(report).splitlines()
    (head,) = [n for n, line in enumerate(lines) if line.startswith("boxes an image")]
    assert lines[head].split()[3:] == ["people", "teacher", "threshold", "precision", "recall"]
    assert lines[head + 1].split()[:3] == ["red", "4", "4"]
    assert max(map(len, lines[head:])) <= 80


def test_many_classes_are_summed_up_on_the_screen():
    names = [f"class {i}" for i in range(80)]
    rows = by_class(names, human=np.arange(80.0), pseudo=np.ones(80), threshold=np.full(80, np.inf))
    report = {"by_class": rows, "counted_in": "boxes an image", "vanished": []}
    assert len(class_table(report)) == 81
    table = class_table(report, shown=10)
    assert [row[0] for row in table[1:3]] == ["class 79", "class 78"] and len(table) == 12
    assert table[-1] == ["70 more classes", f"{sum(range(70)):.3g}", "70", "–"]


def test_a_class_that_people_never_drew_gets_no_box(label, tmp_path):
    human = boxes_of(tmp_path, (100, 0, 10), 50)
    thresholds, _ = auto_thresholds(blood(), human, 50)
    assert np.isinf(thresholds[1]) and not (blood()[is_sure(blood(), thresholds), 5] == 1).any()
