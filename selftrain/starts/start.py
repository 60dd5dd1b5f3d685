"""Loads the weights of a start into a network, and tells two starts apart without loading them."""

import logging
import tempfile
from pathlib import Path

import timm
import torch
from timm.models import get_pretrained_cfg
from torch import nn

from selftrain import checkpoint
from selftrain.models.backbone import Backbone
from selftrain.starts.files import State, fit_state, package_file, read_state
from selftrain.starts.timm_hub import hub_name, refuse_without_network
from selftrain.system.errors import UserError
from selftrain.system.files import file_hash


def normalisation(backbone: str, start: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return (mean, std) of each colour, for pixels in 0..1, that the weights of `start` were trained with.

    A random start takes those of `imagenet`, a checkpoint brings its own, and `timm:MODEL.TAG` has those that
    timm states for this tag.  Where timm knows none they are ImageNet's usual ones.  Raises UserError for a
    damaged checkpoint and for a tag that timm does not have.
    """
    if start.startswith("checkpoint:"):
        file = Path(start.removeprefix("checkpoint:"))
        content = checkpoint.load(file) or {}
        if "mean" in content:
            return tuple(content["mean"]), tuple(content["std"])
    try:
        known = start if start == "imagenet++" or start.startswith("timm:") else "imagenet"
        config = get_pretrained_cfg(hub_name(backbone, known))
    except UserError:
        if start.startswith("timm:"):
            raise
        config = get_pretrained_cfg(backbone)
    if config:
        return tuple(config.mean), tuple(config.std)
    return (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def imagenet_state(backbone: str, start: str, weights: str | None) -> tuple[State, str]:
    """Return (the classifier's state, where it came from) for `imagenet`, `imagenet++` and `timm:MODEL.TAG`.

    The file `weights` is taken where it is given, then (for `imagenet`) an installed package of weights, then
    timm's cache or hub.  Raises UserError where there are no such weights or they do not fit.
    """
    base = backbone.partition(".")[0]
    if weights is not None:
        return fit_state(read_state(weights), backbone, weights), Path(weights).name
    if start == "imagenet" and (file := package_file(base)):
        return fit_state(read_state(file), backbone, str(file)), file.name
    name = hub_name(backbone, start)
    refuse_without_network(name)
    return fit_state(timm.create_model(name, pretrained=True).state_dict(), backbone, name), name


def start_model(model: nn.Module, start: str, backbone: str, weights: str | None = None) -> str:
    """Load the weights of `start` into `model`, whose timm network is `model.trunk.backbone.net`.

    `weights` is a file that takes the place of the hub.  Returns the origin of the weights for the record:
    `random`, the name of a file or a name of the hub.  Raises UserError where there are no such weights or
    they do not fit.
    """
    if start == "random":
        return "random"
    if start.startswith("checkpoint:"):
        file = start.removeprefix("checkpoint:")
        state, target, origin = read_state(file), model, Path(file).name
    else:
        state, origin = imagenet_state(backbone, start, weights)
        target = model.trunk.backbone.net
        state = _feature_state(state, model.trunk.backbone, origin)
    try:
        missing, unknown = target.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise UserError(
            f"{origin}: does not fit this network: {str(error).splitlines()[-1].strip()}"
        ) from error
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    if missing or unknown:
        raise UserError(
            f"{origin}: does not fit this network: {len(missing)} tensors missing, {len(unknown)} unknown, "
            f"first {(missing + unknown)[0]}"
        )
    return origin


def identify(start: str, backbone: str, weights: str | None = None) -> str:
    """Return what tells the weights of two starts apart, without loading them: a file's hash or a hub name.

    Raises UserError for a missing file, and where timm has no such weights.
    """
    if start == "random":
        return "random"
    base = backbone.partition(".")[0]
    file = start.removeprefix("checkpoint:") if start.startswith("checkpoint:") else weights
    if file is None and start == "imagenet":
        file = package_file(base)
    if file is None or start.startswith("timm:"):
        named = hub_name(backbone, start)  # raises where there is no such name, also beside a file
    if file is None:
        return named
    if not Path(file).is_file():
        raise UserError(f"{file}: no such weights file")
    return file_hash(file)


def _feature_state(state: State, backbone: Backbone, origin: str) -> State:
    """The part of a classifier's state that `backbone` has, under the names of its own network."""
    # fit_state has checked the file; timm's warning about the classifier's own layers would only alarm
    logging.getLogger("timm.models._builder").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        torch.save(state, Path(folder) / "weights.pth")
        net = backbone.again(pretrained=True, pretrained_cfg_overlay={"file": f"{folder}/weights.pth"})
    loaded = {tensor.numpy().tobytes() for tensor in state.values()}
    own = backbone.net.state_dict()  # without the stages past the last map
    features = {name: tensor for name, tensor in net.state_dict().items() if name in own}
    left_random = [
        name
        for name, tensor in features.items()
        if not name.endswith("num_batches_tracked") and tensor.numpy().tobytes() not in loaded
    ]
    if left_random:
        raise UserError(
            f"{origin}: timm left {len(left_random)} tensors of {backbone.name} "
            f"without weights, {left_random[0]} first; choose another --backbone"
        )
    return features
