"""`make dev` while it runs: where things are, and what the functions log."""
from __future__ import annotations

import time
from typing import List, Optional

import processes
import services
from console import Failure, paint, say
from processes import Known
from project import LOGS


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


def follow(running: List[Optional[Known]]) -> None:
    """Shows the functions' log until Ctrl-C; ends with a sentence when a part of the stack ends by itself."""
    say(paint("Ctrl-C ends it. What the functions log:", "dim"))
    parts = [known for known in running if known]
    with (LOGS / "api.log").open("r", encoding="utf-8", errors="replace") as log:
        log.seek(0, 2)
        while True:
            text = log.read()
            if text:
                print(text, end="", flush=True)
            for known in parts:
                if not processes.alive(known):
                    raise Failure("Part of the local stack ended: %s." % known.name, log=LOGS / (known.name + ".log"))
            time.sleep(0.2)
