"""One mask: an index PNG to a class map and back.

A mask has one byte a pixel: the index of the class, or 255 where neither training nor the score looks.
"""

import io
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from augment.geometry import VOID
from selftrain.data.image import read_bytes
from selftrain.system.errors import UserError

IGNORED = VOID
"""255, which the policies too put where nothing is known"""
MASK_CURE = "Download or copy it again, or take its stem out of the list."
"""what to do about a mask file that is missing or damaged"""
_INDEX_PNG = (
    "Save it as a PNG of one byte a pixel: the index of the class, 255 = ignored (Pillow's modes P and L)."
)


def _palette() -> np.ndarray:
    """Make VOC's colours, (256, 3) uint8 RGB.

    The bits of an index, lowest first, go in turn to red, green and blue, from their highest bits down.
    """
    index, palette = np.arange(256), np.zeros((256, 3), np.uint8)
    for bit in range(8):
        palette[:, bit % 3] |= ((index >> bit & 1) << 7 - bit // 3).astype(np.uint8)
    return palette


PALETTE = _palette()
"""(256, 3) uint8: VOC's RGB colour of each index"""
PALETTE.setflags(write=False)


def read_mask(path: str | Path, classes: int) -> np.ndarray:
    """Decode an index PNG, of palette or grey, to (H, W) uint8 in 0..classes-1 or 255.

    Its palette and orientation do not matter.

    Raises:
        UserError: the file is missing, damaged or no PNG, has colours or 16 bits in place of indices, or an
            index that is no class.
    """
    data = read_bytes(path, MASK_CURE)
    mask, mode, depth = _decode(data, path)
    if depth == 16:
        raise UserError(f"{path}: the mask has 16 bits a sample. {_INDEX_PNG}")
    if mask is None:
        raise UserError(
            f"{path}: the mask is a colour picture ({mode}), and colours are no class indices. {_INDEX_PNG}"
        )
    # 255 becomes 0 and so is no maximum; a histogram would take forty times as long.
    highest = int((mask + np.uint8(1)).max()) - 1
    if highest >= classes:
        raise UserError(
            f"{path}: the mask has index {highest}, but there are {classes} classes "
            f"(0 to {classes - 1}, and 255 = ignored). "
            "Correct the mask, or list all classes in classes.txt."
        )
    return mask


def _decode(data: bytes, path: str | Path) -> tuple[np.ndarray | None, str, int]:
    """Return the indices (H, W) uint8 of a PNG, None if it has colours, its Pillow mode and bits a sample."""
    try:
        # Pillow, as OpenCV would turn indices into the colours of their palette.
        with Image.open(io.BytesIO(data), formats=("PNG",)) as picture:
            mode = picture.mode
            depth, kind = data[24:26]  # of the header, which Pillow has checked: bits a sample, colours
            mask = np.array(picture, np.uint8) if mode in ("P", "L", "1") else None
    except Exception as err:  # Pillow raises many types; each means the same to the reader
        if not data.startswith(b"\x89PNG"):
            raise UserError(f"{path}: not a PNG picture ({len(data)} bytes). {_INDEX_PNG}") from None
        raise UserError(f"{path}: truncated or damaged, cannot be decoded ({err}). {MASK_CURE}") from None
    if mask is not None and kind == 0 and depth in (2, 4):
        mask //= 255 // (2**depth - 1)  # Pillow spreads such grey over 0..255
    return mask, mode, depth


def encode_mask(mask: np.ndarray) -> bytes:
    """Encode a class map (H, W) uint8 as a PNG with VOC's colours as its palette.

    Equal maps give equal bytes under one release of Pillow. Raises ValueError for an array that is no class
    map.
    """
    if mask.ndim != 2 or mask.dtype != np.uint8 or not mask.size:
        raise ValueError(f"a mask is (H, W) uint8 and not empty, got {mask.shape} {mask.dtype}")
    picture = Image.fromarray(np.ascontiguousarray(mask))
    picture.putpalette(PALETTE.tobytes())
    buffer = io.BytesIO()
    # Runs of one index are all there is to find in a mask: as fast as level 1, and smaller than level 9.
    picture.save(buffer, "PNG", compress_level=1, compress_type=zlib.Z_RLE)
    return buffer.getvalue()


def mask_size_fault(size: tuple[int, int], mask_path: Path, mask_size: tuple[int, int]) -> str:
    """Return what to say of a photo whose (width, height) is not its mask's."""
    cure = "Use the masks that were drawn on these photos."
    if size == mask_size[::-1]:
        turned = "The photo is turned by its EXIF orientation, and the mask was drawn on the unturned one."
        cure = f"{turned} {cure}"
    sizes = f"the photo is {size[0]}x{size[1]} pixels, its mask {mask_path} is {mask_size[0]}x{mask_size[1]}"
    return f"{sizes}. {cure}"
