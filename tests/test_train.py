"""The loop by itself, on a task of one number an image: schedule, normalised loss, stopping, saving."""

import resource
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch import nn

from augment import Sample
from selftrain import checkpoint
from selftrain.curve import flattened, steps_to
from selftrain.data.loader import Stream
from selftrain.pseudo import label_pool
from selftrain.recipe import digest
from selftrain.system.errors import UserError
from selftrain.system.stop import Stop
from selftrain.train import Averages, Engine, Trainer, evaluate, learning_rate, normalised_loss
from tests.programs import load

COCO = load("recipes.detection").COCO


class Greys:
    """Images of one grey level, which is also their label."""

    def __init__(self, levels):
        self.levels = levels

    def __len__(self):
        return len(self.levels)

    def path(self, i):
        return Path(f"grey{i}.png")

    def sample(self, i):
        level = self.levels[i]
        if isinstance(level, Exception):
            raise level
        return Sample(
            np.full((8, 8, 3), level, np.uint8),
            np.zeros((0, 4), np.float32),
            np.array([], np.int64),
            np.array([], bool),
        )


class Brightness:
    """Predict an image's brightness; its own count says how many `objects` normalise the loss."""

    metric, columns, poison = "error", ("error",), False

    def model(self):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 1)
        )

    def prepare(self, sample):
        return sample, 1.0

    def collate(self, samples):
        return {"images": torch.from_numpy(np.stack([s.image for s in samples])).permute(0, 3, 1, 2)}

    def losses(self, model, batch):
        level = batch["images"][:, 0, 0, 0].float() / 255
        error = (model(batch["images"].float() / 255).squeeze(1) - level).square()
        if self.poison:
            error = torch.where(level > 0.99, error * float("nan"), error)
        return error, torch.ones(len(error), dtype=torch.long)

    def for_prediction(self, model, batch):
        return model

    def assess(self, model, batch):
        return model(batch["images"].float() / 255).squeeze(1).tolist()

    def score(self, predictions, dataset):
        return {
            "error": float(
                np.mean([abs(predictions[i] - dataset.levels[i] / 255) for i in range(len(dataset))])
            )
        }


@pytest.fixture
def engine():
    accelerator = Accelerator(cpu=True)
    return Engine(accelerator, Stop(accelerator))


def recipe(**options):
    return replace(
        COCO["demo"](),
        **(
            dict(
                steps=8,
                warmup_steps=2,
                batch_size=4,
                eval_every=4,
                save_every=2,
                workers=0,
                lr=0.01,
                lr_batch=4,
            )
            | options
        ),
    )


def trainer(engine, folder, r, *levels, task=None, key="cell"):
    task = task or Brightness()
    streams = [
        Stream(name, Greys(lv), r.batch_size, lambda sample, seed: sample, 0)
        for name, lv in zip(("human", "pseudo"), levels)
    ]
    return Trainer(engine, task, r, task.model(), streams, folder, "test", key)


# ---- schedule and losses ------------------------------------------------------------------------------------------------


def test_learning_rate_is_the_papers():
    """Zoph et al. 2020: 0.0032 -> 0.32 over 1000 steps at a batch of 256, then cosine to zero; linear in the batch."""
    paper = COCO["paper"]()
    assert learning_rate(paper, 0) == pytest.approx(0.0032) and learning_rate(paper, 1000) == pytest.approx(
        0.32
    )
    assert learning_rate(paper, 500) == pytest.approx((0.0032 + 0.32) / 2)
    assert learning_rate(paper, (1000 + paper.steps) // 2) == pytest.approx(0.16) and learning_rate(
        paper, paper.steps
    ) == pytest.approx(0, abs=1e-9)
    assert learning_rate(replace(paper, batch_size=64), 1000) == pytest.approx(0.08)


