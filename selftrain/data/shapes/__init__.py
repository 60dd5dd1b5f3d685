"""The generated data set: `python -m selftrain.data.shapes --out DIR`.

textures.py   what objects look like: the textures, which are the classes, and the silhouettes
spec.py       `Shapes`, what a set holds and how hard it is
draw.py       `render`, which draws one of its images
files.py      the files of a set in COCO's layout or in PASCAL VOC's
generate.py   `generate`, which puts a whole set in the place of a folder, or leaves the folder alone
"""
