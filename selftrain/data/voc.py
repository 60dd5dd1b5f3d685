"""Semantic segmentation in PASCAL VOC's layout: lists of stems, a photo and an index PNG for each.

A mask has one byte a pixel: the class's index, or 255 where neither training nor the score looks.
"""

import hashlib
import io
import os
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from augment.geometry import VOID
from augment.sample import Sample
from selftrain.data.dataset import Labelled, class_difference
from selftrain.data.image import read_bytes, read_image
from selftrain.system.errors import UserError

IGNORED = VOID  # 255: what the policies put where nothing is known
LISTS = ("train", "val", "test", "train_aug", "unlabeled")
VOC_CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog", "horse",
    "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
_FILES = {"train_aug": ("train_aug.txt", "trainaug.txt")}  # DeepLab's name for it has no underscore
_PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png")
_MASK_CURE = "Download or copy it again, or take its stem out of the list."
_INDEX_PNG = (
    "Save it as a PNG of one byte a pixel: the index of the class, 255 = ignored (Pillow's modes P and L)."
)
_TREE = """\
{root}/
  VOC2012/
    ImageSets/Segmentation/{{train,val}}.txt
    JPEGImages/*.jpg
    SegmentationClass/*.png
    SegmentationClassAug/*.png  (optional, for train_aug.txt)
    classes.txt                 (optional, one name a line; VOC's 21 without it)"""


