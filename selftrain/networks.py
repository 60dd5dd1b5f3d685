"""The network of a cell: before its first step, and when it is finished."""

import torch

from selftrain import checkpoint
from selftrain.cells import Cell, Final, Pretrained, Random
from selftrain.models.network import Network
from selftrain.starts.start import normalisation, start_model
from selftrain.system.errors import UserError
from selftrain.system.seeds import derive
from selftrain.tasks.protocol import Task


def task_of(task: Task, cell: Cell) -> Task:
    """The task for this cell's network: its padding is that network's mean pixel."""
    return task.normalised(normalisation(cell.recipe.backbone, cell.normalised_as)[0], cell.recipe)


def build(task: Task, cell: Cell) -> Network:
    """The cell's network with weights from the seed.

    Pyramid and heads are those of the seed, whatever the start.
    """
    task = task_of(task, cell)
    mean, std = normalisation(cell.recipe.backbone, cell.normalised_as)
    names = [task.objectives[feed.objective].head for feed in cell.feeds]
    if cell.scored_on and task.scorer.head not in names:
        raise UserError(
            f"{cell.arm}: no feed trains the head {task.scorer.head!r} that its score needs; declare the "
            "cell "
            "with scored_on=(), or with a feed that trains it"
        )
    torch.manual_seed(derive(cell.recipe.seed, "init"))
    trunk = task.trunk(mean, std)
    heads = {name: task.head(name, trunk) for name in dict.fromkeys(names)}
    return Network(trunk, heads, cell.freeze)


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
