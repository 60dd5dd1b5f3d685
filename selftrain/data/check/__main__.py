"""Everything wrong with a data set, before a long run meets it.

    python -m selftrain.data.check DIR
    python -m selftrain.data.check DIR --pool PHOTOS --report report.json

DIR is in any layout that the programs read. Every image is decoded, so COCO's 123,000 take some minutes. The
exit status is 1 if training would stop or its result be wrong, else 0.
"""

import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
import tyro
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

from selftrain.data.check.folder import LAYOUTS, PARTS, check_folder
from selftrain.data.check.report import SHOWN, Report, print_report
from selftrain.system.files import write_atomic

_Place = Annotated[Path | None, tyro.conf.arg(metavar="PATH")]


@dataclass(frozen=True)
class Arguments:
    """List everything wrong with the folder of a data set and a pool of photos, before a long run meets it.

    Reads every annotation and decodes every image and mask. Exits with 1 if there are errors; warnings and
    notes do not stop training.
    """

    folder: Annotated[
        Path,
        tyro.conf.Positional,
        tyro.conf.arg(
            metavar="DIR",
            help="folder with annotations/instances_{train,val}*.json and the image folders they name, "
            f"or one {', or '.join(layout.about for layout in LAYOUTS)}",
        ),
    ]
    train_json: _Place = None
    """annotations to train on, if elsewhere"""
    train_images: _Place = None
    """their images, if elsewhere"""
    val_json: _Place = None
    """annotations to evaluate on, if elsewhere"""
    val_images: _Place = None
    """their images, if elsewhere"""
    test_json: _Place = None
    """annotations of a second evaluation set, if elsewhere"""
    test_images: _Place = None
    """their images, if elsewhere"""
    pool: tuple[Path, ...] = ()
    """folders of unlabelled photos"""
    report: _Place = None
    """write everything found, the data's hashes and the list of unusable images to this json file"""
    workers: int = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    """processes that decode images"""


def _check(options: Arguments) -> Report:
    """Check what the command line names, with a progress bar on the standard error."""
    places = {part: (getattr(options, f"{part}_json"), getattr(options, f"{part}_images")) for part in PARTS}
    with Progress(
        *Progress.get_default_columns()[:2],
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    ) as bar:

        def _track(results: Iterable, total: int) -> Iterable:
            return bar.track(results, total=total, description="Decoding images")

        return check_folder(options.folder, places, list(options.pool), options.workers, _track)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    options = tyro.cli(Arguments, args=arguments, prog="python -m selftrain.data.check")
    report = _check(options)
    print_report(report, Console())
    if options.report is not None:
        content = msgspec.json.format(msgspec.json.encode(report), indent=1)
        write_atomic(options.report, lambda file: file.write(content))
        print(f"Written: {options.report}")
    elif report.quarantine or report.count("error") + report.count("warning") > SHOWN:
        print("Every case, and the list of unusable images: --report report.json")
    return 1 if report.count("error") else 0


if __name__ == "__main__":
    sys.exit(main())
