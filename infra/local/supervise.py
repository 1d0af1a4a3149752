"""`make dev` while it runs: shows what the functions log, builds what changes, restarts what has changed or ended.

`cargo lambda watch` could reload, too, but it starts every process with a `cargo run` of its own, one after the other;
it leaves a function that has exited dead, and lets requests hang while the code does not compile. Here the functions go
on as they were until a build has succeeded, and only those whose binary is new are restarted.
"""
from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Callable, Dict, Iterator, List, TextIO

import processes
from console import Failure, paint, report, say
from processes import Known, Service
from project import LOGS, ROOT
from watching import readable

WATCHED = ("Cargo.toml", "Cargo.lock", "shared", "functions")
DEPLOYED = "template.yaml"
PAUSE = 0.3  # seconds between two looks; an editor that saves many files is done by the second
RESTART_AFTER = 1.0  # seconds that a function which cannot live is left alone


def files(path: Path) -> Iterator[Path]:
    if path.is_dir():
        for entry in os.scandir(path):
            if not entry.name.startswith("."):
                yield from files(Path(entry.path))
    elif path.exists():
        yield path


def modified(names: "tuple[str, ...]") -> Dict[str, int]:
    found: Dict[str, int] = {}
    for name in names:
        for path in files(ROOT / name):
            try:
                found[str(path)] = path.stat().st_mtime_ns
            except FileNotFoundError:  # an editor's temporary file
                continue
    return found


class Supervisor:
    def __init__(self, services: List[Service], build: Callable[[], None], log: TextIO):
        self.services, self.build, self.log = services, build, log
        self.pending = ""
        self.sources = modified(WATCHED)
        self.template = modified((DEPLOYED,))
        self.binaries = self.built()
        self.dead: Dict[str, float] = {}

    def built(self) -> Dict[str, int]:
        return {service.command[0]: os.stat(service.command[0]).st_mtime_ns for service in self.services}

    def run(self) -> None:
        """Until Ctrl-C, or until a part without which nothing goes has ended."""
        while True:
            self.show_log()
            running = {known.name: known for known in processes.remembered()}
            for part in ("aws", "oidc", "ai", "api", "gateway"):
                if part not in running:
                    raise Failure("A part of the local stack ended: %s." % part, log=LOGS / (part + ".log"))
            self.revive(running)
            self.look_at_sources()
            time.sleep(PAUSE)

    def show_log(self) -> None:
        *lines, self.pending = (self.pending + self.log.read()).split("\n")
        for text in filter(None, map(readable, lines)):
            say(text)

    def revive(self, running: Dict[str, Known]) -> None:
        now = time.monotonic()
        for service in self.services:
            if service.name in running:
                self.dead.pop(service.name, None)
            elif service.name not in self.dead:
                self.dead[service.name] = now
                say(paint("%s has ended; it is started again." % service.title.capitalize(), "yellow"))
            elif now - self.dead[service.name] > RESTART_AFTER:
                self.dead[service.name] = now
                processes.start(service, True)

    def look_at_sources(self) -> None:
        if modified((DEPLOYED,)) != self.template:
            self.template = modified((DEPLOYED,))
            say(paint("%s has changed: stop and start `make dev` to deploy it." % DEPLOYED, "yellow"))
        now = modified(WATCHED)
        if now == self.sources:
            return
        self.sources = now
        try:
            self.build()
        except Failure as failure:
            report(failure, lines=60)
            say(paint("The functions run on as they were built before.", "yellow"))
        else:
            self.restart_changed()

    def restart_changed(self) -> None:
        before, self.binaries = self.binaries, self.built()
        changed = [s for s in self.services if before[s.command[0]] != self.binaries[s.command[0]]]
        running = {known.name: known for known in processes.remembered()}
        for service in changed:
            if service.name in running:
                processes.stop(running[service.name])
            processes.start(service, True)
        names = sorted({Path(service.command[0]).name for service in changed})
        say(paint("Restarted: %s." % ", ".join(names) if names else "No function has changed.", "green"))
