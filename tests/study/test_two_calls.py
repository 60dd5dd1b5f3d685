"""Two calls of one study at once share its work."""

import json
from pathlib import Path

import pytest

from tests.study.tiny import begin, logs, progress_file

pytestmark = pytest.mark.slow


def test_two_calls_at_once_run_no_cell_twice(tmp_path: Path):
    both = [begin(tmp_path), begin(tmp_path)]
    outs = [process.communicate(timeout=500)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outs
    trained = {kind: text.count("learning rate") for kind, text in logs(tmp_path).items()}
    assert trained == {"supervised": 1, "labels": 1, "student": 1}
    assert sum(out.count("accelerate launch") for out in outs) == 3 and all("3 done" in out for out in outs)
    for out in outs:
        assert ("were the study's own" in out) == ("accelerate launch" in out)
    records = [json.loads(file.read_text()) for file in (tmp_path / "records" / "study").glob("*.json")]
    assert len(records) == 2 and progress_file(tmp_path)["done"] == 3
    # the second call found what the first had registered
    assert len({each["contrasts"] for each in records}) == 1 and records[0]["contrasts"]
    assert all("registered in records/study/contrasts.toml" in out for out in outs)
