"""What a benchmark ran on: every result names it, since no figure means anything on another machine."""

import platform
import re
from pathlib import Path
from typing import Any


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


def file_name(benchmark: str, where: dict[str, Any]) -> str:
    """Where a benchmark's result on a machine belongs, such as throughput_amd_epyc_2_cores.json."""
    name = f"{benchmark}_{where['processor']}_{where['cores']}_cores".lower()
    return re.sub(r"[^a-z0-9]+", "_", name).strip("_") + ".json"
