"""Arms of one cell differ in their first weights alone, and weights that do not fit are refused."""

import io
import pickle
import re
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
import timm
import torch
from huggingface_hub import constants
from rich.console import Console
from timm.models import get_pretrained_cfg

from selftrain.cells import Cell, Feed, Human, Pretrained, Pseudo, first_weights
from selftrain.models.backbone import Backbone
from selftrain.networks import first_network
from selftrain.program import announce
from selftrain.run import preflight
from selftrain.splits import Splits
from selftrain.starts.files import package_file, read_state
from selftrain.starts.imagenet_tags import TAGS, is_imagenet_alone
from selftrain.starts.start import identify, imagenet_state, normalisation, start_model
from selftrain.starts.timm_hub import hub_name, licence
from selftrain.system.errors import UserError
from selftrain.system.files import file_hash
from selftrain.tasks.detection.task import Detection
from tests.programs import load

COCO = load("recipes.detection").COCO

LITE = "tf_efficientnet_lite0"


@pytest.fixture(scope="module")
def recipe():
    return COCO["demo"]()


@pytest.fixture(scope="module")
def task(recipe):
    return Detection(recipe, ("a", "b"))


def cell(recipe, start):
    """A supervised cell of that start."""
    return Cell(recipe, first_weights(recipe, start), (Feed("human", "data", Human(), "boxes", 4),), "val")


def test_arms_differ_in_the_backbones_weights_and_in_nothing_else(recipe, task):
    arms = {start: first_network(task, cell(recipe, start)) for start in ("random", "imagenet")}
    (random, origin), (imagenet, package) = arms["random"], arms["imagenet"]
    assert origin == "random" and package == "efficientnet-lite0-57934424.pth"
    a, b = random.state_dict(), imagenet.state_dict()
    assert list(a) == list(b)
    differing = {name for name in a if not torch.equal(a[name], b[name])}
    convolutions = {name for name in a if name.startswith("trunk.backbone.") and a[name].ndim == 4}
    assert convolutions <= differing and all(name.startswith("trunk.backbone.") for name in differing)
    # the same layers, the same normalisation of the input
    assert [type(m) for m in random.modules()] == [type(m) for m in imagenet.modules()]
    assert torch.equal(random.trunk.mean, imagenet.trunk.mean)
    assert torch.equal(random.trunk.std, imagenet.trunk.std)
    assert cell(recipe, "random").key != cell(recipe, "imagenet").key


def test_heads_depend_on_the_seed_alone(recipe, task):
    one, _ = first_network(task, cell(recipe, "random"))
    torch.rand(7)  # what was drawn before does not matter
    same, _ = first_network(task, cell(recipe, "random"))
    other, _ = first_network(task, cell(replace(recipe, seed=1), "random"))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters()))
    assert not torch.equal(
        one.heads.detection.class_head.convs[0].weight, other.heads.detection.class_head.convs[0].weight
    )


def test_package_weights_convert_one_to_one():
    state, _ = imagenet_state(LITE, "imagenet", None)
    model = timm.create_model(LITE)
    missing, unknown = model.load_state_dict(state, strict=False)
    assert missing == ["classifier.weight", "classifier.bias"] and not unknown
    assert len(read_state(package_file(LITE))) == len(model.state_dict())
    assert model.pretrained_cfg["mean"] == normalisation(LITE, "imagenet")[0] == (0.5, 0.5, 0.5)


def test_imagenet_never_means_weights_that_have_seen_more():
    """timm's default tag for EfficientNet-B7 is Noisy Student's: `imagenet` must not be that."""
    assert hub_name("tf_efficientnet_b7", "imagenet") == "tf_efficientnet_b7.aa_in1k"
    assert hub_name("tf_efficientnet_b7", "imagenet++") == "tf_efficientnet_b7.ns_jft_in1k"
    assert hub_name("tf_efficientnet_b7.ra_in1k", "imagenet") == "tf_efficientnet_b7.ra_in1k"
    assert hub_name("resnet50", "imagenet") == "resnet50.a1_in1k"
    # timm's defaults are DINOv3's, and FCMAE's, which saw no label
    assert hub_name("convnext_tiny", "imagenet") == "convnext_tiny.fb_in1k"
    for other in ("convnextv2_tiny", "convnext_tiny.dinov3_lvd1689m", "resnet50.fb_swsl_ig1b_ft_in1k"):
        with pytest.raises(UserError) as error:
            hub_name(other, "imagenet")
        base = other.partition(".")[0]
        wanted = {"convnextv2_tiny": "none", "convnext_tiny": "convnext_tiny.fb_in1k"}.get(base, "tv_in1k")
        assert wanted in str(error.value) and f"--starts timm:{base}." in str(error.value)
    with pytest.raises(UserError, match="tf_efficientnet_b0"):
        hub_name("resnet50", "imagenet++")


