"""Runs a command for as long as this process's standard input stays open.

    tether.py SCRATCH COMMAND …

A test process that is killed cannot clean up; its end of the pipe closes all the same, and the command ends with it, with
every process below it. SCRATCH, a folder of temporary files, goes too.
"""

import os
import select
import shutil
import subprocess
import sys
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "infra" / "local"))
import processes  # noqa: E402


def main() -> int:
    scratch, command = sys.argv[1], sys.argv[2:]
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    known = processes.Known("tethered-%d" % child.pid, child.pid, processes.began(child.pid), 0, False)
    while child.poll() is None:
        readable, _, _ = select.select([0], [], [], 0.2)
        if readable and not os.read(0, 4096):
            processes.stop(known, 2.0)
            break
    shutil.rmtree(scratch, ignore_errors=True)
    return child.poll() or 0


if __name__ == "__main__":
    sys.exit(main())
