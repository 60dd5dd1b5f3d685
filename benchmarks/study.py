"""The study: augmentation policies x label fractions x starting points x budgets x seeds, supervised and
self-trained.

    python benchmarks/study.py coco study                             the paper's matrix on generated data, at
                                                                      the recipe's steps and at three times
    python benchmarks/study.py coco study --budgets 1                 the same at the recipe's steps alone
    python benchmarks/study.py coco mini --data DIR --unlabeled DIR   on your own data, with coco.py's options
    python benchmarks/study.py coco study --vary backbone=tf_efficientnet_lite0,tf_efficientnet_lite2
                                                                      the same cells with each of these values
    python benchmarks/study.py pascal mini --data VOCdevkit --unlabeled rest --policies S1 S4 \\
        --fractions .05 .1 .2 .5 1 --matrix full
    python benchmarks/study.py coco mini ... --tune 12                first so many trials of learning rate
                                                                      and weight decay for every start alike
    python benchmarks/study.py ... --dry-run                          what is done, what is left, how long,
                                                                      who waits for whom
    python benchmarks/study.py ... --on slurm --slurm.partition gpu   the same cells as Slurm jobs
    python benchmarks/tables.py --studies runs/records --out runs/results
                                                                      tables and verdict; figures.py alike

Every cell is one `accelerate launch` that is printed before it runs.  The same command again goes on where it
was interrupted; cells that failed are run again, what hangs on them waits, and two calls at once share the
work.
"""

import os

os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")

import classify  # noqa: E402
import coco  # noqa: E402
import pascal  # noqa: E402
from selftrain.study.command import run  # noqa: E402

BENCHMARKS = {"classify": classify.BENCHMARK, "coco": coco.BENCHMARK, "pascal": pascal.BENCHMARK}

if __name__ == "__main__":
    run(BENCHMARKS, __doc__)
