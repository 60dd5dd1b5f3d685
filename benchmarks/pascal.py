"""Random init, ImageNet pre-training or self-training?  Semantic segmentation from all starting points.

One command trains and compares them all:

    accelerate launch benchmarks/pascal.py
        the demo: generated data, two CPU cores
    accelerate launch benchmarks/pascal.py small --data VOCdevkit --unlabeled DIR...
        your data in VOC's layout, any folders of photos, two CPU cores; `mini` is for an accelerator
    accelerate launch benchmarks/pascal.py paper --data VOCdevkit --unlabeled DIR...
        the paper's setting
    accelerate launch benchmarks/pascal.py RECIPE --help
        every option

The same command again goes on where it was interrupted, and prints the finished table at once.
"""

from recipes.segmentation import PASCAL
from selftrain.program import Benchmark

BENCHMARK = Benchmark(__file__, __doc__, PASCAL)
parse, cli = BENCHMARK.parse, BENCHMARK.cli

if __name__ == "__main__":
    BENCHMARK.run()
