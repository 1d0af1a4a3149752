"""`make demo`: the main job, played over HTTP as a client would, and told as a person would want to read it.

Starts a local stack with empty data and stops it at the end. While `make dev` runs in this folder, it plays there instead,
as somebody new, and leaves it running.
"""
from __future__ import annotations

import contextlib
import re
import time
import uuid
from datetime import datetime
from decimal import Decimal
from typing import Any, Dict, Iterator, List

import commands
import processes
import services
from apiclient import Answer, Client
from console import Failure, paint, report, run_main, say
from display import INDENT, Flow, amount, bars, table
from project import LOGS
from signin import sign_in
from stack import stack
from subscribe import pay

WORKSPACE = "Analytical Engines"
PRESETS = ["ceo", "cto", "cmo"]
QUESTION = "We have twelve paying customers and money for nine months. What should I do this week?"
SECOND_QUESTION = "Name the one technical risk that we should look at first."
COUNTED_WITHIN = 20.0  # seconds that usage may take to come through the queue
ONBOARDED_WITHIN = 60.0  # seconds that an execution may take, with all its tries


class Story:
    """The steps in order; each says what it asked and what came back."""

    def __init__(self, config: services.Config, email: str):
        self.config, self.email = config, email
        self.client = Client(config.api)
        self.number = 0
        self.names: Dict[str, str] = {}

    def title(self, text: str) -> None:
        self.number += 1
        say()
        say(paint("%d. %s" % (self.number, text), "bold"))

    def asked(self, answer: Answer) -> Answer:
        self.line(answer.method, answer.path, str(answer.status), answer.seconds)
        return answer

    def line(self, method: str, path: str, status: str, seconds: float) -> None:
        shown = LONG_ID.sub(r"\1…", path)
        shown = shown if len(shown) <= 72 else shown[:71] + "…"
        say(paint("%s%-4s %s  %s  %d ms" % (INDENT, method, shown, status, seconds * 1000), "dim"))

    def get(self, path: str) -> Any:
        return self.asked(self.client.get(path)).expect(200).json()

    def post(self, path: str, value: Any, status: int) -> Any:
        answer = self.client.post(path, value, Idempotency_Key=str(uuid.uuid4()))
        return self.asked(answer).expect(status).json()

    def sign_in(self) -> None:
        self.title("Sign in, through OpenID Connect with PKCE")
        tokens = sign_in(self.client, self.config, self.email, seen=self.asked)
        user = tokens.get("user") or self.get("/api/user")
        say("%sHello %s, %s." % (INDENT, user.get("name") or "you", paint(user.get("email", self.email), "green")))

    def onboard(self) -> Dict[str, Any]:
        self.title("Onboarding: plan, workspace, agents and preferences in one go, or nothing")
        wish = {
            "planId": "business",
            "workspace": {"name": WORKSPACE, "type": "business"},
            "selectedAgentPresetIds": PRESETS,
            "preferences": {"theme": "dark", "timezone": "Europe/London"},
        }
        answer = self.client.post("/api/onboarding/complete", wish, Idempotency_Key=str(uuid.uuid4()))
        onboarding = self.asked(answer).expect(201, 202).json()
        path, deadline = "/api/onboarding/" + onboarding["executionId"], time.monotonic() + ONBOARDED_WITHIN
        while onboarding["status"] in ("running", "undoing"):
            if time.monotonic() > deadline:
                raise Failure("The onboarding does not end: %s" % onboarding["steps"])
            time.sleep(0.2)
            onboarding = self.client.get(path).expect(200).json()
        onboarding = self.get(path)
        if onboarding["status"] != "completed":
            raise Failure("The onboarding failed: %s" % onboarding["steps"])
        begun = moment(onboarding["startedAt"])
        rows = [[s["step"], s["status"], "%d ms" % ((moment(s["doneAt"]) - begun).total_seconds() * 1000)] for s in onboarding["steps"]]
        table(["step", "", "after"], rows, right=(2,))
        return onboarding

    def pay(self, onboarding: Dict[str, Any]) -> None:
        self.title("A card, on the page of Stripe's")
        subscription = pay(self.client, self.config, onboarding["checkoutUrl"], seen=self.asked)
        balance = self.get("/api/ledger/balance")
        until = paint(subscription["trialEndsAt"][:10], "green")
        say("%sThe trial of the plan %s lasts until %s." % (INDENT, subscription["plan"].capitalize(), until))
        say("%sIt has granted %s." % (INDENT, cbt(balance["balance"])))

    def show_agents(self, onboarding: Dict[str, Any]) -> List[Dict[str, Any]]:
        self.title("The workspace and its agents")
        agents = self.get("/api/workspaces/%s/agents" % onboarding["workspaceId"])["items"]
        self.names = {agent["id"]: agent.get("name", agent["id"]) for agent in agents}
        say("%s%s  %s" % (INDENT, paint(WORKSPACE, "green"), onboarding["workspaceId"]))
        table(["agent", "preset", "id"], [[a.get("name", ""), a.get("presetId", ""), a["id"]] for a in agents])
        return agents

    def ask_streaming(self, agent: Dict[str, Any]) -> Dict[str, Any]:
        self.title("A question to %s, the answer as it arrives" % agent.get("name", "the agent"))
        say("%s%s" % (INDENT, paint("“%s”" % QUESTION, "yellow")))
        path, begun = "/api/agents/%s/stream" % agent["id"], time.monotonic()
        flow, first, receipt = Flow(), 0.0, None
        for event in self.client.events(path, {"message": QUESTION}, str(uuid.uuid4())):
            if event.name == "delta":
                first = first or time.monotonic() - begun
                flow.add(event.data.get("text", ""))
            elif event.name == "done":
                receipt = event.data.get("receipt", event.data)
            elif event.name == "error":
                flow.end()
                raise Failure("The answer broke off: %s" % event.data)
        flow.end()
        took = time.monotonic() - begun
        self.line("POST", path, "200, first word after %d ms" % (first * 1000), took)
        if receipt is None:
            raise Failure("The stream ended without a receipt.")
        return receipt

    def show_receipt(self, receipt: Dict[str, Any]) -> None:
        self.title("The receipt")
        tokens = "%s in (%s of them cached), %s out" % tuple(receipt[k] for k in ("inputTokens", "cachedTokens", "outputTokens"))
        lines = [
            ("model", "%s of %s, role prompt %s" % (receipt["model"], receipt["provider"], receipt["promptVersion"])),
            ("tokens", tokens + (", estimated" if receipt["estimated"] else "")),
            ("held", "%s cbT, before the first word" % amount(receipt["held"])),
            ("charged", cbt(receipt["cost"]) + ", prices of %s" % receipt["priceVersion"]),
            ("balance", "%s cbT" % amount(receipt["balanceAfter"])),
            ("time", "%s ms to the first byte, %s ms in all" % (receipt["firstByteMs"], receipt["latencyMs"])),
        ]
        for name, value in lines:
            say("%s%-8s %s" % (INDENT, name, value))

    def ask_plain(self, agent: Dict[str, Any]) -> None:
        self.title("A question to %s, as one JSON answer" % agent["name"])
        say("%s%s" % (INDENT, paint("“%s”" % SECOND_QUESTION, "yellow")))
        answer = self.post("/api/agents/%s/chat" % agent["id"], {"message": SECOND_QUESTION}, 200)
        flow = Flow()
        flow.add(answer["answer"])
        flow.end()
        say("%sCharged %s." % (INDENT, cbt(answer["receipt"]["cost"])))

    def show_ledger(self) -> None:
        self.title("The ledger")
        entries = sorted(self.get("/api/ledger")["items"], key=lambda entry: entry["seq"])
        rows = [
            [
                str(entry["seq"]),
                entry["at"][11:19],
                entry["type"],
                amount(entry["delta"]),
                amount(entry["held"]),
                amount(entry["balance"]),
                entry.get("reason") or self.names.get(entry.get("agentId", ""), ""),
            ]
            for entry in entries
        ]
        table(["no", "time", "what", "balance by", "held by", "balance", "why"], rows, right=(0, 3, 4, 5))
        self.prove(entries)

    def prove(self, entries: List[Dict[str, Any]]) -> None:
        balance = self.get("/api/ledger/balance")
        total = sum((Decimal(entry["delta"]) for entry in entries), Decimal(0))
        if total != Decimal(balance["balance"]) or Decimal(balance["held"]) != 0:
            raise Failure("The ledger does not add up: entries %s, balance %s." % (total, balance))
        say("%sBalance %s, held %s. The entries add up to it." % (INDENT, cbt(balance["balance"]), balance["held"]))

    def show_usage(self, workspace: str, calls: int) -> None:
        self.title("Usage, counted once through the queue")
        path = "/api/usage/stats?workspaceId=%s&range=day&groupBy=agent" % workspace
        deadline = time.monotonic() + COUNTED_WITHIN
        while True:
            answer = self.client.get(path)
            stats = answer.expect(200).json()
            if stats["totals"]["calls"] >= calls:
                break
            if time.monotonic() > deadline:
                raise Failure("Of %d calls only %d have been counted." % (calls, stats["totals"]["calls"]))
            time.sleep(0.2)
        self.asked(answer)
        groups = [group for bucket in stats["buckets"] for group in bucket["groups"]]
        bars([(self.names.get(g["key"], g["key"]), Decimal(g["cost"]), amount(g["cost"]) + " cbT") for g in groups])
        totals = stats["totals"]
        counted = "%d calls, %d tokens in, %d out" % (totals["calls"], totals["inputTokens"], totals["outputTokens"])
        say("%s%s, together %s." % (INDENT, counted, cbt(totals["cost"])))


