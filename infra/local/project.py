"""Where things are, and what `.env` and the environment say."""
from __future__ import annotations

import os
from pathlib import Path
from typing import Dict

ROOT = Path(__file__).resolve().parents[2]
HERE = ROOT / "infra" / "local"
TOOLS = ROOT / ".tools"
BIN = TOOLS / "bin"
LOCAL = ROOT / ".local"
LOGS = LOCAL / "logs"
OIDC = ROOT / "tests" / "peers" / "oidc"
GITHUB = ROOT / "tests" / "peers" / "github"
STRIPE = ROOT / "tests" / "peers" / "stripe"
CORPORA = ROOT / "tests" / "corpora"
HOST = "127.0.0.1"  # nothing that runs here is reachable from another machine


def read_env_file(path: Path) -> Dict[str, str]:
    """KEY=VALUE lines; `#` starts a comment line; quotes around a value are dropped."""
    values: Dict[str, str] = {}
    if not path.is_file():
        return values
    for line in path.read_text(encoding="utf-8").splitlines():
        name, sign, value = line.strip().partition("=")
        if sign and not name.startswith("#"):
            values[name.strip()] = value.strip().strip("'\"")
    return values


def settings() -> Dict[str, str]:
    """`.env`, under what the shell says: the shell wins, as it is the more deliberate of the two."""
    return {**read_env_file(ROOT / ".env"), **os.environ}


def tool_environment() -> Dict[str, str]:
    """The environment in which our own tools come before those of the machine."""
    env = dict(os.environ)
    env["PATH"] = "%s%s%s" % (BIN, os.pathsep, env.get("PATH", ""))
    env["CAMARAD_TOOLS"] = str(TOOLS)
    env["SAM_CLI_TELEMETRY"] = "0"
    return env


def shown(path: Path) -> str:
    """A path as a person at the project's root would type it."""
    try:
        return str(path.relative_to(ROOT))
    except ValueError:
        return str(path)
