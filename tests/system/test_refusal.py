"""After a refusal the message is the last thing on the screen, or plainly the loudest."""

import json
import os
import pty
import subprocess
import sys

import pytest

from tests.programs import path

LAUNCH = [sys.executable, "-m", "accelerate.commands.launch"]
REFUSED = [path("coco"), "mini", "--data", "nothing"]
MESSAGE = "self-training needs a pool: give --unlabeled DIR (folders of photos)"


def run(command: list[str], folder, **more: str) -> tuple[int, str]:
    """(exit code, what stood on stderr) where that is a file."""
    env = os.environ | {"COLUMNS": "200"} | more
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    return done.returncode, done.stderr


def on_terminal(command: list[str], folder) -> tuple[int, str]:
    """The same on a terminal."""
    ours, theirs = pty.openpty()
    env = os.environ | {"COLUMNS": "200", "TERM": "xterm"}
    process = subprocess.Popen(command, cwd=folder, env=env, stderr=theirs, stdout=theirs)
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:  # the terminal's end, where the last process has closed it
            break
        if not part:
            break
        shown += part
    os.close(ours)
    return process.wait(), shown.decode()


def test_started_by_python_the_message_is_the_last_thing_and_the_code_is_one(tmp_path):
    code, text = run([sys.executable, *REFUSED], tmp_path)
    assert code == 1 and text.startswith("\nerror: ") and MESSAGE in text.rstrip().splitlines()[-1]
    code, text = on_terminal([sys.executable, *REFUSED], tmp_path)
    assert code == 1 and "\x1b[1;31merror: " in text  # bold and red
    assert "quiet" not in text and "Traceback" not in text


@pytest.mark.parametrize("quiet", [False, True])
def test_started_by_accelerate_it_is_loud_and_names_the_option_that_makes_it_the_last(quiet, tmp_path):
    launch = [*LAUNCH, *(["--quiet"] if quiet else []), "--num_processes", "1"]
    code, text = on_terminal([*launch, *REFUSED], tmp_path)
    before, _, after = text.partition(MESSAGE)
    assert code == 1 and before.endswith("\x1b[1;31merror: ")
    if quiet:
        assert "Traceback" not in after and "quiet" not in after
    else:
        assert "accelerate launch --quiet" in after.partition("Traceback")[0]


def test_torchs_launcher_finds_the_message_for_its_table(tmp_path):
    """In the form in which its own error handler leaves it."""
    file = tmp_path / "error.json"
    code, text = run([sys.executable, *REFUSED], tmp_path, TORCHELASTIC_ERROR_FILE=str(file))
    assert code == 1 and MESSAGE in text
    told = json.loads(file.read_text())["message"]
    assert MESSAGE in told["message"] and MESSAGE in told["extraInfo"]["py_callstack"]
    assert int(told["extraInfo"]["timestamp"]) > 0


@pytest.mark.slow
def test_of_several_processes_the_message_stands_in_the_table_that_ends_the_screen(tmp_path):
    launch = [*LAUNCH, "--quiet", "--cpu", "--num_processes", "2"]
    code, text = run([*launch, *REFUSED], tmp_path)
    assert code == 1 and MESSAGE in text.partition("coco.py FAILED")[2]
