"""Draw what the policies do.

python -m augment.show PHOTO... --out sheet.png [--boxes instances.json] [--masks FOLDER]
"""

from __future__ import annotations

import argparse
import colorsys
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from augment import POLICIES, Sample, build_policy, fit
from augment.geometry import VOID

WHITE, GREY, BLACK = (255, 255, 255), (150, 150, 150), (0, 0, 0)
GAP = 6
"""pixels between two pictures"""
MARGIN = 90
"""pixels at the left, for the names of the rows"""


def sheet(
    samples: Sequence[Sample],
    size: int = 320,
    seed: int = 0,
    draws: int = 3,
    names: Mapping[int, str] | None = None,
) -> np.ndarray:
    """Draw the contact sheet, (H, W, 3) uint8 RGB: a row for the originals and one for each policy.

    A sample has `draws` columns. `names` gives the words for class numbers. Boxes to be ignored are grey,
    class maps are laid over the picture. Column c uses the seed `seed` + c in every row.
    """
    originals = [picture for sample in samples for picture in [fit(sample, size)[0], *[None] * (draws - 1)]]
    columns = [sample for sample in samples for _ in range(draws)]
    rows = [("original", originals)]
    for name in POLICIES:
        policy = build_policy(name, size)
        rows.append((name, [policy(sample, seed + c) for c, sample in enumerate(columns)]))

    step = size + GAP
    page = np.full((step * len(rows) + GAP, MARGIN + step * len(rows[0][1]) + GAP, 3), 255, np.uint8)
    for r, (name, pictures) in enumerate(rows):
        top = GAP + r * step
        origin = GAP, top + size // 2
        cv2.putText(page, name, origin, cv2.FONT_HERSHEY_SIMPLEX, 0.55, BLACK, 1, cv2.LINE_AA)
        for c, picture in enumerate(pictures):
            if picture is not None:
                left = MARGIN + c * step
                page[top : top + size, left : left + size] = draw(picture, names)
    return page


def draw(sample: Sample, names: Mapping[int, str] | None = None) -> np.ndarray:
    """Return the picture (H, W, 3) with its class map and boxes, each named or numbered by its class."""
    page = sample.image.copy()
    if sample.mask is not None:
        labelled = sample.mask > 0
        colours = np.array([_colour(c) for c in range(VOID)] + [GREY], np.uint8)[sample.mask]
        page[labelled] = cv2.addWeighted(page, 0.5, colours, 0.5, 0)[labelled]
    for box, number, ignored in zip(
        sample.boxes.round().astype(int), sample.classes, sample.ignore, strict=True
    ):
        colour = GREY if ignored else _colour(number)
        word = names.get(int(number), str(number)) if names else str(number)
        cv2.rectangle(page, box[:2].tolist(), (box[2:] - 1).tolist(), colour, 2)
        (width, height), _ = cv2.getTextSize(word, cv2.FONT_HERSHEY_SIMPLEX, 0.4, 1)
        if box[3] - box[1] < height:
            continue  # the word would hide the object
        # Inside the box's corner, moved left where the picture ends.
        x, y = max(0, min(box[0], page.shape[1] - width - 4)), box[1]
        cv2.rectangle(page, (int(x), int(y)), (int(x) + width + 4, int(y) + height + 5), colour, cv2.FILLED)
        origin = int(x) + 2, int(y) + height + 2
        cv2.putText(page, word, origin, cv2.FONT_HERSHEY_SIMPLEX, 0.4, WHITE, 1, cv2.LINE_AA)
    return page


def _colour(number: int) -> tuple[int, int, int]:
    """Give each class a colour of its own, in steps of the golden ratio round the colour circle."""
    return tuple(round(255 * part) for part in colorsys.hsv_to_rgb(number * 0.618 % 1, 0.9, 0.75))


def read_photo(path: Path) -> Sample:
    """Read a photo without labels; raise ValueError, naming it, if it is missing or no picture."""
    if not path.is_file():
        raise ValueError(f"no such photo: {path}")
    image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR) if path.stat().st_size else None
    if image is None:
        raise ValueError(f"not a picture that can be read: {path}")
    return Sample.unlabelled(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))


