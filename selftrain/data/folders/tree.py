"""Folders of classes: `train/CLASS/*.jpg`, `val/CLASS/*.jpg` and, if there is one, `test/CLASS/*.jpg`."""

from pathlib import Path

from selftrain.data.folders.dataset import ClassDataset, from_files
from selftrain.data.pool import list_images
from selftrain.system.errors import UserError

PARTS = ("train", "val", "test")


def class_folders(part: Path) -> list[str]:
    """The names of the folders in a part, which are its classes, sorted; hidden ones are left out."""
    if not part.is_dir():
        return []
    return sorted(entry.name for entry in part.iterdir() if entry.is_dir() and entry.name[0] != ".")


def is_tree(root: Path) -> bool:
    """Whether the folder is in this layout."""
    return bool(class_folders(root / "train"))


def read_tree(root: Path) -> dict[str, ClassDataset]:
    """The parts that are there, by name; the classes are the folders of the training part, empty ones too.

    Raises UserError for a picture in no class folder, a class of another part that train does not have, and a
    part without a picture.
    """
    class_names = tuple(class_folders(root / "train"))
    return {part: _read_part(root / part, class_names) for part in PARTS if (root / part).is_dir()}


def _read_part(folder: Path, class_names: tuple[str, ...]) -> ClassDataset:
    files = []
    for name, _, size in list_images(folder):
        label, below, _ = name.partition("/")
        if not below:
            raise UserError(
                f"{folder / name}: the picture lies in no class folder. Move it into the folder of its class"
            )
        files.append((name, label, size))
    shown = {label for _, label, _ in files}
    if unknown := sorted(shown - set(class_names)):
        raise UserError(
            f"{folder / unknown[0]}: the training part has no class {unknown[0]!r}. Rename the folder as one "
            f"of {', '.join(class_names)}, or add such a folder to train"
        )
    if not files:
        raise UserError(f"{folder}: no picture in it. Put some there, in folders of classes, or remove it")
    return from_files(folder, files, class_names)
