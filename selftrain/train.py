"""The train loop of every arm and task.  Arms differ by the weights they start from and by whether `streams` holds a second,
pseudo-labelled stream; nothing here knows what a label is."""

import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from selftrain import checkpoint
from selftrain.data.loader import EvalBatches, Photos, Share, Stream, TrainBatches, loader
from selftrain.models.norm import synchronise
from selftrain.recipe import Recipe
from selftrain.system.errors import UserError
from selftrain.system.machine import energy_joules
from selftrain.system.progress import Stage, peak_memory
from selftrain.system.seeds import derive
from selftrain.system.stop import Stop, Stopped
from selftrain.tasks.protocol import Batch, Task


@dataclass
class Engine:
    """What every stage needs to run: processes, stop flag, console."""

    accelerator: Accelerator
    stop: Stop
    console: Any = None  # rich console on the main process, None elsewhere
    steps_before: int = 0  # of earlier cells: trackers want steps that only grow
    on_rate: Callable[[float, int], None] = lambda seconds, steps: (
        None
    )  # told the seconds that the first steps took

    def agree(self, answer: bool) -> bool:
        """The main process's answer, on every process: two views of a shared file system may differ for a moment."""
        return bool(broadcast_object_list([answer])[0])

    def stage(self, title: str, total: int, done: int = 0, unit: str = "step") -> Stage:
        return Stage(self.console, title, total, done, unit)


@dataclass
class Averages:
    """Moving averages of the human and the pseudo loss (paper App. B), with the start-up bias taken out."""

    momentum: float
    human: float = 0.0
    pseudo: float = 0.0
    updates: int = 0

    def update(self, human: float, pseudo: float) -> None:
        self.updates += 1
        self.human += (1 - self.momentum) * (human - self.human)
        self.pseudo += (1 - self.momentum) * (pseudo - self.pseudo)

    def ratio(self) -> float:
        """L̄_h / L̄_p: the bias correction of both is the same factor and cancels.  A number, so no gradient flows through it."""
        return self.human / max(self.pseudo, 1e-12)


def normalised_loss(human: Tensor, pseudo: Tensor, ratio: float, alpha: float) -> Tensor:
    """1 / (1 + alpha) * (L_h + alpha * L̄_h / L̄_p * L_p), Zoph et al. 2020, App. B."""
    return (human + alpha * ratio * pseudo) / (1 + alpha)


@dataclass
class State:
    """All that a run is at a step; what a checkpoint holds."""

    step: int = 0
    curve: list[dict] = field(default_factory=list)
    seconds: float = 0.0
    peak: float = 0.0
    joules: float | None = None  # of all processes' accelerators, where they say


