"""Train, evaluate and record one cell; make first what it needs of other cells: their weights, their labels
for a pool.
"""

import functools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import nn

from selftrain import checkpoint, provenance, record
from selftrain.cells import Acquired, Cell, Final, Human, Pretrained, Pseudo, Random, Unlabelled
from selftrain.cells import Feed as DeclaredFeed
from selftrain.curve import flattened
from selftrain.data.loader import EvalBatches, Photos, Stream
from selftrain.engine import Engine
from selftrain.label import label_pool
from selftrain.models.network import Network
from selftrain.parts import Parts
from selftrain.predict import evaluate, predict_into, score_into
from selftrain.recipe import Recipe, digest
from selftrain.record import Hashes, Measured, Need, Record, Scored
from selftrain.splits import Splits
from selftrain.starts.start import normalisation, start_model
from selftrain.system.errors import UserError
from selftrain.system.files import file_hash, write_json
from selftrain.system.lock import Lock
from selftrain.system.machine import hardware, versions
from selftrain.system.seeds import derive
from selftrain.tasks.protocol import Task
from selftrain.train import Feed, State, Trainer, check_batch


@dataclass
class Workplace:
    """What every cell of a command shares: processes, task, data, and how to speak with a person."""

    engine: Engine
    task: Task
    splits: Splits
    say: Callable[[str], None]
    source: type | None = None
    """what read the data, where that is part of this project"""

    @property
    def modules(self) -> tuple[str, ...]:
        """The modules that decide a result here: this one, and those of task, data and splits; see
        `provenance`.
        """
        used = [type(self.task), Splits, *([self.source] if self.source else [])]
        return (__name__, *(kind.__module__ for kind in used))


@dataclass
class Made:
    """What making a cell's feeds brought to light, for its record."""

    needs: dict[str, Need] = field(default_factory=dict)
    pseudo_labels: dict[str, Any] | None = None
    label_seconds: float = 0.0


# ---- networks -------------------------------------------------------------------------------------------


def task_of(task: Task, cell: Cell) -> Task:
    """The task for this cell's network: its padding is that network's mean pixel."""
    return task.normalised(normalisation(cell.recipe.backbone, cell.normalised_as)[0])


def build(task: Task, cell: Cell) -> Network:
    """The cell's network with weights from the seed.

    Pyramid and heads are those of the seed, whatever the start.
    """
    mean, std = normalisation(cell.recipe.backbone, cell.normalised_as)
    names = [task.objectives[feed.objective].head for feed in cell.feeds]
    names += [task.scorer.head] if cell.scored_on else []
    torch.manual_seed(derive(cell.recipe.seed, "init"))
    trunk = task.trunk(mean, std)
    heads = {name: task.head(name, trunk) for name in dict.fromkeys(names)}
    return Network(trunk, heads, frozen=cell.freeze == "trunk")


def first_network(task: Task, cell: Cell) -> tuple[Network, str]:
    """The cell's network before its first step, and where its weights come from.

    Raises UserError for weights that do not fit.
    """
    network = build(task, cell)
    match cell.weights:
        case Random():
            return network, "random"
        case Pretrained(start, _):
            return network, start_model(network, start, cell.recipe.backbone, cell.recipe.weights)
        case Final(other, part):
            state = final_state(other)
            if part == "trunk":
                state = {name: tensor for name, tensor in state.items() if name.startswith("trunk.")}
            missing, unknown = network.load_state_dict(state, strict=False)
            missing = [name for name in missing if part == "all" or name.startswith("trunk.")]
            if missing or unknown:
                raise UserError(
                    f"{other.folder}: its final weights do not fit this network: {len(missing)} tensors "
                    "missing, "
                    f"{len(unknown)} unknown, first {(missing + unknown)[0]}"
                )
            return network, f"{'teacher' if other is cell.teacher else 'cell'} {other.key}"


def final_state(cell: Cell) -> dict[str, torch.Tensor]:
    """The final weights of a finished cell.  Raises UserError where they are gone."""
    saved = checkpoint.load(cell.folder / "final.pt")
    if saved is None:
        raise UserError(
            f"{cell.folder}: the record is there but its final.pt is not. Put it back, or delete record.json "
            "to train it again"
        )
    return saved["model"]


