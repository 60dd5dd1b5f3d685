"""A generated set of textured shapes in COCO's layout, for detection, or in PASCAL VOC's, for segmentation.
It needs no network and takes seconds.

`selftrain/data/shapes/draw.py` says what is drawn. Each image is a pure function of the set's seed, its split
and its index, so the number of processes, the size of the splits and the layout cannot change it. `train` is
labelled, `val` is for tuning, `test` for reporting, and `unlabeled` is the pool: its labels are on disk only
so that a teacher's precision and recall, or its pixel accuracy, can be measured.

    python -m selftrain.data.shapes --out data/shapes --image-size 65 --train 2000 --difficulty 0.3
    python -m selftrain.data.shapes --out data/shapes-voc --layout voc
"""

import json
import os
import secrets
import shutil
from pathlib import Path, PurePosixPath

from selftrain.data.shapes.draw import render
from selftrain.data.shapes.files import FILES, FOLDERS, MARK, Layout, Progress, write_set
from selftrain.data.shapes.spec import CATEGORY_IDS, SPLITS, VERSION, Shapes

__all__ = ["CATEGORY_IDS", "MARK", "SPLITS", "VERSION", "Layout", "Shapes", "generate", "render"]


def generate(
    root: str | Path,
    spec: Shapes = Shapes(),
    workers: int | None = None,
    progress: Progress | None = None,
    layout: Layout = "coco",
) -> Path:
    """Write the set to `root` and return its path; a folder that holds this very set is left as it is.

    The files are written to a hidden folder beside `root`, which takes its place when all are there, so an
    interrupted run leaves nothing that looks finished (one that was killed outright leaves the hidden folder,
    which may be deleted). An older generated set at `root` is replaced.

    Args:
        root: the folder to write.
        spec: the set.
        workers: processes, all usable cores by default. They are spawned, so a script that calls this needs
            its `if __name__ == "__main__"`.
        progress: called with how many images are done, and how many there are in all.
        layout: "coco" writes boxes and masks as json; "voc" writes `root`/VOC2012 with an index PNG for each
            image, in which 0 is the ground and the textures follow.

    Raises:
        FileExistsError: `root` holds anything that this function did not write.
        ValueError: the layout is unknown.
    """
    root = Path(root).expanduser().absolute()
    if layout not in FOLDERS:
        raise ValueError(f"shapes: layout {layout!r} is none of {', '.join(FOLDERS)}")
    if _is_whole(root, spec, layout):
        return root
    _refuse_foreign_files(root)
    part = root.parent / f".{root.name}-{os.getpid()}-{secrets.token_hex(4)}.part"
    part.mkdir(parents=True)
    try:
        write_set(part, spec, layout, workers or _cores(), progress)
        _refuse_foreign_files(root)  # minutes may have passed
        old = part.with_suffix(".old")
        if root.exists():
            os.replace(root, old)
        try:
            os.replace(part, root)
        except OSError:  # another process put a set there meanwhile
            if not _is_whole(root, spec, layout):
                raise
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return root


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _read_mark(root: Path) -> dict:
    """Return what the folder's mark says, {} without a readable one."""
    try:
        mark = json.loads((root / MARK).read_text())
        return mark if isinstance(mark, dict) and mark.get("generator") == "selftrain.data.shapes" else {}
    except (OSError, ValueError):
        return {}


def _layout_of(mark: dict) -> str:
    return mark.get("layout", "coco")  # only the mark of another layout names it


def _contents(layout: str) -> list[PurePosixPath]:
    """Return the folders and files that a set in this layout has, below its root."""
    return [PurePosixPath(name) for name in (*FOLDERS.get(layout, ()), *FILES.get(layout, ()))]


def _is_whole(root: Path, spec: Shapes, layout: Layout) -> bool:
    """Say whether `root` holds this very set in this layout, with nothing missing."""
    mark = _read_mark(root)
    return (
        mark.get("digest") == spec.digest()
        and _layout_of(mark) == layout
        and all((root / name).exists() for name in _contents(layout))
    )


def _refuse_foreign_files(root: Path) -> None:
    """Raise FileExistsError unless `root` is absent, empty, or a generated set and nothing else."""
    if not os.path.lexists(root):
        return
    if root.is_symlink() or not root.is_dir():
        foreign = {root.name}
    elif mark := _read_mark(root):  # lists or masks of the user's own may stand beside ours at any depth
        ours = _contents(_layout_of(mark))
        folders = {parent for name in ours for parent in name.parents}
        there = {
            path.relative_to(root).as_posix()
            for folder in folders
            if (root / folder).is_dir()
            for path in (root / folder).iterdir()
        }
        foreign = there - {str(name) for name in (*ours, *folders)}
    else:
        foreign = {path.name for path in root.iterdir()}
    if foreign:
        raise FileExistsError(
            f"{root} holds {sorted(foreign)[0]!r}, which is not of a generated set: "
            "it is left alone; choose another folder"
        )
