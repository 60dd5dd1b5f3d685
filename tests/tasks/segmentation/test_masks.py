"""Masks: index PNGs of every kind are read as their indices, and everything else is refused by name."""

import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from selftrain.data.voc import PALETTE, VOC_CLASSES, encode_mask, read_mask
from tests.data.makers import encoded, label, refuses


def png(rows, depth, kind, width):
    """A PNG of these rows of bytes, written by the format's text, as Pillow writes no grey of 2 or 4 bits."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, len(rows), depth, kind, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return tmp_path_factory.mktemp("masks") / "mask.png"


@settings(deadline=None)
@given(arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=70)))
def test_a_mask_written_is_read_back_and_shows_vocs_colours(file, mask):
    file.write_bytes(encode_mask(mask))
    back = read_mask(file, 255)
    np.testing.assert_array_equal(back, mask)
    assert back.dtype == np.uint8 and back.flags["WRITEABLE"] and back.flags["C_CONTIGUOUS"]
    assert encode_mask(np.asfortranarray(mask)) == file.read_bytes()
    with Image.open(file) as image:
        assert image.mode == "P"
        np.testing.assert_array_equal(np.asarray(image.convert("RGB")), PALETTE[mask])


def test_the_palette_is_that_of_the_devkit():
    assert PALETTE.shape == (256, 3) and PALETTE.dtype == np.uint8 and len(np.unique(PALETTE, axis=0)) == 256
    assert PALETTE[[0, 1, 8, 15, 20, 255]].tolist() == [
        [0, 0, 0],
        [128, 0, 0],
        [64, 0, 0],
        [192, 128, 128],
        [0, 64, 128],
        [224, 224, 192],
    ]
    assert len(VOC_CLASSES) == 21 and VOC_CLASSES[15] == "person"


def test_every_kind_of_index_png_is_read_as_its_indices(file):
    mask = np.arange(48, dtype=np.uint8).reshape(6, 8) % 21
    mask[0, 0] = 255
    other = Image.fromarray(mask)
    other.putpalette(
        np.random.default_rng(0).integers(0, 256, 768).astype(np.uint8).tobytes()
    )  # no palette is asked for
    turned = Image.Exif()
    turned[0x0112] = 6
    for data in (
        encoded(Image.fromarray(mask)),
        encoded(other),
        encoded(other, transparency=0),
        encoded(other, exif=turned),
    ):
        file.write_bytes(data)
        np.testing.assert_array_equal(read_mask(file, 21), mask)
    few = np.array([[0, 1, 2, 3], [3, 2, 1, 0]], np.uint8)
    small = Image.fromarray(few)
    small.putpalette(PALETTE[:4].tobytes())
    packed = {2: [b"\x1b", b"\xe4"], 4: [b"\x01\x23", b"\x32\x10"]}
    for data in (encoded(small, bits=2), png(packed[2], 2, 0, 4), png(packed[4], 4, 0, 4)):
        file.write_bytes(data)
        np.testing.assert_array_equal(read_mask(file, 4), few)
    file.write_bytes(encoded(Image.fromarray(few > 1)))
    np.testing.assert_array_equal(read_mask(file, 2), few > 1)


BAD = {
    "colours": (
        encoded(Image.fromarray(PALETTE[label(3)])),
        "colour picture (RGB)",
        "the index of the class",
    ),
    "colours-and-alpha": (
        encoded(Image.fromarray(PALETTE[label(3)]).convert("RGBA")),
        "colour picture (RGBA)",
        "modes P and L",
    ),
    "grey-and-alpha": (
        encoded(Image.fromarray(label(3)).convert("LA")),
        "colour picture (LA)",
        "the index of the class",
    ),
    "16-bit": (encoded(Image.fromarray(label(3).astype(np.uint16))), "16 bits", "one byte a pixel"),
    "16-bit-colours": (
        cv2.imencode(".png", PALETTE[label(3)].astype(np.uint16))[1].tobytes(),
        "16 bits",
        "one byte a pixel",
    ),
    "beyond": (encode_mask(label(20)), "index 21, but there are 21 classes (0 to 20", "classes.txt"),
    "far-beyond": (encode_mask(label(253)), "index 254, but there are 21 classes", "classes.txt"),
    "jpeg": (encoded(Image.fromarray(label(3)), "JPEG"), "not a PNG", "Save it as a PNG"),
    "empty": (b"", "not a PNG picture (0 bytes)", "Save it as a PNG"),
    "text": (b"no picture", "not a PNG", "Save it as a PNG"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_is_no_index_png_is_refused_by_name(kind, file):
    data, *parts = BAD[kind]
    file.write_bytes(data)
    refuses(lambda: read_mask(file, 21), file, *parts)


def test_index_255_is_ignored_however_few_the_classes(file):
    file.write_bytes(encode_mask(np.full((3, 4), 255, np.uint8)))
    assert (read_mask(file, 1) == 255).all()
    file.write_bytes(encode_mask(label(1)))
    refuses(lambda: read_mask(file, 2), file, "index 2, but there are 2 classes")
    np.testing.assert_array_equal(read_mask(file, 3), label(1))


def test_a_damaged_mask_is_refused_or_whole(file):
    data = encode_mask(label(2))
    for keep in range(1, len(data)):
        file.write_bytes(data[:keep])
        try:
            np.testing.assert_array_equal(read_mask(file, 21), label(2))
            assert keep > len(data) - 25  # all pixels are there; the checksum or the end mark is not
        except ValueError as err:
            assert str(file) in str(err)
    file.write_bytes(data[:-60])
    refuses(lambda: read_mask(file, 21), file, "truncated or damaged", "Download or copy it again")
    refuses(lambda: read_mask(file.with_name("gone.png"), 21), "gone.png", "no such file")


@pytest.mark.parametrize(
    "wrong", [np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2), np.int64), np.zeros((0, 2), np.uint8)]
)
def test_only_class_maps_are_written(wrong):
    with pytest.raises(ValueError, match="a mask is"):
        encode_mask(wrong)
