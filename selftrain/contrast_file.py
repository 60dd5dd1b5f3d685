"""The file of a study's registered contrasts: the comparisons that were named before the first cell was run."""

import tomllib
from pathlib import Path

from selftrain.recipe import digest
from selftrain.system.errors import UserError


def contrasts_digest(path: str | Path) -> str:
    """Hash of what a file of registered contrasts says, 12 hexadecimal digits; layout and comments do not count.

    Raises UserError for a file that is missing or is no TOML, and for dates and times in it.
    """
    try:
        with open(path, "rb") as file:
            return digest(tomllib.load(file))
    except OSError as error:
        raise UserError(f"--contrasts {path}: cannot be read ({error.strerror}); name a TOML file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"--contrasts {path}: is no TOML file ({error}); correct it") from None
    except TypeError:  # json has no dates
        raise UserError(f"--contrasts {path}: holds a date or a time; write it in quotes") from None
