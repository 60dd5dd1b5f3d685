"""What the tests of a study share: a finished one, and copies of it to change."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.study.faked import Fake
from tests.study.tiny import TINY, call, graph_of
from tests.study.tuned import wants_another_rate


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Programs that the tests start leave the other core to their neighbours."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture(scope="session")
def finished(one_thread, tmp_path_factory) -> Path:
    """A tiny study that one call ran to its end; what it said is in out.txt."""
    folder = tmp_path_factory.mktemp("study")
    code, out = call(folder)
    assert code == 0, out
    (folder / "out.txt").write_text(out)
    return folder


@pytest.fixture
def copy(finished, tmp_path, monkeypatch) -> Path:
    """A copy of it, which the test's own process works in."""
    shutil.copytree(finished, tmp_path / "study", symlinks=True)
    monkeypatch.chdir(tmp_path / "study")
    return tmp_path / "study"


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """The generated data set, and nothing that was trained on it."""
    folder = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        graph_of(TINY)
    return folder


@pytest.fixture
def folder(data, tmp_path, monkeypatch) -> Path:
    shutil.copytree(data, tmp_path / "study")
    monkeypatch.chdir(tmp_path / "study")
    return tmp_path / "study"


@pytest.fixture
def fake(folder, monkeypatch) -> Fake:
    return Fake(wants_another_rate, monkeypatch)
