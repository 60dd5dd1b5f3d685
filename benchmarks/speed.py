"""How fast is it?  Ratios against the libraries that a person would use instead, both sides measured in one run, on the processor.

    python benchmarks/speed.py                             every row; 12 minutes on two idle cores; writes results/speed.md
    python benchmarks/speed.py --rows step-640 input-S4    these rows; writes only where --out says
    python benchmarks/speed.py --quick                     does it run?  tiny sizes, under a minute, no measurement

The two sides of a row take turns (ours, theirs, ours, theirs, ...), so that a machine that slows down slows both.  Not timed is what
is built before (models, files, batches), and the first turn of each side.
"""

import argparse
import copy
import functools
import itertools
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

os.environ["CUDA_VISIBLE_DEVICES"] = (
    ""  # the table is about the processor; an accelerator would stand in its header, idle
)

import numpy as np  # noqa: E402
import torch  # noqa: E402
from PIL import Image  # noqa: E402
from torchvision import tv_tensors  # noqa: E402

import rivals.detection as speed_rows  # noqa: E402
import rivals.segmentation as speed_segmentation  # noqa: E402
import rivals.study as speed_study  # noqa: E402
from recipes.detection import demo  # noqa: E402
from rivals.detection import CLASSES, IMAGENET  # noqa: E402
from rivals.measure import Line, Setting, alternate, threads  # noqa: E402
from selftrain import splits  # noqa: E402
from selftrain.data.coco.source import CocoSource  # noqa: E402
from selftrain.data.loader import Share, Stream, TrainBatches, loader  # noqa: E402
from selftrain.data.pool import read_pool  # noqa: E402
from selftrain.pseudo import label_pool  # noqa: E402
from selftrain.system.errors import UserError  # noqa: E402
from selftrain.system.files import write_atomic  # noqa: E402
from selftrain.system.machine import hardware, versions  # noqa: E402
from selftrain.tasks.detection.coco_ap import coco_ap  # noqa: E402
from selftrain.tasks.detection.recipe import DetectionRecipe
from selftrain.tasks.detection.task import Detection  # noqa: E402
from selftrain.train import Trainer, _optimizer  # noqa: E402

# ---- training step ----------------------------------------------------------------------------------------------------------------


def step_640(s: Setting) -> list[Line]:
    recipe = DetectionRecipe(backbone="resnet50", image_size=640, batch_size=2)
    if s.quick:
        recipe = replace(recipe, backbone="resnet10t", image_size=129, channels=32)
    return _step(s, recipe, CLASSES, objects=7, target=1.0, a_turn=1)


def step_demo(s: Setting) -> list[Line]:
    recipe = demo()
    return _step(
        s, recipe, CLASSES[: recipe.shapes.classes], objects=3, target=1.3, a_turn=2 if s.quick else 20
    )


def _step(
    s: Setting, recipe: DetectionRecipe, classes: tuple[str, ...], objects: int, target: float, a_turn: int
) -> list[Line]:
    """Forward, loss, backward, optimizer: the same pixels, boxes, backbone and pyramid with the same weights, heads, and optimizer.

    torchvision is fed what it wants, float images; ours gets uint8 and converts them in its turn.  Ours keeps its weights in
    channels_last.  Nobody does so for torchvision's, but a line of code would: the second line tells what remains then.
    """
    recipe = replace(
        recipe, lr=1e-4, lr_batch=recipe.batch_size
    )  # small: random pixels must not blow up in many steps
    torch.manual_seed(0)
    task = Detection(recipe, classes)
    model = task.model(*IMAGENET).train()
    twin = speed_rows.torchvision_twin(copy.deepcopy(model), recipe, len(classes)).train()
    twin_last = copy.deepcopy(twin).to(memory_format=torch.channels_last)
    model.to(memory_format=torch.channels_last)
    samples = speed_rows.noise_samples(recipe.batch_size, recipe.image_size, objects, len(classes))
    batch = task.collate(samples)
    images = [torch.from_numpy(sample.image).permute(2, 0, 1).contiguous() / 255 for sample in samples]
    targets = [
        {"boxes": torch.from_numpy(sample.boxes), "labels": torch.from_numpy(sample.classes)}
        for sample in samples
    ]

    def our_loss() -> torch.Tensor:
        sums, positives = task.losses(model, batch)
        return sums.sum() / (positives.sum() + 1)

    def steps(module: torch.nn.Module, loss: Callable[[], torch.Tensor]) -> Callable[[], None]:
        optimizer = _optimizer(module, recipe)

        def turn() -> None:
            for _ in range(a_turn):
                loss().backward()
                optimizer.step()
                optimizer.zero_grad()

        return turn

    with threads(s.cores):
        ours, theirs, theirs_last = alternate(
            steps(model, our_loss),
            steps(twin, lambda: sum(twin(images, targets).values())),
            steps(twin_last, lambda: sum(twin_last(images, targets).values())),
            repeats=s.repeats,
            units=a_turn,
        )
    work = f"training step, {recipe.backbone}, {recipe.batch_size} x {recipe.image_size} px, {len(classes)} classes"
    return [
        Line(
            work,
            "torchvision's `RetinaNet` with the same backbone, FPN, heads and images",
            "ms/step",
            target,
            ours,
            theirs,
        ),
        Line(work, "the same, its weights in `channels_last`", "ms/step", None, ours, theirs_last),
    ]


