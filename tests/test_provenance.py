"""Records know the code that made them."""

from msgspec.structs import replace

from selftrain import provenance
from selftrain.record import RANDOM
from tests.records import made_up

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
    assert provenance._bare(CODE) == "import os\ndef double(x: int) -> int:\n    return 2 * x"
    other = CODE.replace("Twice x.", "x and x.").replace("# why", "# because").replace("  # here", "")
    assert provenance._bare(other.replace("What it is.", "Another")) == provenance._bare(CODE)
    assert provenance._bare(CODE.replace("2 * x", "3 * x")) != provenance._bare(CODE)
    # whatever a Python's tokens of it are
    assert provenance._bare('x = f"{y} # no comment"\n') == 'x = f"{y} # no comment"'


def test_every_file_that_decides_a_result_is_counted_and_reporting_is_not():
    names = provenance.sources()
    deciding = ("augment/ops.py", "train.py", "data/loader.py", "tasks/detection/task.py")
    assert {name if "/ops" in name else f"selftrain/{name}" for name in deciding} <= names.keys()
    assert not any(name.startswith(provenance.NOT_DECIDING) for name in names)
    assert not {"selftrain/record.py", "selftrain/curve.py", "selftrain/system/machine.py"} & names.keys()


def test_a_record_of_other_code_says_which_files():
    now = provenance.sources()
    fresh = replace(made_up(RANDOM), sources=now)
    assert provenance.stale(fresh) == []
    other = now | {"selftrain/train.py": "0" * 8, "selftrain/gone.py": "1" * 8}
    reasons = provenance.stale(replace(fresh, sources=other))
    assert reasons == ["code changed since: selftrain/gone.py, selftrain/train.py"]
    reasons = provenance.stale(replace(fresh, sources_changed=["augment/ops.py"]))
    assert reasons == ["code changed while it ran: augment/ops.py"]