MORE = r"jft|in2\dk|inw21k|in12k|ig1b|yfcc|laion|clip|bamboo|webli|openai|datacomp|merged|lvd|seer|swag"
UNLABELLED = r"fcmae|mae|ssl|dino|ijepa|mim|beit|ssld|\Apt\Z"


def test_the_allowed_tags_are_timms_and_none_says_that_more_was_seen():
    names = timm.list_pretrained()
    assert {name.partition(".")[2] for name in names} >= TAGS
    allowed = [name for name in names if is_imagenet_alone(name)]
    assert not [name for name in allowed if re.search(f"{MORE}|{UNLABELLED}", name)]
    assert all(name.endswith("in1k") or "in1k_" in name for name in allowed)
    assert all(get_pretrained_cfg(name).num_classes == 1000 for name in allowed)


def test_other_weights_of_timm_are_a_start_by_their_name():
    start = "timm:tf_efficientnet_b0.ap_in1k"
    named = replace(COCO["demo"](), backbone="tf_efficientnet_b0", starts=("random", start)).check()
    one = cell(named, start)
    assert str(one.arm) == start and one.weights == Pretrained(start, "tf_efficientnet_b0.ap_in1k")
    assert one.weights.declare() == ["timm", "tf_efficientnet_b0.ap_in1k"]
    assert ":" not in one.folder.name and "tf_efficientnet_b0.ap_in1k" in one.folder.name
    # of this tag, as timm states them, and not of the network's other weights
    assert normalisation("tf_efficientnet_b0", start)[0] == (0.5, 0.5, 0.5)
    assert normalisation("tf_efficientnet_b0", "imagenet")[0] == (0.485, 0.456, 0.406)
    assert licence(start) == "apache-2.0"
    assert licence("timm:convnextv2_atto.fcmae") == "cc-by-nc-4.0"
    assert licence("timm:resnet50.bamboo") == "not stated"


@pytest.mark.parametrize(
    "starts, weights, words",
    [
        (("timm:resnet50.a1_in1k",), None, "give --backbone resnet50, or weights of tf_efficientnet_b0"),
        (("timm:tf_efficientnet_b0",), None, "give timm:MODEL.TAG"),
        (("imagenet", "timm:tf_efficientnet_b0.ap_in1k"), "w.pth", "imagenet and timm:tf_efficientnet_b0"),
    ],
)
def test_a_name_of_timms_that_cannot_be_meant_is_refused(starts, weights, words):
    with pytest.raises(UserError, match=words):
        replace(COCO["demo"](), backbone="tf_efficientnet_b0", starts=starts, weights=weights).check()
    for find in (identify, normalisation):
        arguments = ("timm:tf_efficientnet_b0.zz_in1k", "tf_efficientnet_b0")
        with pytest.raises(UserError, match=r"no such weights.*tf_efficientnet_b0\.ap_in1k"):
            find(*arguments if find is identify else reversed(arguments))


def test_named_weights_come_from_a_file_that_then_identifies_them(tmp_path):
    """As somebody without a network fetches them; FCMAE's have no classifier."""
    start, model = "timm:convnextv2_atto.fcmae", timm.create_model("convnextv2_atto", num_classes=0)
    torch.save(model.state_dict(), tmp_path / "w.pth")
    network = torch.nn.Module()
    network.trunk = torch.nn.Module()
    network.trunk.backbone = Backbone("convnextv2_atto", (3, 4))
    assert start_model(network, start, "convnextv2_atto", str(tmp_path / "w.pth")) == "w.pth"
    assert torch.equal(network.trunk.backbone.net.stem_0.weight, model.stem[0].weight)
    assert identify(start, "convnextv2_atto", str(tmp_path / "w.pth")) == file_hash(tmp_path / "w.pth")
    assert identify(start, "convnextv2_atto") == "convnextv2_atto.fcmae"


def test_without_a_network_a_hub_name_is_refused_and_says_which_file_to_give(monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match=r"--weights FILE") as error:
        imagenet_state("resnet18", "imagenet", None)
    assert "timm/resnet18" in str(error.value)


def test_weights_of_another_network_are_refused_by_name(tmp_path):
    file = tmp_path / "resnet.pth"
    torch.save(timm.create_model("resnet10t").state_dict(), file)
    with pytest.raises(
        UserError, match=r"resnet\.pth.*do not fit the backbone tf_efficientnet_lite0.*missing"
    ):
        imagenet_state(LITE, "imagenet", str(file))


@pytest.mark.parametrize(
    "wrap", [lambda s: s, lambda s: {"state_dict": {f"module.{k}": v for k, v in s.items()}}]
)
def test_a_local_file_fits_with_the_usual_wrappings(tmp_path, wrap):
    model = timm.create_model("resnet10t")
    torch.save(wrap(model.state_dict()), tmp_path / "w.pth")
    state, origin = imagenet_state("resnet10t", "imagenet", str(tmp_path / "w.pth"))
    assert origin == "w.pth" and torch.equal(state["conv1.0.weight"], model.state_dict()["conv1.0.weight"])
    assert "fc.weight" not in state  # the classifier is nobody's business here


