"""Batch norm over all processes.

On CUDA torch's SyncBatchNorm does it.  It has no CPU form, so that two processes on a CPU would train another
network than one process does.  The class below keeps the arithmetic and the names of the weights of the layer
it replaces.
"""

import torch
import torch.distributed as dist
from timm.layers import convert_sync_batchnorm
from torch import Tensor, nn


def synchronise(model: nn.Module, device: torch.device) -> nn.Module:
    """Make every batch norm of `model` use the statistics of the batch of all processes together.

    Weights and their names stay.  On a CPU `model` itself is changed, elsewhere the returned module replaces
    it.
    """
    if device.type != "cpu":
        return convert_sync_batchnorm(model)
    for module in model.modules():
        # timm's BatchNormAct2d is one as well: its dropout and activation follow as before
        if isinstance(module, nn.BatchNorm2d):
            layer = type(module)
            module.__class__ = type(f"Gloo{layer.__name__}", (_GlooNorm, layer), {})
    return model


class _Sum(torch.autograd.Function):
    """The sum over all processes.  Each of them depends on all inputs, so gradients are summed too."""

    @staticmethod
    def forward(context, x: Tensor) -> Tensor:
        """Return the sum of `x` over all processes; `x` itself stays as it is."""
        x = x.clone()
        dist.all_reduce(x)
        return x

    @staticmethod
    def backward(context, gradient: Tensor) -> Tensor:
        """Return the sum of `gradient` over all processes."""
        gradient = gradient.clone()
        dist.all_reduce(gradient)
        return gradient


class _GlooNorm:
    """What a batch norm becomes on a CPU; its batch may be larger on one process than on another."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `x` (B, C, H, W) by the mean and the variance over B, H, W of all processes."""
        if not self.training:
            return super().forward(x)
        given, x = x.dtype, x.float()  # under bf16 autocast sums of thousands would lose their digits
        count = torch.full((1,), x.numel() / x.shape[1], device=x.device)
        total = _Sum.apply(torch.cat([x.sum((0, 2, 3)), count]))
        n = total[-1].detach()
        mean = total[:-1] / n
        # in a second pass: E[x^2] - E[x]^2 has few digits left where a channel's mean is far from zero
        centred = x - mean[:, None, None]
        variance = _Sum.apply(centred.square().sum((0, 2, 3))) / n
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * n / (n - 1).clamp(min=1), self.momentum)
            self.num_batches_tracked.add_(1)
        scale = self.weight * (variance + self.eps).rsqrt()
        x = (centred * scale[:, None, None] + self.bias[:, None, None]).to(given)
        if hasattr(self, "act"):  # timm.layers.BatchNormAct2d
            x = self.act(self.drop(x))
        return x