def test_normalised_loss_golden_numbers():
    """App. B: (L_h + alpha * avg_h / avg_p * L_p) / (1 + alpha), no gradient through the averages."""
    averages = Averages(0.99)
    for human, pseudo in ((2.0, 8.0), (4.0, 8.0)):
        averages.update(human, pseudo)
    # averages with bias taken out: (0.99 * 2 + 4) / 1.99 and 8
    assert averages.ratio() == pytest.approx((0.99 * 2 + 4) / 1.99 / 8)
    human, pseudo = torch.tensor(4.0, requires_grad=True), torch.tensor(8.0, requires_grad=True)
    loss = normalised_loss(human, pseudo, 0.25, alpha=3.0)
    loss.backward()
    assert loss.item() == pytest.approx((4 + 3 * 0.25 * 8) / 4)
    assert human.grad.item() == pytest.approx(1 / 4) and pseudo.grad.item() == pytest.approx(3 * 0.25 / 4)


def test_the_first_student_step_weighs_both_halves_alike_and_the_human_one_as_its_teacher_did(
    engine, tmp_path
):
    t = trainer(engine, tmp_path, recipe(alpha=1.0), [10] * 8, [200] * 8)
    sums, human = (
        torch.tensor([1.0, 2.0, 0.25, 0.5], requires_grad=True),
        torch.tensor([True, True, False, False]),
    )
    loss, value = t._combine(sums, torch.tensor([3, 3, 1, 1]), human)
    loss.backward()
    # human: 6 positives plus one; pseudo: 8 positives over two halves plus one = 5; the ratio of the first step makes both halves 3 / 7
    assert value == pytest.approx(3 / 7) == pytest.approx(loss.item())
    assert sums.grad.tolist() == pytest.approx([1 / 14, 1 / 14, 2 / 7, 2 / 7])
    assert t._combine(sums.detach()[:2], torch.tensor([3, 3]), human[:2])[1] == pytest.approx(
        3 / 7 / 2
    )  # nothing but people's labels: half of the loss, alpha 1


def test_how_sure_a_teacher_is_does_not_change_the_weight_of_human_labels(engine, tmp_path):
    for kept in (400, 40, 4):
        t = trainer(engine, tmp_path, recipe(alpha=1.0), [10] * 8, [200] * 8)
        sums = torch.tensor([50.0, kept / 8], requires_grad=True)
        t._combine(sums, torch.tensor([400, kept]), torch.tensor([True, False]))[0].backward()
        assert sums.grad[0].item() == pytest.approx(1 / 401 / 2)


def test_an_almost_empty_pseudo_half_does_not_blow_up(engine, tmp_path):
    t = trainer(engine, tmp_path, recipe(alpha=1.0), [10] * 8, [200] * 8)
    human = torch.tensor([True, False])
    values = [t._combine(torch.tensor([4.0, 1e-9]), torch.tensor([10, 0]), human)[1] for _ in range(20)]
    assert max(values) <= 4.0 and np.isfinite(values).all()


def test_supervised_loss_divides_by_positives_plus_one(engine, tmp_path):
    t = trainer(engine, tmp_path, recipe(), [10] * 8)
    loss, value = t._combine(torch.tensor([6.0, 2.0]), torch.tensor([2, 1]), torch.tensor([True, True]))
    assert loss.item() == value == 8 / 4


# ---- the loop -----------------------------------------------------------------------------------------------------------


def run(t, engine, levels=(0, 100, 255)):
    return t.run(lambda model: evaluate(engine, t.task, model, Greys(list(levels)), t.recipe, "evaluate"))


def test_a_run_learns_and_keeps_its_curve(engine, tmp_path):
    t = trainer(engine, tmp_path, recipe(steps=120, eval_every=40, ema=0.9), list(range(0, 250, 5)))
    before = evaluate(engine, t.task, t.ema.module, Greys([0, 100, 200]), t.recipe, "before")["error"]
    run(t, engine)
    assert [p["step"] for p in t.state.curve] == [40, 80, 120]
    assert t.state.curve[-1]["error"] < 0.5 * before


