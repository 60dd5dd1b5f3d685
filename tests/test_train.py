"""The loop by itself, on the smallest task: schedule, mixed losses, stopping, saving."""

import json
import resource
from dataclasses import replace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch import nn

from selftrain import checkpoint
from selftrain.curve import steps_to
from selftrain.data.loader import Stream
from selftrain.engine import Engine
from selftrain.label import label_pool, report_file
from selftrain.mix import FeedLoss, NormalisedMix
from selftrain.models.network import Network
from selftrain.parts import Parts
from selftrain.predict import evaluate
from selftrain.recipe import digest
from selftrain.system.errors import UserError
from selftrain.system.stop import Stop
from selftrain.tasks.protocol import Loss
from selftrain.train import OpenFeed, Trainer, learning_rate
from tests.programs import load
from tests.toy import BrightnessLabeller, Greys, Toy, ToyHead, levels, network, recipe

COCO = load("recipes.detection").COCO
MANY = list(levels())


@pytest.fixture
def engine():
    accelerator = Accelerator(cpu=True)
    return Engine(accelerator, Stop(accelerator))


def trainer(engine, folder, r, *data, task=None, key="cell", net=None):
    """A trainer of the toy with a feed for each list of levels."""
    task = task or Toy()
    feeds = [
        OpenFeed(
            Stream(name, Greys(each), r.batch_size, task.objectives["brightness"].views, 0), "brightness"
        )
        for name, each in zip(("human", "pseudo", "third"), data)
    ]
    return Trainer(engine, r, net or network(), task.objectives, feeds, folder, "test", key)


def run(t, engine, shown=(0, 100, 255)):
    """Train to the end; the curve is measured on `shown`."""
    return t.run(lambda model: evaluate(engine, Toy().scorer, model, Greys(shown), t.recipe, "evaluate"))


# ---- schedule and losses --------------------------------------------------------------------------------