def _palette() -> np.ndarray:
    """VOC's colours: the bits of an index, lowest first, go in turn to red, green and blue, from their highest bits down."""
    index, palette = np.arange(256), np.zeros((256, 3), np.uint8)
    for bit in range(8):
        palette[:, bit % 3] |= ((index >> bit & 1) << 7 - bit // 3).astype(np.uint8)
    return palette


PALETTE = _palette()  # (256, 3) uint8 RGB
PALETTE.setflags(write=False)


@dataclass(frozen=True, eq=False)
class VocDataset(Labelled):
    """N photos, each with a class map of its own size."""

    folder: Path  # of the photos
    mask_folder: Path  # of the masks, or of the folders that hold them
    names: np.ndarray  # (N,) bytes: utf-8 paths below folder
    mask_names: np.ndarray  # (N,) bytes: utf-8 paths below mask_folder
    image_ids: np.ndarray  # (N,) str: the stems
    class_names: tuple[str, ...]  # K names by index, at most 255
    hash: str = ""  # 16 hex digits: of class names, stems and the masks' bytes, or of the parent's hash and the chosen stems

    def mask_path(self, i: int) -> Path:
        """The mask file of position i."""
        return self.mask_folder / self.mask_names[i].decode()

    def mask(self, i: int) -> np.ndarray:
        """The class map (H, W) uint8 of position i, 255 = ignored. UserError as `read_mask`."""
        return read_mask(self.mask_path(i), len(self.class_names))

    def sample(self, i: int) -> Sample:
        """Photo i decoded, with its mask and without boxes.

        Raises:
            UserError: a file is missing, damaged or not what it should be, or photo and mask are of different sizes.
        """
        image, mask = read_image(self.path(i)), self.mask(i)
        if image.shape[:2] != mask.shape:
            raise UserError(
                f"{self.path(i)}: {mask_size_fault(image.shape[1::-1], self.mask_path(i), mask.shape[::-1])}"
            )
        return replace(Sample.unlabelled(image), mask=mask)

    def take(self, positions: np.ndarray) -> "VocDataset":
        """The photos at these positions, in the order given."""
        positions = np.asarray(positions, np.int64)
        columns = {name: getattr(self, name)[positions] for name in ("names", "mask_names", "image_ids")}
        return replace(self, **columns, hash=self.hash_of(positions))

    @property
    def class_counts(self) -> np.ndarray:
        """(K,) int64 pixels per class. Reads every mask."""
        return class_pixels(self)


# Masks --------------------------------------------------------------------------------------------------------------------------


def read_mask(path: str | Path, classes: int) -> np.ndarray:
    """Decode an index PNG, of palette or grey, to (H, W) uint8 in 0..classes-1 or 255. Its palette and orientation do not matter.

    Raises:
        UserError: the file is missing, damaged or no PNG, has colours or 16 bits in place of indices, or an index that is no class.
    """
    # Pillow, as OpenCV would turn indices into the colours of their palette.
    data = read_bytes(path, _MASK_CURE)
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as picture:
            mode, (depth, kind) = (
                picture.mode,
                data[24:26],
            )  # of the header, which Pillow has checked: bits a sample, colours
            mask = np.array(picture, np.uint8) if mode in ("P", "L", "1") else None
    except Exception as err:  # Pillow raises many types; each means the same to the reader
        if not data.startswith(b"\x89PNG"):
            raise UserError(f"{path}: not a PNG picture ({len(data)} bytes). {_INDEX_PNG}") from None
        raise UserError(f"{path}: truncated or damaged, cannot be decoded ({err}). {_MASK_CURE}") from None
    if depth == 16:
        raise UserError(f"{path}: the mask has 16 bits a sample. {_INDEX_PNG}")
    if mask is None:
        raise UserError(
            f"{path}: the mask is a colour picture ({mode}), and colours are no class indices. {_INDEX_PNG}"
        )
    if kind == 0 and depth in (2, 4):
        mask //= 255 // (2**depth - 1)  # Pillow spreads such grey over 0..255
    top = (
        int((mask + np.uint8(1)).max()) - 1
    )  # 255 becomes 0 and so no maximum; a histogram takes forty times as long
    if top >= classes:
        raise UserError(
            f"{path}: the mask has index {top}, but there are {classes} classes (0 to {classes - 1}, and 255 = ignored). "
            "Correct the mask, or list all classes in classes.txt."
        )
    return mask


def encode_mask(mask: np.ndarray) -> bytes:
    """A class map (H, W) uint8 as a PNG with VOC's colours as its palette. Equal maps give equal bytes under one release of Pillow."""
    if mask.ndim != 2 or mask.dtype != np.uint8 or not mask.size:
        raise ValueError(f"a mask is (H, W) uint8 and not empty, got {mask.shape} {mask.dtype}")
    picture = Image.fromarray(np.ascontiguousarray(mask))
    picture.putpalette(PALETTE.tobytes())
    buffer = io.BytesIO()
    # Runs of one index are all there is to find in a mask: as fast as level 1, and smaller than level 9.
    picture.save(buffer, "PNG", compress_level=1, compress_type=zlib.Z_RLE)
    return buffer.getvalue()


def mask_size_fault(size: tuple[int, int], mask_path: Path, mask_size: tuple[int, int]) -> str:
    """What to say of a photo whose (width, height) is not its mask's."""
    cure = "Use the masks that were drawn on these photos."
    if size == mask_size[::-1]:
        cure = (
            "The photo is turned by its EXIF orientation, and the mask was drawn on the unturned one. " + cure
        )
    return f"the photo is {size[0]}x{size[1]} pixels, its mask {mask_path} is {mask_size[0]}x{mask_size[1]}. {cure}"


def class_pixels(dataset: VocDataset) -> np.ndarray:
    """(K,) int64 pixels per class, those ignored not counted. Reads every mask, with one thread a core: Pillow decodes beside Python."""
    classes = len(dataset.class_names)

    def count(i: int) -> np.ndarray:
        return np.bincount(dataset.mask(i).ravel(), minlength=256)[:classes]

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        return sum(threads.map(count, range(len(dataset))), np.zeros(classes, np.int64))


# Layout -------------------------------------------------------------------------------------------------------------------------


def voc_folders(root: str | Path) -> list[Path]:
    """The folders with ImageSets/Segmentation: `root` itself, or else those at most two levels below it."""
    level = [str(root)]
    for _ in range(3):
        found = [
            Path(folder)
            for folder in level
            if os.path.isdir(os.path.join(folder, "ImageSets", "Segmentation"))
        ]
        if found:
            return sorted(found)
        level = [inner for folder in level for inner in _folders(folder)]
    return []


def find_voc(root: str | Path) -> Path:
    """VOC's folder (VOC2012) for itself, its parent (VOCdevkit), or its parent's parent.

    Raises:
        UserError: there is none, or several; the message shows the expected tree and what is there.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"{root}: no such folder. {_expected(root)}")
    found = voc_folders(root)
    if len(found) > 1:
        several = ", ".join(str(folder.relative_to(root)) for folder in found)
        raise UserError(f"{root}: several folders in VOC's layout ({several}). Name one of them.")
    if not found:
        raise UserError(
            f"{root}: no folder with ImageSets/Segmentation, as PASCAL VOC has it. Correct the path. {_expected(root)}"
        )
    return found[0]


def class_names(root: Path) -> tuple[str, ...]:
    """The classes of a folder that `find_voc` found, by index: of classes.txt in it or beside it, or else VOC's 21.

    Raises:
        UserError: classes.txt is empty, has an empty line, a name twice, or more than 255 names.
    """
    path = next(
        (path for path in (root / "classes.txt", root.parent / "classes.txt") if path.is_file()), None
    )
    if path is None:
        return VOC_CLASSES
    names = [line.strip() for line in _text(path).rstrip().splitlines()]
    twice = sorted({name for name in names if names.count(name) > 1})
    for wrong, fault in (
        (not names, "names no class"),
        (
            "" in names,
            f"line {names.index('') + 1 if '' in names else 0} is empty, and an index is the number of its line",
        ),
        (twice, f"names {', '.join(map(repr, twice))} more than once"),
        (len(names) > IGNORED, f"names {len(names)} classes, but indices go to 254 (255 = ignored)"),
    ):
        if wrong:
            raise UserError(f"{path}: {fault}. Write one class a line, in the order of the masks' indices.")
    return tuple(names)


def list_file(root: Path, list_name: str) -> Path | None:
    """The file of one of LISTS below a folder that `find_voc` found; None if there is none."""
    if list_name not in LISTS:
        raise ValueError(f"{list_name!r} is none of {', '.join(LISTS)}")
    paths = (
        root / "ImageSets" / "Segmentation" / name for name in _FILES.get(list_name, (f"{list_name}.txt",))
    )
    return next((path for path in paths if path.is_file()), None)


def read_list(path: str | Path) -> list[str]:
    """The stems of a list in its order, repeated ones included.

    A line is a stem, or a photo and its mask as DeepLab and CPS write them: "/JPEGImages/2007_000032.jpg /SegmentationClass/2007_000032.png".

    Raises:
        UserError: the file is missing or not text.
    """
    stems = []
    for line in _text(path).splitlines():
        if line.strip():
            stem, suffix = os.path.splitext(os.path.basename(line.split()[0]))
            stems.append(stem if suffix.lower() in _PHOTO_SUFFIXES else stem + suffix)
    return stems


def photo_files(root: Path) -> dict[str, str]:
    """File name below JPEGImages by stem. UserError if two photos have one stem."""
    return _files(root / "JPEGImages", _PHOTO_SUFFIXES)


def mask_files(root: Path, list_name: str) -> dict[str, str]:
    """Path below `root` by stem, of the masks for this list: train_aug takes the coarse ones where there are any."""
    folders = ("SegmentationClass", "SegmentationClassAug")[: 2 if list_name == "train_aug" else 1]
    return {
        stem: f"{folder}/{name}"
        for folder in folders
        for stem, name in _files(root / folder, (".png",)).items()
    }


# Data sets ----------------------------------------------------------------------------------------------------------------------


def read_voc(root: str | Path, list_name: str, *, classes: tuple[str, ...] | None = None) -> VocDataset:
    """Read one of LISTS. Reads every mask's bytes for the hash, but decodes nothing.

    Masks come from SegmentationClass; those of train_aug from SegmentationClassAug where it has the stem.

    Args:
        root: as for `find_voc`.
        list_name: "train", "val", "test", "train_aug" (its file may be trainaug.txt), or "unlabeled".
        classes: the class names wanted, in order (labels of other classes or another order would train the wrong thing).

    Raises:
        UserError: the folder, list or classes.txt is missing or broken, the list has no stem, has one twice, or one without photo or
            mask, or the classes are not `classes`.
    """
    root = find_voc(root)
    names = class_names(root)
    if classes is not None and names != tuple(classes):
        raise UserError(class_difference(root, names, tuple(classes)))
    path = list_file(root, list_name)
    if path is None:
        there = sorted(entry.name for entry in (root / "ImageSets" / "Segmentation").glob("*.txt"))
        cure = f"Write the stems of its photos there. There is: {', '.join(there) or 'none'}."
        raise UserError(f"{root}: no ImageSets/Segmentation/{list_name}.txt. {cure}")
    stems = _once(path)
    photos, masks = photo_files(root), mask_files(root, list_name)
    for files, what, folder in ((photos, "photo", "JPEGImages"), (masks, "mask", "SegmentationClass")):
        missing = [stem for stem in stems if stem not in files]
        if missing:
            raise UserError(
                f"{root / folder}: has no {what} of {missing[0]}, which {path} lists ({len(missing)} of its {len(stems)} have none). "
                f"Put the {what}s there, or take the stems out of the list."
            )
    digest = hashlib.blake2b(repr(names).encode(), digest_size=8)
    for stem, labels in zip(stems, _digests([root / masks[stem] for stem in stems]), strict=True):
        size = (
            (root / "JPEGImages" / photos[stem]).stat().st_size
        )  # other photos under the same masks are another data set
        digest.update(f"\n{stem} {size}\n".encode() + labels)
    return VocDataset(
        folder=root / "JPEGImages",
        mask_folder=root,
        names=np.array([photos[stem].encode() for stem in stems]),
        mask_names=np.array([masks[stem].encode() for stem in stems]),
        image_ids=np.array(stems),
        class_names=names,
        hash=digest.hexdigest(),
    )


def has_labels(root: str | Path, list_name: str) -> bool:
    """Whether the list exists and one of its photos has a mask: PASCAL publishes none for its test part. Errors as `read_voc`."""
    root = find_voc(root)
    path = list_file(root, list_name)
    return path is not None and not mask_files(root, list_name).keys().isdisjoint(read_list(path))


def import_ids(path: str | Path, dataset: VocDataset) -> np.ndarray:
    """The stems (n,) str, ascending, of a list of labelled photos in one of the forms of `read_list`.

    Such are the 1/2 to 1/16 lists that papers on semi-supervised segmentation (PseudoSeg, CPS, ST++, U2PL) publish.

    Raises:
        UserError: the list is missing, empty, names a stem twice, or one that is not in `dataset`.
    """
    stems = np.sort(_once(path))
    unknown = stems[~np.isin(stems, dataset.image_ids)]
    if len(unknown):
        raise UserError(
            f"{path}: lists {unknown[0]}, which is not among the {len(dataset)} images of {dataset.folder} to choose from ({len(unknown)} of "
            f"{len(stems)} are not). A list drawn from the coarse labels (SegmentationClassAug) needs --protocol train_aug; any other, its own data."
        )
    return stems


def _once(path: str | Path) -> list[str]:
    """The stems of a list, at least one and each there once."""
    stems = read_list(path)
    if not stems:
        raise UserError(f"{path}: lists no image. Write one stem a line, such as 2007_000032.")
    values, counts = np.unique(stems, return_counts=True)
    twice = values[counts > 1]
    if len(twice):
        raise UserError(
            f"{path}: lists {twice[0]} more than once ({len(twice)} stems are). Remove the repeated lines."
        )
    return stems


def _digests(paths: list[Path]) -> list[bytes]:
    """blake2b of each file, read by several threads: a disk or a network drive serves many small files at once far faster than in turn."""
    with ThreadPoolExecutor(8) as threads:
        return list(
            threads.map(
                lambda path: hashlib.blake2b(read_bytes(path, _MASK_CURE), digest_size=16).digest(), paths
            )
        )


def _files(folder: Path, suffixes: tuple[str, ...]) -> dict[str, str]:
    """File names by stem; none if there is no such folder. One look at the folder is cheaper than one at each of its thousands of files."""
    found = {}
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                stem, suffix = os.path.splitext(entry.name)
                if suffix.lower() in suffixes and not stem.startswith("."):
                    if stem in found:
                        raise UserError(
                            f"{folder}: {found[stem]} and {entry.name} have one stem. Remove one of them."
                        )
                    found[stem] = entry.name
    except FileNotFoundError:
        return {}
    except OSError as err:
        raise UserError(
            f"{folder}: the folder cannot be read ({err.strerror}). Check its permissions."
        ) from None
    return found


def _text(path: str | Path) -> str:
    try:
        return read_bytes(path).decode("utf-8-sig")  # Windows editors put a mark before the first line
    except UnicodeDecodeError as err:
        raise UserError(f"{path}: not a text file in UTF-8 (byte {err.start}). Save it as UTF-8.") from None


def _folders(folder: str) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.path for entry in entries if entry.is_dir())
    except OSError:
        return []


def _expected(root: Path) -> str:
    """The tree wanted and the tree there."""
    there = sorted(root.iterdir())[:12] if root.is_dir() else []
    lines = "\n".join(f"  {entry.name}{'/' if entry.is_dir() else ''}" for entry in there) or "  (nothing)"
    return f"Expected:\n{_TREE.format(root=root)}\nFound in {root}:\n{lines}"
