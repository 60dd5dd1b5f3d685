"""Pictures of one class each: folders of classes, a csv of files and classes, or index files (IDX).

layout.py     which of the three a folder holds, and its parts train, val and test
tree.py       folders of classes: `train/CLASS/*.jpg`
table.py      csv files of file and class
idx.py        index files of MNIST's kind
dataset.py    `ClassDataset`: pictures and their classes
source.py     the parts of a recipe's data
generated.py  the generated set as folders of classes: pictures of one object each
check.py      everything wrong with a data set of these
"""

from selftrain.data.folders.dataset import ClassDataset, one_hot
from selftrain.data.folders.layout import find_kind, read_parts

__all__ = ["ClassDataset", "find_kind", "one_hot", "read_parts"]
