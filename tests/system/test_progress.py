"""What a log file shows of a stage: few lines, and the rates of this run alone."""

import io

import pytest
from rich.console import Console

from selftrain.system import progress


@pytest.mark.parametrize(
    "seconds, text",
    [(0, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (187, "3 min 07 s"), (7500, "2 h 05 min")],
)
def test_durations_read_as_a_person_says_them(seconds, text):
    assert progress.duration(seconds) == text


def test_a_log_has_a_line_after_a_while_and_one_at_the_end(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: clock[0])
    log = io.StringIO()
    with progress.Stage(Console(file=log, width=200), "train", total=40, done=10) as stage:
        for step, seconds in ((11, 1.0), (20, 20.0), (21, 21.0), (40, 30.0)):
            clock[0] = 100.0 + seconds
            stage.update(step, images=(step - 10) * 8, loss=0.5)
    late, last = log.getvalue().splitlines()
    # 10 steps of this run in 20 s: 8 images each, and 20 steps to go
    assert late.startswith("train: step 20/40  loss 0.5  4 images/s") and late.endswith("ETA 40 s")
    assert last.startswith("train: step 40/40") and last.endswith("ETA 0 s")


def test_without_a_console_nothing_is_shown(capsys):
    with progress.Stage(None, "train", total=1) as stage:
        stage.update(1, images=8)
    assert capsys.readouterr() == ("", "")