# ---- input pipeline ---------------------------------------------------------------------------------------------------------------


def input_pipeline(s: Setting, policy: str) -> list[Line]:
    """From file to batch of 8: decode, augment with boxes, collate.  One thread."""
    size, batch = 640, 8
    a_turn = 1 if s.quick else 25  # batches: random operations of two turns cost about the same then
    dataset = photos(s)
    task = Detection(DetectionRecipe(policy=policy, image_size=size), dataset.class_names).normalised(
        IMAGENET[0]
    )
    stream = Stream("human", dataset, batch, task.policy(), seed=0)
    items = loader(TrainBatches(Share([stream]), task.collate), range(10**6), workers=0)

    def ours() -> None:
        for _ in range(a_turn):
            next(items)

    def torchvision(tensors: bool) -> Callable[[], None]:
        transform = speed_rows.torchvision_policy(policy, size, task.fill, tensors)
        steps = itertools.count()

        def sample(i: int) -> torch.Tensor:
            image, (boxes, classes, _) = Image.open(dataset.path(i)).convert("RGB"), dataset.labels(i)
            boxes = tv_tensors.BoundingBoxes(
                torch.from_numpy(boxes), format="XYXY", canvas_size=image.size[::-1]
            )
            return transform(image, {"boxes": boxes, "labels": torch.from_numpy(classes)})[0]

        def turn() -> None:
            for step in itertools.islice(steps, a_turn):
                torch.stack([sample(stream.index(step, position)) for position in range(batch)])

        return turn

    random.seed(0), torch.manual_seed(0)
    with threads(1):
        ours_cost, theirs, tensors = alternate(
            ours,
            torchvision(tensors=False),
            torchvision(tensors=True),
            repeats=s.repeats,
            units=batch * a_turn,
        )
    width, height = np.median(dataset.sizes, axis=0).astype(int)
    size_kb = statistics.median(dataset.path(i).stat().st_size / 1000 for i in range(len(dataset)))
    kind = "photos" if s.photos else "generated pictures"
    remark = f"input pipeline: {len(dataset)} {kind}, median {width} x {height} px and {size_kb:.0f} kB, 7 boxes each"
    work = f"input pipeline, one core, {policy} at {size} px"
    return [
        Line(work, "PIL and torchvision's transforms v2", "ms/image", 1.5, ours_cost, theirs, remark),
        Line(work, "the same, flip, resize and crop on tensors", "ms/image", None, ours_cost, tensors),
    ]


@functools.cache
def photos(s: Setting) -> speed_rows.CocoDataset:
    folder = s.photos or s.folder / "photos"
    if s.photos is None:
        folder.mkdir()
        speed_rows.write_pictures(folder)
    return speed_rows.photo_set(folder)


# ---- the demo ---------------------------------------------------------------------------------------------------------------------


def demo_trainer(s: Setting) -> tuple[Trainer, splits.Splits]:
    return speed_rows.trained(s, demo(), Detection, CocoSource)


def training_with_loader(s: Setting) -> list[Line]:
    """The trainer's own step on batches that the loader brings, and on batches that lie ready."""
    trainer, _ = demo_trainer(s)
    recipe, a_turn = trainer.recipe, 4 if s.quick else 20
    batches = TrainBatches(Share(trainer.streams), trainer.task.collate)
    resident = [batches[n] for n in range(a_turn)]
    loaded = loader(batches, range(10**6), recipe.workers)

    def train(source) -> None:
        for _ in range(a_turn):
            trainer._step(source)

    with threads(s.cores):
        costs = alternate(
            lambda: train(loaded), lambda: train(iter(resident)), repeats=s.repeats, units=a_turn
        )
    workers = f"{recipe.workers} workers" if recipe.workers else "in the training process"
    return [
        Line(
            f"training with loader ({workers}), demo",
            "the same steps on resident data",
            "ms/step",
            0.9,
            *costs,
        )
    ]


