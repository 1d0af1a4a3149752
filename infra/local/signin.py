"""Signs a person in as a browser would: to the provider, through its form, back to the API, which answers with tokens; or
with a link that is mailed, read where the local mails are."""
from __future__ import annotations

import time
from typing import Any, Callable, Dict, List
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
    client: Client, config: services.Config, email: str, seen: Callable[[Answer], Any] = lambda _: None
) -> Dict[str, Any]:
    """The tokens and the user. `client` carries the access token from then on; `seen` gets every answer on the way."""

    def note(answer: Answer) -> Answer:
        seen(answer)
        return answer

    login = "/api/auth/%s/login?%s" % (services.PROVIDER, urlencode({"mode": "token"}))
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


def sign_in_by_mail(client: Client, config: services.Config, email: str) -> Dict[str, Any]:
    """The same with a mailed link."""
    before = len(mails(config, email))
    client.post("/api/auth/magic-link", {"email": email, "mode": "token"}).expect(202)
    deadline = time.monotonic() + 30
    while len(mails(config, email)) == before:
        if time.monotonic() > deadline:
            raise Failure("No mail came to %s." % email, "See the mailer's lines in .local/logs/functions.log.")
        time.sleep(0.2)
    text = mails(config, email)[-1]["BodyText"]
    link = next(line for line in text.splitlines() if "/api/auth/magic-link/verify?token=" in line)
    opened = client.send("GET", link, Accept="application/json").expect(200).json()
    proof = {"token": link.split("token=")[1], "nonce": opened["nonce"]}
    tokens = client.post("/api/auth/magic-link/verify", proof).expect(200).json()
    client.token = tokens["accessToken"]
    return tokens


def mails(config: services.Config, email: str) -> List[Dict[str, Any]]:
    """The mails to an address, oldest first."""
    everybodys = Client(config.mails).get("").expect(200).json()["messages"]
    return [mail for account in everybodys.values() for mail in account if mail["To"] == [email.lower()]]
