"""Begins a subscription as a person would: on the page of Stripe's that the API leads to. The local one is clicked; on the
real one somebody has to."""
from __future__ import annotations

import time
import uuid
from typing import Any, Callable, Dict
from urllib.parse import urlencode

import services
from apiclient import Answer, Client
from console import Failure, paint, say

CARD = "4242 4242 4242 4242"
TOLD_WITHIN = 30.0  # seconds that Stripe's news may take to come through webhook and queue
CLICKED_WITHIN = 900.0  # seconds that a person may take with a real page


def subscribe(client: Client, config: services.Config, plan: str = "business") -> Dict[str, Any]:
    """On the page of a plan, without onboarding; answers the subscription."""
    page = client.post("/api/billing/checkout", {"planId": plan}, Idempotency_Key=str(uuid.uuid4())).expect(201).json()
    return pay(client, config, page["url"])


def pay(client: Client, config: services.Config, url: str, seen: Callable[[Answer], Any] = lambda _: None) -> Dict[str, Any]:
    """Enters a card on the page, and waits until the account says that the trial has begun."""
    if config.stripe_is_local:
        seen(client.get(url)).expect(200)
        form = urlencode({"card": CARD, "name": "Ada", "country": "US"}).encode()
        seen(client.send("POST", url, form, Content_Type="application/x-www-form-urlencoded")).expect(303)
    else:
        say("   Enter the card %s at %s" % (CARD, paint(url, "cyan")))
        say("   (Stripe's webhooks must reach this machine: stripe listen --forward-to %s/api/billing/webhook)" % config.api)
    patience = TOLD_WITHIN if config.stripe_is_local else CLICKED_WITHIN
    deadline = time.monotonic() + patience
    while True:
        answer = client.get("/api/user/subscription")
        subscription = answer.expect(200).json()
        granted = client.get("/api/ledger/balance").expect(200).json()["balance"] != "0"
        if subscription["status"] in ("trialing", "active") and granted:
            seen(answer)
            return subscription
        if time.monotonic() > deadline:
            raise Failure(
                "After %d s the subscription still is %s." % (patience, subscription["status"]),
                "See the lines of stripe-webhook and billing-consumer in .local/logs/functions.log.",
            )
        time.sleep(0.2)
