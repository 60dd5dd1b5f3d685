"""Figures from records.

    python benchmarks/figures.py    results/records/STUDY/*.json -> results/figures/STUDY-*.png and *.svg

Readable in grey and by colour-blind people: Okabe and Ito's colours and markers tell the starts apart, dashed
lines and hollow markers the students.  Bars are 95 % intervals, bands along a curve the seeds' range; what
the paper published is dashed and grey."""

import sys

from selftrain.report.figures import main
from selftrain.system.errors import UserError

if __name__ == "__main__":
    try:
        main(__doc__)
    except UserError as error:
        sys.exit(f"error: {error}")
