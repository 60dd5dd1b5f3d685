"""What every network here does first: pixels to the numbers that the backbone's weights were trained on."""

import torch
from torch import Tensor, nn


class Normalised(nn.Module):
    """Base of the networks that take images as they are.  `mean`, `std` are not saved with the weights: they belong to a recipe."""

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]):
        """mean, std: of the backbone's weights, for pixels in 0..1."""
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1) * 255, persistent=False)

    def normalise(self, images: Tensor) -> Tensor:
        """RGB (B, 3, H, W), uint8 or float in 0..255 -> float32 of the same shape, channels_last."""
        x = (images.float() - self.mean) / self.std
        return x.contiguous(memory_format=torch.channels_last)
