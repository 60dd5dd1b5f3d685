"""A network is a trunk and named heads: images to maps once, maps to what each head is asked for.

Shapes: B images; a map of level l is (B, C_l, H_l, W_l).
"""

from torch import Tensor, nn

from selftrain.models.backbone import Backbone
from selftrain.models.freeze import NONE, freeze_trunk
from selftrain.models.normalise import Normalised


class TimmTrunk(Normalised):
    """RGB (B, 3, H, W), uint8 or float in 0..255 -> the maps of a timm network, finest first."""

    def __init__(self, backbone: Backbone, mean: tuple[float, ...], std: tuple[float, ...]):
        """`mean`, `std`: of the pixels (in 0..1) that the backbone's weights were trained on."""
        super().__init__(mean, std)
        self.backbone = backbone
        self.levels, self.channels = backbone.levels, backbone.channels

    def forward(self, images: Tensor) -> list[Tensor]:
        """Normalise, then the backbone's maps at strides 2**level."""
        return self.backbone(self.normalise(images))


class Network(nn.Module):
    """A trunk and its heads, by name."""

    def __init__(self, trunk: nn.Module, heads: dict[str, nn.Module], freeze: str = NONE):
        """`freeze`: which part of the trunk keeps its weights and its batch norm's statistics; no gradient is
        computed, and no activation kept, below the cut (see `freeze.py`).

        Raises UserError where the trunk has no such part.
        """
        super().__init__()
        self.trunk, self.heads = trunk, nn.ModuleDict(heads)
        frozen = set(freeze_trunk(trunk, freeze))
        # by name: synchronised batch norm may put other modules in their places
        self._frozen = [name for name, module in trunk.named_modules() if module in frozen]

    def train(self, mode: bool = True) -> "Network":
        """As every module's, but what is frozen stays in evaluation mode."""
        super().train(mode)
        for name in self._frozen:
            self.trunk.get_submodule(name).train(False)
        return self

    def maps(self, images: Tensor) -> list[Tensor]:
        """The trunk's maps of (B, 3, H, W) images, finest first."""
        return self.trunk(images)

    def branch(self, head: str) -> "Branch":
        """The network as it is used for one head."""
        return Branch(self.trunk, self.heads[head])


class Branch(nn.Module):
    """Trunk and one head: images (B, 3, H, W) -> the head's output."""

    def __init__(self, trunk: nn.Module, head: nn.Module):
        """Both are used as they are, not copied."""
        super().__init__()
        self.trunk, self.head = trunk, head

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, ...]:
        """The head's output for these images."""
        return self.head(self.trunk(images), tuple(images.shape[2:]))