def pseudo_labelling(s: Setting) -> list[Line]:
    """`label_pool` into a fresh folder each turn: decoding, resizing, forward pass, NMS, raw predictions and label file on the disk."""
    trainer, data = demo_trainer(s)
    recipe, task, teacher = trainer.recipe, trainer.task, trainer.ema.module
    pool = read_pool(
        [data.pool.folder], labels=False
    )  # photos, as a person's pool is; nothing to measure precision by
    samples = [task.prepare(pool.sample(i))[0] for i in range(len(pool))]
    batches = [
        task.collate(samples[i : i + recipe.eval_batch])["images"]
        for i in range(0, len(pool), recipe.eval_batch)
    ]

    def ours() -> None:
        folder = Path(tempfile.mkdtemp(prefix="labels-", dir=s.folder))
        label_pool(
            trainer.engine, task, recipe, teacher, "teacher", pool, data.train, folder, "label the pool"
        )

    @torch.inference_mode()
    def theirs() -> None:
        for images in batches:
            teacher(images)

    with threads(s.cores):
        costs = alternate(ours, theirs, repeats=s.repeats, units=len(pool))
    counts = np.concatenate(
        [np.load(part)["counts"] for part in next(s.folder.glob("labels-*")).rglob("part-*.npz")]
    )
    return [
        Line(
            f"pseudo-labelling, demo, {len(pool)} images",
            "the forward pass alone, on resident batches",
            "images/s",
            0.85,
            *costs,
            f"pseudo-labelling: {counts.mean():.0f} detections an image",
        )
    ]


# ---- COCO's score and files -------------------------------------------------------------------------------------------------------


def average_precision(s: Setting) -> list[Line]:
    """From predictions to COCO's twelve numbers, the evaluators' own data structures included.  Both must agree."""
    images = 100 if s.quick else 5000
    dataset, predictions = speed_rows.detections_scene(images)
    small, few = speed_rows.detections_scene(20)
    found, cases = (
        {},
        {"ours": iter([(few, small)]), "theirs": iter([(few, small)])},
    )  # the first turn only loads the libraries

    def score(side: str, evaluator: str) -> None:
        found[side] = coco_ap(*next(cases[side], (predictions, dataset)), evaluator)

    costs = alternate(
        lambda: score("ours", "fast"), lambda: score("theirs", "pycocotools"), repeats=min(s.repeats, 3)
    )
    ours, theirs = (
        {k: v for k, v in found[side].items() if k != "per_class"} | found[side]["per_class"]
        for side in ("ours", "theirs")
    )
    for name in theirs:
        assert abs(ours[name] - theirs[name]) < 1e-4, f"{name}: {ours[name]} and {theirs[name]} percent"
    return [
        Line(
            f"AP of {images:,} images x 100 detections",
            "pycocotools",
            "s",
            5,
            *costs,
            f"AP: both evaluators give {ours['AP']:.4f} %",
        )
    ]


OPEN = """
import gc, json, sys, time
import psutil
{imports}
gc.collect()
process = psutil.Process()
before, began = process.memory_info().rss, time.perf_counter()
kept = {opening}
seconds = time.perf_counter() - began
gc.collect()
print(json.dumps([seconds, process.memory_info().rss - before]))
"""
OURS = OPEN.format(imports="from selftrain.data.coco import read_coco", opening="read_coco(sys.argv[1], '.')")
THEIRS = OPEN.format(imports="from pycocotools.coco import COCO", opening="COCO(sys.argv[1])")