def test_resume_restores_everything_the_loop_has(engine, tmp_path):
    levels = list(range(0, 250, 5))
    straight = trainer(engine, tmp_path / "a", recipe(), levels, levels[:7])
    run(straight, engine)
    cut = trainer(engine, tmp_path / "b", recipe(), levels, levels[:7])
    cut.engine = replace(
        engine,
        stop=type(
            "Soon",
            (),
            {"poll": lambda self: cut.state.step == 5, "exit_code": 143, "check": lambda self: None},
        )(),
    )
    with pytest.raises(BaseException) as stopped:
        run(cut, engine)
    assert stopped.value.code == 143
    resumed = trainer(engine, tmp_path / "b", recipe(), levels, levels[:7])
    assert resumed.state.step == 5 and resumed.averages == cut.averages and resumed.averages.updates == 5
    assert resumed.state.curve == cut.state.curve and len(resumed.state.curve) == 1
    run(resumed, engine)
    for a, b in ((straight.raw, resumed.raw), (straight.ema.module, resumed.ema.module)):
        assert all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values()))
    assert straight.state.curve == resumed.state.curve


def test_averaged_weights_include_batch_norm_and_live_in_the_checkpoint(engine, tmp_path):
    t = trainer(
        engine, tmp_path, recipe(ema=0.5, steps=3, warmup_steps=1, eval_every=3), list(range(0, 250, 5))
    )
    run(t, engine)
    saved = checkpoint.load(t.last)
    assert {"1.running_mean", "1.running_var"} <= saved["ema"].keys()
    assert (
        not torch.equal(saved["ema"]["1.running_mean"], saved["model"]["1.running_mean"])
        and saved["ema"]["1.running_mean"].abs().sum() > 0
    )
    assert saved["state"]["step"] == 3


def test_non_finite_loss_stops_before_the_step_and_names_step_and_files(engine, tmp_path):
    task = Brightness()
    task.poison = True
    levels = [10, 20, 30, 40, 50, 60, 70, 255]  # image 7 makes the loss NaN
    t = trainer(engine, tmp_path, recipe(steps=4, warmup_steps=1), levels, task=task)
    before = None

    def remember(step=t._step):
        def wrapped(batches):
            nonlocal before
            before = {k: v.clone() for k, v in t.raw.named_parameters()}
            return step(batches)

        return wrapped

    t._step = remember()
    with pytest.raises(
        UserError, match=r"loss is nan at step [12], before the weights were touched.*grey7\.png"
    ) as error:
        run(t, engine)
    assert "grey0" not in str(error.value)  # only those to blame
    assert all(torch.equal(before[k], v) for k, v in t.raw.named_parameters())


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_photo_ends_the_run_by_name_without_a_traceback(engine, tmp_path, workers):
    t = trainer(
        engine, tmp_path, recipe(workers=workers), [UserError("broken.jpg: truncated; copy it again")]
    )
    with pytest.raises(UserError) as error:
        run(t, engine)
    assert str(error.value) == "broken.jpg: truncated; copy it again"


def test_disk_full_while_saving_leaves_the_previous_checkpoint_good(engine, tmp_path):
    t = trainer(engine, tmp_path, recipe(), [10] * 8)
    t.state.step = 2
    t.save()
    size = t.last.stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    t.state.step = 4
    try:
        resource.setrlimit(
            resource.RLIMIT_FSIZE, (size // 2, hard)
        )  # the kernel refuses the second half, as a full disk does
        with pytest.raises(
            UserError, match=r"last\.pt: the checkpoint could not be written.*previous one is untouched"
        ):
            t.save()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert checkpoint.load(t.last)["state"]["step"] == 2 and [p.name for p in tmp_path.iterdir()] == [
        "last.pt"
    ]


def test_a_damaged_or_foreign_checkpoint_is_refused_by_name(engine, tmp_path):
    t = trainer(engine, tmp_path, recipe(), [10] * 8)
    t.save()
    with pytest.raises(UserError, match="belongs to another cell"):
        trainer(engine, tmp_path, recipe(), [10] * 8, key="other")
    t.last.write_bytes(t.last.read_bytes()[:100])
    with pytest.raises(UserError, match=r"last\.pt.*Delete it"):
        trainer(engine, tmp_path, recipe(), [10] * 8)


def test_gradient_accumulation_sees_the_whole_batch(engine, tmp_path):
    """Without batch norm, two micro-batches of two take the step of one batch of four, but for the +1 of the normaliser."""

    class Plain(Brightness):
        def model(self):
            torch.manual_seed(0)
            return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 1))

    gradients = []
    for accumulate in (1, 2):
        t = trainer(
            engine,
            tmp_path / str(accumulate),
            recipe(
                accumulate=accumulate,
                optimizer="sgd",
                lr=1.0,
                lr_batch=4,
                momentum=0.0,
                weight_decay=0.0,
                clip_norm=0.0,
                steps=1,
                warmup_steps=0,
                eval_every=1,
            ),
            [10, 90, 150, 210],
            task=Plain(),
        )
        start = [p.detach().clone() for p in t.raw.parameters()]
        run(t, engine)
        gradients.append(torch.cat([(a - b).flatten() for a, b in zip(start, t.raw.parameters())]))
    torch.testing.assert_close(gradients[0] * (4 + 1) / 4, gradients[1] * (2 + 1) / 2, rtol=1e-4, atol=1e-6)


