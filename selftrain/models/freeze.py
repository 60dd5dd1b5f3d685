"""Freezing: which part of a trunk keeps its first weights, and its batch norm's statistics, in training.

    none        everything moves
    stages:N    what makes the N-th of timm's feature maps is kept (a ResNet's maps: stem, layer1 .. layer4;
    an
                EfficientNet's: strides 2, 4, 8, 16, 32; a ConvNeXt's: stem with its first stage, then three)
    backbone    the whole trunk is kept, and only heads and pyramids are trained

The frozen part is a beginning of the network.  Neither its inputs nor its parameters ask for a gradient, so
autograd keeps none of its activations and goes no further back than the cut.
"""

import itertools

from torch import nn

from selftrain.system.errors import UserError

NONE, BACKBONE, STAGES = "none", "backbone", "stages:"


def freeze_trunk(trunk: nn.Module, freeze: str) -> list[nn.Module]:
    """Take the frozen part of `trunk` out of training; returns its modules, which belong in evaluation mode.

    Raises UserError where the trunk has fewer stages than shall be kept, and so for one that is not timm's.
    """
    if freeze == NONE:
        return []
    if freeze == BACKBONE:
        trunk.requires_grad_(False)
        return [trunk]
    net = getattr(getattr(trunk, "backbone", None), "net", None)
    ends = _stage_ends(net) if net is not None else []
    number = int(freeze.removeprefix(STAGES))
    if number > len(ends):
        raise UserError(
            f"--freeze {freeze}: this network has {len(ends) or 'no'} stages; give a smaller N, or backbone"
        )
    return _freeze_until(net, ends[number - 1])


def _stage_ends(net: nn.Module) -> list[str]:
    """The names of the modules that end the stages of a timm network, in the order of its maps.

    They end before the first map that no module of the network makes, so that the N-th is always the N-th.
    """
    features = getattr(net, "feature_info", [])
    modules = dict(net.named_modules())
    ends = []
    for info in getattr(features, "info", features):
        # timm's feature networks write a nested name with underscores
        written = (info["module"], info["module"].replace(".", "_"))
        ends += [next((name for name in written if name in modules), None)]
    return list(itertools.takewhile(bool, ends))


def _freeze_until(net: nn.Module, end: str) -> list[nn.Module]:
    """Freeze everything that `net` defines up to the end of the module of this name.

    timm defines modules in the order they run.  What a surrounding module holds itself, such as a vision
    transformer's position embedding, is used at the beginning and is frozen too.
    """
    modules = dict(net.named_modules())
    last = max(_inside(modules, end))
    for n, (name, module) in enumerate(modules.items()):
        if n <= last:
            for parameter in module.parameters(recurse=False):
                parameter.requires_grad_(False)
    return [module for name, module in modules.items() if max(_inside(modules, name)) <= last]


def _inside(modules: dict[str, nn.Module], of: str) -> list[int]:
    """The positions of a module and of all inside it."""
    return [n for n, name in enumerate(modules) if name == of or not of or name.startswith(f"{of}.")]