# ids of which the beginning is enough to tell them apart
LONG_ID = re.compile(r"\b((?:ws|agt|onb|cs(?:_test)?)_[0-9a-zA-Z]{4})[0-9a-zA-Z]+")


def moment(text: str) -> datetime:
    whole, _, fraction = text.rstrip("Z").partition(".")
    return datetime.strptime("%s.%s" % (whole, fraction[:6] or "0"), "%Y-%m-%dT%H:%M:%S.%f")


def cbt(value: object) -> str:
    return paint("%s cbT" % amount(value), "green")


def play(config: services.Config, email: str) -> None:
    story = Story(config, email)
    story.sign_in()
    onboarding = story.onboard()
    story.pay(onboarding)
    agents = story.show_agents(onboarding)
    story.show_receipt(story.ask_streaming(agents[0]))
    story.ask_plain(agents[1])
    story.show_ledger()
    story.show_usage(onboarding["workspaceId"], calls=2)
    say()


@contextlib.contextmanager
def stage(config: services.Config) -> Iterator[str]:
    """A stack to play on, and as whom: a fresh one, or the developer's, where the name must be new."""
    running = processes.find("gateway", processes.remembered())
    if running and running.port == config.ports["CAMARAD_API_PORT"] and services.answers(config.api + "/api/health"):
        say("A local stack runs already (%s): the demo plays there." % config.api)
        yield "ada+%s@example.com" % uuid.uuid4().hex[:8]
    else:
        with stack(config, persistent=False):
            yield "ada@example.com"


def stumbled(failure: Failure) -> int:
    """Told with what the functions said last."""
    logs = [LOGS / "functions.log", LOGS / "api.log"]
    failure.log = failure.log or next((log for log in logs if log.exists()), None)
    report(failure)
    return 1


def main() -> int:
    commands.stop_on_signals()
    config = services.read_config()
    begun = time.monotonic()
    with stage(config) as email:
        try:
            play(config, email)
        except Failure as failure:
            return stumbled(failure)
        except (KeyError, TypeError, ValueError) as error:
            return stumbled(Failure("An answer has not the shape that the demo expects: %r" % error))
    say(paint("✓ The demo took %.0f s. To go on with it yourself: make dev" % (time.monotonic() - begun), "green"))
    return 0


if __name__ == "__main__":
    run_main(main)
