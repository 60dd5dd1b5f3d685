"""What the rows about training steps share: a fresh network, and turns of a few steps."""

from collections.abc import Callable

from torch import Tensor, nn

from selftrain.mix import NormalisedMix
from selftrain.models.network import Network
from selftrain.recipe import Recipe
from selftrain.tasks.protocol import Task
from selftrain.train import Learner, make_optimizer

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and standard deviation of pixels in 0..1"""


def fresh_learner(task: Task, recipe: Recipe, freeze: str = "none") -> Learner:
    """The task's network with fresh weights, `freeze` of it frozen, and its supervised objective, in training
    mode.
    """
    name, objective = next(iter(task.objectives.items()))
    trunk = task.trunk(*IMAGENET)
    network = Network(trunk, {objective.head: task.head(objective.head, trunk)}, freeze)
    mix = NormalisedMix(1, recipe.alpha, recipe.loss_momentum)
    return Learner(network, {name: objective}, mix).train()


def steps(
    model: nn.Module, loss: Callable[[], Tensor], recipe: Recipe, number: int = 1
) -> Callable[[], None]:
    """A turn of `number` training steps: `loss`, backward pass, and the recipe's optimizer over `model`."""
    optimizer = make_optimizer(model, recipe)

    def _turn() -> None:
        for _ in range(number):
            loss().backward()
            optimizer.step()
            optimizer.zero_grad()

    return _turn
