"""Batch norm over all processes.

On CUDA torch's SyncBatchNorm does it.  It has no CPU form, so that a two-process CPU run would train another network than one
process does; the class below keeps the arithmetic and the weight names of the layer it replaces.
"""

import torch
import torch.distributed as dist
from timm.layers import convert_sync_batchnorm
from torch import Tensor, nn


def synchronise(model: nn.Module, device: torch.device) -> nn.Module:
    """Make every batch norm of `model` use the statistics of the global batch.  Weights and their names stay."""
    if device.type != "cpu":
        return convert_sync_batchnorm(model)
    for module in model.modules():
        if isinstance(
            module, nn.BatchNorm2d
        ):  # timm's BatchNormAct2d is one: its dropout and activation follow as before
            cls = type(module)
            module.__class__ = type(f"Gloo{cls.__name__}", (_GlooNorm, cls), {})
    return model


class _Sum(torch.autograd.Function):
    """Sum over all processes; every process's sum depends on every input, so gradients are summed as well."""

    @staticmethod
    def forward(context, x: Tensor) -> Tensor:
        x = x.clone()
        dist.all_reduce(x)
        return x

    @staticmethod
    def backward(context, gradient: Tensor) -> Tensor:
        gradient = gradient.clone()
        dist.all_reduce(gradient)
        return gradient


class _GlooNorm:
    """(B, C, H, W) normalised by mean and variance over B, H, W of all processes; equal batch sizes are not assumed."""

    def forward(self, x: Tensor) -> Tensor:
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
