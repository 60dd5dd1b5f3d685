"""PASCAL VOC's format for semantic segmentation: lists of stems, and for each stem a photo and an index PNG.

layout.py    where lists, photos, masks and class names lie, and what a list says
masks.py     one mask: an index PNG to a class map and back, and VOC's colours
dataset.py   `VocDataset`, photos with masks; `read_voc`, which makes one of a list
"""

from selftrain.data.voc.dataset import VocDataset, class_pixels, has_labels, import_ids, read_voc
from selftrain.data.voc.layout import (
    LISTS,
    VOC_CLASSES,
    class_names,
    find_voc,
    list_file,
    mask_files,
    photo_files,
    read_list,
    voc_folders,
)
from selftrain.data.voc.masks import IGNORED, PALETTE, encode_mask, mask_size_fault, read_mask

__all__ = [
    "IGNORED",
    "LISTS",
    "PALETTE",
    "VOC_CLASSES",
    "VocDataset",
    "class_names",
    "class_pixels",
    "encode_mask",
    "find_voc",
    "has_labels",
    "import_ids",
    "list_file",
    "mask_files",
    "mask_size_fault",
    "photo_files",
    "read_list",
    "read_mask",
    "read_voc",
    "voc_folders",
]
