"""Where the parts of a data set in COCO's format lie."""

from dataclasses import dataclass
from pathlib import Path

from selftrain.system.errors import UserError

_TREE = """\
{root}/
  annotations/
    instances_train2017.json
    instances_val2017.json
  train2017/*.jpg
  val2017/*.jpg"""


@dataclass(frozen=True)
class CocoLayout:
    """The annotation files and image folders of a data set.

    Generated sets have a test part; COCO publishes no labels for its own.
    """

    train_json: Path
    train_images: Path
    val_json: Path
    val_images: Path
    test_json: Path | None = None
    test_images: Path | None = None


def find_layout(
    root: str | Path,
    *,
    train_json: str | Path | None = None,
    val_json: str | Path | None = None,
    train_images: str | Path | None = None,
    val_images: str | Path | None = None,
    test_json: str | Path | None = None,
    test_images: str | Path | None = None,
) -> CocoLayout:
    """Find annotations/instances_{train,val,test}*.json below `root` and the image folder that each names.

    The names may have any year or none. An option replaces what would be found; it is relative to `root`, or
    absolute. The test part is left out if it has no json.

    Raises:
        UserError: a part is missing or not unique; the message shows the expected tree, what is there, and
            the option that helps.
    """
    return CocoLayout(
        *find_part(root, "train", train_json, train_images),
        *find_part(root, "val", val_json, val_images),
        *find_part(root, "test", test_json, test_images),
    )


def find_part(
    root: str | Path,
    part: str,
    json_option: str | Path | None = None,
    images_option: str | Path | None = None,
) -> tuple[Path | None, Path | None]:
    """Return (annotation file, image folder) of the part "train", "val" or "test".

    Both are None if there is no test part. It raises a UserError where `find_layout` does.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"{root}: no such folder. {_expected(root)}")
    json_path = _find_json(root, part, json_option)
    if json_path is None:
        return None, None
    return json_path, _find_images(root, part, json_path, images_option)


def _find_json(root: Path, part: str, option: str | Path | None) -> Path | None:
    if option is not None:
        if not (root / option).is_file():
            raise UserError(f"--{part}-json {option}: no such file (in {root}). Correct the path.")
        return root / option
    matches = sorted((root / "annotations").glob(f"instances_{part}*.json"))
    if len(matches) > 1:
        names = ", ".join(path.name for path in matches)
        raise UserError(
            f"{root}: several annotation files for {part} ({names}). Choose one with --{part}-json."
        )
    if not matches and part != "test":
        raise UserError(
            f"{root}: no annotations/instances_{part}*.json. "
            f"Move it there or name it with --{part}-json. {_expected(root)}"
        )
    return matches[0] if matches else None


def _find_images(root: Path, part: str, json_path: Path, option: str | Path | None) -> Path:
    if option is not None:
        if not (root / option).is_dir():
            raise UserError(f"--{part}-images {option}: no such folder (in {root}). Correct the path.")
        return root / option
    name = json_path.stem.removeprefix("instances_")
    for folder in (root / name, root / "images" / name):
        if folder.is_dir():
            return folder
    raise UserError(
        f"{root}: no folder {name}/ with the images of {json_path.name}. "
        f"Move it there or name it with --{part}-images. {_expected(root)}"
    )


def _expected(root: Path) -> str:
    """Describe the tree that is expected below `root` and the one that is there."""
    lines = []
    if root.is_dir():
        for entry in sorted(root.iterdir())[:12]:
            lines.append(f"  {entry.name}{'/' if entry.is_dir() else ''}")
            if entry.name == "annotations" and entry.is_dir():
                lines += [f"    {inner.name}" for inner in sorted(entry.iterdir())[:12]]
    there = "\n".join(lines) or "  (nothing)"
    options = "--train-json, --train-images, --val-json, --val-images, --test-json, --test-images"
    return (
        f"Expected:\n{_TREE.format(root=root)}\nFound in {root}:\n{there}\n"
        f"Options for other places: {options}"
    )
