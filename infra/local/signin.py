"""Signs a person in as a browser would: to the provider, through its form, back to the API, which answers with tokens."""
from __future__ import annotations

from typing import Any, Callable, Dict
from urllib.parse import urlencode, urljoin

import services
from apiclient import Answer, Client
from console import Failure

MOVED = (302, 303)


def location(answer: Answer, base: str) -> str:
    target = answer.expect(*MOVED).headers.get("location")
    if not target:
        raise Failure("%s %s redirects to nowhere." % (answer.method, answer.path))
    return urljoin(base, target)


def sign_in(
    client: Client, config: services.Config, email: str, plan: str = "business", seen: Callable[[Answer], Any] = lambda _: None
) -> Dict[str, Any]:
    """The tokens and the user. `client` carries the access token from then on; `seen` gets every answer on the way."""

    def note(answer: Answer) -> Answer:
        seen(answer)
        return answer

    login = "/api/auth/%s/login?%s" % (services.PROVIDER, urlencode({"plan": plan, "mode": "token"}))
    url = location(note(client.get(login)), client.base)
    page = note(client.get(url))
    while page.status in MOVED:  # to the interaction page, maybe over more than one step
        url = location(page, url)
        page = note(client.get(url))
    page.expect(200)
    form = urlencode({"email": email}).encode()
    answer = note(client.send("POST", url, form, Content_Type="application/x-www-form-urlencoded"))
    while answer.status in MOVED:
        url = location(answer, url)
        answer = note(client.get(url))
    tokens = answer.expect(200).json()
    if not tokens.get("accessToken"):
        raise Failure("The sign-in of %s gave no access token: %s" % (email, tokens))
    client.token = tokens["accessToken"]
    return tokens
