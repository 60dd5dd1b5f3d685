"""Records know the code that made them."""

from selftrain import record

CODE = '''"""What it is."""
import os  # needed


def double(x: int) -> int:
    """Twice x.

    On two lines.
    """
    # why
    return 2 * x  # here
'''


def test_comments_and_docstrings_are_no_change_of_the_code():
    assert record._bare(CODE) == "import os\ndef double(x: int) -> int:\n    return 2 * x"
    other = (
        CODE.replace("Twice x.", "x and x.")
        .replace("# why", "# because")
        .replace("  # here", "")
        .replace("What it is.", "Another")
    )
    assert record._bare(other) == record._bare(CODE)
    assert record._bare(CODE.replace("2 * x", "3 * x")) != record._bare(CODE)
    assert (
        record._bare('x = f"{y} # no comment"\n') == 'x = f"{y} # no comment"'
    )  # whatever a Python's tokens of it are


def test_every_file_that_decides_a_result_is_counted_and_reporting_is_not():
    names = record.sources()
    assert {
        "augment/ops.py",
        "selftrain/train.py",
        "selftrain/data/loader.py",
        "selftrain/tasks/detection/task.py",
    } <= names.keys()
    assert not any(name.startswith(record.NOT_DECIDING) for name in names)


def test_a_record_of_other_code_says_which_files():
    now = record.sources()
    fresh = {"schema": record.SCHEMA, "sources": now, "sources_changed": []}
    assert record.stale(fresh) == []
    assert record.stale(
        fresh | {"sources": now | {"selftrain/train.py": "0" * 8, "selftrain/gone.py": "1" * 8}}
    ) == ["code changed since: selftrain/gone.py, selftrain/train.py"]
    assert record.stale(fresh | {"sources_changed": ["augment/ops.py"]}) == [
        "code changed while it ran: augment/ops.py"
    ]
    assert record.stale({"schema": 1}) == ["its schema is 1, now 2"]
