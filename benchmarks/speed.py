"""How fast is it?  Ratios against the libraries that a person would use instead, on the processor.

    python benchmarks/speed.py                             every row; 12 minutes on two idle cores;
                                                           writes results/speed.md
    python benchmarks/speed.py --rows step-640 input-S4    these rows; writes only where --out says
    python benchmarks/speed.py --quick                     does it run?  tiny sizes, under a minute,
                                                           no measurement

Both sides of a row are measured in one run and take turns (ours, theirs, ours, theirs, ...), so that a
machine that slows down slows both.  Not timed is what is built before (models, files, batches), and the first
turn of each side.
"""

import argparse
import os
import sys
import tempfile
from functools import partial
from pathlib import Path

from rivals import coco, demo, detection, photos, segmentation, study
from rivals.measure import Line, Options, Row
from rivals.table import markdown
from selftrain.system.errors import UserError
from selftrain.system.files import write_atomic

ROWS: dict[str, Row] = {
    "step-640": detection.step_640,
    "step-demo": detection.step_demo,
    "step-frozen": detection.step_frozen,
    "input-S1": partial(photos.input_pipeline, policy="S1"),
    "input-S4": partial(photos.input_pipeline, policy="S4"),
    "loader": demo.training_with_loader,
    "pseudo": demo.pseudo_boxes,
    "ap": coco.average_precision,
    "replicates": coco.replicates,
    "json": coco.opening_json,
    "step-512": segmentation.step_512,
    "pseudo-masks": segmentation.pseudo_masks,
    "miou": segmentation.miou,
    "study": study.tables_and_figures,
}
TABLE = Path(__file__).parent.parent / "results" / "speed.md"
HELP = {
    "rows": f"which rows: {', '.join(ROWS)}; default all",
    "repeats": "turns of each side (ap at most 3, json at most 5); default 9, with --quick 1",
    "photos": "a folder of photos for the input pipeline; "
    "default generated ones of 640 x 480 px and about 100 kB",
    "threads": "of the training steps and of pseudo-labelling; default all usable cores",
    "out": "the markdown to write; default results/speed.md for a run of all rows, else none",
    "quick": "tiny sizes: a test of this program, no measurement",
}


def parse() -> argparse.Namespace:
    """The options that a person gave."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--rows", nargs="+", choices=ROWS, metavar="ROW", default=list(ROWS), help=HELP["rows"]
    )
    parser.add_argument("--repeats", type=int, help=HELP["repeats"])
    parser.add_argument("--photos", type=Path, help=HELP["photos"])
    parser.add_argument("--threads", type=int, default=cores, help=f"{HELP['threads']} ({cores})")
    parser.add_argument("--out", type=Path, help=HELP["out"])
    parser.add_argument("--quick", action="store_true", help=HELP["quick"])
    return parser.parse_args()


def main() -> None:
    """Measure the rows, print the table, and write it."""
    given = parse()
    whole = not given.quick and given.rows == list(ROWS)
    out = given.out or (TABLE if whole else None)
    load = os.getloadavg()[0]
    lines: list[Line] = []
    with tempfile.TemporaryDirectory(prefix="speed-") as folder:
        repeats = given.repeats or (1 if given.quick else 9)
        options = Options(Path(folder), given.quick, repeats, given.photos, given.threads)
        for name in given.rows:
            print(f"{name} ...", file=sys.stderr, flush=True)
            lines += ROWS[name](options)
    text = markdown(options, lines, load)
    print(text)
    if out:
        write_atomic(out, lambda file: file.write(text.encode()))


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
