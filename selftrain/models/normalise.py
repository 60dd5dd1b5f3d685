"""What every network here does first: it turns pixels into the numbers that its backbone was trained on."""

import torch
from torch import Tensor, nn


class Normalised(nn.Module):
    """Base of the networks that take images as they are.

    `mean` and `std` are not saved with the weights, since they belong to a recipe.
    """

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]):
        """Take the mean and standard deviation of each colour, for pixels in 0..1."""
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1) * 255, persistent=False)

    def normalise(self, images: Tensor) -> Tensor:
        """Turn RGB images (B, 3, H, W), of uint8 or float in 0..255, into float32, channels_last."""
        x = (images.float() - self.mean) / self.std
        return x.contiguous(memory_format=torch.channels_last)
