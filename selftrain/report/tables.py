"""The program `benchmarks/tables.py`: tables and verdict from records."""

import argparse
import math
import sys
from pathlib import Path

from rich.console import Console

from selftrain.report.label_cost import EXAMPLE, OPTION, LabelCost
from selftrain.report.page import write_studies
from selftrain.report.run_table import arms_table, load_records, write_report
from selftrain.system.errors import UserError


def main(about: str) -> None:
    """The program; about: its docstring.

    Raises UserError where records are missing, or do not belong together.
    """
    arguments = _options(about)
    console = Console(width=None if sys.stdout.isatty() else 120)
    if not 0 < arguments.margin < math.inf:
        raise UserError(f"--margin {arguments.margin:g}: give a number of points above 0")
    label_cost = LabelCost.parse(arguments.label_cost) if arguments.label_cost else None
    if not arguments.records:
        out = arguments.out or Path("results")
        write_studies(arguments.studies, out, console, arguments.margin, label_cost)
        return
    if label_cost:
        raise UserError(f"{OPTION} is for studies; leave {' '.join(map(str, arguments.records))} away, or it")
    loaded = load_records(arguments.records)
    if not loaded:
        raise UserError(f"{', '.join(map(str, arguments.records))}: no records there")
    try:
        console.print(arms_table(loaded).rich(console.width))
    except ValueError as error:
        raise UserError(
            f"{error}. One table holds one policy and fraction; "
            "records of a study go into a folder of their own: --studies"
        ) from error
    if arguments.out:
        write_report(loaded, arguments.out)


def _options(about: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "records",
        nargs="*",
        type=Path,
        help="records.json of a run, record.json of cells, or folders of them; "
        "none: the studies below --studies",
    )
    parser.add_argument(
        "--out",
        type=Path,
        help="of RECORDS: also write table.md, records.json and curves.png into this folder; "
        "of studies: default results",
    )
    parser.add_argument(
        "--studies",
        type=Path,
        default=Path("results/records"),
        help="folder of studies' records (default: %(default)s)",
    )
    parser.add_argument(
        "--margin",
        type=float,
        default=1.0,
        help="of studies: differences within so many points of the main score count as none "
        "(default: %(default)g)",
    )
    parser.add_argument(
        OPTION,
        nargs="+",
        metavar="KIND=MINUTES",
        help="of studies: minutes that a label takes by its kind, so that labels and training make one bill, "
        f"such as {EXAMPLE}; default: no price is said",
    )
    return parser.parse_args()
