"""COCO's format for object detection: a json of boxes for each part of the data, and folders of images.

layout.py    where the json files and the image folders of a data set lie
parsing.py   the text of a json as columns, or a refusal that names the entry that does not fit
faults.py    what can be wrong in a json that has COCO's form
dataset.py   `CocoDataset`: images and boxes as flat arrays
files.py     `read_coco` and `write_coco`
"""

from selftrain.data.coco.dataset import CocoDataset
from selftrain.data.coco.faults import box_faults, repeated, size_fault
from selftrain.data.coco.files import read_coco, write_coco
from selftrain.data.coco.layout import CocoLayout, find_layout, find_part

__all__ = [
    "CocoDataset",
    "CocoLayout",
    "box_faults",
    "find_layout",
    "find_part",
    "read_coco",
    "repeated",
    "size_fault",
    "write_coco",
]
