"""The smallest task there can be: pictures of one grey level, which a network of one convolution is to name.

It has what the protocol asks for and no more, plus throw-away objectives for the kinds of cells that no real
task has yet.
"""

import hashlib
import json
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from selftrain.models.network import Network
from selftrain.tasks.protocol import Loss, Metric
from tests.programs import load


@dataclass
class Grey:
    """A picture of one level (0..255), and what somebody says its level is."""

    level: int
    label: float
    size: int = 8

    @property
    def image(self) -> np.ndarray:
        return np.full((self.size, self.size, 3), self.level, np.uint8)


class Greys:
    """A data set of grey pictures; a level that is an exception is a file that cannot be read."""

    def __init__(self, levels, labels=None, size: int = 8):
        self.levels, self.size = list(levels), size
        self.labels = (
            [level / 255 if isinstance(level, int) else 0 for level in self.levels]
            if labels is None
            else labels
        )
        self.hash = hashlib.blake2b(
            repr((self.levels, self.labels, size)).encode(), digest_size=8
        ).hexdigest()

    def __len__(self):
        return len(self.levels)

    def path(self, i):
        return Path(f"grey{i}.png")

    def sample(self, i):
        if isinstance(self.levels[i], Exception):
            raise self.levels[i]
        return Grey(self.levels[i], self.labels[i], self.size)

    @property
    def hidden(self):
        return self

    def take(self, positions):
        return Greys([self.levels[i] for i in positions], [self.labels[i] for i in positions], self.size)


class ToyTrunk(nn.Module):
    levels, channels = (3,), [4]

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())

    def forward(self, images):
        return [self.net(images.float() / 255)]


class ToyHead(nn.Module):
    def __init__(self, outputs: int = 1):
        super().__init__()
        self.linear = nn.Linear(4, outputs)

    def forward(self, maps, size):
        return self.linear(maps[0].mean((2, 3)))


def stack(greys: list[Grey]) -> torch.Tensor:
    return torch.from_numpy(np.stack([grey.image for grey in greys])).permute(0, 3, 1, 2)


class Brightness:
    """Name the level: squared error."""

    head, floor, whole_batch, poison = "brightness", 1.0, False, False

    def views(self, sample, seed):
        return (sample,)

    def collate(self, views):
        labels = torch.tensor([grey.label for (grey,) in views])
        return {"images": [stack([grey for (grey,) in views])], "labels": labels}

    def loss(self, maps, head, batch):
        error = (head(maps[0], (8, 8)).squeeze(1) - batch["labels"]).square()
        if self.poison:
            error = torch.where(batch["labels"] > 0.99, error * float("nan"), error)
        return Loss(error, torch.ones(len(error), dtype=torch.long))


class Dark(Brightness):
    """Another question about other pictures: is it dark?  It has a head of its own."""

    head, floor = "dark", 0.0

    def loss(self, maps, head, batch):
        logits = head(maps[0], (8, 8)).squeeze(1)
        dark = (batch["labels"] < 0.5).float()
        error = nn.functional.binary_cross_entropy_with_logits(logits, dark, reduction="none")
        return Loss(error, torch.ones_like(error))


class Agreement:
    """Two views of different sizes should say the same: no label is looked at."""

    head, floor, whole_batch = "agreement", 0.0, False

    def views(self, sample, seed):
        shift = seed % 16
        return replace(sample, level=max(0, sample.level - shift)), replace(
            sample, level=sample.level, size=6
        )

    def collate(self, views):
        return {"images": [stack(list(view)) for view in zip(*views)]}

    def loss(self, maps, head, batch):
        first, second = (head(view, None) for view in maps)
        error = (first - second).square().mean(1) + (first.mean(1) - 1).square()
        return Loss(error, torch.ones_like(error))


class BrightnessScorer:
    head, metrics = "brightness", (Metric("error", higher_is_better=False),)

    def prepare(self, samples):
        return {"images": stack(samples)}

    def assess(self, model, batch):
        return [{"level": level.reshape(1).numpy()} for level in model(batch["images"]).squeeze(1)]

    def score(self, found, data):
        return {"error": float(np.mean(self.errors(found, data)))}

    def errors(self, found, data):
        return [abs(float(found[i]["level"][0]) - data.levels[i] / 255) for i in range(len(data))]

    def resample(self, found, data, weights):
        return {"error": weights @ np.array(self.errors(found, data)) / weights.sum(1)}


class BrightnessLabeller(BrightnessScorer):
    raw_fields, label_fields, suffix = ("image_size",), (), ".json"

    def predict(self, model, batch, truth=None):
        return self.assess(model, batch)

    def keep(self, folder, pool, predictions):
        return predictions

    def select(self, path, parts, pool, human, info):
        labels = parts.each("level")[:, 0].tolist()
        report = {"pool_images": len(pool), "examples": []}
        path.write_text(json.dumps({"info": info, "labels": labels}))
        return report

    def read(self, path, pool):
        return Greys(pool.levels, json.loads(path.read_text())["labels"])

    def announce(self, pool):
        return None

    def describe(self, report):
        return f"{report['pool_images']} labels"


def darkest(parts, pool, count, seed):
    """Buy the labels of the pictures that the network calls darkest."""
    return np.sort(parts.each("level")[:, 0].argsort(kind="stable")[:count])


class Toy:
    """The task."""

    def __init__(self):
        self.objectives = {"brightness": Brightness(), "dark": Dark(), "agreement": Agreement()}
        self.scorer, self.labeller = BrightnessScorer(), BrightnessLabeller()
        self.strategies = {"darkest": darkest}

    def normalised(self, mean, recipe=None):
        return self

    def trunk(self, mean, std):
        return ToyTrunk()

    def head(self, name, trunk):
        return ToyHead(3 if name == "agreement" else 1)


def network(task: Toy | None = None) -> Network:
    """The toy's network with the weights of seed 0."""
    torch.manual_seed(0)
    return Network(ToyTrunk(), {"brightness": ToyHead()})


def recipe(**options):
    """A recipe of a few steps; any field can be changed."""
    few = dict(
        steps=8, warmup_steps=2, batch_size=4, eval_every=4, save_every=2, workers=0, lr=0.01, lr_batch=4
    )
    return replace(load("recipes.detection").COCO["demo"](), **(few | options))


levels = partial(range, 0, 250, 5)