def final_network(task: Task, cell: Cell) -> Network:
    """A finished cell's network."""
    network = build(task, cell)
    network.load_state_dict(final_state(cell))
    return network


def preflight(task: Task, cells: list[Cell], processes: int) -> None:
    """What would otherwise come to light when the last cell begins, hours later.

    Raises UserError for weights that do not fit, for no network, and for uneven batches.
    """
    todo = [cell for cell in cells if not cell.finished]
    starts = {cell.weights: cell for cell in reversed(todo) if not isinstance(cell.weights, Final)}
    for cell in starts.values():
        first_network(task, cell)
    for cell in todo:
        for feed in cell.feeds:
            name = "pseudo-labelled" if isinstance(feed.labels, Pseudo) else "labelled"
            check_batch(name, feed.batch, cell.recipe, processes)


# ---- feeds ----------------------------------------------------------------------------------------------


def training_lock(cell: Cell, what: str = "training") -> Lock:
    """The lock of one kind of work on a cell."""
    return Lock(Path(cell.recipe.out) / "locks" / f"{cell.folder.name}.{what}")


@contextmanager
def exclusively(engine: Engine, cell: Cell, what: str, say: Callable[[str], None]) -> Iterator[None]:
    """Nobody else does `what` with this cell meanwhile; waits for another command that does.

    Raises Stopped.
    """
    lock, announced = training_lock(cell, what), False
    while not engine.agree(engine.accelerator.is_main_process and lock.take()):
        if not announced:
            say(f"{cell.arm}: {what} by {lock.holder()}; waiting for it to end")
            announced = True
        engine.stop.check()
        time.sleep(1)
    try:
        yield
    finally:
        lock.release()


def labels_of(place: Workplace, recipe: Recipe, teacher: Cell) -> tuple[Path, Need, dict[str, Any], float]:
    """The pool's labels by a finished cell: file, teacher as used, report, seconds.  Made once, whoever asks
    first.

    `recipe`: whose thresholds are used.  Raises Stopped.
    """
    engine, say = place.engine, place.say
    task = task_of(place.task, teacher)
    network = final_network(task, teacher)
    network = network.to(engine.accelerator.device, memory_format=torch.channels_last)
    weights = checkpoint.weights_hash(network.state_dict())
    if note := task.labeller.announce(place.splits.pool):
        say(note)
    with exclusively(engine, teacher, "labelling", say):
        file, report, seconds = label_pool(
            engine,
            task.labeller,
            recipe,
            network,
            weights,
            place.splits.pool,
            place.splits.train,
            teacher.folder,
            f"{teacher.arm}: label the pool",
        )
    say(task.labeller.describe(report))
    return file, Need(teacher.key, weights), report, seconds


def bought(place: Workplace, labels: Acquired, seed: int, data: str) -> tuple[Photos, Need]:
    """The images whose labels a strategy buys from the pool with hash `data`, by a finished cell's
    predictions; and that cell as used.
    """
    task, cell, pool = task_of(place.task, labels.cell), labels.cell, place.splits.by_hash(data)
    if labels.strategy not in task.strategies:
        known = ", ".join(task.strategies) or "none yet"
        raise UserError(f"there is no strategy {labels.strategy!r} to buy labels by; there are: {known}")
    network = final_network(task, cell).to(place.engine.accelerator.device, memory_format=torch.channels_last)
    weights = checkpoint.weights_hash(network.state_dict())
    parts = Parts(cell.folder / f"query-{digest([weights, data])}")
    with exclusively(place.engine, cell, "query", place.say):
        predict_into(
            place.engine,
            parts,
            network.branch(task.labeller.head),
            task.labeller.predict,
            EvalBatches(pool, cell.recipe.eval_batch, task.labeller.prepare),
            recipe=cell.recipe,
            title=f"{cell.arm}: look at the pool",
        )
    positions = task.strategies[labels.strategy](parts, pool, labels.count, seed)
    return pool.hidden.take(positions), Need(cell.key, weights)


