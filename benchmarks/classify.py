"""Random init, ImageNet pre-training or self-training?  Image classification from all starting points.

One command trains and compares them all:

    accelerate launch benchmarks/classify.py
        the demo: generated data, two CPU cores
    accelerate launch benchmarks/classify.py small --data DIR --unlabeled DIR...
        your folders of classes, any folders of photos; two CPU cores
    accelerate launch benchmarks/classify.py mini --data DIR --unlabeled DIR...
        the same on an accelerator
    accelerate launch benchmarks/classify.py RECIPE --help
        every option

The same command again goes on where it was interrupted, and prints the finished table at once.
"""

from recipes.classification import CLASSIFY
from selftrain.program import Benchmark

BENCHMARK = Benchmark(__file__, __doc__, CLASSIFY)
parse, cli = BENCHMARK.parse, BENCHMARK.cli

if __name__ == "__main__":
    BENCHMARK.run()
