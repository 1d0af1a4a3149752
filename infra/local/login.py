"""Prints an access token of the running local stack, for curl:

    TOKEN=$(python3 infra/local/login.py ada@example.com)
"""
from __future__ import annotations

import sys

import services
from apiclient import Client
from console import Failure, run_main, say
from signin import sign_in


def main() -> int:
    if len(sys.argv) != 2 or "@" not in sys.argv[1]:
        print(__doc__, file=sys.stderr)
        return 2
    config = services.read_config()
    if not services.answers(config.api + "/api/health"):
        raise Failure("No local stack answers at %s." % config.api, "Start it with `make dev` in another terminal.")
    say(sign_in(Client(config.api), config, sys.argv[1])["accessToken"])
    return 0


if __name__ == "__main__":
    run_main(main)
