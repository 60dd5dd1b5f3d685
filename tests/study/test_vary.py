"""A study that varies a field of students alone, with real launches."""

import json
from pathlib import Path

import pytest

from tests.study.tiny import call, progress_file

pytestmark = pytest.mark.slow


def test_one_teacher_and_its_labels_serve_all_values(tmp_path: Path):
    values = ("--vary", "alpha=0.5,1")
    code, out = call(tmp_path, *values)
    assert code == 0 and out.count("accelerate launch") == 4 and "3 cells, 4 commands: 4 done" in out, out
    folder = tmp_path / "records" / "study"
    files = {file.name: json.loads(file.read_text()) for file in folder.glob("*.json")}
    students = [f"random-self-training-S1-f1-alpha-{alpha}-s0.json" for alpha in ("0.5", "1")]
    assert sorted(files) == ["random-S1-f1-s0.json", *students]
    teacher = files["random-S1-f1-s0.json"]
    for name, alpha in zip(students, (0.5, 1.0), strict=True):
        assert files[name]["settings"]["alpha"] == alpha
        assert files[name]["needs"]["teacher"] == {
            "cell": teacher["key"],
            "final": teacher["hashes"]["final"],
        }
    first, second = (files[name] for name in students)
    assert first["pseudo_labels"]["hash"] == second["pseudo_labels"]["hash"]
    assert progress_file(tmp_path)["done"] == 4
    code, out = call(tmp_path, "--vary", "alpha=0.5,1,2")
    assert code == 0 and out.count("accelerate launch") == 1 and "--alpha 2" in out, (
        out
    )  # nothing else is new
