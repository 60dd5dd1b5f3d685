"""Where the lists, photos, masks and class names of PASCAL VOC's format lie, and what a list says."""

import os
from pathlib import Path

from selftrain.data.image import read_bytes
from selftrain.data.voc.masks import IGNORED
from selftrain.system.errors import UserError

LISTS = ("train", "val", "test", "train_aug", "unlabeled")
"""the lists of photos that a data set may have"""
VOC_CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
    "tvmonitor",
)  # fmt: skip
"""PASCAL VOC's 21 classes, by index"""
_FILES = {"train_aug": ("train_aug.txt", "trainaug.txt")}  # DeepLab's name for it has no underscore
_PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png")
_TREE = """\
{root}/
  VOC2012/
    ImageSets/Segmentation/{{train,val}}.txt
    JPEGImages/*.jpg
    SegmentationClass/*.png
    SegmentationClassAug/*.png  (optional, for train_aug.txt)
    classes.txt                 (optional, one name a line; VOC's 21 without it)"""


def voc_folders(root: str | Path) -> list[Path]:
    """List the folders with ImageSets/Segmentation: `root` itself, or else those one or two levels below."""
    level = [str(root)]
    for _ in range(3):
        folders = [
            Path(folder)
            for folder in level
            if os.path.isdir(os.path.join(folder, "ImageSets", "Segmentation"))
        ]
        if folders:
            return sorted(folders)
        level = [inner for folder in level for inner in _subfolders(folder)]
    return []


def find_voc(root: str | Path) -> Path:
    """Return VOC's folder (VOC2012), given itself, its parent (VOCdevkit), or its parent's parent.

    Raises:
        UserError: there is none, or several; the message shows the expected tree and what is there.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"{root}: no such folder. {_expected(root)}")
    folders = voc_folders(root)
    if len(folders) > 1:
        several = ", ".join(str(folder.relative_to(root)) for folder in folders)
        raise UserError(f"{root}: several folders in VOC's layout ({several}). Name one of them.")
    if not folders:
        raise UserError(
            f"{root}: no folder with ImageSets/Segmentation, as PASCAL VOC has it. "
            f"Correct the path. {_expected(root)}"
        )
    return folders[0]


def class_names(root: Path) -> tuple[str, ...]:
    """Return the classes of a folder that `find_voc` found, by index.

    They are those of classes.txt in it or beside it, or else VOC's 21.

    Raises:
        UserError: classes.txt is empty, has an empty line, a name twice, or more than 255 names.
    """
    candidates = (root / "classes.txt", root.parent / "classes.txt")
    path = next((path for path in candidates if path.is_file()), None)
    if path is None:
        return VOC_CLASSES
    names = [line.strip() for line in _read_text(path).rstrip().splitlines()]
    twice = sorted({name for name in names if names.count(name) > 1})
    empty_line = names.index("") + 1 if "" in names else 0
    for wrong, fault in (
        (not names, "names no class"),
        (empty_line, f"line {empty_line} is empty, and an index is the number of its line"),
        (twice, f"names {', '.join(map(repr, twice))} more than once"),
        (len(names) > IGNORED, f"names {len(names)} classes, but indices go to 254 (255 = ignored)"),
    ):
        if wrong:
            raise UserError(f"{path}: {fault}. Write one class a line, in the order of the masks' indices.")
    return tuple(names)


def list_file(root: Path, list_name: str) -> Path | None:
    """Return the file of one of LISTS below a folder that `find_voc` found; None if there is none.

    Raises ValueError for a name that is not in LISTS.
    """
    if list_name not in LISTS:
        raise ValueError(f"{list_name!r} is none of {', '.join(LISTS)}")
    names = _FILES.get(list_name, (f"{list_name}.txt",))
    paths = (root / "ImageSets" / "Segmentation" / name for name in names)
    return next((path for path in paths if path.is_file()), None)


def read_list(path: str | Path) -> list[str]:
    """Return the stems of a list in its order, repeated ones included.

    A line is a stem, or a photo and its mask as DeepLab and CPS write them:
    "/JPEGImages/2007_000032.jpg /SegmentationClass/2007_000032.png".

    Raises:
        UserError: the file is missing or not text.
    """
    stems = []
    for line in _read_text(path).splitlines():
        if line.strip():
            stem, suffix = os.path.splitext(os.path.basename(line.split()[0]))
            stems.append(stem if suffix.lower() in _PHOTO_SUFFIXES else stem + suffix)
    return stems


def photo_files(root: Path) -> dict[str, str]:
    """Return the file name below JPEGImages of each stem; two photos of one stem are a UserError."""
    return _files_by_stem(root / "JPEGImages", _PHOTO_SUFFIXES)


def mask_files(root: Path, list_name: str) -> dict[str, str]:
    """Return the path below `root` of each stem's mask for this list.

    For train_aug the coarse masks of SegmentationClassAug are taken where there are any. Two masks of one
    stem in one folder are a UserError.
    """
    folders = ("SegmentationClass", "SegmentationClassAug")[: 2 if list_name == "train_aug" else 1]
    return {
        stem: f"{folder}/{name}"
        for folder in folders
        for stem, name in _files_by_stem(root / folder, (".png",)).items()
    }


def _files_by_stem(folder: Path, suffixes: tuple[str, ...]) -> dict[str, str]:
    """Return the file names of a folder by stem; none if there is no such folder."""
    names = {}
    try:
        # One look at the folder is cheaper than one at each of its thousands of files.
        with os.scandir(folder) as entries:
            for entry in entries:
                stem, suffix = os.path.splitext(entry.name)
                if suffix.lower() in suffixes and not stem.startswith("."):
                    if stem in names:
                        raise UserError(
                            f"{folder}: {names[stem]} and {entry.name} have one stem. Remove one of them."
                        )
                    names[stem] = entry.name
    except FileNotFoundError:
        return {}
    except OSError as err:
        raise UserError(
            f"{folder}: the folder cannot be read ({err.strerror}). Check its permissions."
        ) from None
    return names


def _read_text(path: str | Path) -> str:
    try:
        return read_bytes(path).decode("utf-8-sig")  # Windows editors put a mark before the first line
    except UnicodeDecodeError as err:
        raise UserError(f"{path}: not a text file in UTF-8 (byte {err.start}). Save it as UTF-8.") from None


def _subfolders(folder: str) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.path for entry in entries if entry.is_dir())
    except OSError:
        return []


def _expected(root: Path) -> str:
    """Describe the tree that is expected below `root` and the one that is there."""
    there = sorted(root.iterdir())[:12] if root.is_dir() else []
    lines = "\n".join(f"  {entry.name}{'/' if entry.is_dir() else ''}" for entry in there) or "  (nothing)"
    return f"Expected:\n{_TREE.format(root=root)}\nFound in {root}:\n{lines}"
