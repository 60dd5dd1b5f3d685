"""Tables and verdict from records.

    python benchmarks/tables.py                            the studies: results/records/STUDY/*.json are read,
                                                           results/tables/ and results/README.md written,
                                                           and the verdict printed
    python benchmarks/tables.py RECORDS... [--out FOLDER]  record files or folders of cells:
                                                           one table of their arms

Of several seeds: mean and half width of the 95 % interval (Student's t), differences paired by seed.
"""

import sys

from selftrain.report.tables import main
from selftrain.system.errors import UserError

if __name__ == "__main__":
    try:
        main(__doc__)
    except UserError as error:
        sys.exit(f"error: {error}")