def make_feed(place: Workplace, task: Task, cell: Cell, feed: DeclaredFeed, made: Made) -> Feed:
    """The stream of a declared feed; what it needed goes into `made`.  Raises Stopped."""
    splits = place.splits
    match feed.labels:
        case Human() | Unlabelled():
            data = splits.by_hash(feed.data)
        case Pseudo(teacher):
            file, need, report, seconds = labels_of(place, cell.recipe, teacher)
            made.needs["teacher"], made.label_seconds = need, made.label_seconds + seconds
            made.pseudo_labels = report | {"hash": file_hash(file)}
            data = task.labeller.read(file, splits.pool)
        case Acquired():
            data, made.needs["query"] = bought(place, feed.labels, cell.recipe.seed, feed.data)
    views = task.objectives[feed.objective].views
    return Feed(Stream(feed.name, data, feed.batch, views, cell.recipe.seed), feed.objective)


# ---- one cell -------------------------------------------------------------------------------------------


def run_cell(place: Workplace, cell: Cell, title: str) -> Record:
    """Train, score and record one cell, or return the record it has; where that was scored on other sets,
    score it on these.

    The cells that it needs must be finished.  Raises Stopped with everything on the disk, or UserError.
    """
    engine, file = place.engine, cell.folder / "record.json"
    if not engine.agree(file.exists() and not _other_sets(cell, place.splits)):
        with exclusively(engine, cell, "training", place.say):
            if not engine.agree(file.exists()):
                _train(place, cell, title)
            elif _other_sets(cell, place.splits):
                _score_again(place, cell, title)
    return record.read(file)


def _other_sets(cell: Cell, splits: Splits) -> bool:
    """Whether a recorded cell was scored on other sets than it should be."""
    done = record.read(cell.folder / "record.json")
    hashes = {name: scored.hash for name, scored in done.scores.items()}
    hashes |= {cell.scored_on[0]: done.hashes.test} if cell.scored_on else {}
    return any(hashes.get(name) != splits.named(name).hash for name in cell.scored_on)


def _train(place: Workplace, cell: Cell, title: str) -> None:
    engine, accelerator, recipe = place.engine, place.engine.accelerator, cell.recipe
    task, made = task_of(place.task, cell), Made()
    feeds = [make_feed(place, task, cell, feed, made) for feed in cell.feeds]
    network, origin = first_network(task, cell)
    if isinstance(cell.weights, Final) and cell.weights.cell.key not in {n.cell for n in made.needs.values()}:
        other = checkpoint.weights_hash(final_state(cell.weights.cell))
        made.needs["weights"] = Need(cell.weights.cell.key, other)
    if accelerator.is_main_process and not (cell.folder / "last.pt").exists():
        # of the code that the run begins with
        write_json(cell.folder / "sources.json", provenance.sources(place.modules))
    accelerator.wait_for_everyone()
    trainer = Trainer(engine, recipe, network, task.objectives, feeds, cell.folder, title, cell.key)
    final = trainer.run(functools.partial(_curve_point, place, task, cell, title))
    scores = _scores(place, task, cell, final, title)
    result = _record(place, task, cell, trainer.state, final, scores, made, origin)
    if accelerator.is_main_process:
        mean, std = normalisation(recipe.backbone, cell.normalised_as)
        content = {"key": cell.key, "model": final.state_dict(), "mean": mean, "std": std}
        checkpoint.save(cell.folder / "final.pt", content)
        record.write(cell.folder / "record.json", result)  # from here on the cell is finished
        trainer.last.unlink(missing_ok=True)
    accelerator.wait_for_everyone()
    accelerator.free_memory()


def _curve_point(place: Workplace, task: Task, cell: Cell, title: str, network: nn.Module) -> dict:
    """Scores on the val split; nothing for a cell that is not scored, such as a pre-training."""
    if not cell.scored_on:
        return {}
    val, shown = place.splits.val, f"{title}: evaluate"
    scores = evaluate(place.engine, task.scorer, network, val, cell.recipe, shown)
    return {metric.name: scores[metric.name] for metric in task.scorer.metrics}


