"""Processes of the local stack: started in groups of their own, remembered in `.local/run`, ended by id.

A process id alone is not an identity, as systems use ids again. What is remembered is the id with the time at which
that process began; `alive` compares both, so a stale file never leads to somebody else's process.
"""
from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Callable, Dict, Iterable, List, NamedTuple, Optional

from console import Failure
from project import HOST, LOCAL

RUN = LOCAL / "run"
PROC = Path("/proc")


class Service(NamedTuple):
    """What is to run, and how one sees that it is ready."""

    name: str
    title: str
    command: List[str]
    env: Dict[str, str]
    port: int
    log: Path
    ready: Callable[[], bool]
    patience: float = 30.0


class Known(NamedTuple):
    """A process that we started, here or in an earlier run."""

    name: str
    pid: int
    began: str
    port: int
    persistent: bool


def began(pid: int) -> str:
    """When a process began, in whatever form the system tells it; empty when there is none, or only its remains."""
    try:
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        return "" if fields[0] == "Z" else fields[19]
    except OSError:
        pass
    if PROC.is_dir() and (PROC / "self").exists():
        return ""
    told = subprocess.run(["ps", "-p", str(pid), "-o", "stat=,lstart="], capture_output=True, text=True, check=False)
    state, _, start = told.stdout.strip().partition(" ")
    return "" if state.startswith("Z") else start.strip()


def alive(known: Known) -> bool:
    return bool(known.began) and began(known.pid) == known.began


def remember(known: Known) -> None:
    RUN.mkdir(parents=True, exist_ok=True)
    (RUN / (known.name + ".json")).write_text(json.dumps(known._asdict()), encoding="utf-8")


def forget(name: str) -> None:
    (RUN / (name + ".json")).unlink(missing_ok=True)


def remembered() -> List[Known]:
    """What runs of this folder's stack. Files of processes that are gone are removed on the way."""
    found: List[Known] = []
    for path in sorted(RUN.glob("*.json")):
        try:
            known = Known(**json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError, OSError):
            known = None
        if known and alive(known):
            found.append(known)
        else:
            if known:
                over(known.pid, known.began)
            path.unlink(missing_ok=True)
    return found


def children() -> Dict[int, List[int]]:
    """Parent -> children, of the whole machine."""
    table: Dict[int, List[int]] = {}
    if (PROC / "self").exists():
        for entry in PROC.iterdir():
            if entry.name.isdigit():
                try:
                    fields = (entry / "stat").read_text().rpartition(")")[2].split()
                except OSError:
                    continue
                table.setdefault(int(fields[1]), []).append(int(entry.name))
        return table
    told = subprocess.run(["ps", "-axo", "pid=,ppid="], capture_output=True, text=True, check=False)
    for line in told.stdout.splitlines():
        pid, parent = line.split()
        table.setdefault(int(parent), []).append(int(pid))
    return table


def family(pid: int) -> List[int]:
    """A process and all below it: cargo-lambda gives each function a group of its own, so the group is not enough."""
    table, found, queue = children(), [], [pid]
    while queue:
        current = queue.pop()
        found.append(current)
        queue.extend(table.get(current, []))
    return found


def send(pids: Iterable[int], number: int) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except (ProcessLookupError, PermissionError):
            pass


def over(pid: int, mark: str) -> bool:
    """Whether a process has ended. Our own children are asked for, as else their remains stay until we end too."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return began(pid) != mark


def gone(marks: Dict[int, str]) -> bool:
    return all([over(pid, mark) for pid, mark in marks.items()])  # a list: every one is to be asked for


def stop(known: Known, patience: float = 10.0) -> None:
    """SIGTERM, so that it can save and tidy; SIGKILL for what does not listen, and for what it left below it."""
    if alive(known):
        marks = {pid: began(pid) for pid in family(known.pid)}
        marks = {pid: mark for pid, mark in marks.items() if mark}
        send([known.pid], signal.SIGTERM)
        deadline = time.monotonic() + patience
        while not gone({known.pid: known.began}) and time.monotonic() < deadline:
            time.sleep(0.02)
        left = [pid for pid, mark in marks.items() if began(pid) == mark]
        send(left, signal.SIGTERM)
        deadline = time.monotonic() + 1.0
        while not gone(marks) and time.monotonic() < deadline:
            time.sleep(0.02)
        send([pid for pid, mark in marks.items() if began(pid) == mark], signal.SIGKILL)
        while not gone(marks):
            time.sleep(0.02)
    forget(known.name)


def port_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def port_owner(port: int) -> str:
    """`node server.js (process 1234)`, where the system lets us see it."""
    wanted, inodes = ":%04X" % port, set()
    for table in ("tcp", "tcp6"):
        try:
            lines = (PROC / "net" / table).read_text().splitlines()[1:]
        except OSError:
            continue
        rows = [line.split() for line in lines]
        inodes |= {"socket:[%s]" % row[9] for row in rows if row[1].endswith(wanted) and row[3] == "0A"}
    for link in PROC.glob("[0-9]*/fd/*") if inodes else ():
        try:
            if os.readlink(link) in inodes:
                pid = link.parts[2]
                words = (PROC / pid / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
                return "%s (process %s)" % (words.strip()[:80], pid)
        except OSError:
            continue
    return ""


def require_ports(ports: Dict[str, int]) -> None:
    """Before anything starts. The argument is from the name of a setting to its port."""
    taken = [name for name, port in ports.items() if not port_free(port)]
    if taken:
        who = ["Port %d is in use by %s." % (ports[name], port_owner(ports[name]) or "another program") for name in taken]
        raise Failure(" ".join(who), "End it, or choose another port in .env: %s" % ", ".join(n + "=<port>" for n in taken))


def start(service: Service, persistent: bool) -> Known:
    with service.log.open("ab") as log:
        try:
            child = subprocess.Popen(
                service.command,
                env=service.env,
                cwd=LOCAL.parent,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C goes to us, and we end it in order
            )
        except OSError as error:
            raise Failure("%s cannot be started: %s." % (service.title, error.strerror), "Run `make setup`.") from error
    known = Known(service.name, child.pid, began(child.pid), service.port, persistent)
    child.returncode = 0  # we wait by id ourselves; without this, Popen complains that it runs on
    remember(known)
    return known


def await_ready(service: Service, known: Known) -> None:
    deadline = time.monotonic() + service.patience
    while not service.ready():
        if gone({known.pid: known.began}):
            raise Failure("%s ended while it started." % service.title, log=service.log)
        if time.monotonic() > deadline:
            raise Failure("%s does not answer after %d s." % (service.title, service.patience), log=service.log)
        time.sleep(0.05)


def find(name: str, running: Iterable[Known]) -> Optional[Known]:
    return next((known for known in running if known.name == name), None)
