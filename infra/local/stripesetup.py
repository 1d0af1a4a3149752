"""`make stripe-setup`: infra/stripe/setup.mjs against the Stripe of this folder's settings, the real or the local one."""
from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from typing import Dict, List

import services
from console import Failure, run_main, say
from project import ROOT

SETUP = ROOT / "infra" / "stripe" / "setup.mjs"
WEBHOOK = "/api/billing/webhook"
LOCAL_SECRET = "whsec_camarad_local"


def command(config: services.Config, arguments: List[str]) -> List[str]:
    return ["node", str(SETUP), "--api", config.stripe, *arguments]


def environment(config: services.Config) -> Dict[str, str]:
    return {**os.environ, "STRIPE_SECRET_KEY": config.stripe_key}


def seed(config: services.Config) -> Dict[str, object]:
    """Fills the local Stripe: what is sold, and an endpoint for webhooks. Answers the keys as the functions read them."""
    if config.stripe_is_local:
        arguments = command(config, ["--webhook", config.api + WEBHOOK, "--json"])
        run = subprocess.run(arguments, env=environment(config), capture_output=True, text=True, check=False)
        if run.returncode != 0:
            raise Failure("The local Stripe could not be filled.", run.stderr.strip() or "See .local/logs/stripe.log.")
        # Stripe tells a secret once; here it is one that the next start knows, too.
        endpoint = json.loads(run.stdout)["webhook"]["id"]
        order(config, "webhook_endpoints/%s/secrets" % endpoint, {"secrets": [LOCAL_SECRET]})
    secret = LOCAL_SECRET if config.stripe_is_local else config.values.get("STRIPE_WEBHOOK_SECRET", "")
    return {"secretKey": config.stripe_key, "webhookSecrets": [secret] if secret else []}


def order(config: services.Config, path: str, body: object) -> None:
    headers = {"Authorization": "Bearer " + config.stripe_key, "Content-Type": "application/json"}
    url = "%s/_peer/%s" % (config.stripe, path)
    request = urllib.request.Request(url, json.dumps(body).encode(), headers, method="POST")
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10.0):
        pass


def main() -> int:
    config = services.read_config()
    if config.stripe_is_local and not services.answers(config.stripe):
        raise Failure("No local Stripe answers at %s." % config.stripe, "Run `make dev` beside it, or put STRIPE_SECRET_KEY into .env.")
    say("Stripe at %s" % config.stripe)
    return subprocess.run(command(config, sys.argv[1:]), env=environment(config), check=False).returncode


if __name__ == "__main__":
    run_main(main)