def test_learning_rate_is_the_papers():
    """Zoph et al.

    2020: 0.0032 -> 0.32 over 1000 steps at a batch of 256, then cosine to zero; linear in the batch.
    """
    paper = COCO["paper"]()
    assert learning_rate(paper, 0) == pytest.approx(0.0032)
    assert learning_rate(paper, 1000) == pytest.approx(0.32)
    assert learning_rate(paper, 500) == pytest.approx((0.0032 + 0.32) / 2)
    assert learning_rate(paper, (1000 + paper.steps) // 2) == pytest.approx(0.16)
    assert learning_rate(paper, paper.steps) == pytest.approx(0, abs=1e-9)
    assert learning_rate(replace(paper, batch_size=64), 1000) == pytest.approx(0.08)


def feed(total: float, count: float, batch: int = 4, floor: float = 1.0, objective: str = "boxes", here=None):
    here = torch.tensor(float(total)) if here is None else here
    return FeedLoss(here, float(total), float(count), floor, batch, objective)


def test_the_normalised_loss_has_the_papers_numbers():
    """App. B: (L_h + alpha * avg_h / avg_p * L_p) / (1 + alpha), no gradient through the averages."""
    mix = NormalisedMix(2, alpha=3.0, momentum=0.99)
    for human, pseudo in ((2.0, 8.0), (4.0, 8.0)):
        mix._update([human, pseudo])
    # averages with the start-up bias taken out: (0.99 * 2 + 4) / 1.99 and 8
    assert mix.ratios() == pytest.approx([(0.99 * 2 + 4) / 1.99 / 8])
    mix = NormalisedMix(
        2, alpha=3.0, momentum=0.0
    )  # averages are the losses at hand: both feeds weigh as the first
    human, pseudo = torch.tensor(4.0, requires_grad=True), torch.tensor(8.0, requires_grad=True)
    alone = dict(count=1.0, floor=0.0)
    loss, value = mix([feed(4, **alone, here=human), feed(8, **alone, objective="other", here=pseudo)])
    loss.backward()
    assert loss.item() == pytest.approx(value) == pytest.approx((4 + 3 * (4 / 8) * 8) / 4)
    assert human.grad.item() == pytest.approx(1 / 4) and pseudo.grad.item() == pytest.approx(3 * 0.5 / 4)


def test_three_feeds_weigh_as_the_sum_of_their_alphas_says():
    """L = (L_1 + sum_i alpha_i (mean L_1 / mean L_i) L_i) / (1 + sum_i alpha_i): at the first step each feed
    counts as the first one.
    """
    mix = NormalisedMix(3, alpha=(1.0, 2.0), momentum=0.99)
    alone = dict(count=1.0, floor=0.0)
    losses = [feed(4, **alone), feed(8, **alone, objective="b"), feed(0.5, **alone, objective="c")]
    assert mix(losses)[1] == pytest.approx(4.0)  # (4 + 1 * 4 + 2 * 4) / 4
    assert mix(losses[:2] + [feed(5.0, **alone, objective="c")])[1] > 4.0


def test_the_first_student_step_weighs_both_feeds_alike_and_the_human_one_as_its_teacher_did():
    mix = NormalisedMix(2, alpha=1.0, momentum=0.99)
    sums = torch.tensor([3.0, 0.75], requires_grad=True)
    loss, value = mix([feed(3.0, 6, here=sums[0]), feed(0.75, 2, here=sums[1])])
    loss.backward()
    # human: 6 positives plus one; pseudo: 8 positives over two feeds plus one = 5; the ratio makes both 3 / 7
    assert value == pytest.approx(3 / 7) == pytest.approx(loss.item())
    assert sums.grad.tolist() == pytest.approx([1 / 14, 2 / 7])


def test_how_sure_a_teacher_is_does_not_change_the_weight_of_human_labels():
    for kept in (400, 40, 4):
        sums = torch.tensor([50.0, kept / 8], requires_grad=True)
        mix = NormalisedMix(2, alpha=1.0, momentum=0.99)
        mix([feed(50.0, 400, here=sums[0]), feed(kept / 8, kept, here=sums[1])])[0].backward()
        assert sums.grad[0].item() == pytest.approx(1 / 401 / 2)


def test_an_almost_empty_pseudo_feed_does_not_blow_up():
    mix = NormalisedMix(2, alpha=1.0, momentum=0.99)
    values = [mix([feed(4.0, 10), feed(1e-9, 0)])[1] for _ in range(20)]
    assert max(values) <= 4.0 and np.isfinite(values).all()


def test_supervised_loss_divides_by_the_count_plus_the_objectives_floor(engine, tmp_path):
    t = trainer(engine, tmp_path, recipe(), [10] * 8)
    losses = {"brightness": Loss(torch.tensor([6.0, 2.0]), torch.tensor([2, 1]))}
    loss, value = t._combine(losses, {"brightness": {"rows": {"human": (0, 2)}, "names": []}})
    assert loss.item() == value == 8 / 4


# ---- the loop -------------------------------------------------------------------------------------------


def test_a_run_learns_and_keeps_its_curve(engine, tmp_path):
    t = trainer(engine, tmp_path, recipe(steps=120, eval_every=40, ema=0.9), MANY)
    before = evaluate(engine, Toy().scorer, t.ema.module, Greys([0, 100, 200]), t.recipe, "before")["error"]
    run(t, engine)
    assert [p["step"] for p in t.state.curve] == [40, 80, 120]
    assert t.state.curve[-1]["error"] < 0.5 * before


def test_resume_restores_everything_the_loop_has(engine, tmp_path):
    straight = trainer(engine, tmp_path / "a", recipe(), MANY, MANY[:7])
    run(straight, engine)
    cut = trainer(engine, tmp_path / "b", recipe(), MANY, MANY[:7])

    class Soon:
        """Says stop at step 5."""

        exit_code = 143

        def poll(self):
            return cut.state.step == 5

        def check(self):
            pass

    cut.engine = replace(engine, stop=Soon())
    with pytest.raises(BaseException) as stopped:
        run(cut, engine)
    assert stopped.value.code == 143
    resumed = trainer(engine, tmp_path / "b", recipe(), MANY, MANY[:7])
    assert resumed.state.step == 5 and resumed.raw.mix.updates == 5
    assert torch.equal(resumed.raw.mix.averages, cut.raw.mix.averages)
    assert resumed.state.curve == cut.state.curve and len(resumed.state.curve) == 1
    run(resumed, engine)
    for a, b in ((straight.raw, resumed.raw), (straight.ema.module, resumed.ema.module)):
        assert all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values()))
    assert straight.state.curve == resumed.state.curve


