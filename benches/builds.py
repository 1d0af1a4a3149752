"""Build times: after an edit of the library always, from nothing only when asked, as that takes long."""
from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import Dict, List

import commands
from console import Step
from project import LOCAL, LOGS, ROOT, tool_environment

COLUMNS = ["Build", "seconds"]
DEV = ["cargo", "build", "--workspace"]
RELEASE = ["cargo", "build", "--release", "--workspace", "--exclude", "camarad-tests"]
CLEAN = LOCAL / "bench-target"
LOG = LOGS / "bench-build.log"


def target() -> Path:
    return Path(os.environ.get("CARGO_TARGET_DIR", str(ROOT / "target")))


def timed(command: List[str], target: Path, step: Step, label: str) -> float:
    progress = commands.cargo_progress(lambda text: step.note("%s: %s" % (label, text)))
    env: Dict[str, str] = {**tool_environment(), **commands.CARGO_PROGRESS, "CARGO_TARGET_DIR": str(target)}
    begun = time.monotonic()
    commands.run(command, LOG, "The build failed", env=env, on_line=progress)
    return time.monotonic() - begun


def after_edit(command: List[str], target: Path, step: Step, label: str) -> float:
    """All that depends on the library is built again, though nothing in it has changed."""
    timed(command, target, step, label + ", up to date")
    os.utime(ROOT / "shared" / "src" / "lib.rs")
    return timed(command, target, step, label)


def run(full: bool, step: Step) -> List[List[str]]:
    usual = target()
    found = []
    if full:
        shutil.rmtree(CLEAN, ignore_errors=True)
        found.append(("dev, everything, from nothing", timed(DEV, CLEAN, step, "dev from nothing")))
        usual = CLEAN
    found.append(("dev, everything, after an edit of shared", after_edit(DEV, usual, step, "dev after an edit")))
    if full:
        found.append(("release, all functions, from nothing", timed(RELEASE, CLEAN, step, "release from nothing")))
        seconds = after_edit(RELEASE, CLEAN, step, "release after an edit")
        found.append(("release, all functions, after an edit of shared", seconds))
        shutil.rmtree(CLEAN, ignore_errors=True)
    return [[name, "%.0f" % seconds if seconds >= 10 else "%.1f" % seconds] for name, seconds in found]
