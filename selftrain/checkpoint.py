"""Checkpoints that are exact and never half-written: one file, replaced in one step.

accelerate's save_state writes into its final folder and does not restore the position within an epoch.  Here
a position is the step alone (see data/loader.py), and every process has the same state, so that the main
process writes one file.
"""

import hashlib
import re
from pathlib import Path
from typing import Any

import torch

from selftrain.system.errors import UserError
from selftrain.system.files import write_atomic


def save(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint.

    Raises UserError when the file cannot be written (disk full, no permission); the previous one stays as it
    was.
    """
    try:
        write_atomic(path, lambda file: torch.save(content, file))
    except (OSError, RuntimeError) as error:  # torch's zip writer wraps a failed write in a RuntimeError
        raise UserError(
            f"{path}: the checkpoint could not be written ({error}). The previous one is untouched: "
            "free some space and give the same command again"
        ) from error


def load(path: Path) -> dict[str, Any] | None:
    """Return the content of a checkpoint, None where there is none.  Raises UserError for a damaged file."""
    if not path.exists():
        return None
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise UserError(
            f"{path}: the checkpoint cannot be read ({type(error).__name__}: {error}). "
            "Delete it to train this cell again"
        ) from error


def weights_hash(state: dict[str, torch.Tensor]) -> str:
    """blake2b over names and values, 16 hex digits: equal for equal weights, wherever they are stored.

    A name counts without `trunk.` or `heads.NAME.` before it: what a network calls its parts is no matter of
    its weights.
    """
    digest = hashlib.blake2b(digest_size=8)
    names = {name: re.sub(r"^(trunk|heads\.[^.]+)\.", "", name) for name in state}
    for name in sorted(state, key=lambda name: (names[name], name)):
        digest.update(names[name].encode())
        digest.update(state[name].detach().cpu().numpy().tobytes())
    return digest.hexdigest()
