"""What the front README promises a reader who follows it."""

import json
import os
import re
import subprocess
import sys

import pytest

from tests.programs import ROOT

README = (ROOT / "README.md").read_text()


def test_the_front_door_is_one_that_a_reader_walks_through():
    assert len(README.splitlines()) <= 150
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", README)
    assert links and not [link for link in links if not (ROOT / link).exists()]


@pytest.mark.slow
def test_the_python_example_trains_its_cells_and_finds_them_again(tmp_path):
    """As it stands in the README, with fewer steps and pictures."""
    code = re.search(r"```python\n(import selftrain.*?)```", README, re.DOTALL)[1]
    for old, new in (
        ("train=100, val=50, test=50, unlabeled=100", "train=8, val=4, test=4, unlabeled=8"),
        ("steps=100", "steps=4"),
        ("warmup_steps=20", "warmup_steps=1"),
        ("eval_every=50", "eval_every=4"),
    ):
        assert old in code, old
        code = code.replace(old, new)
    (tmp_path / "example.py").write_text(code)
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "example.py"], cwd=tmp_path, env=env, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr[-2000:]
        assert "imagenet + self-training" in done.stdout.splitlines()[-1]
    records = [json.loads(file.read_text()) for file in tmp_path.rglob("record.json")]
    assert len(records) == 2 and {r["steps"] for r in records} == {4}