def opening_json(s: Setting) -> list[Line]:
    """Each turn in a fresh process, its imports not counted; memory: what is resident after opening and was not before."""
    images, boxes = (2_000, 15_000) if s.quick else (118_000, 860_000)
    path = s.folder / "instances_train2017.json"
    speed_rows.write_train2017(path, images, boxes)

    def cost(code: str) -> list[float]:
        shown = subprocess.run(
            [sys.executable, "-c", code, str(path)], check=True, capture_output=True, text=True
        ).stdout
        return json.loads(shown.splitlines()[-1])  # pycocotools prints lines of its own before

    path.read_bytes()  # both read it from the system's cache
    pairs = [(cost(OURS), cost(THEIRS)) for _ in range(min(s.repeats, 5))]
    work = f"a json of {images:,} images, {boxes:,} boxes, {path.stat().st_size / 1e6:.0f} MB"
    path.unlink()
    return [
        Line(
            f"{what} {work}",
            "`pycocotools.COCO`",
            unit,
            target,
            [ours[n] for ours, _ in pairs],
            [theirs[n] for _, theirs in pairs],
        )
        for n, (what, unit, target) in enumerate([("opening", "s", 2), ("memory kept by", "MiB", 3)])
    ]


# ---- the table --------------------------------------------------------------------------------------------------------------------


ROWS: dict[str, Callable[[Setting], list[Line]]] = {
    "step-640": step_640,
    "step-demo": step_demo,
    "input-S1": functools.partial(input_pipeline, policy="S1"),
    "input-S4": functools.partial(input_pipeline, policy="S4"),
    "loader": training_with_loader,
    "pseudo": pseudo_labelling,
    "ap": average_precision,
    "json": opening_json,
    "step-512": speed_segmentation.step_512,
    "pseudo-masks": speed_segmentation.pseudo_masks,
    "miou": speed_segmentation.miou,
    "study": speed_study.tables_and_figures,
}
HEADER = ["work", "against", "ours", "theirs", "ratio", "target", "n", "spread of the ratio"]


def markdown(s: Setting, lines: list[Line], load: float) -> str:
    machine, installed = hardware(processes=1), versions()
    names = (
        "python",
        "torch",
        "torchvision",
        "albumentations",
        "opencv-python-headless",
        "pycocotools",
        "faster-coco-eval",
    )
    rows = ["| " + " | ".join(line.cells(verdict=not s.quick)) + " |" for line in lines]
    text = [
        "# Speed",
        "",
        "**Not a measurement**: tiny sizes, to see that the programs run."
        if s.quick
        else "Medians of n repeats after a warm-up; the sides took turns. The ratio is their cost over ours, of each repeat.",
        "",
        f"- machine: {machine['device']}, {machine['cores']} cores, {machine['system']}; load by other programs at the start: {load:.1f}",
        f"- threads: {s.cores}; of the input pipeline 1; evaluation and json as the libraries have it",
        f"- versions: {', '.join(f'{name} {installed[name]}' for name in names)}",
        *(f"- {remark}" for remark in dict.fromkeys(line.remark for line in lines) if remark),
        "",
        "| " + " | ".join(HEADER) + " |",
        "|---|---|---:|---:|---:|---|---:|---:|",
        *rows,
    ]
    return "\n".join(text) + "\n"


def main() -> None:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--rows",
        nargs="+",
        choices=ROWS,
        metavar="ROW",
        default=list(ROWS),
        help=f"which rows: {', '.join(ROWS)}; default all",
    )
    parser.add_argument(
        "--repeats",
        type=int,
        help="turns of each side (ap at most 3, json at most 5); default 9, with --quick 1",
    )
    parser.add_argument(
        "--photos",
        type=Path,
        help="a folder of photos for the input pipeline; default generated ones of 640 x 480 px and about 100 kB",
    )
    parser.add_argument(
        "--threads",
        type=int,
        default=cores,
        help=f"of the training steps and of pseudo-labelling; default all usable cores ({cores})",
    )
    parser.add_argument(
        "--out",
        type=Path,
        help="the markdown to write; default results/speed.md for a run of all rows, else none",
    )
    parser.add_argument(
        "--quick", action="store_true", help="tiny sizes: a test of this program, no measurement"
    )
    options = parser.parse_args()
    out = options.out or (
        None
        if options.quick or options.rows != list(ROWS)
        else Path(__file__).parent.parent / "results" / "speed.md"
    )
    load = os.getloadavg()[0]
    lines: list[Line] = []
    with tempfile.TemporaryDirectory(prefix="speed-") as folder:
        s = Setting(
            Path(folder),
            options.quick,
            options.repeats or (1 if options.quick else 9),
            options.photos,
            options.threads,
        )
        for name in options.rows:
            print(f"{name} ...", file=sys.stderr, flush=True)
            lines += ROWS[name](s)
    text = markdown(s, lines, load)
    print(text)
    if out:
        write_atomic(out, lambda file: file.write(text.encode()))


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
