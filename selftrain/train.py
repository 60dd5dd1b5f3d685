"""The train loop of every cell.  It mixes feeds and follows a schedule; it does not know what a label is.

trainer = Trainer(engine, recipe, network, objectives, feeds, cell.folder, title, cell.key)
final = trainer.run(lambda network: evaluate(...))      # averaged weights
"""

import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import torch
from accelerate.utils import gather_object
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from selftrain import checkpoint
from selftrain.data.loader import Group, Share, Stream, TrainBatches, loader
from selftrain.engine import Engine, to_device
from selftrain.mix import FeedLoss, NormalisedMix
from selftrain.models.network import Network
from selftrain.models.norm import synchronise
from selftrain.recipe import Recipe
from selftrain.system.errors import UserError
from selftrain.system.machine import energy_joules
from selftrain.system.progress import peak_memory
from selftrain.system.seeds import derive
from selftrain.system.stop import Stopped
from selftrain.tasks.protocol import Batch, Loss, Objective


@dataclass
class OpenFeed:
    """A declared feed at work: its samples and the name of the objective that it trains.

    The first feed of a run sets the scale of the loss.
    """

    stream: Stream
    objective: str


@dataclass
class State:
    """All that a run is at a step, besides its weights; what a checkpoint holds."""

    step: int = 0
    curve: list[dict] = field(default_factory=list)
    seconds: float = 0.0
    peak: float = 0.0
    joules: float | None = None
    """of all processes' accelerators, where they report it"""


class Learner(nn.Module):
    """What is trained: the network, and the mix, whose state belongs to the run."""

    def __init__(self, network: Network, objectives: dict[str, Objective], mix: nn.Module):
        """`objectives`: those of the feeds, by name."""
        super().__init__()
        self.network, self.mix, self.objectives = network, mix, objectives

    def forward(self, batches: dict[str, Batch]) -> dict[str, Loss]:
        """The loss of each objective's batch.

        Images of one size go through the trunk together, whatever their objective, so that they share batch
        norm's statistics.
        """
        maps = self._maps(batches)
        return {
            name: objective.loss(maps[name], self.network.heads[objective.head], batches[name])
            for name, objective in self.objectives.items()
        }

    def _maps(self, batches: dict[str, Batch]) -> dict[str, list[list[Tensor]]]:
        """The trunk's maps of every view, by objective."""
        passes: dict[tuple[int, ...], list[tuple[str, int, Tensor]]] = {}
        for name in self.objectives:
            for view, images in enumerate(batches[name]["images"]):
                passes.setdefault(tuple(images.shape[2:]), []).append((name, view, images))
        found: dict[str, dict[int, list[Tensor]]] = {name: {} for name in self.objectives}
        for together in passes.values():
            images = [each for _, _, each in together]
            levels = self.network.maps(images[0] if len(images) == 1 else torch.cat(images))
            sizes = [len(each) for each in images]
            split = [[level] if len(images) == 1 else level.split(sizes) for level in levels]
            for place, (name, view, _) in enumerate(together):
                found[name][view] = [level[place] for level in split]
        return {name: [views[view] for view in sorted(views)] for name, views in found.items()}


