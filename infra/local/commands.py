"""Runs other programs: output into a log, progress out of it, and none left behind when we stop."""
from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import threading
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Optional, Set

from console import Failure
from project import ROOT, shown

_live: Set["subprocess.Popen[bytes]"] = set()
_lock = threading.Lock()


def stop_all() -> None:
    """Ends what `run` started and is still running; called when this program itself has to end."""
    with _lock:
        running = list(_live)
    for child in running:
        child.terminate()
    for child in running:
        try:
            child.wait(timeout=5)
        except subprocess.TimeoutExpired:
            child.kill()


def stop_on_signals() -> None:
    """SIGTERM and SIGHUP end us as Ctrl-C does: through `finally` blocks."""

    def leave(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGHUP, leave)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """While we tidy up, a second Ctrl-C must not leave half of it standing."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, signal.SIG_IGN) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before):
            signal.signal(number, handler)


def _pump(stream, log, on_line: Optional[Callable[[str], None]]) -> None:
    pending = b""
    while True:
        chunk = stream.read1(8192)
        if not chunk:
            break
        *lines, pending = re.split(rb"(?<=[\r\n])", pending + chunk)
        for line in lines:
            if line.endswith(b"\n"):  # a line that ends in \r is a progress bar, which the next one overwrites
                log.write(line)
                log.flush()
            if on_line and line.strip():
                on_line(line.decode("utf-8", "replace").strip())
    log.write(pending)


def run(
    command: List[str],
    log: Path,
    failed: str,
    hint: str = "",
    env: Optional[Dict[str, str]] = None,
    cwd: Path = ROOT,
    on_line: Optional[Callable[[str], None]] = None,
) -> None:
    """Runs a command to its end, with its output in `log`; a failure is `failed` with the end of that log."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as out:
        out.write(("$ %s\n" % " ".join(command)).encode())
        try:
            child = subprocess.Popen(
                command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
        except OSError as error:
            raise Failure("%s: %s cannot be started (%s)." % (failed, command[0], error.strerror), hint) from error
        with _lock:
            _live.add(child)
        try:
            _pump(child.stdout, out, on_line)
            code = child.wait()
        except BaseException:
            child.terminate()
            child.wait()
            raise
        finally:
            with _lock:
                _live.discard(child)
    if code != 0:
        raise Failure("%s (exit code %d)." % (failed, code), hint or "The whole log: %s" % shown(log), log)


def cargo_progress(note: Callable[[str], None]) -> Callable[[str], None]:
    """Reads `Building [==>  ] 213/318: serde, tokio` out of what cargo prints with CARGO_TERM_PROGRESS_WHEN=always."""

    def on_line(line: str) -> None:
        text = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", line)
        found = re.search(r"\]\s+(\d+/\d+)(?::\s*(.*))?$", text)
        if found:
            note("%s %s" % (found.group(1).replace("/", " of "), (found.group(2) or "")[:60]))
        elif text.startswith(("Downloading", "Downloaded", "Updating", "Blocking")):
            note(text[:60])

    return on_line


CARGO_PROGRESS = {"CARGO_TERM_PROGRESS_WHEN": "always", "CARGO_TERM_PROGRESS_WIDTH": "100", "CARGO_TERM_COLOR": "never"}
