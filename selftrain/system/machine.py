"""The machine a cell ran on: hardware, versions of libraries, energy."""

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

import torch

PACKAGES = (
    "torch",
    "torchvision",
    "timm",
    "accelerate",
    "albumentations",
    "opencv-python-headless",
    "numpy",
    "pycocotools",
    "hotcoco",
)


def hardware(processes: int) -> dict[str, Any]:
    """The accelerator, or else the processor, with the numbers of processes, threads and cores."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else _processor()
    return {
        "device": device,
        "processes": processes,
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "system": platform.system(),
    }


def energy_joules() -> float | None:
    """Joules that this process's accelerator has used since its driver was loaded; None where it is not told.

    Only differences between two calls mean something.
    """
    if not torch.cuda.is_available():
        return None
    try:
        import pynvml

        pynvml.nvmlInit()
        return (
            pynvml.nvmlDeviceGetTotalEnergyConsumption(
                pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties().uuid}")
            )
            / 1000
        )
    except Exception:  # no NVML, no such counter, no permission: each is "not reported"
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """The version of Python and of each library that decides a result."""
    return {"python": platform.python_version()} | {
        name: importlib.metadata.version(name) for name in PACKAGES
    }
