"""Talks with `runtime-peer`, which starts functions behind a Lambda Runtime API of its own and takes the times."""
from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any, Dict, List, Optional

from console import Failure
from project import ROOT

PROGRAM = Path(os.environ.get("CARGO_TARGET_DIR", str(ROOT / "target"))) / "debug" / "runtime-peer"


class Peer:
    """One `runtime-peer`: it runs one function at a time, and makes HTTP calls by the same clock."""

    def __init__(self) -> None:
        self.process = subprocess.Popen([str(PROGRAM)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def order(self, **order: Any) -> Dict[str, Any]:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        answer = json.loads(line) if line else {"error": "runtime-peer has ended"}
        if "error" in answer:
            raise Failure("%s: %s" % (order["do"], answer["error"]))
        return answer

    def call(self, method: str, url: str, body: str, headers: Dict[str, str], mark: Optional[str] = None) -> Dict[str, Any]:
        answer = self.order(do="call", method=method, url=url, headers=headers, body=body, mark=mark)
        if answer["status"] != 200:
            raise Failure("%s %s answered %d: %s" % (method, url, answer["status"], answer["body"][:300]))
        return answer

    def close(self) -> None:
        """With its input closed it ends, and its function with it."""
        if self.process.stdin:
            self.process.stdin.close()
        self.process.wait()


class Function:
    """A function's program and its environment, on a peer of its own."""

    def __init__(self, name: str, command: List[str], env: Dict[str, str], log: Path):
        self.name, self.command, self.env, self.log = name, command, env, log
        self.peer = Peer()
        self.pid = 0

    def start(self, event: Any = None, endpoint: str = "") -> Dict[str, Any]:
        """`polled_us` and, with an event, its `reply`; both since before the process was. Another that runs ends."""
        env = {**self.env, "AWS_ENDPOINT_URL": endpoint} if endpoint else self.env
        try:
            answer = self.peer.order(do="start", command=self.command, env=env, log=str(self.log), event=event)
        except Failure as failure:
            raise Failure("%s does not start. %s" % (self.name, failure.message), failure.hint, self.log) from None
        self.pid = answer["pid"]
        return answer

    def invoke(self, event: Any, mark: Optional[str] = None) -> Dict[str, Any]:
        answer = self.peer.order(do="invoke", event=event, mark=mark)
        if answer["mode"] == "error":
            raise Failure("%s failed: %s" % (self.name, answer["body"][:300]), log=self.log)
        return answer

    def cpu_seconds(self) -> float:
        """What its process has used until now, utime and stime."""
        fields = Path("/proc/%d/stat" % self.pid).read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def peak_memory(self) -> int:
        """VmHWM, in bytes: the most that it has had in memory, its program's pages included."""
        lines = Path("/proc/%d/status" % self.pid).read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))

    def stop(self) -> None:
        self.peer.order(do="stop")

    def close(self) -> None:
        self.peer.close()