def test_averaged_weights_include_batch_norm_and_live_in_the_checkpoint(engine, tmp_path):
    t = trainer(engine, tmp_path, recipe(ema=0.5, steps=3, warmup_steps=1, eval_every=3), MANY)
    run(t, engine)
    saved = checkpoint.load(t.last)
    mean = "trunk.net.1.running_mean"
    assert {mean, "trunk.net.1.running_var"} <= saved["ema"].keys()
    assert not torch.equal(saved["ema"][mean], saved["model"][f"network.{mean}"])
    assert saved["ema"][mean].abs().sum() > 0
    assert saved["state"]["step"] == 3


def test_a_frozen_trunk_keeps_weights_and_statistics_and_costs_no_gradient(engine, tmp_path):
    torch.manual_seed(0)
    frozen = Network(network().trunk, {"brightness": ToyHead()}, "backbone")
    before = {name: tensor.clone() for name, tensor in frozen.state_dict().items()}
    t = trainer(engine, tmp_path, recipe(ema=0.0), MANY, net=frozen)
    run(t, engine)
    after = t.raw.network.state_dict()
    assert {name for name in before if not torch.equal(before[name], after[name])} == {
        "heads.brightness.linear.weight",
        "heads.brightness.linear.bias",
    }
    assert all(p.grad is None for p in t.raw.network.trunk.parameters())
    assert not t.raw.network.maps(torch.zeros(2, 3, 8, 8))[0].requires_grad


def test_non_finite_loss_stops_before_the_step_and_names_step_and_files(engine, tmp_path):
    task = Toy()
    task.objectives["brightness"].poison = True
    shown = [10, 20, 30, 40, 50, 60, 70, 255]  # image 7 makes the loss NaN
    t = trainer(engine, tmp_path, recipe(steps=4, warmup_steps=1), shown, task=task)
    before = None

    def remember(step=t._step):
        def wrapped(batches):
            nonlocal before
            before = {k: v.clone() for k, v in t.raw.named_parameters()}
            return step(batches)

        return wrapped

    t._step = remember()
    words = r"loss is nan at step [12], before the weights were touched.*grey7\.png"
    with pytest.raises(UserError, match=words) as error:
        run(t, engine)
    assert "grey0" not in str(error.value)  # only those to blame
    assert all(torch.equal(before[k], v) for k, v in t.raw.named_parameters())


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_photo_ends_the_run_by_name_without_a_traceback(engine, tmp_path, workers):
    broken = [UserError("broken.jpg: truncated; copy it again")]
    t = trainer(engine, tmp_path, recipe(workers=workers), broken)
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
    words = r"last\.pt: the checkpoint could not be written.*previous one is untouched"
    try:
        # the kernel refuses the second half, as a full disk does
        resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, hard))
        with pytest.raises(UserError, match=words):
            t.save()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert checkpoint.load(t.last)["state"]["step"] == 2
    assert [p.name for p in tmp_path.iterdir()] == ["last.pt"]


def test_a_damaged_or_foreign_checkpoint_is_refused_by_name(engine, tmp_path):
    t = trainer(engine, tmp_path, recipe(), [10] * 8)
    t.save()
    with pytest.raises(UserError, match="belongs to another cell"):
        trainer(engine, tmp_path, recipe(), [10] * 8, key="other")
    t.last.write_bytes(t.last.read_bytes()[:100])
    with pytest.raises(UserError, match=r"last\.pt.*Delete it"):
        trainer(engine, tmp_path, recipe(), [10] * 8)


def test_gradient_accumulation_sees_the_whole_batch(engine, tmp_path):
    """Without batch norm, two micro-batches of two take the step of one batch of four, but for the +1 of the
    normaliser.
    """
    plain = dict(optimizer="sgd", lr=1.0, lr_batch=4, momentum=0.0, weight_decay=0.0, clip_norm=0.0)
    gradients = []
    for accumulate in (1, 2):
        net = network()
        net.trunk.net = nn.Sequential(net.trunk.net[0], nn.ReLU())
        r = recipe(accumulate=accumulate, **plain, steps=1, warmup_steps=0, eval_every=1)
        t = trainer(engine, tmp_path / str(accumulate), r, [10, 90, 150, 210], net=net)
        start = [p.detach().clone() for p in t.raw.parameters()]
        run(t, engine)
        gradients.append(torch.cat([(a - b).flatten() for a, b in zip(start, t.raw.parameters())]))
    torch.testing.assert_close(gradients[0] * (4 + 1) / 4, gradients[1] * (2 + 1) / 2, rtol=1e-4, atol=1e-6)


