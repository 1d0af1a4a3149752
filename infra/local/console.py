"""What a person sees: steps with their progress, colours, and errors that say what to do.

On a terminal a running step is one line that keeps moving; elsewhere (CI, a pipe) it is plain lines, so that a log
shows which step takes long without control characters.
"""
from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
import threading
import time
from pathlib import Path
from typing import Iterator, Optional

TERMINAL = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
COLOUR = TERMINAL and "NO_COLOR" not in os.environ
SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
SHOW_AFTER = 2.0  # seconds: what is shorter needs no progress
HEARTBEAT = 20.0  # seconds between two plain lines of one step
# what cargo says while all is well; a failure is among what remains
CARGO_CHATTER = re.compile(r"\s*(Compiling|Checking|Building|Downloaded|Downloading|Fresh|Finished) ")
CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "blue": "34", "cyan": "36"}


class Failure(Exception):
    """Something a person can act on: one sentence, and what helps."""

    def __init__(self, message: str, hint: str = "", log: Optional[Path] = None):
        super().__init__(message)
        self.message, self.hint, self.log = message, hint, log


def paint(text: str, *styles: str) -> str:
    if not COLOUR or not styles:
        return text
    return "\x1b[%sm%s\x1b[0m" % (";".join(CODES[s] for s in styles), text)


def say(text: str = "") -> None:
    print(text, flush=True)


def tail(path: Path, lines: int = 20) -> str:
    """The end of a log, without the control characters that tools write into theirs."""
    try:
        text = path.read_bytes()[-16_384:].decode("utf-8", "replace")
    except OSError:
        return ""
    kept = [line.rsplit("\r", 1)[-1].rstrip() for line in text.replace("\r\n", "\n").split("\n")]
    kept = [line for line in kept if line and not CARGO_CHATTER.match(line)]
    return "\n".join("    " + line for line in kept[-lines:])


def report(failure: Failure, lines: int = 20) -> None:
    out = [paint("✗ " + failure.message, "red", "bold")]
    if failure.log is not None:
        end = tail(failure.log, lines)
        out.append(paint("  The end of %s:" % failure.log, "dim") + "\n" + end if end else "  See %s" % failure.log)
    if failure.hint:
        out.append("  " + failure.hint)
    print("\n".join(out), file=sys.stderr, flush=True)


class Step:
    """One thing that is being done. `note` tells how far it is."""

    def __init__(self, label: str):
        self.label = label
        self.detail = ""
        self.started = time.monotonic()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._show, daemon=True)

    def note(self, detail: str) -> None:
        self.detail = detail

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    def _text(self) -> str:
        detail = ": " + self.detail if self.detail else ""
        return "%s%s (%d s)" % (self.label, detail, self.seconds)

    def _show(self) -> None:
        if TERMINAL:
            self._spin()
        elif not self._over.wait(SHOW_AFTER):
            say("… " + self.label)
            while not self._over.wait(HEARTBEAT):
                say("… " + self._text())

    def _spin(self) -> None:
        turn = 0
        while not self._over.wait(0.1):
            turn += 1
            width = max(20, shutil.get_terminal_size().columns - 3)
            line = paint(SPINNER[turn % len(SPINNER)], "cyan") + " " + self._text()[:width]
            sys.stdout.write("\r\x1b[2K" + line)
            sys.stdout.flush()

    def begin(self) -> "Step":
        self._thread.start()
        return self

    def end(self, mark: str) -> None:
        self._over.set()
        self._thread.join()
        if TERMINAL:
            sys.stdout.write("\r\x1b[2K")
        took = paint(" (%.1f s)" % self.seconds, "dim") if self.seconds >= 0.1 else ""
        say("%s %s%s" % (mark, self.label, took))


@contextlib.contextmanager
def step(label: str) -> Iterator[Step]:
    running = Step(label).begin()
    try:
        yield running
    except BaseException:
        running.end(paint("✗", "red"))
        raise
    running.end(paint("✓", "green"))


def run_main(main) -> None:
    """Ends a script: its own exit code, a Failure as a readable text, Ctrl-C without a stack trace."""
    try:
        sys.exit(main())
    except Failure as failure:
        report(failure)
        sys.exit(1)
    except KeyboardInterrupt:
        say()
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output left, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