def _scores(place: Workplace, task: Task, cell: Cell, network: nn.Module, title: str) -> dict[str, Scored]:
    """The final network's metrics on each set, by name."""
    found = {}
    weights = checkpoint.weights_hash(network.state_dict())
    for name in cell.scored_on:
        data = place.splits.named(name)
        shown = f"{title}: {place.splits.title(name)} split"
        parts = Parts(cell.folder / "scores" / f"{name}-{digest([weights, data.hash])}")
        metrics = score_into(place.engine, task.scorer, network, data, cell.recipe, parts, shown)
        found[name] = Scored(data.hash, metrics)
    return found


def _without(scores: dict[str, Scored], main: str | None) -> dict[str, Scored]:
    """Those of the sets that are scored besides the reported one."""
    return {name: scored for name, scored in scores.items() if name != main}


def _score_again(place: Workplace, cell: Cell, title: str) -> None:
    """Score a finished cell on sets that are other ones now."""
    task, file = task_of(place.task, cell), cell.folder / "record.json"
    network = final_network(task, cell)
    network = network.to(place.engine.accelerator.device, memory_format=torch.channels_last)
    scores = _scores(place, task, cell, network, title)
    if place.engine.accelerator.is_main_process:
        before = record.read(file)
        main = cell.scored_on[0]
        changed = msgspec.structs.replace(
            before,
            split=place.splits.title(main),
            scores=_without(scores, main),
            metrics=scores[main].metrics,
            hashes=msgspec.structs.replace(before.hashes, test=scores[main].hash),
        )
        record.write(file, changed)
    place.engine.accelerator.wait_for_everyone()


def _record(
    place: Workplace,
    task: Task,
    cell: Cell,
    state: State,
    final: nn.Module,
    scores: dict[str, Scored],
    made: Made,
    origin: str,
) -> Record:
    recipe, splits, accelerator = cell.recipe, place.splits, place.engine.accelerator
    sources = provenance.read_sources(cell.folder / "sources.json")
    if sources is None:
        raise UserError(
            f"{cell.folder}/sources.json: was removed while the cell ran; delete the folder, and it is "
            "trained again"
        )
    main = cell.scored_on[0] if cell.scored_on else None
    metric = task.scorer.metrics[0].name if main else None
    pooled = next((feed.data for feed in cell.feeds if not isinstance(feed.labels, Human)), None)
    return Record(
        key=cell.key,
        task=recipe.task,
        arm=cell.arm,
        origin=origin,
        recipe=recipe.name,
        settings=cell.settings(),
        shapes=asdict(recipe.shapes) if recipe.data == "shapes" else None,
        split=splits.title(main) if main else None,
        metric=metric,
        metrics=scores[main].metrics if main else {},
        scores=_without(scores, main),
        curve=state.curve if main else [],
        flattened=flattened(state.curve, metric) if main else None,
        steps=recipe.steps,
        images=cell.images,
        labelled_images=len(splits.train),
        labels=recipe.label_source,
        protocol=recipe.protocol_name,
        needs=made.needs,
        pseudo_labels=made.pseudo_labels,
        hashes=Hashes(
            data=splits.hash,
            train=splits.train.hash,
            val=splits.val.hash,
            test=splits.test.hash,
            pool=pooled,
            weights=cell.root_weights,
            final=checkpoint.weights_hash(final.state_dict()),
            source=digest(sources),
        ),
        modules=list(place.modules),
        sources=sources,
        sources_changed=provenance.changed(sources, provenance.sources(place.modules)),
        measured=Measured(
            seconds=state.seconds + made.label_seconds,
            label_seconds=made.label_seconds,
            energy_kwh=None if state.joules is None else state.joules / 3.6e6,
            peak_memory_gib=state.peak,
            hardware=hardware(accelerator.num_processes),
            versions=versions(),
            precision=accelerator.mixed_precision,
            finished=time.strftime("%Y-%m-%d %H:%M:%S"),
        ),
    )