class Trainer:
    """Trains one cell in `folder`; finds its own checkpoint there and goes on from it."""

    def __init__(
        self,
        engine: Engine,
        recipe: Recipe,
        network: Network,
        objectives: dict[str, Objective],
        feeds: list[OpenFeed],
        folder: Path,
        title: str,
        key: str,
    ):
        """Raises UserError for a batch that does not divide over the processes, and for a checkpoint of
        another cell.
        """
        self.engine, self.recipe, self.feeds = engine, recipe, feeds
        self.folder, self.title, self.key = folder, title, key
        self.objectives = {feed.objective: objectives[feed.objective] for feed in feeds}
        accelerator = engine.accelerator
        for feed in feeds:
            check_batch(feed.stream.name, feed.stream.batch, recipe, accelerator.num_processes)
            check_accumulation(feed.objective, self.objectives[feed.objective], recipe)
        network = network.to(memory_format=torch.channels_last)
        # warm-up: a constant decay would keep 0.999^1000, a third, of the first weights in a run of 1000
        # steps, good ones in
        # one arm and noise in another
        self.ema = ModelEmaV3(network, decay=recipe.ema, use_warmup=True).to(accelerator.device)
        self.ema.module.eval()
        network = synchronise(network, accelerator.device) if accelerator.num_processes > 1 else network
        mix = NormalisedMix(len(feeds), recipe.alpha, recipe.loss_momentum)
        self.raw = Learner(network, self.objectives, mix).to(accelerator.device)
        # fused SGD stores uninitialised momentum when fp16's first step overflows (torch.optim.sgd,
        # found_inf)
        self.optimizer = make_optimizer(self.raw, recipe, fused=accelerator.scaler is None)
        self.state = State()
        self._joules_before = energy_joules()
        if accelerator.scaler is not None:  # its one scaler must not carry one cell's scale into the next
            accelerator.scaler.load_state_dict(torch.amp.GradScaler(accelerator.device.type).state_dict())
        self._restore(checkpoint.load(self.last))
        self.model, self.prepared = accelerator.prepare(self.raw, self.optimizer)

    @property
    def last(self) -> Path:
        """The checkpoint's file."""
        return self.folder / "last.pt"

    # ---- checkpoint -------------------------------------------------------------------------------------

    def _restore(self, saved: dict | None) -> None:
        if saved is None:
            return
        if saved["key"] != self.key:
            raise UserError(
                f"{self.last}: belongs to another cell ({saved['key']}, not {self.key}); delete it"
            )
        self.raw.load_state_dict(saved["model"])
        self.ema.module.load_state_dict(saved["ema"])
        self.optimizer.load_state_dict(saved["optimizer"])
        if self.engine.accelerator.scaler is not None and saved["scaler"]:
            self.engine.accelerator.scaler.load_state_dict(saved["scaler"])
        self.state = State(**saved["state"])

    def _count_energy(self) -> None:
        """Add what all processes' accelerators used since the last call."""
        now = energy_joules()
        before = self._joules_before
        used = gather_object([None if now is None or before is None else now - before])
        self._joules_before = now
        if None not in used:
            self.state.joules = (self.state.joules or 0.0) + sum(used)

    def save(self) -> None:
        """Written by the main process; the others hold the same state and wait."""
        self._count_energy()
        if self.engine.accelerator.is_main_process:
            scaler = self.engine.accelerator.scaler
            content = {
                "key": self.key,
                "model": self.raw.state_dict(),
                "ema": self.ema.module.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "scaler": scaler.state_dict() if scaler else None,
                "state": vars(self.state),
            }
            checkpoint.save(self.last, content)
        self.engine.accelerator.wait_for_everyone()

    # ---- loop -------------------------------------------------------------------------------------------

    def run(self, evaluate: Callable[[nn.Module], dict]) -> nn.Module:
        """Train to the last step; returns the network with averaged weights.

        `evaluate` gives the metrics of a point of the learning curve.  Raises Stopped when told to stop, with
        everything saved.
        """
        r, state = self.recipe, self.state
        batches = self._batches()
        images_a_step = sum(feed.stream.batch for feed in self.feeds)
        began, first = time.perf_counter(), state.step
        with self.engine.stage(self.title, r.steps, state.step) as bar:
            while True:
                if self._due(state.step) and not any(point["step"] == state.step for point in state.curve):
                    scores = evaluate(self.ema.module)
                    state.curve.append({"step": state.step, **scores})
                    began = self._clock(began)
                    self._track(**scores)
                if state.step == r.steps:
                    self._count_energy()
                    break
                loss = self._step(batches)
                state.step += 1
                began = self._clock(began)
                state.peak = max(state.peak, peak_memory())
                bar.update(state.step, (state.step - first) * images_a_step, loss=loss)
                if state.step % 50 == 0:
                    self._track(loss=loss, lr=self.optimizer.param_groups[0]["lr"])
                if state.step - first == 10:
                    self.engine.on_rate(state.seconds, state.step)
                stopped = self.engine.stop.poll()
                if stopped or state.step % r.save_every == 0 or self._due(state.step):
                    self.save()
                if stopped:
                    raise Stopped(self.engine.stop.exit_code)
        return self.ema.module

    def _batches(self):
        """Micro-batches from the step at hand to the last one."""
        r, accelerator = self.recipe, self.engine.accelerator
        streams = {
            name: [feed.stream for feed in self.feeds if feed.objective == name] for name in self.objectives
        }
        groups = {name: Group(streams[name], self.objectives[name].collate) for name in streams}
        share = Share(accelerator.process_index, accelerator.num_processes, r.accumulate)
        items = range(self.state.step * r.accumulate, r.steps * r.accumulate)
        pin = accelerator.device.type == "cuda"
        return loader(TrainBatches(groups, share), items, r.workers, pin=pin)

    def _clock(self, began: float) -> float:
        """Add the seconds since `began`; returns now."""
        now = time.perf_counter()
        self.state.seconds += now - began
        return now

    def _track(self, **values: float) -> None:
        named = {f"{self.title}/{name}": value for name, value in values.items()}
        self.engine.accelerator.log(named, step=self.engine.steps_before + self.state.step)

    def _due(self, step: int) -> bool:
        return step > 0 and (step % self.recipe.eval_every == 0 or step == self.recipe.steps)

    def _step(self, batches) -> float:
        """One optimizer step; returns its loss.

        Raises UserError before the weights are touched when the loss is not finite.
        """
        r, accelerator, step = self.recipe, self.engine.accelerator, self.state.step
        # dropout and stochastic depth draw from torch's generator: tie it to the step, so that a resumed run
        # draws the same
        torch.manual_seed(derive(r.seed, "model", step, accelerator.process_index))
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(r, step)
        self.model.train()
        total = 0.0
        for micro in range(r.accumulate):
            batch = to_device(next(batches), accelerator.device)
            last = micro == r.accumulate - 1
            with accelerator.autocast(), nullcontext() if last else accelerator.no_sync(self.model):
                losses = self.model(batch)
                loss, value = self._combine(losses, batch)
                if not math.isfinite(value):
                    self._refuse(losses, batch, value)
                accelerator.backward(loss / r.accumulate)
            total += value / r.accumulate
        if r.clip_norm:
            norm = accelerator.clip_grad_norm_(self.model.parameters(), r.clip_norm)
            if accelerator.scaler is None and not torch.isfinite(norm):
                self._refuse(losses, batch, float(norm), "gradient norm")
        self.prepared.step()
        self.prepared.zero_grad()
        self.ema.update(self.raw.network, step=step)
        return total

    def _combine(self, losses: dict[str, Loss], batches: dict[str, Batch]) -> tuple[Tensor, float]:
        """((loss for backward), its value over all processes).

        Sums and counts are added over all processes before they divide, so that two processes take the step
        of one.
        """
        accelerator = self.engine.accelerator
        parts = [_of_feed(losses[feed.objective], batches[feed.objective], feed) for feed in self.feeds]
        sums = torch.stack([part.sum for part in parts])
        totals = torch.cat([sums.detach(), torch.stack([part.count for part in parts]).to(sums.dtype)])
        if accelerator.num_processes > 1:
            totals = accelerator.reduce(totals, "sum")
        numbers = totals.tolist()
        fed = [
            FeedLoss(
                here, total, count, self.objectives[feed.objective].floor, feed.stream.batch, feed.objective
            )
            for here, total, count, feed in zip(
                sums, numbers[: len(parts)], numbers[len(parts) :], self.feeds, strict=True
            )
        ]
        here, value = self.raw.mix(fed)
        # DistributedDataParallel averages gradients over processes; these losses are sums
        return here * accelerator.num_processes, value

    def _refuse(
        self, losses: dict[str, Loss], batches: dict[str, Batch], value: float, what: str = "loss"
    ) -> None:
        names = [name for batch in batches.values() for name in batch["names"]]
        bad = [name for each in losses for name in _not_finite(losses[each], batches[each])] or names
        names = sorted({name for each in gather_object([bad]) for name in each})
        raise UserError(
            f"{self.title}: {what} is {value} at step {self.state.step + 1}, before the weights were "
            "touched. Images of the batch "
            f"that are to blame or were in it: {', '.join(names[:8])}{' ...' if len(names) > 8 else ''}. "
            "Lower --lr, lengthen "
            "--warmup-steps, or check those files; the checkpoint before is good"
        )


