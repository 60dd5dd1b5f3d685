"""Draw what the policies do: python -m augment.show PHOTO... --out sheet.png [--boxes instances.json] [--masks FOLDER]"""

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

WHITE, GREY = (255, 255, 255), (150, 150, 150)
GAP, MARGIN = 6, 90  # pixels between pictures, and left of them for the rows' names


def sheet(
    samples: Sequence[Sample],
    size: int = 320,
    seed: int = 0,
    draws: int = 3,
    names: Mapping[int, str] | None = None,
) -> np.ndarray:
    """Contact sheet, (H, W, 3) uint8 RGB: a row for the originals and one for each policy, `draws` columns a sample.

    `names` gives the words for class numbers. Boxes to be ignored are grey, class maps are laid over the picture.
    Column c uses the seed `seed` + c in every row.
    """
    rows = [
        (
            "original",
            [picture for sample in samples for picture in [fit(sample, size)[0], *[None] * (draws - 1)]],
        )
    ]
    for name in POLICIES:
        policy = build_policy(name, size)
        rows.append(
            (
                name,
                [
                    policy(sample, seed + draws * s + d)
                    for s, sample in enumerate(samples)
                    for d in range(draws)
                ],
            )
        )

    step = size + GAP
    page = np.full((step * len(rows) + GAP, MARGIN + step * len(rows[0][1]) + GAP, 3), 255, np.uint8)
    for r, (name, pictures) in enumerate(rows):
        top = GAP + r * step
        cv2.putText(
            page, name, (GAP, top + size // 2), cv2.FONT_HERSHEY_SIMPLEX, 0.55, (0, 0, 0), 1, cv2.LINE_AA
        )
        for c, picture in enumerate(pictures):
            if picture is not None:
                left = MARGIN + c * step
                page[top : top + size, left : left + size] = draw(picture, names)
    return page


def draw(sample: Sample, names: Mapping[int, str] | None = None) -> np.ndarray:
    """The picture (H, W, 3) with its class map and its boxes, each with the name or number of its class."""
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
    """A colour of its own for each class: steps of the golden ratio round the colour circle."""
    return tuple(round(255 * part) for part in colorsys.hsv_to_rgb(number * 0.618 % 1, 0.9, 0.75))


def read_photo(path: Path) -> Sample:
    """Read a photo without labels; raises ValueError, naming it, if it is missing or no picture."""
    if not path.is_file():
        raise ValueError(f"no such photo: {path}")
    image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR) if path.stat().st_size else None
    if image is None:
        raise ValueError(f"not a picture that can be read: {path}")
    return Sample.unlabelled(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))


def read_boxes(path: Path) -> tuple[dict[str, list[dict]], dict[int, str]]:
    """COCO json: its annotations by file name, and the names of its classes by number."""
    if not path.is_file():
        raise ValueError(f"no such file of boxes: {path}")
    coco = json.loads(path.read_text())
    file_names = {image["id"]: image["file_name"] for image in coco["images"]}
    annotations = {name: [] for name in file_names.values()}
    for annotation in coco["annotations"]:
        annotations[file_names[annotation["image_id"]]].append(annotation)
    return annotations, {category["id"]: category["name"] for category in coco["categories"]}


def with_boxes(sample: Sample, annotations: list[dict]) -> Sample:
    """The sample with the boxes of its COCO annotations, whose `bbox` is x, y, width, height."""
    boxes = np.array([a["bbox"] for a in annotations], np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return replace(
        sample,
        boxes=boxes,
        classes=[a["category_id"] for a in annotations],
        ignore=[a.get("iscrowd", 0) for a in annotations],
    )


def with_mask(sample: Sample, folder: Path, photo: Path) -> Sample:
    """The sample with the index PNG of its photo: FOLDER/STEM.png as VOC has it, or FOLDER/PHOTO.png as pseudo-masks are named."""
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
            f"{file}: {mask.shape[1]}x{mask.shape[0]} pixels, its photo is {sample.image.shape[1]}x{sample.image.shape[0]}"
        )
    return replace(sample, mask=mask)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m augment.show",
        description="Draw a contact sheet of the policies Augment-S1 to S4: the originals in the first row, below them "
        "one row for each policy, with several draws of each photo side by side.",
    )
    parser.add_argument(
        "photos", nargs="+", type=Path, metavar="PHOTO", help="photos to augment (JPEG, PNG, ...)"
    )
    parser.add_argument("--out", type=Path, required=True, help="picture to write, such as sheet.png")
    parser.add_argument(
        "--boxes", type=Path, help="COCO json with the photos' boxes, found by the photos' file names"
    )
    parser.add_argument(
        "--masks", type=Path, help="folder of the photos' class maps (index PNGs), laid over them"
    )
    parser.add_argument(
        "--size", type=int, default=320, help="side of each drawn picture in pixels (default 320)"
    )
    parser.add_argument(
        "--draws", type=int, default=3, help="draws of each policy for each photo (default 3)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of the first column, the next has one more (default 0)"
    )
    args = parser.parse_args(argv)
    if min(args.size, args.draws) < 1 or args.seed < 0:
        parser.error("--size and --draws must be at least 1, --seed at least 0")
    if args.out.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
        parser.error(f"--out must end in .png, .jpg or .webp: {args.out}")
    try:
        samples = [read_photo(path) for path in args.photos]
        annotations, names = read_boxes(args.boxes) if args.boxes else ({}, None)
        if args.masks:
            samples = [
                with_mask(sample, args.masks, path) for sample, path in zip(samples, args.photos, strict=True)
            ]
    except ValueError as error:
        parser.error(str(error))
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
