"""Train, score and record one cell."""

import functools
import time
from dataclasses import asdict
from typing import NamedTuple

import msgspec
import torch
from torch import nn

from selftrain import checkpoint, provenance, record
from selftrain.cells import Cell, Final, Human, Pseudo
from selftrain.contrast_file import contrasts_digest
from selftrain.feeds import Made, make_feed
from selftrain.networks import final_network, final_state, first_network, task_of
from selftrain.parts import Parts
from selftrain.predict import evaluate, score_into
from selftrain.recipe import digest
from selftrain.record import Hashes, Measured, Need, Record, Scored
from selftrain.resample import replicate_scores
from selftrain.splits import Splits
from selftrain.starts.start import normalisation
from selftrain.system.errors import UserError
from selftrain.system.files import write_json
from selftrain.system.machine import hardware, versions
from selftrain.tasks.protocol import Task
from selftrain.train import State, Trainer, check_batch
from selftrain.workplace import Workplace, exclusively


def preflight(task: Task, cells: list[Cell], processes: int) -> None:
    """What would otherwise come to light when the last cell begins, hours later.

    Raises UserError for weights that do not fit, for no network, for uneven batches, and for a file of contrasts
    that cannot be read.
    """
    todo = [cell for cell in cells if not cell.finished]
    for path in {cell.recipe.contrasts for cell in todo}:
        _contrasts(path)
    first = [cell for cell in reversed(todo) if not isinstance(cell.weights, Final)]
    for cell in {(cell.weights, cell.freeze): cell for cell in first}.values():
        first_network(task, cell)
    for cell in todo:
        for feed in cell.feeds:
            name = "pseudo-labelled" if isinstance(feed.labels, Pseudo) else "labelled"
            check_batch(name, feed.batch, cell.recipe, processes)


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
            elif engine.agree(_other_sets(cell, place.splits)):
                _score_again(place, cell, title)
    return record.read(file)


def _other_sets(cell: Cell, splits: Splits) -> bool:
    """Whether a recorded cell was scored on other sets than it should be."""
    done = record.read(cell.folder / "record.json")
    hashes = {name: scored.hash for name, scored in done.scores.items()}
    if cell.scored_on and done.split == splits.title(cell.scored_on[0]):
        hashes[cell.scored_on[0]] = done.hashes.test
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


class _Scores(NamedTuple):
    """What the final network scores."""

    sets: dict[str, Scored]
    """its metrics on each set, by the set's name"""
    images: int = 0
    """how many images the reported set has"""
    resampled: dict[str, list[float]] = {}
    """metrics under resamples of the reported set; only on the main process, which writes the record"""


def _scores(place: Workplace, task: Task, cell: Cell, network: nn.Module, title: str) -> _Scores:
    """The final network's metrics on each set, and on resamples of the reported one, which is the first."""
    found = _Scores({})
    weights = place.engine.shared(checkpoint.weights_hash(network.state_dict()))
    for name in cell.scored_on:
        data = place.splits.named(name)
        shown = f"{title}: {place.splits.title(name)} split"
        parts = Parts(cell.folder / "scores" / f"{name}-{digest([weights, data.hash])}")
        metrics = score_into(place.engine, task.scorer, network, data, cell.recipe, parts, shown)
        found.sets[name] = Scored(data.hash, metrics)
        if name == cell.scored_on[0]:
            found = found._replace(images=len(data))
            if place.engine.accelerator.is_main_process:
                found = found._replace(resampled=replicate_scores(task.scorer, parts.by_image(), data))
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
            scores=_without(scores.sets, main),
            metrics=scores.sets[main].metrics,
            scored_images=scores.images,
            resampled=scores.resampled,
            metric=task.scorer.metrics[0].name,
            hashes=msgspec.structs.replace(
                before.hashes, data=place.splits.hash, test=scores.sets[main].hash
            ),
        )
        record.write(file, changed)
    place.engine.accelerator.wait_for_everyone()


def _record(
    place: Workplace,
    task: Task,
    cell: Cell,
    state: State,
    final: nn.Module,
    scores: _Scores,
    made: Made,
    origin: str,
) -> Record:
    recipe, splits = cell.recipe, place.splits
    sources = provenance.read_sources(cell.folder / "sources.json")
    if sources is None:
        raise UserError(
            f"{cell.folder}/sources.json: was removed while the cell ran; delete the folder, and it is "
            "trained again"
        )
    main = cell.scored_on[0] if cell.scored_on else None
    metric = task.scorer.metrics[0].name if main else None
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
        metrics=scores.sets[main].metrics if main else {},
        scored_images=scores.images,
        resampled=scores.resampled,
        scores=_without(scores.sets, main),
        curve=state.curve if main else [],
        steps=recipe.steps,
        images=cell.images,
        labelled_images=len(splits.train),
        labels=recipe.label_source,
        protocol=recipe.protocol_name,
        needs=made.needs,
        pseudo_labels=made.pseudo_labels,
        contrasts=_contrasts(recipe.contrasts),
        hashes=_hashes(cell, splits, final, scores.sets, digest(sources)),
        modules=list(place.modules),
        sources=sources,
        sources_changed=provenance.changed(sources, provenance.sources(place.modules)),
        measured=_measured(place, state, made),
    )


def _contrasts(path: str | None) -> str | None:
    return None if path is None else contrasts_digest(path)


def _hashes(cell: Cell, splits: Splits, final: nn.Module, scores: dict[str, Scored], source: str) -> Hashes:
    pooled = next((feed.data for feed in cell.feeds if not isinstance(feed.labels, Human)), None)
    return Hashes(
        data=splits.hash,
        train=splits.train.hash,
        val=splits.val.hash,
        test=scores[cell.scored_on[0]].hash if cell.scored_on else splits.test.hash,
        pool=pooled,
        weights=cell.root_weights,
        final=checkpoint.weights_hash(final.state_dict()),
        source=source,
    )


def _measured(place: Workplace, state: State, made: Made) -> Measured:
    accelerator = place.engine.accelerator
    return Measured(
        seconds=state.seconds + made.label_seconds,
        label_seconds=made.label_seconds,
        energy_kwh=None if state.joules is None else state.joules / 3.6e6,
        peak_memory_gib=state.peak,
        hardware=hardware(accelerator.num_processes),
        versions=versions(),
        precision=accelerator.mixed_precision,
        finished=time.strftime("%Y-%m-%d %H:%M:%S"),
    )