class Trainer:
    """Trains one cell in `folder`; finds its own checkpoint there and goes on from it."""

    def __init__(
        self,
        engine: Engine,
        task: Task,
        recipe: Recipe,
        model: nn.Module,
        streams: list[Stream],
        folder: Path,
        title: str,
        key: str,
    ):
        self.engine, self.task, self.recipe, self.streams, self.folder, self.title, self.key = (
            engine,
            task,
            recipe,
            streams,
            folder,
            title,
            key,
        )
        accelerator = engine.accelerator
        for stream in streams:
            check_batch(stream.name, stream.batch, recipe, accelerator.num_processes)
        model = model.to(memory_format=torch.channels_last)
        # warm-up: a constant decay would keep 0.999^1000, a third, of the first weights in a run of 1000 steps, good ones in one arm
        # and noise in another
        self.ema = ModelEmaV3(model, decay=recipe.ema, use_warmup=True).to(accelerator.device)
        self.ema.module.eval()
        self.raw = synchronise(model, accelerator.device) if accelerator.num_processes > 1 else model
        self.raw.to(accelerator.device)
        # fused SGD stores uninitialised momentum when fp16's first step overflows (torch.optim.sgd, found_inf)
        self.optimizer = _optimizer(self.raw, recipe, fused=accelerator.scaler is None)
        self.state, self.averages = State(), Averages(recipe.loss_momentum)
        self.joules = energy_joules()
        if (
            accelerator.scaler is not None
        ):  # the accelerator's one scaler must not carry one cell's scale into the next
            accelerator.scaler.load_state_dict(torch.amp.GradScaler(accelerator.device.type).state_dict())
        self._restore(checkpoint.load(self.last))
        self.model, self.prepared = accelerator.prepare(self.raw, self.optimizer)

    @property
    def last(self) -> Path:
        return self.folder / "last.pt"

    # ---- checkpoint -------------------------------------------------------------------------------------------------------

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
        self.averages = Averages(**saved["averages"])

    def _count_energy(self) -> None:
        """Add what all processes' accelerators used since the last call."""
        now = energy_joules()
        used = gather_object([None if now is None or self.joules is None else now - self.joules])
        self.joules = now
        if None not in used:
            self.state.joules = (self.state.joules or 0.0) + sum(used)

    def save(self) -> None:
        """Written by the main process; the others hold the same state and wait."""
        self._count_energy()
        if self.engine.accelerator.is_main_process:
            scaler = self.engine.accelerator.scaler
            checkpoint.save(
                self.last,
                {
                    "key": self.key,
                    "model": self.raw.state_dict(),
                    "ema": self.ema.module.state_dict(),
                    "optimizer": self.optimizer.state_dict(),
                    "scaler": scaler.state_dict() if scaler else None,
                    "state": vars(self.state),
                    "averages": vars(self.averages),
                },
            )
        self.engine.accelerator.wait_for_everyone()

    # ---- loop -------------------------------------------------------------------------------------------------------------

    def run(self, evaluate: Callable[[nn.Module], dict]) -> nn.Module:
        """Train to the last step; returns the averaged weights.  `evaluate` gives the metrics of the learning curve."""
        r, state, accelerator = self.recipe, self.state, self.engine.accelerator
        share = Share(self.streams, accelerator.process_index, accelerator.num_processes, r.accumulate)
        batches = loader(
            TrainBatches(share, self.task.collate),
            range(state.step * r.accumulate, r.steps * r.accumulate),
            r.workers,
            pin=accelerator.device.type == "cuda",
        )
        images_a_step = sum(stream.batch for stream in self.streams)
        began, first = time.perf_counter(), state.step
        with self.engine.stage(self.title, r.steps, state.step) as bar:
            while True:
                if self._due(state.step) and not any(point["step"] == state.step for point in state.curve):
                    scores = evaluate(self.ema.module)
                    state.curve.append({"step": state.step, **scores})
                    now = time.perf_counter()
                    state.seconds, began = state.seconds + now - began, now
                    self._track(**scores)
                if state.step == r.steps:
                    self._count_energy()
                    break
                loss = self._step(batches)
                state.step += 1
                now = time.perf_counter()
                state.seconds, began = state.seconds + now - began, now
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

    def _track(self, **values: float) -> None:
        self.engine.accelerator.log(
            {f"{self.title}/{name}": value for name, value in values.items()},
            step=self.engine.steps_before + self.state.step,
        )

    def _due(self, step: int) -> bool:
        return step > 0 and (step % self.recipe.eval_every == 0 or step == self.recipe.steps)

    def _step(self, batches) -> float:
        """One optimizer step; returns its loss.  Raises UserError before the weights are touched when that is not finite."""
        r, accelerator, step = self.recipe, self.engine.accelerator, self.state.step
        # dropout and stochastic depth draw from torch's generator: tie it to the step, so that a resumed run draws the same
        torch.manual_seed(derive(r.seed, "model", step, accelerator.process_index))
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(r, step)
        self.model.train()
        total = 0.0
        for micro in range(r.accumulate):
            batch = _to(next(batches), accelerator.device)
            last = micro == r.accumulate - 1
            with accelerator.autocast(), nullcontext() if last else accelerator.no_sync(self.model):
                sums, counts = self.task.losses(self.model, batch)
                loss, value = self._combine(sums, counts, batch["human"])
                if not math.isfinite(value):
                    self._refuse(sums, batch["names"], value)
                accelerator.backward(loss / r.accumulate)
            total += value / r.accumulate
        if r.clip_norm:
            norm = accelerator.clip_grad_norm_(self.model.parameters(), r.clip_norm)
            if accelerator.scaler is None and not torch.isfinite(norm):
                self._refuse(sums, batch["names"], float(norm), "gradient norm")
        self.prepared.step()
        self.prepared.zero_grad()
        self.ema.update(self.raw, step=step)
        return total

    def _combine(self, sums: Tensor, counts: Tensor, human: Tensor) -> tuple[Tensor, float]:
        """((loss for backward), its value over all processes).

        Sums and counts are added over all processes before they divide, so that two processes take the step of one.  The human half
        is what it is in the supervised arm.  The pseudo half is divided by the mean count of both: a nearly empty one must not blow up,
        and its scale is taken out by L̄_h / L̄_p anyway.
        """
        r, accelerator = self.recipe, self.engine.accelerator
        parts = torch.stack([sums[human].sum(), sums[~human].sum()])
        totals = torch.cat([parts.detach(), torch.stack([counts[human].sum(), counts.sum()]).to(parts.dtype)])
        if accelerator.num_processes > 1:
            totals = accelerator.reduce(totals, "sum")
        human_sum, pseudo_sum, human_count, count = totals.tolist()
        scale = (
            accelerator.num_processes
        )  # DistributedDataParallel averages gradients over processes; these losses are sums
        normaliser = human_count + 1
        if len(self.streams) == 1:
            return parts[0] * (scale / normaliser), human_sum / normaliser
        ratio = self.streams[1].batch / self.streams[0].batch
        pseudo_normaliser = ratio * (count / (1 + ratio) + 1)
        human_loss, pseudo_loss = human_sum / normaliser, pseudo_sum / pseudo_normaliser
        if not math.isfinite(human_loss + pseudo_loss):
            return parts.sum(), math.nan
        self.averages.update(human_loss, pseudo_loss)
        balance = self.averages.ratio()
        loss = normalised_loss(parts[0] / normaliser, parts[1] / pseudo_normaliser, balance, r.alpha)
        return loss * scale, float(normalised_loss(human_loss, pseudo_loss, balance, r.alpha))

    def _refuse(self, sums: Tensor, names: list[str], value: float, what: str = "loss") -> None:
        bad = [name for name, s in zip(names, sums.detach().tolist()) if not math.isfinite(s)] or names
        names = sorted({name for each in gather_object([bad]) for name in each})
        raise UserError(
            f"{self.title}: {what} is {value} at step {self.state.step + 1}, before the weights were touched. Images of the batch that are to "
            f"blame or were in it: {', '.join(names[:8])}{' ...' if len(names) > 8 else ''}. Lower --lr, lengthen --warmup-steps, or check "
            "those files; the checkpoint before is good"
        )


