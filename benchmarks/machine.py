"""What a benchmark ran on: every result names it, since no figure means anything on another machine."""

import platform
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

_NOT_INSTALLED = "not installed"


def machine() -> dict[str, Any]:
    """Processor, cores and versions."""
    import torch

    from robo_ppo.run.folder import versions
    from robo_ppo.run.resolve import cores

    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        found = re.search(r"model name\s*:\s*(.+)", info.read_text())
        model = found.group(1).strip() if found else model
    return {
        "processor": model,
        "cores": cores(),
        "vector_instructions": torch.backends.cpu.get_cpu_capability(),
        "system": platform.system(),
        "versions": versions(),
    }


def card(device: "torch.device") -> dict[str, Any] | None:
    """The GPU, its driver and the versions that matter there; None on a CPU."""
    import torch

    if device.type != "cuda":
        return None
    properties = torch.cuda.get_device_properties(device)
    return {
        "name": properties.name,
        "memory_gib": round(properties.total_memory / 2**30, 1),
        "multiprocessors": properties.multi_processor_count,
        "compute_capability": f"{properties.major}.{properties.minor}",
        "driver": _driver(),
        "cuda": torch.version.cuda,
    }


def gpu_versions() -> dict[str, str]:
    """What `sim=mujoco_warp` and its comparison are made of."""
    from robo_ppo.run.folder import version

    names = ("warp-lang", "mujoco-warp", "rsl-rl-lib", "tensordict", "mjlab")
    found = {name: version(name) for name in names}
    return {name: _NOT_INSTALLED if number == "unknown" else number for name, number in found.items()}


def _driver() -> str:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
        return done.stdout.split()[0]
    except (OSError, subprocess.SubprocessError, IndexError):
        return "unknown"


def file_name(benchmark: str, where: dict[str, Any], gpu: dict[str, Any] | None = None) -> str:
    """Where a result belongs: throughput_amd_epyc_2_cores.json, or, measured on a GPU, gpu_nvidia_h200.json."""
    name = f"{benchmark}_{gpu['name']}" if gpu else f"{benchmark}_{where['processor']}_{where['cores']}_cores"
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") + ".json"
