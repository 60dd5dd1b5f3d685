"""One picture file to one array, whatever kind of picture it is, or a refusal that names the file.

OpenCV decodes JPEG, PNG and BMP, about twice as fast as Pillow. Pillow decodes the rest (WebP, TIFF), because
OpenCV 4 ignores the orientation of a WebP and OpenCV 4 and 5 multiply the colours of a TIFF by its alpha.
"""

import io
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps

from selftrain.system.errors import UserError

# Every failed decode becomes a UserError that names the file; OpenCV's own lines name none and would bury it.
# OpenCV 4 and 5 keep the function in different places.
(getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel)(0)

_BY_OPENCV = (b"\xff\xd8\xff", b"\x89PNG", b"BM")
_ORIENTATION = 0x0112  # the EXIF tag
_CURE = (
    "Download or copy it again, or take it out of the data set. "
    "`python -m selftrain.data.check DIR` lists every such file."
)


def read_image(path: str | Path) -> np.ndarray:
    """Decode a file to (H, W, 3) uint8 RGB, turned upright by its EXIF orientation.

    Grey is repeated over the three channels, alpha is dropped (not blended), CMYK and palettes become RGB,
    and of 16 bits the upper 8 are kept.

    Raises:
        UserError: the file is missing, unreadable, truncated, or no picture.
    """
    return decode_image(read_bytes(path, _CURE), path)


def read_bytes(path: str | Path, cure: str = "Correct the path, or download the file again.") -> bytes:
    """Return the bytes of a file.

    Raises:
        UserError: the file cannot be read; the message names it and, if it is missing, says `cure`.
    """
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file. {cure}") from None
    except OSError as err:
        raise UserError(
            f"{path}: cannot be read ({err.strerror}). Check its permissions and the disk."
        ) from None


def decode_image(data: bytes, path: str | Path) -> np.ndarray:
    """Do what `read_image` does for bytes at hand; `path` only names the file in the message.

    Raises:
        UserError: the bytes are none, truncated, or no picture.
    """
    if not data:
        raise UserError(f"{path}: the file is empty. {_CURE}")
    try:
        image = _decode_opencv(data) if data.startswith(_BY_OPENCV) else _decode_pillow(data)
    except Exception as err:  # decoders raise many types; each means the same to the reader
        raise UserError(f"{path}: cannot be decoded ({err}). {_CURE}") from None
    if image is None:
        raise UserError(f"{path}: truncated or damaged, cannot be decoded ({len(data)} bytes). {_CURE}")
    return image


def image_size(path: str | Path) -> tuple[int, int]:
    """Return (width, height) as `read_image` would, but from the header alone: a truncated file may pass.

    Raises:
        UserError: the file is missing or its header cannot be read.
    """
    try:
        with Image.open(path) as picture:
            width, height = picture.size
            # Pillow turns the size of a TIFF already here, and of no other format.
            if picture.format == "TIFF":
                width, height = picture.tag_v2[256], picture.tag_v2[257]
            lies_on_its_side = picture.getexif().get(_ORIENTATION, 1) >= 5
    except FileNotFoundError:
        raise UserError(f"{path}: no such file. {_CURE}") from None
    except Exception as err:
        raise UserError(f"{path}: cannot be read as a picture ({err}). {_CURE}") from None
    return (height, width) if lies_on_its_side else (width, height)


def _decode_opencv(data: bytes) -> np.ndarray | None:
    """Decode a JPEG, PNG or BMP to (H, W, 3) uint8 RGB; None if it is truncated or damaged."""
    if data.startswith(b"\xff\xd8") and not (data.endswith(b"\xff\xd9") or _jpeg_ends(data)):
        return None
    # OpenCV applies the EXIF orientation, drops alpha, keeps the upper 8 of 16 bits.
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)


def _jpeg_ends(data: bytes) -> bool:
    """Say whether an end-of-image mark follows the picture's data in a JPEG.

    An interrupted download whose space was reserved is padded with zeros, which decode as flat grey without
    any error.
    """
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        mark = data[at + 1]
        if mark == 0xDA:  # the picture's data begin; earlier end marks belong to an embedded thumbnail
            return data.find(b"\xff\xd9", at) >= 0
        # A mark may be padded with 0xFF bytes; the others are followed by their length.
        at += 1 if mark == 0xFF else 2 + int.from_bytes(data[at + 2 : at + 4])
    return False


def _decode_pillow(data: bytes) -> np.ndarray:
    """Decode a picture of any other format to (H, W, 3) uint8 RGB; Pillow's errors pass through."""
    with Image.open(io.BytesIO(data)) as picture:
        picture = ImageOps.exif_transpose(picture)
        if picture.mode.startswith("I;16"):  # Pillow's own conversion clips at 255
            grey = (np.asarray(picture) >> 8).astype(np.uint8)
            return np.repeat(grey[:, :, None], 3, axis=2)
        if picture.mode in ("I", "F"):
            raise ValueError("32-bit samples have no agreed range; save it with 8 or 16 bits")
        return np.array(picture.convert("RGB"))
