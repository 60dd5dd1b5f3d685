"""The check of a data set: `python -m selftrain.data.check DIR` lists everything that is wrong with it.

folder.py    which format a folder is in, and so which of the two checks it gets
coco.py      the check of COCO's format
voc.py       the check of PASCAL VOC's format
images.py    photos: decoded, compared with what is said of them, and with each other
near.py      the perceptual hash that tells pictures that are nearly the same
report.py    what the check found, and its print
"""
