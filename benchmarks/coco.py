"""Random init, ImageNet pre-training or self-training?  Object detection from all starting points.

One command trains and compares them all:

    accelerate launch benchmarks/coco.py
        the demo: generated data, two CPU cores
    accelerate launch benchmarks/coco.py small --data DIR --unlabeled DIR...
        your COCO-format data, any folders of photos, two CPU cores; `mini` is for an accelerator
    accelerate launch benchmarks/coco.py paper --data DIR --unlabeled DIR...
        the paper's setting
    accelerate launch benchmarks/coco.py RECIPE --help
        every option

The same command again goes on where it was interrupted, and prints the finished table at once.
"""

from recipes.detection import COCO
from selftrain.program import Benchmark

BENCHMARK = Benchmark(__file__, __doc__, COCO)
parse, cli = BENCHMARK.parse, BENCHMARK.cli

if __name__ == "__main__":
    BENCHMARK.run()
