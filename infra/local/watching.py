"""What `make dev` prints: where things are, and the functions' log in a form for people."""
from __future__ import annotations

import json
from typing import Dict, Tuple

import services
from console import paint, say

LEVELS: Dict[str, Tuple[str, ...]] = {"WARN": ("yellow",), "ERROR": ("red", "bold"), "INFO": ("green",)}
DETAILS = ("db.serial",)  # in the file, but too much for a line
# the Lambda runtime wonders, once per process, about a setting that watch gives
CHATTER = "AWS_LAMBDA_MAX_CONCURRENCY"


def announce(config: services.Config) -> None:
    def line(name: str, text: str) -> None:
        say("  %-12s %s" % (name, text))

    real = [name for name, entry in services.ai_providers(config).items() if entry["apiKey"] != "local"]
    say()
    say(paint("Camarad runs.", "bold", "green"))
    line("API", config.api)
    line("reference", config.api + "/docs")
    line("sign-in", "%s and %s (any e-mail address)" % (config.oidc, config.github))
    line("mails", config.mails)
    line("AI", "%s%s" % (config.ai, "; real: " + ", ".join(real) if real else ""))
    line("Stripe", config.stripe if config.stripe_is_local else "the real one, with the key of .env")
    line("AWS", config.aws)
    line("logs", ".local/logs; data .local/dev")
    say()
    say("Try it, in another terminal:")
    say()
    # With --trial: who has just signed up has no subscription, and can only read.
    say(paint("  TOKEN=$(python3 infra/local/login.py --trial ada@example.com)", "cyan"))
    say(paint('  curl -s %s/api/user -H "Authorization: Bearer $TOKEN"' % config.api, "cyan"))
    say()


def readable(line: str) -> str:
    """A line of a function's JSON log as a person reads it; what is no JSON stays as it is."""
    if CHATTER in line:
        return ""
    try:
        entry = json.loads(line)
    except ValueError:
        return line
    clock = str(entry.pop("timestamp", ""))[11:19]
    level, message = str(entry.pop("level", "")), str(entry.pop("message", ""))
    if message == "request":
        message = "%s %s %s" % tuple(entry.pop(key, "?") for key in ("http.method", "http.route", "http.status"))
    notes = [("%s ms" % entry.pop("duration_ms"))] if "duration_ms" in entry else []
    notes += ["%s=%s" % (name, value) for name, value in entry.items() if value not in (0, "", None) and name not in DETAILS]
    return "%s %s %s  %s" % (paint(clock, "dim"), paint(level.ljust(5), *LEVELS.get(level, ())), message, paint(" ".join(notes), "dim"))