def test_accumulation_is_refused_where_a_loss_needs_the_whole_batch(engine, tmp_path):
    task = Toy()
    task.objectives["brightness"].whole_batch = True
    with pytest.raises(UserError, match="--accumulate 2: a sample's loss of brightness depends on the whole"):
        trainer(engine, tmp_path, recipe(accumulate=2), [10] * 8, task=task)


def test_a_batch_that_does_not_divide_is_refused(engine, tmp_path):
    with pytest.raises(UserError, match="--batch-size"):
        trainer(engine, tmp_path, recipe(accumulate=3), [10] * 8)


# ---- energy ---------------------------------------------------------------------------------------------


def test_energy_is_what_the_counter_of_the_accelerator_says_over_all_runs_of_a_cell(
    engine, tmp_path, monkeypatch
):
    """A counter since the driver was loaded: only differences count; those of an interrupted run are kept in
    its checkpoint.
    """
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


# ---- labelling ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "stored, words",
    [
        (([0, 1], [1, 2, 3]), "5 predictions of 4 photos"),
        (([0, 1], [3]), "3 predictions of 3 photos"),
    ],
)
def test_predictions_that_overlap_or_lack_a_photo_are_no_labels(engine, tmp_path, stored, words):
    """As after two commands that labelled one folder at once: counted twice, a photo would weigh twice."""
    settings = recipe(eval_batch=4)  # one batch, whose first photo a part holds: nothing is left to predict
    pool, human = Greys([1, 2, 3, 4]), Greys([5])
    folder = tmp_path / f"pool-{digest(['teacher', pool.hash, settings.image_size])}"
    for number, indices in enumerate(stored):
        Parts(folder).write(number, {i: {"level": np.zeros(1)} for i in indices}, 1.0)
    arguments = (settings, network(), "teacher", pool, human, tmp_path, "label")
    with pytest.raises(UserError, match=words):
        label_pool(engine, BrightnessLabeller(), *arguments)


class TextLabeller(BrightnessLabeller):
    """Its labels are text, a line each, and no json."""

    selections = 0

    def select(self, path, parts, pool, human, info):
        self.selections += 1
        path.write_text("".join(f"{level:.6f}\n" for level in parts.each("level")[:, 0]))
        return {"pool_images": len(pool), "mean": float(parts.each("level").mean())}


def test_the_report_stands_beside_the_labels_and_a_lost_one_is_made_again(engine, tmp_path):
    """Nobody opens the label file, which may be huge and of any format, to learn what is in it."""
    labeller, arguments = TextLabeller(), (network(), "teacher", Greys(MANY), Greys([5]), tmp_path, "label")
    file, report, seconds = label_pool(engine, labeller, recipe(), *arguments)
    assert report == json.loads(report_file(file).read_text())["report"] and report["pool_images"] == len(
        MANY
    )
    content = file.read_bytes()
    file.write_text("never opened by label_pool")
    assert label_pool(engine, labeller, recipe(), *arguments) == (file, report, seconds)
    assert labeller.selections == 1
    report_file(file).unlink()  # as of code that had it within the label file, or of a run killed just then
    assert label_pool(engine, labeller, recipe(), *arguments) == (file, report, seconds)
    assert labeller.selections == 2 and file.read_bytes() == content  # from the stored predictions
    report_file(file).write_text("[1]")
    with pytest.raises(UserError, match="report-.*json: not a report on labels.*delete it"):
        label_pool(engine, labeller, recipe(), *arguments)


# ---- what a curve says ----------------------------------------------------------------------------------


def test_the_first_evaluated_step_counts_that_reaches_a_score():
    def curve(*values):
        return [{"step": 100 * (i + 1), "AP": v} for i, v in enumerate(values)]

    assert steps_to(curve(10, 20, 30), "AP", 15) == 200 and steps_to(curve(10, 20), "AP", 25) is None