def check_batch(name: str, batch: int, recipe: Recipe, processes: int) -> None:
    """Raises UserError when a global batch does not divide evenly over processes and micro-batches."""
    parts = processes * recipe.accumulate
    if batch % parts or batch < parts:
        raise UserError(
            f"a batch of {batch} {name} images does not divide over {processes} processes x {recipe.accumulate} micro-batches; "
            f"choose --batch-size (and --pseudo-ratio) so that it is a multiple of {parts}"
        )


def learning_rate(recipe: Recipe, step: int) -> float:
    """Linear warm-up from 1 % of the peak over `warmup_steps`, then cosine to zero (Zoph et al. 2020: 0.0032 -> 0.32 over 1000 steps)."""
    peak, warmup = recipe.peak_lr(), recipe.warmup_steps
    if step < warmup:
        return peak * (0.01 + 0.99 * step / warmup)
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, recipe.steps - warmup)))


def _optimizer(model: nn.Module, recipe: Recipe, fused: bool = True) -> torch.optim.Optimizer:
    weights = [p for p in model.parameters() if p.ndim > 1]
    others = [
        p for p in model.parameters() if p.ndim <= 1
    ]  # batch norm and biases are not decayed (official regularisation)
    groups = [
        {"params": weights, "weight_decay": recipe.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=recipe.peak_lr(), momentum=recipe.momentum, fused=fused)
    return torch.optim.AdamW(groups, lr=recipe.peak_lr(), fused=fused)


def _to(batch: Batch, device: torch.device) -> Batch:
    return {k: v.to(device, non_blocking=True) if isinstance(v, Tensor) else v for k, v in batch.items()}


def predict(
    engine: Engine,
    task: Task,
    what: Callable[[nn.Module, Batch], list],
    model: nn.Module,
    photos: Photos,
    recipe: Recipe,
    title: str,
    items: list[int],
    done: Callable[[int, dict[int, Any]], None],
) -> None:
    """`what` (task.assess or task.label) of the eval batches `items`, dealt out over the processes; `done(item, {image index: found})`
    on the process that found it.  A batch holds the same images whatever the number of processes.  Raises Stopped."""
    accelerator = engine.accelerator
    mine = items[accelerator.process_index :: accelerator.num_processes]
    batches = loader(EvalBatches(photos, recipe.eval_batch, task.prepare, task.collate), mine, recipe.workers)
    model.eval()
    rounds = -(-len(items) // accelerator.num_processes)
    seen = 0
    with engine.stage(title, len(items), unit="batch") as bar, torch.inference_mode(), accelerator.autocast():
        for n in range(rounds):
            if n < len(mine):
                batch = _to(next(batches), accelerator.device)
                model = task.for_prediction(model, batch) if n == 0 else model
                done(mine[n], dict(zip(batch["indices"], what(model, batch), strict=True)))
                seen += len(batch["indices"]) * accelerator.num_processes
            bar.update(min(len(items), (n + 1) * accelerator.num_processes), seen)
            engine.stop.check()  # every process, busy or not, or the others would wait for it


def evaluate(
    engine: Engine, task: Task, model: nn.Module, dataset: Photos, recipe: Recipe, title: str
) -> dict[str, Any]:
    """Metrics of `model` on `dataset`; the same on every process, every image counted once."""
    mine: dict[int, Any] = {}
    items = list(range(-(-len(dataset) // recipe.eval_batch)))
    predict(
        engine, task, task.assess, model, dataset, recipe, title, items, lambda _, found: mine.update(found)
    )
    gathered = gather_object([mine])
    if engine.accelerator.num_processes == 1:
        return task.score(mine, dataset)
    everything = {k: v for part in gathered for k, v in part.items()}
    assert sum(map(len, gathered)) == len(everything), "an image was predicted by two processes"
    return task.score(everything, dataset)
