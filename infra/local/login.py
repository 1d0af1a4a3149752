"""Prints an access token of the running local stack, for curl:

    TOKEN=$(python3 infra/local/login.py ada@example.com)

With --mail, it signs in with a link that is mailed, instead of through the local provider. With --trial, it then begins a
trial of the plan Business, with a card on the local Stripe's page: who has just signed up can only read.
"""
from __future__ import annotations

import sys

import services
from apiclient import Client
from console import Failure, run_main, say
from signin import sign_in, sign_in_by_mail
from subscribe import subscribe


def main() -> int:
    arguments = [argument for argument in sys.argv[1:] if argument not in ("--mail", "--trial")]
    if len(arguments) != 1 or "@" not in arguments[0]:
        print(__doc__, file=sys.stderr)
        return 2
    config = services.read_config()
    if not services.answers(config.api + "/api/health"):
        raise Failure("No local stack answers at %s." % config.api, "Start it with `make dev` in another terminal.")
    way = sign_in_by_mail if "--mail" in sys.argv else sign_in
    client = Client(config.api)
    token = way(client, config, arguments[0])["accessToken"]
    if "--trial" in sys.argv and client.get("/api/user/subscription").expect(200).json()["status"] == "incomplete":
        subscribe(client, config)
    say(token)
    return 0


if __name__ == "__main__":
    run_main(main)
