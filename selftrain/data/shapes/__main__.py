"""Write a generated set: `python -m selftrain.data.shapes --out data/shapes`; what it holds: `selftrain/data/shapes/generate.py`."""

from dataclasses import dataclass
from pathlib import Path

import tyro

from selftrain.data.shapes import generate as package
from selftrain.data.shapes.draw import Shapes
from selftrain.data.shapes.generate import Layout, generate


def main():
    @dataclass(frozen=True)
    class Arguments:
        out: Path
        """folder to write"""
        spec: tyro.conf.OmitArgPrefixes[Shapes]
        """what to generate"""
        layout: Layout = "coco"
        """coco: boxes and masks as json, for detection; voc: index PNGs, for segmentation"""
        workers: int | None = None
        """processes; all usable cores by default"""

    given = tyro.cli(Arguments, description=package.__doc__)
    print(generate(given.out, given.spec, given.workers, layout=given.layout))


if __name__ == "__main__":
    main()
