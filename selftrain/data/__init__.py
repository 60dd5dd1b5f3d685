"""Data sets: from files on a disk to the batches of a step.

coco/          reader and writer of COCO's format: boxes, for detection
voc/           reader of PASCAL VOC's format: class maps, for segmentation
dataset.py     `Labelled`, what both of their data sets are
source.py      `Source`: where a recipe's data lies in a layout (see coco/source.py, voc/source.py)
image.py       one picture file to one array
pool.py        `Pool`: photos whose labels training never sees
fractions.py   which photos count as labelled, where only a fraction of the labels is used
loader.py      batches as a function of seed, step and position
check/         `python -m selftrain.data.check DIR` lists everything that is wrong with a data set
shapes/        `python -m selftrain.data.shapes --out DIR` writes a generated data set, in either format
"""
