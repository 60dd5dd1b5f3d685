"""The loop trains a classifier as a plain loop of torch does: same pictures, same weights after some steps.

A linear probe of the loop is as good as a logistic regression on the same features.
"""

import math
from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
from accelerate import Accelerator
from torch import nn
from torch.nn import functional as F

from selftrain.data.folders import read_parts
from selftrain.data.folders.generated import generate_folders
from selftrain.data.loader import Stream
from selftrain.data.shapes.draw import Shapes
from selftrain.engine import Engine
from selftrain.models.network import Network
from selftrain.predict import evaluate
from selftrain.starts.start import normalisation, start_model
from selftrain.system.stop import Stop
from selftrain.tasks.classification.task import Classification
from selftrain.train import OpenFeed, Trainer
from tests.tasks.classification.small import CLASSIFY

SHAPES = Shapes(image_size=65, train=40, val=4, test=10, unlabeled=0, classes=4, objects=(1, 1), difficulty=0)


@pytest.fixture
def engine():
    accelerator = Accelerator(cpu=True)
    return Engine(accelerator, Stop(accelerator))


def made(tmp_path, shapes, **options):
    """Task, data and recipe of a run on generated pictures."""
    train, _, test = read_parts(generate_folders(tmp_path / "shapes", shapes))
    recipe = replace(CLASSIFY["demo"](), image_size=shapes.image_size, **options)
    mean, std = normalisation(recipe.backbone, "imagenet")
    return Classification(recipe, train.class_names).normalised(mean), train, test, mean, std


def fit(engine, task, network, train, folder):
    """The network with averaged weights after the recipe's steps."""
    recipe = task.recipe
    stream = Stream("human", train, recipe.batch_size, task.objectives["classes"].views, recipe.seed)
    feeds = [OpenFeed(stream, "classes")]
    trainer = Trainer(engine, recipe, network, task.objectives, feeds, folder, "title", "key")
    return stream, trainer.run(lambda network: {})


def test_some_steps_are_those_of_a_plain_loop(engine, tmp_path):
    few = dict(
        steps=6, warmup_steps=2, batch_size=8, lr_batch=8, lr=0.05, ema=0.0, clip_norm=0.0, eval_every=6
    )
    options = few | dict(optimizer="sgd", weight_decay=0.01, backbone="resnet10t")
    task, train, _, mean, std = made(tmp_path, SHAPES, **options)
    torch.manual_seed(0)
    trunk = task.trunk(mean, std)
    network = Network(trunk, {"classes": task.head("classes", trunk)})
    plain = timm.create_model("resnet10t", num_classes=4)
    plain.load_state_dict(trunk.backbone.net.state_dict(), strict=False)
    plain.fc.load_state_dict(network.heads["classes"].classifier.state_dict())
    before = {name: tensor.clone() for name, tensor in plain.state_dict().items()}
    stream, final = fit(engine, task, network, train, tmp_path / "cell")

    decayed = [p for p in plain.parameters() if p.ndim > 1]
    others = [p for p in plain.parameters() if p.ndim == 1]
    groups = [{"params": decayed, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.SGD(groups, lr=0.05, momentum=0.9)
    labels = {name: k for k, name in enumerate(train.class_names)}
    shift, scale = (torch.tensor(each).view(3, 1, 1) for each in (mean, std))
    plain.train()
    for step in range(6):
        (views,) = zip(*(stream.sample(step, position) for position in range(8)))
        images = torch.from_numpy(np.stack([view.image for view in views])).permute(0, 3, 1, 2) / 255
        files = [train.path(stream.index(step, position)) for position in range(8)]
        targets = torch.tensor([labels[file.parent.name] for file in files])
        warm = 0.01 + 0.99 * step / 2
        for group in optimizer.param_groups:
            group["lr"] = 0.05 * (warm if step < 2 else (1 + math.cos(math.pi * (step - 2) / 4)) / 2)
        optimizer.zero_grad()
        F.cross_entropy(plain((images - shift) / scale), targets).backward()
        optimizer.step()

    found = final.trunk.backbone.net.state_dict()
    found |= {f"fc.{name}": t for name, t in final.heads["classes"].classifier.state_dict().items()}
    wanted = plain.state_dict()
    assert found.keys() == wanted.keys()
    moved, apart = (
        math.sqrt(sum(float((wanted[n].double() - other[n].double()).square().sum()) for n in wanted))
        for other in (before, found)
    )
    assert apart < 1e-3 * moved and moved > 1, (apart, moved)


def logistic_regression(features, targets, classes, decay):
    """A linear layer (weight, bias) fitted to its optimum by L-BFGS."""
    layer = nn.Linear(features.shape[1], classes)
    optimizer = torch.optim.LBFGS(layer.parameters(), max_iter=300, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = F.cross_entropy(layer(features), targets) + decay * layer.weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return layer


@pytest.mark.slow
def test_a_linear_probe_is_as_good_as_a_logistic_regression_on_the_same_features(engine, tmp_path):
    shapes = replace(SHAPES, train=300, test=400, classes=8, difficulty=0.1)
    options = dict(steps=150, warmup_steps=10, lr=0.01, policy="S1", eval_every=150)
    task, train, test, mean, std = made(tmp_path, shapes, **options)
    torch.manual_seed(0)
    trunk = task.trunk(mean, std)
    network = Network(trunk, {"classes": task.head("classes", trunk)}, "backbone")
    start_model(network, "imagenet", task.recipe.backbone)
    features, targets = {}, {}
    trunk.eval()
    with torch.no_grad():
        for name, data in (("train", train), ("test", test)):
            parts = [[data.sample(i) for i in range(n, n + 50)] for n in range(0, len(data) // 50 * 50, 50)]
            maps = [trunk(task.scorer.prepare(part)["images"])[0].flatten(1) for part in parts]
            features[name] = torch.cat(maps)
            targets[name] = torch.from_numpy(data.classes.copy())[: len(features[name])]
    plain = []
    for decay in (1e-2, 1e-3, 1e-4):
        layer = logistic_regression(features["train"], targets["train"], 8, decay)
        right = layer(features["test"]).argmax(1) == targets["test"]
        plain.append(100 * float(right.float().mean()))
    _, final = fit(engine, task, network, train, tmp_path / "cell")
    score = evaluate(engine, task.scorer, final, test, task.recipe, "test")["top-1"]
    # 400 pictures at about 80 %: a standard error of 2 of each, of one set of pictures for both
    assert min(plain) - 6 < score < max(plain) + 6 and score > 50, (plain, score)
