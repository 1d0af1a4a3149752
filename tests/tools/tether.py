"""Runs a command for as long as this process's standard input stays open.

A test process that is killed cannot clean up; its end of the pipe closes all the same, and the command ends with it.
"""

import os
import signal
import subprocess
import sys
import threading


def main() -> int:
    child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, start_new_session=True)

    def wait_for_parent() -> None:
        while os.read(0, 4096):
            pass
        os.killpg(child.pid, signal.SIGKILL)

    threading.Thread(target=wait_for_parent, daemon=True).start()
    return child.wait()


if __name__ == "__main__":
    sys.exit(main())
