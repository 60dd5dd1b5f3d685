"""Write a generated set: `python -m selftrain.data.shapes --out data/shapes`.

What it holds is said in `selftrain/data/shapes/generate.py`.
"""

from dataclasses import dataclass
from pathlib import Path

import tyro

from selftrain.data.shapes import generate as package
from selftrain.data.shapes.draw import Shapes
from selftrain.data.shapes.generate import Layout, generate


@dataclass(frozen=True)
class Arguments:
    """The options of the command line."""

    out: Path
    """folder to write"""
    spec: tyro.conf.OmitArgPrefixes[Shapes]
    """what to generate"""
    layout: Layout = "coco"
    """coco: boxes and masks as json, for detection; voc: index PNGs, for segmentation"""
    workers: int | None = None
    """processes; all usable cores by default"""


def main() -> None:
    """Write the set that the command line asks for, and print its folder."""
    options = tyro.cli(Arguments, description=package.__doc__)
    print(generate(options.out, options.spec, options.workers, layout=options.layout))


if __name__ == "__main__":
    main()
