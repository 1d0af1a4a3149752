"""On what the figures were taken."""
from __future__ import annotations

import datetime
import os
import platform
import re
import subprocess
from pathlib import Path
from typing import List

from project import HERE, ROOT


def first_match(pattern: str, path: Path, otherwise: str) -> str:
    try:
        found = re.search(pattern, path.read_text(encoding="utf-8"), re.M)
    except OSError:
        found = None
    return found.group(1).strip() if found else otherwise


def output(*command: str) -> str:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()


def lines(profile: str) -> List[str]:
    model = first_match(r"^model name\s*:\s*(.*)$", Path("/proc/cpuinfo"), platform.processor() or platform.machine())
    memory = int(first_match(r"^MemTotal:\s*(\d+)", Path("/proc/meminfo"), "0")) / 2**20
    system = first_match(r'^PRETTY_NAME="?([^"\n]*)', Path("/etc/os-release"), platform.system())
    ministack = first_match(r"^ministack==(\S+)", HERE / "requirements-local.txt", "?")
    changed = " with changes" if output("git", "status", "--porcelain", "--untracked-files=no") else ""
    commit = output("git", "rev-parse", "--short", "HEAD") + changed
    return [
        "- %s, commit %s, %s profile" % (datetime.date.today(), commit, profile),
        "- %s, %d cores, %.0f GiB, %s, kernel %s" % (model, os.cpu_count() or 0, memory, system, platform.release()),
        "- %s; MiniStack %s; Python %s" % (output("rustc", "--version"), ministack, platform.python_version()),
    ]


def load() -> str:
    return "%.1f" % os.getloadavg()[0]
