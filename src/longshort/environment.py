"""Environment: what every library finds in the process's environment, set before any of them is imported.

No telemetry of any library, no pickle from a model registry, servers' state inside the project. What a
person has set already is left alone.
"""

from __future__ import annotations

import os
from pathlib import Path

QUIET = {
    "DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "1",
    "GX_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    # stdout is for results, and stderr for our progress; a client of a server prints a link a run and a bar a download
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "RAY_USAGE_STATS_ENABLED": "0",
    # registered models are safetensors and JSON; nothing is ever unpickled
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    # a dead server must cost seconds, not the 247 of the defaults; MLflow would also repeat requests that
    # create something when only their answer was lost, and create it twice: `tracking` looks first, then repeats
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    # the console is ours: what Prefect logs is read in its UI
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
}


def prepare(root: Path) -> None:
    """Set up the process for a project; call it before Prefect, MLflow, DVC or Great Expectations is imported."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    (root / ".state").mkdir(exist_ok=True)  # Prefect makes its home, but not the folder above it
    os.environ.setdefault("PREFECT_HOME", str(root / ".state/prefect"))
    os.environ.setdefault("MPLCONFIGDIR", str(root / ".state/matplotlib"))
    address = running_prefect(root)
    if address and "PREFECT_API_URL" not in os.environ:
        os.environ["PREFECT_API_URL"] = address


def machine() -> dict[str, str]:
    """The kind of machine, by what decides the bits that a computation gives on it: CPU, the vectors that torch uses, torch."""
    import platform

    import torch

    cpuinfo = Path("/proc/cpuinfo")
    told = cpuinfo.read_text(errors="replace").splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in told if line.startswith("model name")]
    cpu = names[0] if names else platform.processor() or platform.machine()
    return {"cpu": cpu, "vectors": torch.backends.cpu.get_cpu_capability(), "torch": torch.__version__.partition("+")[0]}


def running_prefect(root: Path) -> str | None:
    """The API of the Prefect server that `longshort ui` or `longshort schedule` started here, if it answers."""
    import urllib.error
    import urllib.request

    noted = root / ".state/prefect-api"
    if not noted.exists():
        return None
    address = noted.read_text().strip()
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=1) as reply:
            return address if reply.status == 200 else None
    except (urllib.error.URLError, OSError, ValueError):
        return None
