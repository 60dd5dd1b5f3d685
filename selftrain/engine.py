"""What every stage of a run needs: processes, the flag that says stop, and a console."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import Tensor

from selftrain.system.progress import Stage
from selftrain.system.stop import Stop


@dataclass
class Engine:
    """The processes of this run, and how they speak with a person."""

    accelerator: Accelerator
    stop: Stop
    console: Any = None
    """a rich console on the main process, None elsewhere"""
    steps_before: int = 0
    """of earlier cells: trackers want steps that only grow"""
    on_rate: Callable[[float, int], None] = lambda seconds, steps: None
    """is called with the seconds that the first steps of a cell took"""

    def agree(self, answer: bool) -> bool:
        """The main process's answer, on every process: two views of a shared file system may differ for a
        moment.
        """
        return bool(broadcast_object_list([answer])[0])

    def shared(self, value: Any) -> Any:
        """The main process's value, on every process."""
        return broadcast_object_list([value])[0]

    def stage(self, title: str, total: int, done: int = 0, unit: str = "step") -> Stage:
        """A progress bar (a line now and then where there is no terminal)."""
        return Stage(self.console, title, total, done, unit)


def to_device(value: Any, device: torch.device) -> Any:
    """Every tensor in nested dictionaries and lists on `device`; anything else as it is."""
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, dict):
        return {key: to_device(each, device) for key, each in value.items()}
    if isinstance(value, list) and value and isinstance(value[0], Tensor):
        return [to_device(each, device) for each in value]
    return value
