"""Everything wrong with a data set, before a long run meets it.

    python -m selftrain.data.check DIR
    python -m selftrain.data.check DIR --pool PHOTOS --report report.json

DIR is in COCO's layout or in PASCAL VOC's. Decodes every image, so COCO's 123,000 take some minutes. Exits with 1 if training would stop or
its result be wrong, else with 0.
"""

import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
import tyro
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

from selftrain.data.check.coco import check_coco
from selftrain.data.check.report import SHOWN, Report, print_report
from selftrain.data.check.voc import check_voc
from selftrain.data.layout import find_part
from selftrain.data.voc import voc_folders
from selftrain.system.errors import UserError
from selftrain.system.files import write_atomic

_PARTS = ("train", "val", "test")
_Place = Annotated[Path | None, tyro.conf.arg(metavar="PATH")]


@dataclass(frozen=True)
class Arguments:
    """List everything wrong with a folder in COCO's or PASCAL VOC's layout and a pool of photos, before a long run meets it.

    Reads every annotation and decodes every image and mask. Exits with 1 if there are errors; warnings and notes do not stop training.
    """

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]
    """folder with annotations/instances_{train,val}*.json and the image folders they name, or VOC's with ImageSets/Segmentation/{train,val}.txt"""
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


def _is_voc(options: Arguments) -> bool:
    """Whether the folder is in VOC's layout and not in COCO's; what is in neither is taken for COCO's, whose options say where parts lie."""
    named = any(
        getattr(options, f"{part}_{kind}") is not None for part in _PARTS for kind in ("json", "images")
    )
    return (
        not named
        and not any((options.folder / "annotations").glob("instances_*.json"))
        and bool(voc_folders(options.folder))
    )


def _check_voc(options: Arguments, progress: Callable[[Iterable, int], Iterable]) -> Report:
    return check_voc(options.folder, list(options.pool), options.workers, progress)


def _check_coco(options: Arguments, progress: Callable[[Iterable, int], Iterable]) -> Report:
    layout, missing = {}, {}
    for part in _PARTS:
        try:
            json_path, images = find_part(
                options.folder, part, getattr(options, f"{part}_json"), getattr(options, f"{part}_images")
            )
        except UserError as err:
            missing[part] = str(err)
        else:
            if json_path is not None:
                layout[part] = (json_path, images)
    report = check_coco(layout, list(options.pool), options.workers, progress)
    for part, message in missing.items():
        again = message is not list(missing.values())[-1]  # the tree it ends with is shown once
        cure = (
            ""
            if layout or again
            else "or give a folder in PASCAL VOC's layout, with ImageSets/Segmentation, JPEGImages and SegmentationClass"
        )
        report.add(
            "error", part, "part missing", [message.split(" Expected:")[0] if again else message], cure
        )
    return report


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    options = tyro.cli(Arguments, args=arguments, prog="python -m selftrain.data.check")
    with Progress(
        *Progress.get_default_columns()[:2],
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    ) as bar:

        def progress(results: Iterable, total: int) -> Iterable:
            return bar.track(results, total=total, description="Decoding images")

        report = (_check_voc if _is_voc(options) else _check_coco)(options, progress)
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
