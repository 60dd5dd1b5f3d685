"""Order and augmentation are functions of (seed, step, position): no worker or restart can change a batch."""

from collections import Counter
from pathlib import Path

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from augment import Sample, build_policy
from selftrain.data.loader import Group, Share, Stream, TrainBatches, loader


class Squares:
    """Twelve 20 px images, each of one grey level."""

    def __len__(self):
        return 12

    def path(self, i):
        return Path(f"{i}.png")

    def sample(self, i):
        rng = np.random.default_rng(i)
        return Sample(
            rng.integers(0, 256, (20, 20, 3), dtype=np.uint8),
            np.array([[2, 2, 12, 14]], np.float32),
            np.array([i]),
            np.array([False]),
        )


def collate(views):
    return {"images": torch.from_numpy(np.stack([sample.image for (sample,) in views]))}


def stream(name="human", batch=4, seed=0):
    policy = build_policy("S4", 24)
    return Stream(name, Squares(), batch, lambda sample, draw: (policy(sample, draw),), seed)


def batches(first, last, workers, *streams, rank=0, world=1, accumulate=1):
    """(images, names) of items `first` to `last` - 1."""
    train = TrainBatches({"boxes": Group(streams, collate)}, Share(rank, world, accumulate))
    found = [batch["boxes"] for batch in loader(train, range(first, last), workers)]
    for batch in found:
        ends = [batch["rows"][each.name] for each in streams]
        assert [end for _, end in ends] == [start for start, _ in ends[1:]] + [len(batch["names"])]
    return [(batch["images"], batch["names"]) for batch in found]


def test_workers_and_restarts_do_not_change_a_batch():
    straight = batches(0, 6, 0, stream())
    for other in (batches(0, 6, 2, stream()), straight[:4] + batches(4, 6, 1, stream())):
        assert all(torch.equal(a, b) and m == n for (a, m), (b, n) in zip(straight, other, strict=True))


def test_processes_and_micro_batches_divide_the_same_global_batch():
    whole = batches(0, 3, 0, stream(), stream("pseudo", 8))
    for world, accumulate in ((2, 1), (1, 2), (2, 2), (4, 1)):
        for step in range(3):
            names, images = Counter(), []
            for rank in range(world):
                part = batches(
                    step * accumulate,
                    (step + 1) * accumulate,
                    0,
                    stream(),
                    stream("pseudo", 8),
                    rank=rank,
                    world=world,
                    accumulate=accumulate,
                )
                for image, name in part:
                    names.update(name)
                    images += [i.numpy().tobytes() for i in image]
            assert names == Counter(whole[step][1])
            assert sorted(images) == sorted(i.numpy().tobytes() for i in whole[step][0])


def test_augmentation_never_repeats_over_epochs_workers_and_streams():
    """Left alone, albumentations 2.0.8 gives every worker the same stream and repeats it each epoch."""
    s = Stream("human", Squares(), 4, lambda sample, seed: seed, 0)
    seeds = [s.sample(step, position) for step in range(50) for position in range(4)]
    other = Stream("pseudo", Squares(), 4, lambda sample, seed: seed, 0)
    seeds += [other.sample(step, position) for step in range(50) for position in range(4)]
    assert len(set(seeds)) == 400


@given(st.integers(1, 9), st.integers(0, 5))
def test_every_epoch_shows_every_photo_once(batch, seed):
    s = Stream("human", Squares(), batch, lambda sample, _: sample, seed)
    shown = [s.index(*divmod(n, batch)) for n in range(36)]
    for epoch in range(3):
        assert sorted(shown[12 * epoch : 12 * epoch + 12]) == list(range(12))


def test_streams_and_seeds_have_orders_of_their_own():
    orders = {
        (name, seed): tuple(Stream(name, Squares(), 12, None, seed).index(0, p) for p in range(12))
        for name in ("human", "pseudo")
        for seed in (0, 1)
    }
    assert len(set(orders.values())) == 4
