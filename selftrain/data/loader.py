"""Batches as a pure function of (seed, step, position).

Position p of step t is draw number n = t * batch + p of a stream; draw n shows image `permutation(seed, n // N)[n % N]`, augmented
by `derive(seed, stream, "augment", t, p)`.  Nothing else enters, so order and pixels are the same for any number of workers or
processes and after any restart.
"""

import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from augment import Sample
from selftrain.system.errors import UserError
from selftrain.system.seeds import derive, generator


class Photos(Protocol):
    """What every data set of this package is to the loader."""

    def __len__(self) -> int: ...
    def path(self, index: int): ...
    def sample(self, index: int) -> Sample: ...


@dataclass
class Stream:
    """An endless, reshuffled sequence of augmented samples: `batch` of them a step, over all processes and micro-batches."""

    name: str
    photos: Photos
    batch: int
    policy: Callable[[Sample, int], Sample]
    seed: int
    _order: tuple[int, np.ndarray] | None = field(default=None, repr=False)

    def index(self, step: int, position: int) -> int:
        """Which photo stands at `position` (0 <= position < batch) of `step` (counted from 0)."""
        epoch, place = divmod(step * self.batch + position, len(self.photos))
        if self._order is None or self._order[0] != epoch:
            self._order = (
                epoch,
                generator(self.seed, self.name, "order", epoch).permutation(len(self.photos)),
            )
        return int(self._order[1][place])

    def sample(self, step: int, position: int) -> Sample:
        return self.policy(
            self.photos.sample(self.index(step, position)),
            derive(self.seed, self.name, "augment", step, position),
        )


@dataclass
class Share:
    """Which part of every global batch one process sees in one micro-batch: slice `part` of `parts` equal slices of each stream."""

    streams: Sequence[Stream]
    rank: int = 0
    world: int = 1
    accumulate: int = 1

    def positions(self, stream: Stream, micro: int) -> range:
        size = stream.batch // (self.world * self.accumulate)
        start = (micro * self.world + self.rank) * size
        return range(start, start + size)


class TrainBatches(Dataset):
    """Item n is micro-batch n % accumulate of step n // accumulate, collated."""

    def __init__(self, share: Share, collate: Callable[[list[Sample]], dict[str, Any]]):
        self.share, self.collate = share, collate

    def __getitem__(self, item: int) -> dict[str, Any]:
        step, micro = divmod(item, self.share.accumulate)
        samples, human, names = [], [], []
        for order, stream in enumerate(self.share.streams):
            for position in self.share.positions(stream, micro):
                samples.append(stream.sample(step, position))
                human.append(order == 0)
                names.append(str(stream.photos.path(stream.index(step, position))))
        return self.collate(samples) | {"human": torch.tensor(human), "names": names}


class EvalBatches(Dataset):
    """Item n is photos [n * batch, (n + 1) * batch) of a data set, prepared by `prepare` and collated, with their
    `indices`, `scales`, `sizes` (height, width) before, and `truths`: the class maps (H, W) at that size, or None."""

    def __init__(
        self,
        photos: Photos,
        batch: int,
        prepare: Callable[[Sample], tuple[Sample, float]],
        collate: Callable[[list[Sample]], dict[str, Any]],
    ):
        self.photos, self.batch, self.prepare, self.collate = photos, batch, prepare, collate

    def __len__(self) -> int:
        return -(-len(self.photos) // self.batch)

    def __getitem__(self, item: int) -> dict[str, Any]:
        indices = range(item * self.batch, min((item + 1) * self.batch, len(self.photos)))
        raw = [self.photos.sample(i) for i in indices]
        samples, scales = zip(*(self.prepare(sample) for sample in raw))
        return self.collate(list(samples)) | {
            "indices": list(indices),
            "scales": list(scales),
            "sizes": [s.image.shape[:2] for s in raw],
            "truths": [s.mask for s in raw],
        }


def _quiet(_: int) -> None:
    # a worker owns one core: threads inside OpenCV and torch would fight the training process for the others
    cv2.setNumThreads(0)
    # a signal to the whole group is for the training process, which still needs its workers to finish the step
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)


class _Guarded(Dataset):
    """Hands a UserError over as an item: raised inside a worker it would arrive wrapped in that worker's traceback."""

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
    """The `items` of `dataset` in this order; every item is already a batch.  Raises UserError for a photo that cannot be read."""
    workers = min(workers, len(items))
    # a generator of its own: starting to iterate would draw from torch's global one, so that a restarted run's first step would
    # drop other paths than an uninterrupted run's
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
