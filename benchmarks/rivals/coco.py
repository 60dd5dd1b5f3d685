"""Rows about COCO's score and COCO's files, against pycocotools or a limit of time."""

import json
import os
import subprocess
import sys
from pathlib import Path

from rivals.generated import detections_scene, write_train2017
from rivals.measure import Line, Options, alternate
from selftrain.tasks.detection.coco_ap import coco_ap

PROGRAM = """
import gc, json, sys, time
import psutil
{imports}
gc.collect()
process = psutil.Process()
before, began = process.memory_info().rss, time.perf_counter()
kept = {opening}
seconds = time.perf_counter() - began
gc.collect()
print(json.dumps([seconds, process.memory_info().rss - before]))
"""
REPLICATES = """
import sys, time
from rivals.generated import detections_scene
from selftrain.resample import weights
from selftrain.tasks.detection.resampled_ap import resampled_ap
dataset, predictions = detections_scene(int(sys.argv[1]))
drawn = weights("speed", len(dataset))
resampled_ap({0: predictions[0]}, dataset.take([0]), drawn[:, :1])  # loads the libraries
began = time.perf_counter()
resampled_ap(predictions, dataset, drawn)
print(time.perf_counter() - began)
"""
LIMIT = 60.0
"""Seconds"""
OURS = PROGRAM.format(
    imports="from selftrain.data.coco import read_coco", opening="read_coco(sys.argv[1], '.')"
)
THEIRS = PROGRAM.format(imports="from pycocotools.coco import COCO", opening="COCO(sys.argv[1])")


def average_precision(options: Options) -> list[Line]:
    """From predictions to COCO's twelve numbers, the evaluators' own data structures included.

    Raises AssertionError where the two sides do not agree.
    """
    images = 100 if options.quick else 5000
    dataset, predictions = detections_scene(images)
    small, few = detections_scene(20)
    # the first turn only loads the libraries
    first_cases = {"ours": iter([(few, small)]), "theirs": iter([(few, small)])}
    results = {}

    def _score(side: str, evaluator: str) -> None:
        results[side] = coco_ap(*next(first_cases[side], (predictions, dataset)), evaluator)

    costs = alternate(
        lambda: _score("ours", "fast"),
        lambda: _score("theirs", "pycocotools"),
        repeats=min(options.repeats, 3),
    )
    ours, theirs = (
        {k: v for k, v in results[side].items() if k != "per_class"} | results[side]["per_class"]
        for side in ("ours", "theirs")
    )
    for name in theirs:
        assert ours[name] == theirs[name], f"{name}: {ours[name]} and {theirs[name]} percent"
    work = f"AP of {images:,} images x 100 detections"
    return [Line(work, "pycocotools", "s", 40, *costs, f"AP: both evaluators give {ours['AP']:.4f} %")]


def replicates(options: Options) -> list[Line]:
    """AP under the resamples of a record, from the predictions, each turn in a process of one thread."""
    images = 100 if options.quick else 5000
    single = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"), "1")
    command = [sys.executable, "-c", REPLICATES, str(images)]
    folder, env = Path(__file__).parent.parent, os.environ | single
    seconds = [
        float(subprocess.run(command, check=True, cwd=folder, env=env, capture_output=True).stdout)
        for _ in range(min(options.repeats, 3))
    ]
    work = f"AP under 500 resamples of {images:,} images x 100 detections, on one core"
    return [Line(work, "a minute", "s", 1.0, seconds, [LIMIT] * len(seconds))]


def opening_json(options: Options) -> list[Line]:
    """Open a json of COCO's size, each turn in a fresh process, its imports not counted.

    Memory is what is resident after opening and was not before.
    """
    images, boxes = (2_000, 15_000) if options.quick else (118_000, 860_000)
    path = options.folder / "instances_train2017.json"
    write_train2017(path, images, boxes)

    def _costs(code: str) -> list[float]:
        command = [sys.executable, "-c", code, str(path)]
        shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        return json.loads(shown.splitlines()[-1])  # pycocotools prints lines of its own before

    path.read_bytes()  # both read it from the system's cache
    pairs = [(_costs(OURS), _costs(THEIRS)) for _ in range(min(options.repeats, 5))]
    work = f"a json of {images:,} images, {boxes:,} boxes, {path.stat().st_size / 1e6:.0f} MB"
    path.unlink()
    return [
        Line(
            f"{what} {work}",
            "`pycocotools.COCO`",
            unit,
            target,
            [ours[n] for ours, _ in pairs],
            [theirs[n] for _, theirs in pairs],
        )
        for n, (what, unit, target) in enumerate([("opening", "s", 2), ("memory kept by", "MiB", 3)])
    ]
