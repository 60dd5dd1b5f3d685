"""Batches as a pure function of (seed, step, position).

Position p of step t is draw number n = t * batch + p of a stream; draw n shows sample `permutation(seed, n //
N)[n % N]`, augmented by `derive(seed, stream, "augment", t, p)`.  Nothing else enters, so order and pixels
are the same for any number of workers or processes and after any restart.
"""

import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from selftrain.system.errors import UserError
from selftrain.system.seeds import derive, generator

Batch = dict[str, Any]


class Photos(Protocol):
    """What every data set of this package is to the loader."""

    def __len__(self) -> int:
        """How many samples there are."""

    def path(self, index: int) -> Any:
        """The file of a sample, for messages."""

    def sample(self, index: int) -> Any:
        """A sample, decoded, with its labels."""


@dataclass
class Stream:
    """An endless, reshuffled sequence of samples:

    `batch` of them a step, over all processes and micro-batches.
    """

    name: str
    photos: Photos
    batch: int
    views: Callable[[Any, int], tuple]
    """sample, seed -> what the network gets to see of it"""
    seed: int
    _order: tuple[int, np.ndarray] | None = field(default=None, repr=False)

    def index(self, step: int, position: int) -> int:
        """Which sample stands at `position` (0 <= position < batch) of `step` (counted from 0)."""
        epoch, place = divmod(step * self.batch + position, len(self.photos))
        if self._order is None or self._order[0] != epoch:
            self._order = (
                epoch,
                generator(self.seed, self.name, "order", epoch).permutation(len(self.photos)),
            )
        return int(self._order[1][place])

    def sample(self, step: int, position: int) -> tuple:
        """The views of the sample at that place."""
        sample = self.photos.sample(self.index(step, position))
        return self.views(sample, derive(self.seed, self.name, "augment", step, position))


@dataclass
class Share:
    """Which part of every global batch one process sees in one micro-batch: one of equally large slices of
    each stream.
    """

    rank: int = 0
    world: int = 1
    accumulate: int = 1

    def positions(self, stream: Stream, micro: int) -> range:
        """Positions of the step that this process sees of a stream in micro-batch `micro`."""
        size = stream.batch // (self.world * self.accumulate)
        start = (micro * self.world + self.rank) * size
        return range(start, start + size)


@dataclass
class Group:
    """The streams of one objective.  Their samples are one batch, stream after stream."""

    streams: Sequence[Stream]
    collate: Callable[[list[tuple]], Batch]

    def batch(self, step: int, micro: int, share: Share) -> Batch:
        """The collated batch of one process, with `rows` (first and last + 1) of each stream in it and the
        `names` of the files.
        """
        views, names, rows = [], [], {}
        for stream in self.streams:
            first = len(views)
            for position in share.positions(stream, micro):
                views.append(stream.sample(step, position))
                names.append(str(stream.photos.path(stream.index(step, position))))
            rows[stream.name] = (first, len(views))
        return self.collate(views) | {"rows": rows, "names": names}


class TrainBatches(Dataset):
    """Item n is micro-batch n % accumulate of step n // accumulate: a batch an objective, by its name."""

    def __init__(self, groups: dict[str, Group], share: Share):
        """`groups`: the streams of each objective; `share`: this process's part."""
        self.groups, self.share = groups, share

    def __getitem__(self, item: int) -> dict[str, Batch]:
        step, micro = divmod(item, self.share.accumulate)
        return {name: group.batch(step, micro, self.share) for name, group in self.groups.items()}


class EvalBatches(Dataset):
    """Item n is samples [n * batch, (n + 1) * batch) of a data set, prepared without augmentation, with their
    `indices`.
    """

    def __init__(self, photos: Photos, batch: int, prepare: Callable[[list], Batch]):
        """`prepare`: B samples -> a batch."""
        self.photos, self.batch, self.prepare = photos, batch, prepare

    def __len__(self) -> int:
        return -(-len(self.photos) // self.batch)

    def __getitem__(self, item: int) -> Batch:
        indices = range(item * self.batch, min((item + 1) * self.batch, len(self.photos)))
        return self.prepare([self.photos.sample(i) for i in indices]) | {"indices": list(indices)}


def _quiet(_: int) -> None:
    # a worker owns one core: threads inside OpenCV and torch would fight the training process for the others
    cv2.setNumThreads(0)
    # a signal to the whole group is for the training process, which still needs its workers to finish the
    # step
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)


class _Guarded(Dataset):
    """Hands a UserError over as an item: raised inside a worker it would arrive wrapped in that worker's
    traceback.
    """

    def __init__(self, dataset: Dataset):
        self.dataset = dataset

    def __getitem__(self, item: int):
        try:
            return self.dataset[item]
        except UserError as error:
            return error


def _as_is(batch):
    return batch  # torch's default would walk every name, size and index of it to look for arrays


def loader(
    dataset: Dataset, items: Sequence[int], workers: int, pin: bool = False
) -> Iterator[dict[str, Any]]:
    """The `items` of `dataset` in this order; every item is already a batch.

    Raises UserError for a photo that cannot be read.
    """
    workers = min(workers, len(items))
    # a generator of its own: starting to iterate would draw from torch's global one, so that a restarted
    # run's first
    # step would drop other paths than an uninterrupted run's
    batches = DataLoader(
        _Guarded(dataset),
        batch_size=None,
        sampler=items,
        num_workers=workers,
        pin_memory=pin,
        worker_init_fn=_quiet,
        collate_fn=_as_is,
        prefetch_factor=4 if workers else None,
        generator=torch.Generator(),
    )
    for batch in batches:
        if isinstance(batch, UserError):
            raise batch
        yield batch
