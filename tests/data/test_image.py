"""The reader of picture files."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from selftrain.data.image import image_size, read_image
from tests.data.makers import picture, refuses


def image_kinds():
    """Name, suffix, encoded bytes of every kind of picture a folder of photos may hold."""
    rgb = Image.fromarray(picture())
    y, x = np.mgrid[:24, :32]
    deep = (x * 2000 + y * 100).astype(np.uint16)
    colour16 = np.stack([deep, 65535 - deep, deep // 2], -1)
    alpha = rgb.copy()
    alpha.putalpha(Image.fromarray((x * 8).astype(np.uint8)))
    palette = rgb.quantize(16)

    def encode(image, form, **options):
        buffer = io.BytesIO()
        image.save(buffer, form, **options)
        return buffer.getvalue()

    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        yield f"jpeg-exif{orientation}", "jpg", encode(rgb, "JPEG", quality=95, exif=exif)
        yield f"png-exif{orientation}", "png", encode(rgb, "PNG", exif=exif)
        yield f"webp-exif{orientation}", "webp", encode(rgb, "WEBP", lossless=True, exif=exif)
        yield f"tiff-exif{orientation}", "tif", encode(rgb, "TIFF", exif=exif)
    yield "jpeg-progressive", "jpg", encode(rgb, "JPEG", progressive=True)
    yield "jpeg-grey", "jpg", encode(rgb.convert("L"), "JPEG")
    yield "jpeg-cmyk", "jpg", encode(rgb.convert("CMYK"), "JPEG", quality=98)
    yield "png-grey", "png", encode(rgb.convert("L"), "PNG")
    yield "png-grey-alpha", "png", encode(alpha.convert("LA"), "PNG")
    yield "png-one-bit", "png", encode(rgb.convert("1"), "PNG")
    yield "png-palette", "png", encode(palette, "PNG")
    yield "png-palette-transparent", "png", encode(palette, "PNG", transparency=bytes(range(0, 256, 16)))
    yield "png-alpha", "png", encode(alpha, "PNG")
    yield "png-grey16", "png", encode(Image.fromarray(deep), "PNG")
    yield "png-colour16", "png", cv2.imencode(".png", colour16[:, :, ::-1])[1].tobytes()
    yield "bmp", "bmp", encode(rgb, "BMP")
    yield "bmp-palette", "bmp", encode(palette, "BMP")
    yield "webp-alpha", "webp", encode(alpha, "WEBP", lossless=True, exact=True)
    yield "tiff-alpha", "tif", encode(alpha, "TIFF")
    yield "tiff-cmyk", "tif", encode(rgb.convert("CMYK"), "TIFF")
    yield "tiff-grey16", "tif", encode(Image.fromarray(deep), "TIFF")


KINDS = {name: (suffix, data) for name, suffix, data in image_kinds()}


@pytest.mark.filterwarnings("ignore:Palette images with Transparency")  # of the reference
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_image_is_what_pillow_sees(kind, tmp_path):
    suffix, data = KINDS[kind]
    path = tmp_path / f"photo.{suffix}"
    path.write_bytes(data)
    image = read_image(path)
    reference = ImageOps.exif_transpose(Image.open(path))
    if reference.mode.startswith("I;16"):  # Pillow's conversion would clip
        reference = Image.fromarray((np.asarray(reference) >> 8).astype(np.uint8))
    reference = np.asarray(reference.convert("RGB"))
    assert image.dtype == np.uint8 and image.flags["C_CONTIGUOUS"] and image.flags["WRITEABLE"]
    assert image.shape == reference.shape
    assert image_size(path) == (image.shape[1], image.shape[0])
    assert np.abs(image.astype(int) - reference).max() <= 1  # CMYK is converted with another rounding


def test_orientation_really_turns_the_picture(tmp_path):
    upright = picture()
    path = tmp_path / "turned.png"
    path.write_bytes(KINDS["png-exif6"][1])
    np.testing.assert_array_equal(read_image(path), np.rot90(upright, -1))


def padded(data):
    """A download that stopped half-way in a file whose space was reserved."""
    return data[: len(data) // 2] + bytes(len(data) - len(data) // 2)


DAMAGE = {
    "half": lambda data: data[: len(data) // 2],
    "last-bytes-missing": lambda data: data[:-20],
    "zero-padded": padded,
    "empty": lambda data: b"",
    "text": lambda data: b"<html>404 not found</html>",
}


FORMS = ("JPEG", "progressive", "thumbnail", "PNG", "WEBP", "TIFF", "BMP")
# with neither end mark nor checksum, zeros are pixels
UNNOTICED = {(form, "zero-padded") for form in ("BMP", "TIFF", "WEBP")}


@pytest.mark.parametrize(
    "form, damage", [(form, damage) for form in FORMS for damage in DAMAGE if (form, damage) not in UNNOTICED]
)
def test_damaged_images_are_refused_by_name(form, damage, tmp_path):
    buffer, options = io.BytesIO(), {"progressive": True} if form == "progressive" else {}
    photo = Image.fromarray(picture(320, 240))
    photo.save(buffer, "JPEG" if form in ("progressive", "thumbnail") else form, **options)
    data = buffer.getvalue()
    if form == "thumbnail":  # the end mark of the picture inside must not pass for that of the picture
        segment = b"Exif\0\0" + KINDS["jpeg-grey"][1]
        data = data[:2] + b"\xff\xe1" + (len(segment) + 2).to_bytes(2) + segment + data[2:]
    path = tmp_path / "photo.img"
    path.write_bytes(data)
    assert read_image(path).shape == (240, 320, 3)
    path.write_bytes(DAMAGE[damage](data))
    refuses(lambda: read_image(path), path, "Download or copy it again")


def test_missing_image_is_refused_by_name(tmp_path):
    refuses(lambda: read_image(tmp_path / "gone.jpg"), tmp_path / "gone.jpg", "no such file")
    refuses(lambda: image_size(tmp_path / "gone.jpg"), tmp_path / "gone.jpg", "no such file")