def _of_feed(loss: Loss, batch: Batch, feed: OpenFeed) -> Loss:
    """The part of an objective's loss that one feed's samples have, as () sums."""
    if not loss.sum.ndim:
        return loss
    first, end = batch["rows"][feed.stream.name]
    return Loss(loss.sum[first:end].sum(), loss.count[first:end].sum())


def _not_finite(loss: Loss, batch: Batch) -> list[str]:
    """Files of the samples whose loss is not finite, where samples can be told apart."""
    sums = loss.sum.detach().tolist() if loss.sum.ndim else []
    return [name for name, value in zip(batch["names"], sums) if not math.isfinite(value)]


def check_batch(name: str, batch: int, recipe: Recipe, processes: int) -> None:
    """Raises UserError when a global batch does not divide evenly over processes and micro-batches."""
    parts = processes * recipe.accumulate
    if batch % parts or batch < parts:
        raise UserError(
            f"a batch of {batch} {name} images does not divide over {processes} processes x "
            f"{recipe.accumulate} micro-batches; "
            f"choose --batch-size (and --pseudo-ratio) so that it is a multiple of {parts}"
        )


def check_accumulation(name: str, objective: Objective, recipe: Recipe) -> None:
    """Raises UserError when gradient accumulation would change what an objective computes."""
    if objective.whole_batch and recipe.accumulate > 1:
        raise UserError(
            f"--accumulate {recipe.accumulate}: a sample's loss of {name} depends on the whole batch, which "
            "micro-batches would "
            "cut up; leave --accumulate at 1, and choose a batch that fits"
        )


def learning_rate(recipe: Recipe, step: int) -> float:
    """Linear warm-up from 1 % of the peak over `recipe.warmup()` steps, then a cosine to zero.

    Zoph et al. 2020: 0.0032 -> 0.32 over 1000 steps at a batch of 256.
    """
    peak, warmup = recipe.peak_lr(), recipe.warmup()
    if step < warmup:
        return peak * (0.01 + 0.99 * step / warmup)
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, recipe.steps - warmup)))


def make_optimizer(model: nn.Module, recipe: Recipe, fused: bool = True) -> torch.optim.Optimizer:
    """SGD with momentum or AdamW over everything that may move; batch norm and biases are not decayed (as in
    the official code).
    """
    moving = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in moving if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in moving if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=recipe.peak_lr(), momentum=recipe.momentum, fused=fused)
    return torch.optim.AdamW(groups, lr=recipe.peak_lr(), fused=fused)