class Bomb:
    def __reduce__(self):
        return open, ("exploded", "w")


def test_a_pickle_with_code_in_it_is_refused_and_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {"w": torch.zeros(1)}, "bomb": Bomb()}, tmp_path / "evil.pth")
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps(Bomb()))
    for file in ("evil.pth", "plain.pkl"):
        with pytest.raises(UserError, match=file):
            read_state(tmp_path / file)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("content", [b"", b"not a zip file at all"])
def test_a_damaged_weights_file_is_refused_by_name(tmp_path, content):
    (tmp_path / "broken.pth").write_bytes(content)
    with pytest.raises(UserError, match=r"broken\.pth"):
        read_state(tmp_path / "broken.pth")
    with pytest.raises(UserError, match=r"none\.pth: no such weights file"):
        identify("checkpoint:none.pth", LITE)


def test_a_checkpoint_starts_the_whole_network(recipe, task, tmp_path):
    trained, _ = first_network(task, cell(replace(recipe, seed=5), "random"))
    torch.save({"key": "x", "model": trained.state_dict()}, tmp_path / "final.pt")
    model, origin = first_network(task, cell(recipe, f"checkpoint:{tmp_path}/final.pt"))
    assert origin == "final.pt" and all(
        torch.equal(a, b) for a, b in zip(trained.state_dict().values(), model.state_dict().values())
    )
    with pytest.raises(UserError, match="does not fit this network"):
        first_network(Detection(recipe, ("a", "b", "c")), cell(recipe, f"checkpoint:{tmp_path}/final.pt"))


def test_networks_whose_wrapper_renames_its_parts_keep_their_weights(tmp_path):
    """timm's feature wrapper calls convnext's stem.0 stem_0; by name alone every tensor would be lost."""
    classifier = timm.create_model("convnext_atto")
    torch.save(classifier.state_dict(), tmp_path / "w.pth")
    model = torch.nn.Module()
    model.trunk = torch.nn.Module()
    model.trunk.backbone = Backbone("convnext_atto", (3, 4))
    start_model(model, "imagenet", "convnext_atto", str(tmp_path / "w.pth"))
    assert torch.equal(
        model.trunk.backbone.net.state_dict()["stem_0.weight"], classifier.state_dict()["stem.0.weight"]
    )


def test_a_misfit_comes_to_light_before_the_first_arm_trains(recipe, task, tmp_path):
    torch.save(timm.create_model("resnet10t").state_dict(), tmp_path / "resnet.pth")
    late = replace(recipe, weights=str(tmp_path / "resnet.pth"), out=str(tmp_path))
    cells = [cell(late, start) for start in ("random", "imagenet")]
    with pytest.raises(UserError, match="do not fit the backbone"):
        preflight(task, cells, processes=1)
    with pytest.raises(UserError, match="multiple of 3"):
        preflight(task, cells[:1], processes=3)


class Named(list):
    """Stands for a data set of which nothing but its size and class names is asked."""

    def __init__(self, *class_names):
        super().__init__(class_names)
        self.class_names = class_names


def test_the_licence_of_named_weights_is_said_once_before_they_are_trained(recipe):
    start, lines = "timm:tf_efficientnet_lite0.in1k", []
    splits = Splits(Named("a"), [], [], "test", None, "hash")
    machine = SimpleNamespace(num_processes=1, device="cpu", mixed_precision="no")
    announce(lines.append, replace(recipe, starts=("random", "imagenet", start)), splits, [], machine)
    said = [line for line in lines if "licence" in str(line)]
    assert said == [f"{start}: timm states the licence of these weights as: apache-2.0"]


def test_what_will_run_is_announced_in_one_line_for_each_cell(recipe, tmp_path):
    whole, start = replace(recipe, out=str(tmp_path)), "timm:tf_efficientnet_lite0.in1k"
    teacher = cell(whole, start)
    pseudo = Feed("pseudo", "pool", Pseudo(teacher), "boxes", 4)
    cells = [teacher, replace(teacher, feeds=(*teacher.feeds, pseudo))]
    console = Console(width=80, file=io.StringIO())
    machine = SimpleNamespace(num_processes=1, device="cpu", mixed_precision="no")
    splits = Splits(Named("a"), [], [], "test", None, "hash")
    say = partial(console.print, highlight=False, soft_wrap=True)  # as the programs do
    announce(say, whole, splits, cells, machine)
    *_, first, second = console.file.getvalue().rstrip().splitlines()
    assert first.split() == [start, "500", "2,000", "to", "do"]
    assert second.split() == [start, "+", "self-training", "500", "4,000", "to", "do"]