def test_a_batch_that_does_not_divide_is_refused(engine, tmp_path):
    with pytest.raises(UserError, match="--batch-size"):
        trainer(engine, tmp_path, recipe(accumulate=3), [10] * 8)


# ---- energy --------------------------------------------------------------------------------------------------------------


def test_energy_is_what_the_counter_of_the_accelerator_says_over_all_runs_of_a_cell(
    engine, tmp_path, monkeypatch
):
    """A counter since the driver was loaded: only differences count, and those of an interrupted run are kept in its checkpoint."""
    counter = iter((1000.0, 1010.0, 5000.0, 5007.0))
    monkeypatch.setattr("selftrain.train.energy_joules", lambda: next(counter))
    first = trainer(engine, tmp_path, recipe(), [10] * 8)
    first.save()
    assert first.state.joules == 10.0
    again = trainer(engine, tmp_path, recipe(), [10] * 8)  # another process, hours later
    again.save()
    assert again.state.joules == 17.0


def test_without_a_counter_energy_is_not_reported(engine, tmp_path):
    t = trainer(engine, tmp_path, recipe(), [10] * 8)
    t.save()
    assert t.state.joules is None


# ---- labelling ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "held, words",
    [(([0, 1], [1, 2, 3]), "5 predictions of 4 photos"), (([0, 1], [3]), "3 predictions of 3 photos")],
)
def test_predictions_that_overlap_or_lack_a_photo_are_no_labels(engine, tmp_path, held, words):
    """As after two commands that labelled one folder at once: counted twice, a photo would weigh twice."""

    class Labelling(Brightness):
        raw_fields, label_fields = ("image_size",), ()

    settings = recipe(eval_batch=4)  # one batch, whose first photo a part holds: nothing is left to predict
    pool = type("Pool", (), {"hash": "pool", "__len__": lambda self: 4})()
    folder = tmp_path / f"pool-{digest(['teacher', 'pool', settings.image_size])}"
    folder.mkdir()
    for n, indices in enumerate(held):
        np.savez(folder / f"part-{n}.npz", indices=indices, seconds=1.0)
    with pytest.raises(UserError, match=words):
        label_pool(
            engine,
            Labelling(),
            settings,
            None,
            "teacher",
            pool,
            SimpleNamespace(hash="human"),
            tmp_path,
            "label",
        )


# ---- what a curve says ----------------------------------------------------------------------------------------------------


def test_flattened_means_under_two_percent_over_the_last_quarter():
    def curve(*values):
        return [{"step": 100 * (i + 1), "AP": v} for i, v in enumerate(values)]

    assert flattened(curve(10, 20, 30, 30.3), "AP") is True
    assert flattened(curve(10, 20, 29, 30), "AP") is False
    assert flattened(curve(10, 30), "AP") is None
    assert (
        flattened(curve(10, 60, 60, 20), "AP") is False and flattened(curve(0, 0, 0, 0), "AP") is None
    )  # it fell; it learned nothing
    assert steps_to(curve(10, 20, 30), "AP", 15) == 200 and steps_to(curve(10, 20), "AP", 25) is None
