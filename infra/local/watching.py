"""`make dev` while it runs: where things are, and what the functions log."""
from __future__ import annotations

import json
import os
import re
import time
from typing import Dict, List, Optional, Tuple

import processes
import services
from console import Failure, paint, say
from processes import Known
from project import LOGS

LEVELS: Dict[str, Tuple[str, ...]] = {"WARN": ("yellow",), "ERROR": ("red", "bold"), "INFO": ("green",)}
# what watch and cargo say whenever a function starts, once per process
CHATTER = re.compile(
    r"\s*(INFO (spawning|starting|terminating)|Blocking waiting|Finished `|Running `|"
    r'\{.*AWS_LAMBDA_MAX_CONCURRENCY)'
)


def announce(config: services.Config) -> None:
    def line(name: str, text: str) -> None:
        say("  %-12s %s" % (name, text))

    real = [name for name, entry in services.ai_providers(config).items() if entry["apiKey"] != "local"]
    say()
    say(paint("Camarad runs.", "bold", "green"))
    line("API", config.api)
    line("reference", config.api + "/docs")
    line("sign-in", config.oidc + " (any e-mail address)")
    line("AI", "%s%s" % (config.ai, "; real: " + ", ".join(real) if real else ""))
    line("AWS", config.aws)
    line("logs", ".local/logs; data .local/dev")
    say()
    say("Try it, in another terminal:")
    say()
    say(paint("  TOKEN=$(python3 infra/local/login.py ada@example.com)", "cyan"))
    say(paint('  curl -s %s/api/user -H "Authorization: Bearer $TOKEN"' % config.api, "cyan"))
    say()


def readable(line: str) -> str:
    """A line of a function's JSON log as a person reads it; what cargo says stays; the chatter of watch is dropped."""
    if CHATTER.match(line) or not line.startswith("{"):
        return "" if CHATTER.match(line) else line
    try:
        entry = json.loads(line)
    except ValueError:
        return line
    clock = str(entry.pop("timestamp", ""))[11:19]
    level, message = str(entry.pop("level", "")), str(entry.pop("message", ""))
    if message == "request":
        message = "%s %s %s" % tuple(entry.pop(key, "?") for key in ("http.method", "http.route", "http.status"))
    rest = " ".join("%s=%s" % item for item in entry.items() if item[1] not in (0, 0.0, "", None))
    return "%s %s %s  %s" % (paint(clock, "dim"), paint(level.ljust(5), *LEVELS.get(level, ())), message, paint(rest, "dim"))


def follow(running: List[Optional[Known]]) -> None:
    """Shows the functions' log until Ctrl-C; ends with a sentence when a part of the stack ends by itself."""
    say(paint("Ctrl-C ends it. What the functions log:", "dim"))
    parts = [known for known in running if known]
    pending = ""
    with (LOGS / "api.log").open("r", encoding="utf-8", errors="replace") as log:
        log.seek(0, os.SEEK_END)
        while True:
            *lines, pending = (pending + log.read()).split("\n")
            for text in filter(None, map(readable, lines)):
                say(text)
            for known in parts:
                if not processes.alive(known):
                    raise Failure("A part of the local stack ended: %s." % known.name, log=LOGS / (known.name + ".log"))
            time.sleep(0.2)
