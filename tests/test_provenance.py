"""Records know the code that made them: what can change a result makes them stale, and nothing else does."""

import shutil
import subprocess
import sys

import pytest
from msgspec.structs import replace

from selftrain import provenance
from selftrain.record import RANDOM
from tests.programs import ROOT
from tests.records import made_up

MODULES = (
    "selftrain.run",
    "selftrain.tasks.detection.task",
    "selftrain.data.coco.source",
    "selftrain.splits",
)


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A copy of the code that may be changed."""
    for package in provenance.PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    forget()
    yield tmp_path
    forget()


def forget() -> None:
    """What was found of files that are others now."""
    for each in (provenance.closure, provenance._tree, provenance._imports, provenance.meaning):
        each.cache_clear()


def changes(tree, edit) -> list[str]:
    """The files that count as changed when `edit` has been at work."""
    before = provenance.sources(MODULES)
    edit()
    forget()
    return provenance.changed(before, provenance.sources(MODULES))


def rewrite(file, *pairs):
    """Replace text in a file; each must be there."""
    text = file.read_text()
    for old, new in pairs:
        assert old in text, old
        text = text.replace(old, new)
    file.write_text(text)


def test_what_a_cell_runs_counts_and_what_describes_it_does_not():
    names = provenance.sources(MODULES)
    deciding = (
        "train.py",
        "run.py",
        "mix.py",
        "data/loader.py",
        "tasks/detection/task.py",
        "system/seeds.py",
    )
    assert {"augment/ops.py", *(f"selftrain/{name}" for name in deciding)} <= names.keys()
    assert not set(provenance.NOT_DECIDING) & names.keys()
    assert all((ROOT / name).exists() for name in provenance.NOT_DECIDING)
    others = (
        "report/",
        "study/",
        "data/check/",
        "tasks/segmentation/",
        "program.py",
        "stale.py",
        "options.py",
    )
    assert not [name for name in names if name.startswith(tuple(f"selftrain/{each}" for each in others))]


def test_a_changed_rule_is_a_change(tree):
    def edit():
        rewrite(tree / "selftrain/train.py", ("0.01 + 0.99 * step", "0.02 + 0.98 * step"))

    assert changes(tree, edit) == ["selftrain/train.py"]


def test_an_unrelated_module_stales_nothing(tree):
    assert changes(tree, lambda: (tree / "selftrain/news.py").write_text("NEWS = 1\n")) == []


def test_a_new_task_and_a_change_of_another_stale_nothing(tree):
    def edit():
        (tree / "selftrain/tasks/depth").mkdir()
        rewrite(tree / "selftrain/registry.py", ("TASKS = {", 'TASKS = {\n    "depth": ("a:B", "c:D"),'))
        (tree / "selftrain/tasks/depth/task.py").write_text("from selftrain.tasks.base import BaseTask\n")
        rewrite(tree / "selftrain/tasks/segmentation/miou.py", ("minlength", "minlength"), ("100 *", "1e2 *"))

    assert changes(tree, edit) == []


def test_a_change_of_a_report_or_of_the_study_stales_nothing(tree):
    def edit():
        for room in ("report/statistics.py", "study/graph.py"):
            (tree / "selftrain" / room).write_text("CHANGED = True\n")

    assert changes(tree, edit) == []


def test_a_new_recipe_field_stales_nothing(tree):
    def edit():
        for room, field in (
            ("recipe.py", "clip_norm: float"),
            ("tasks/detection/recipe.py", "huber_delta: float"),
        ):
            rewrite(
                tree / "selftrain" / room,
                (f"    {field}", f'    extra: float = 0.5\n    """more"""\n    {field}'),
            )

    assert changes(tree, edit) == []


def test_comments_docstrings_and_import_lines_stale_nothing(tree):
    def edit():
        text = "# why\n\nimport os  # noqa\n"
        file = tree / "selftrain/mix.py"
        rewrite(file, ('"""How the losses', '"""Otherwise said: how the losses'))
        file.write_text(file.read_text() + text)

    assert changes(tree, edit) == []


def test_a_formatter_stales_nothing(tree):
    def edit():
        style = ["--config", "line-length=70", "--config", "format.quote-style='single'"]
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "ruff",
                "format",
                "--isolated",
                *style,
                str(tree / "selftrain"),
                str(tree / "augment"),
            ],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0 and "reformatted" in done.stdout, done.stderr

    assert changes(tree, edit) == []


def test_a_record_of_other_code_says_which_files():
    now = provenance.sources(MODULES)
    fresh = replace(made_up(RANDOM), modules=list(MODULES), sources=now)
    assert provenance.stale(fresh) == []
    other = now | {"selftrain/train.py": "0" * 8, "selftrain/gone.py": "1" * 8}
    reasons = provenance.stale(replace(fresh, sources=other))
    assert reasons == ["code changed since: selftrain/gone.py, selftrain/train.py"]
    reasons = provenance.stale(replace(fresh, sources_changed=["augment/ops.py"]))
    assert reasons == ["code changed while it ran: augment/ops.py"]
    assert provenance.stale(replace(fresh, sources={})) == ["its code is older than what can be compared"]
