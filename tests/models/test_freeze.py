"""What is frozen keeps its weights and statistics, and costs no gradient and no memory."""

import pytest
import timm
import torch
from torch import nn

from selftrain.models.freeze import freeze_trunk
from selftrain.models.network import Network
from selftrain.models.norm import synchronise
from selftrain.system.errors import UserError
from tests.models.networks import pixels, trunk

DEPTHS = ["none", "stages:1", "stages:2", "stages:3", "backbone"]


class Head(nn.Module):
    """The mean of the last map."""

    def __init__(self, channels: int):
        super().__init__()
        self.linear = nn.Linear(channels, 1)

    def forward(self, maps, size):
        return self.linear(maps[-1].mean((2, 3)))


def network(freeze: str, name: str = "tf_efficientnet_lite0") -> Network:
    torch.manual_seed(0)
    maps = trunk(name)
    return Network(maps, {"mean": Head(maps.channels[-1])}, freeze).train()


def loss(net: Network) -> torch.Tensor:
    return net.heads["mean"](net.maps(pixels(65, 65)), (65, 65)).square().sum()


def moving(net: nn.Module) -> set[str]:
    return {name for name, parameter in net.named_parameters() if parameter.requires_grad}


MAPS, WHOLE = {"features_only": True}, {"num_classes": 0}
PYRAMIDS = ("tf_efficientnet_lite0", "resnet10t", "mobilenetv3_small_050", "convnext_atto", "regnety_002")


@pytest.mark.parametrize(
    "name, kind",
    [*((name, kind) for name in PYRAMIDS for kind in (MAPS, WHOLE)), ("vit_tiny_patch16_224", WHOLE)],
)
def test_a_stage_holds_what_runs_before_its_map(name, kind):
    """What timm runs until the N-th map is there, seen by hooks, is what stages:N freezes."""
    net = timm.create_model(name, **kind).eval()
    order, parts = [], dict(net.named_modules())
    for part, module in parts.items():
        module.register_forward_hook(lambda module, inputs, output, part=part: order.append(part))
    with torch.no_grad():
        net(torch.zeros(1, 3, 224, 224))
    stages = [info["module"] for info in getattr(net.feature_info, "info", net.feature_info)]
    assert len(stages) > 3
    for number, stage in enumerate(stages, 1):
        end = order.index(stage if stage in parts else stage.replace(".", "_"))
        own = {f"{part}.{name}" for part in order[: end + 1] for name, _ in parts[part].named_parameters()}
        fresh = timm.create_model(name, **kind)
        at_the_beginning = {"pos_embed", "cls_token"} & dict(fresh.named_parameters()).keys()
        freeze_trunk(_Trunk(fresh), f"stages:{number}")
        assert dict(fresh.named_parameters()).keys() - moving(fresh) == own | at_the_beginning


class _Trunk(nn.Module):
    def __init__(self, net: nn.Module):
        super().__init__()
        self.backbone = nn.Module()
        self.backbone.net = net


@pytest.mark.parametrize("freeze", DEPTHS)
def test_a_frozen_part_keeps_weights_and_statistics(freeze):
    net = network(freeze)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    optimizer = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], lr=0.1)
    loss(net).backward()
    optimizer.step()
    changed = {name for name, tensor in net.state_dict().items() if not torch.equal(tensor, before[name])}
    stem, first, last, head = (
        any(name.startswith(part) for name in changed)
        for part in (
            "trunk.backbone.net.conv_stem",
            *(f"trunk.backbone.net.blocks.{n}." for n in (2, 6)),
            "h",
        )
    )
    expected = {
        "none": (True, True, True, True),
        "stages:1": (False, True, True, True),
        "stages:2": (False, True, True, True),
        "stages:3": (False, False, True, True),
        "backbone": (False, False, False, True),
    }
    assert (stem, first, last, head) == expected[freeze]
    running = {name for name in changed if "running" in name}
    moves = {name.rpartition(".")[0] for name in moving(net)}
    assert {name.rpartition(".")[0] for name in running} <= moves and (freeze == "backbone" or running)
    evaluated = {name for name, module in net.named_modules() if not module.training}
    assert bool(evaluated) == (freeze != "none") and "heads.mean" not in evaluated


def test_no_activation_is_kept_below_the_cut():
    kept = {}
    for freeze in DEPTHS:
        seen: dict[int, int] = {}

        def _keep(tensor, seen=seen):
            seen[tensor.data_ptr()] = tensor.nbytes
            return tensor

        net = network(freeze)
        weights = {parameter.data_ptr() for parameter in net.parameters()}
        with torch.autograd.graph.saved_tensors_hooks(_keep, lambda tensor: tensor):
            value = loss(net)
        kept[freeze] = sum(size for pointer, size in seen.items() if pointer not in weights)
        value.backward()
        assert all(p.grad is None for p in net.parameters() if not p.requires_grad)
    sizes = [kept[freeze] for freeze in DEPTHS]
    assert sizes == sorted(sizes, reverse=True) and kept["stages:1"] < kept["none"]
    assert kept["backbone"] < 0.01 * kept["none"]


def test_more_stages_than_there_are_and_a_trunk_without_stages_are_refused():
    with pytest.raises(UserError, match="stages:6: this network has 5 stages; give a smaller N, or backbone"):
        network("stages:6")
    with pytest.raises(UserError, match="has no stages"):
        freeze_trunk(nn.Linear(1, 1), "stages:1")
    assert not moving(network("stages:5").trunk)


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "resnet10t"])
def test_batch_norm_of_all_processes_leaves_what_is_frozen_in_evaluation(name):
    """On accelerators every batch norm is replaced by another module, the stem's own one too."""
    net = network("stages:2", name)
    frozen = {part for part, module in net.named_modules() if not module.training}
    assert any("bn1" in part for part in frozen)
    net = synchronise(net, torch.device("cuda")).train()
    assert {part for part, module in net.named_modules() if not module.training} == frozen


def test_stages_of_a_network_whose_first_maps_no_module_makes_are_refused():
    with pytest.raises(UserError, match="has no stages"):
        freeze_trunk(_Trunk(timm.create_model("hrnet_w18_small", features_only=True)), "stages:1")
