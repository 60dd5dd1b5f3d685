"""A pool is labelled once: label file and report are found again, and made again where one is gone."""

import json

import pytest
from accelerate import Accelerator

from selftrain.engine import Engine
from selftrain.label import label_pool, report_file
from selftrain.system.errors import UserError
from selftrain.system.stop import Stop
from tests.toy import BrightnessLabeller, Greys, network, recipe


class InColumns(BrightnessLabeller):
    """Labels whose file has no room for a report."""

    suffix = ".csv"

    def select(self, path, parts, pool, human, info):
        levels = parts.each("level")[:, 0].tolist()
        path.write_text("".join(f"{level}\n" for level in levels))
        return {"pool_images": len(pool), "mean": float("nan")}


def test_the_report_stands_beside_a_label_file_of_any_kind(tmp_path):
    accelerator = Accelerator(cpu=True)
    engine, pool = Engine(accelerator, Stop(accelerator)), Greys([0, 90, 250])

    def label():
        place = engine, InColumns(), recipe(image_size=8), network(), "teacher", pool, Greys([5])
        return label_pool(*place, tmp_path, "title")

    file, report, _ = label()
    assert file.suffix == ".csv" and len(file.read_text().splitlines()) == 3
    assert report == {"pool_images": 3, "mean": None} == json.loads(report_file(file).read_text())["report"]
    written = file.stat().st_mtime_ns
    assert label()[:2] == (file, report) and file.stat().st_mtime_ns == written
    report_file(file).unlink()
    assert label()[:2] == (file, report) and report_file(file).exists()
    report_file(file).write_text("{")
    with pytest.raises(UserError, match="delete it, and it is written again"):
        label()
