"""How the losses of a step's feeds become the one that is minimised."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn


class FeedLoss(NamedTuple):
    """One feed's loss of a micro-batch."""

    here: Tensor
    """() sum over this process's samples, with gradient"""
    total: float
    """the same over all processes"""
    count: float
    """what divides it, over all processes"""
    floor: float
    """is added to the count: see `Objective.floor`"""
    batch: int
    """samples a step of this feed"""
    objective: str
    """name of its objective; counts of one objective are of one unit"""


class NormalisedMix(nn.Module):
    """The first feed's loss, and of every further feed its loss at the first one's scale (Zoph et al. 2020,
    App. B).

        L = (L_1 + sum_i alpha_i (mean L_1 / mean L_i) L_i) / (1 + sum_i alpha_i)

    Means are moving averages over steps.  With one feed it is that feed's loss.  The averages are buffers:
    checkpoints and all processes have them.
    """

    def __init__(self, feeds: int, alpha: float | tuple[float, ...], momentum: float):
        """`feeds`: how many; `alpha`: weight of each further feed, one number for all of them or one each;
        `momentum`: of the averages.
        """
        super().__init__()
        self.alphas = (alpha,) * (feeds - 1) if isinstance(alpha, (int, float)) else tuple(alpha)
        self.momentum = momentum
        self.register_buffer("averages", torch.zeros(feeds, dtype=torch.float64))
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    def forward(self, losses: list[FeedLoss]) -> tuple[Tensor, float]:
        """((): this process's part of the loss, with gradient; its value over all processes, nan where a
        feed's loss is not finite).

        The first feed is divided by its own count, as if it were alone.  A further feed of the same objective
        is divided by the mean count of all feeds of that objective: a nearly empty one must not blow up, and
        its scale is taken out by the averages anyway.
        """
        first, *others = losses
        first_divisor = first.count + first.floor
        if not others:
            return first.here * (1 / first_divisor), first.total / first_divisor
        divisors = [first_divisor, *(self._divisor(first, feed, losses) for feed in others)]
        values = [feed.total / divisor for feed, divisor in zip(losses, divisors, strict=True)]
        if not math.isfinite(sum(values)):
            return torch.stack([feed.here for feed in losses]).sum(), math.nan
        self._update(values)
        here = self._combine([feed.here / divisor for feed, divisor in zip(losses, divisors, strict=True)])
        return here, float(self._combine(values))

    @staticmethod
    def _divisor(first: FeedLoss, feed: FeedLoss, losses: list[FeedLoss]) -> float:
        if feed.objective != first.objective:
            return feed.count + feed.floor
        alike = [each for each in losses if each.objective == first.objective]
        ratio = feed.batch / first.batch
        size = 1 + sum(
            each.batch / first.batch for each in alike[1:]
        )  # of all of them, in batches of the first
        return ratio * (sum(each.count for each in alike) / size + feed.floor)

    def _update(self, values: list[float]) -> None:
        """Moving averages.

        They begin at zero, and so too low by one factor, which cancels in their ratio.
        """
        averages = self.averages.tolist()
        averages = [a + (1 - self.momentum) * (value - a) for a, value in zip(averages, values, strict=True)]
        self.averages.copy_(torch.tensor(averages, dtype=torch.float64))
        self.updates += 1

    def ratios(self) -> list[float]:
        """mean L_1 / mean L_i of every further feed: numbers, so no gradient flows through them."""
        first, *others = self.averages.tolist()
        return [first / max(other, 1e-12) for other in others]

    def _combine(self, losses: list) -> Tensor | float:
        total = losses[0]
        for alpha, ratio, loss in zip(self.alphas, self.ratios(), losses[1:], strict=True):
            total = total + alpha * ratio * loss
        return total / (1 + sum(self.alphas))
