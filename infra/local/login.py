"""Prints an access token of the running local stack, for curl:

    TOKEN=$(python3 infra/local/login.py ada@example.com)

With --mail, it signs in with a link that is mailed, instead of through the local provider.
"""
from __future__ import annotations

import sys

import services
from apiclient import Client
from console import Failure, run_main, say
from signin import sign_in, sign_in_by_mail


def main() -> int:
    arguments = [argument for argument in sys.argv[1:] if argument != "--mail"]
    if len(arguments) != 1 or "@" not in arguments[0]:
        print(__doc__, file=sys.stderr)
        return 2
    config = services.read_config()
    if not services.answers(config.api + "/api/health"):
        raise Failure("No local stack answers at %s." % config.api, "Start it with `make dev` in another terminal.")
    way = sign_in_by_mail if "--mail" in sys.argv else sign_in
    say(way(Client(config.api), config, arguments[0])["accessToken"])
    return 0


if __name__ == "__main__":
    run_main(main)
