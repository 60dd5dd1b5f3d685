"""The hash of registered contrasts says what they are, and what is no such file is refused with a cure."""

import pytest

from selftrain.contrast_file import contrasts_digest
from selftrain.system.errors import UserError

TEXT = '[worth]\nof = "imagenet - random"\nbetween = [300, 3000]\n'


def test_the_hash_is_of_what_the_file_says(tmp_path):
    path = tmp_path / "contrasts.toml"
    path.write_text(TEXT)
    first = contrasts_digest(path)
    assert len(first) == 12 and int(first, 16) >= 0
    path.write_text("# written before the first cell\n" + TEXT.replace(" = ", "="))
    assert contrasts_digest(str(path)) == first
    path.write_text(TEXT.replace("3000", "3001"))
    assert contrasts_digest(path) != first


@pytest.mark.parametrize(
    "content, why",
    [
        (None, "cannot be read .*; name a TOML file"),
        (b"[worth\n", "is no TOML file"),
        (b"\xff", "is no TOML file"),
        (b"when = 2026-01-01\n", "holds a date or a time; write it in quotes"),
    ],
)
def test_what_is_no_such_file_is_refused(tmp_path, content, why):
    path = tmp_path / "contrasts.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=f"--contrasts .*contrasts.toml: {why}"):
        contrasts_digest(path)