def read_boxes(path: Path) -> tuple[dict[str, list[dict]], dict[int, str]]:
    """Read a COCO json: its annotations by file name, and the names of its classes by number.

    Raises ValueError if the file is missing.
    """
    if not path.is_file():
        raise ValueError(f"no such file of boxes: {path}")
    coco = json.loads(path.read_text())
    file_names = {image["id"]: image["file_name"] for image in coco["images"]}
    annotations = {name: [] for name in file_names.values()}
    for annotation in coco["annotations"]:
        annotations[file_names[annotation["image_id"]]].append(annotation)
    return annotations, {category["id"]: category["name"] for category in coco["categories"]}


def with_boxes(sample: Sample, annotations: list[dict]) -> Sample:
    """Return the sample with the boxes of its COCO annotations, given as x, y, width, height in pixels."""
    boxes = np.array([a["bbox"] for a in annotations], np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return replace(
        sample,
        boxes=boxes,
        classes=[a["category_id"] for a in annotations],
        ignore=[a.get("iscrowd", 0) for a in annotations],
    )


def with_mask(sample: Sample, folder: Path, photo: Path) -> Sample:
    """Return the sample with the index PNG of its photo as its class map.

    The file is FOLDER/STEM.png, as VOC has it, or FOLDER/PHOTO.png, as pseudo-masks are named. Raises
    ValueError, naming it, if it is missing, holds colours in place of class indices, or is of another size
    than the photo.
    """
    files = [folder / f"{photo.stem}.png", folder / f"{photo.name}.png"]
    file = next((file for file in files if file.is_file()), None)
    if file is None:
        raise ValueError(f"no mask {files[0].name} or {files[1].name} in {folder}")
    with Image.open(file) as picture:  # OpenCV would turn the indices into the colours of their palette
        if picture.mode not in ("P", "L"):
            raise ValueError(f"{file}: colours are no class indices (mode {picture.mode})")
        mask = np.array(picture, np.uint8)
    if mask.shape != sample.image.shape[:2]:
        raise ValueError(
            f"{file}: {mask.shape[1]}x{mask.shape[0]} pixels, "
            f"its photo is {sample.image.shape[1]}x{sample.image.shape[0]}"
        )
    return replace(sample, mask=mask)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    result = argparse.ArgumentParser(
        prog="python -m augment.show",
        description="Draw a contact sheet of the policies Augment-S1 to S4: the originals in the first row, "
        "below them one row for each policy, with several draws of each photo side by side.",
    )
    option = result.add_argument
    option("photos", nargs="+", type=Path, metavar="PHOTO", help="photos to augment (JPEG, PNG, ...)")
    option("--out", type=Path, required=True, help="picture to write, such as sheet.png")
    option("--boxes", type=Path, help="COCO json with the photos' boxes, found by the photos' file names")
    option("--masks", type=Path, help="folder of the photos' class maps (index PNGs), laid over them")
    option("--size", type=int, default=320, help="side of each drawn picture in pixels (default 320)")
    option("--draws", type=int, default=3, help="draws of each policy for each photo (default 3)")
    option("--seed", type=int, default=0, help="seed of the first column, the next has one more (default 0)")
    return result


def main(argv: Sequence[str] | None = None) -> None:
    """Draw the contact sheet that the command line asks for; exit with status 2 if an argument is wrong."""
    command = parser()
    args = command.parse_args(argv)
    if min(args.size, args.draws) < 1 or args.seed < 0:
        command.error("--size and --draws must be at least 1, --seed at least 0")
    if args.out.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
        command.error(f"--out must end in .png, .jpg or .webp: {args.out}")
    try:
        samples = [read_photo(path) for path in args.photos]
        annotations, names = read_boxes(args.boxes) if args.boxes else ({}, None)
        if args.masks:
            pairs = zip(samples, args.photos, strict=True)
            samples = [with_mask(sample, args.masks, path) for sample, path in pairs]
    except ValueError as error:
        command.error(str(error))
    samples = [
        with_boxes(sample, annotations.get(path.name, []))
        for sample, path in zip(samples, args.photos, strict=True)
    ]
    page = sheet(samples, args.size, args.seed, args.draws, names)
    _, data = cv2.imencode(args.out.suffix, cv2.cvtColor(page, cv2.COLOR_RGB2BGR))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    data.tofile(args.out)
    print(f"{args.out}: {len(samples)} photos, policies {', '.join(POLICIES)}, {args.draws} draws each")


if __name__ == "__main__":
    main()
