"""What the local stack consists of: the ports, the processes, and the environment of the functions."""
from __future__ import annotations

import json
import os
import socket
import urllib.error
import urllib.request
from pathlib import Path
from typing import Dict, List, NamedTuple

from console import Failure
from processes import Service
from project import BIN, GITHUB, HOST, LOCAL, LOGS, OIDC, ROOT, STRIPE, settings, tool_environment

PORTS = {
    "CAMARAD_API_PORT": 9000,
    "CAMARAD_WATCH_PORT": 9001,
    "CAMARAD_AWS_PORT": 4566,
    "CAMARAD_AI_PORT": 4571,
    "CAMARAD_OIDC_PORT": 4572,
    "CAMARAD_GITHUB_PORT": 4573,
    "CAMARAD_STRIPE_PORT": 4574,
}
PROVIDER = "camarad-local"  # id of the local sign-in provider; the real ones have ids such as `google`
GITHUB_PROVIDER = "github-local"
CLIENT_ID, CLIENT_SECRET = "camarad", "local-secret"
STRIPE_KEY = "sk_test_camarad"  # opens an account at the local Stripe
STRIPE_API = "https://api.stripe.com"
MAIL_FROM = "camarad@example.com"  # nothing leaves this machine
FRONTEND = "http://localhost:3000"  # where a frontend's development server usually is


class Config(NamedTuple):
    values: Dict[str, str]  # the shell's variables over those of `.env`
    ports: Dict[str, int]

    def url(self, setting: str) -> str:
        return "http://%s:%d" % (HOST, self.ports[setting])

    @property
    def api(self) -> str:
        return self.url("CAMARAD_API_PORT")

    @property
    def watch(self) -> str:
        """The functions themselves, without the gateway in front of them."""
        return self.url("CAMARAD_WATCH_PORT")

    @property
    def aws(self) -> str:
        return self.url("CAMARAD_AWS_PORT")

    @property
    def mails(self) -> str:
        """Where the mails that were sent can be read, as JSON."""
        return self.aws + "/_ministack/ses/messages"

    @property
    def oidc(self) -> str:
        return self.url("CAMARAD_OIDC_PORT")

    @property
    def github(self) -> str:
        return self.url("CAMARAD_GITHUB_PORT")

    @property
    def stripe(self) -> str:
        """The real one where there is a key for it, else the local one."""
        return STRIPE_API if self.values.get("STRIPE_SECRET_KEY") else self.url("CAMARAD_STRIPE_PORT")

    @property
    def stripe_key(self) -> str:
        return self.values.get("STRIPE_SECRET_KEY") or STRIPE_KEY

    @property
    def stripe_is_local(self) -> bool:
        return self.stripe != STRIPE_API

    @property
    def ai(self) -> str:
        return self.url("CAMARAD_AI_PORT")


def read_config() -> Config:
    values = settings()
    ports: Dict[str, int] = {}
    for name, default in PORTS.items():
        text = values.get(name) or str(default)
        if not text.isdigit() or not 0 < int(text) < 65536:
            raise Failure("%s is %r, and no port." % (name, text), "Put a number from 1 to 65535 there, or nothing.")
        ports[name] = int(text)
    if len(set(ports.values())) != len(ports):
        raise Failure("Two parts of the local stack have the same port.", "See %s." % ", ".join(PORTS))
    return Config(values, ports)


def answers(url: str, timeout: float = 2.0) -> bool:
    """Whether anything speaks HTTP there and does not call it its own failure."""
    try:
        # never through a proxy of the machine: it is this machine
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(url, timeout=timeout):
            return True
    except urllib.error.HTTPError as error:
        return error.code < 500
    except OSError:
        return False


def listens(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(2.0)
        return probe.connect_ex((HOST, port)) == 0


def auth_providers(config: Config) -> str:
    provider = {"id": PROVIDER, "name": "Local sign-in", "kind": "oidc", "issuer": config.oidc, "clientId": CLIENT_ID}
    provider.update(trustsEmail=True, operators=True)
    github = {"id": GITHUB_PROVIDER, "name": "Local GitHub", "kind": "github", "clientId": CLIENT_ID}
    github.update(issuer=config.github, apiUrl=config.github + "/api/v3", trustsEmail=True)
    return json.dumps([provider, github], separators=(",", ":"))


def ai_providers(config: Config) -> Dict[str, Dict[str, str]]:
    """The real provider where there is a key for it, else the local one."""
    openai, anthropic = config.values.get("OPENAI_API_KEY"), config.values.get("ANTHROPIC_API_KEY")
    return {
        "openai": {
            "baseUrl": "https://api.openai.com/v1" if openai else config.ai + "/v1",
            "apiKey": openai or "local",
        },
        "anthropic": {
            "baseUrl": "https://api.anthropic.com" if anthropic else config.ai,
            "apiKey": anthropic or "local",
        },
    }


def aws_environment(config: Config) -> Dict[str, str]:
    """For clients of the local AWS. Any key does there; the real ones of the machine must not be used by mistake."""
    return {
        "AWS_ENDPOINT_URL": config.aws,
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }


def clean_environment() -> Dict[str, str]:
    """The machine's, without what would lead an AWS client to a real account."""
    return {name: value for name, value in tool_environment().items() if not name.startswith("AWS_")}


def template_parameters(config: Config) -> List[str]:
    pairs = {
        "PublicUrl": config.api,
        "AuthProviders": auth_providers(config),
        "MailFrom": MAIL_FROM,
        "PlatformOperators": config.values.get("PLATFORM_OPERATORS", ""),
        "FrontendOrigins": config.values.get("FRONTEND_ORIGINS") or FRONTEND,
        "LogLevel": config.values.get("LOG_LEVEL") or "INFO",
        "StripeApiUrl": config.stripe,
    }
    return ["%s=%s" % pair for pair in pairs.items()]


def function_environment(config: Config, outputs: Dict[str, str]) -> Dict[str, str]:
    """What template.yaml gives the functions, here one for all."""
    return {
        "STAGE": outputs["Stage"],
        "TABLE_NAME": outputs["TableName"],
        "PUBLIC_URL": config.api,
        "SIGNING_KEYS_SECRET": outputs["SigningKeysSecret"],
        "VAULT_SECRET": outputs["VaultSecret"],
        "AUTH_PROVIDERS": auth_providers(config),
        "AUTH_SECRETS_SECRET": outputs["AuthSecretsSecret"],
        "AI_PROVIDERS_SECRET": outputs["AiProvidersSecret"],
        "METERING_QUEUE_URL": outputs["MeteringQueueUrl"],
        "MAIL_QUEUE_URL": outputs["MailQueueUrl"],
        "MAIL_FROM": MAIL_FROM,
        "ONBOARDING_MACHINE": outputs["OnboardingMachine"],
        "AUDIT_QUEUE_URL": outputs["AuditQueueUrl"],
        "AUDIT_KEY_SECRET": outputs["AuditKeySecret"],
        "STRIPE_API_URL": config.stripe,
        "BILLING_QUEUE_URL": outputs["BillingQueueUrl"],
        "STRIPE_SECRET": outputs["StripeSecret"],
        "FRONTEND_ORIGINS": config.values.get("FRONTEND_ORIGINS") or FRONTEND,
        "PLATFORM_OPERATORS": config.values.get("PLATFORM_OPERATORS", ""),
        "LOG_LEVEL": config.values.get("LOG_LEVEL") or "INFO",
        "AWS_LAMBDA_HTTP_IGNORE_STAGE_IN_PATH": "true",
        **aws_environment(config),
    }


def aws_service(config: Config, state: Path) -> Service:
    temporary = state / "tmp"
    temporary.mkdir(parents=True, exist_ok=True)
    env = {
        **clean_environment(),
        "BIND_HOST": HOST,
        "GATEWAY_PORT": str(config.ports["CAMARAD_AWS_PORT"]),
        "TMPDIR": str(temporary),
        "STATE_DIR": str(state / "aws"),
        "PERSIST_STATE": "1",
        # parts that would open ports of their own
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
    }
    url = config.aws + "/_ministack/health"
    command = [str(BIN / "ministack")]
    return Service("aws", "the local AWS", command, env, config.ports["CAMARAD_AWS_PORT"], LOGS / "aws.log", lambda: answers(url))


def oidc_service(config: Config) -> Service:
    port = config.ports["CAMARAD_OIDC_PORT"]
    callback = "%s/api/auth/%s/callback" % (config.api, PROVIDER)
    command = ["node", str(OIDC / "server.mjs"), "--port", str(port), "--redirect-uri", callback]
    command += ["--client-id", CLIENT_ID, "--client-secret", CLIENT_SECRET]
    url = config.oidc + "/.well-known/openid-configuration"
    env = clean_environment()
    return Service("oidc", "the local sign-in provider", command, env, port, LOGS / "oidc.log", lambda: answers(url))


def github_service(config: Config) -> Service:
    port = config.ports["CAMARAD_GITHUB_PORT"]
    callback = "%s/api/auth/%s/callback" % (config.api, GITHUB_PROVIDER)
    command = ["node", str(GITHUB / "server.mjs"), "--port", str(port), "--redirect-uri", callback]
    command += ["--client-id", CLIENT_ID, "--client-secret", CLIENT_SECRET]
    return Service("github", "the local GitHub", command, clean_environment(), port, LOGS / "github.log", lambda: answers(config.github))


def stripe_service(config: Config, state: Path) -> Service:
    """What it knows lies beside the data of the local AWS, which names its customers."""
    port = config.ports["CAMARAD_STRIPE_PORT"]
    state.mkdir(parents=True, exist_ok=True)
    command = ["node", str(STRIPE / "server.mjs"), "--port", str(port), "--file", str(state / "stripe.json")]
    return Service("stripe", "the local Stripe", command, clean_environment(), port, LOGS / "stripe.log", lambda: answers(config.stripe))


def ai_service(config: Config) -> Service:
    port = config.ports["CAMARAD_AI_PORT"]
    command = [str(target_folder() / "ai-peer"), "--port", str(port)]
    return Service("ai", "the local AI provider", command, clean_environment(), port, LOGS / "ai.log", lambda: answers(config.ai))


def api_service(config: Config) -> Service:
    """`cargo lambda watch` as router and Lambda API; the functions' processes are ours (see supervise.py)."""
    port = config.ports["CAMARAD_WATCH_PORT"]
    command = [str(BIN / "cargo-lambda"), "lambda", "watch", "-A", HOST, "-P", str(port), "--color", "never"]
    # Without --disable-cors it answers CORS preflights by itself, and ours would be tried nowhere before the cloud.
    command += ["--only-lambda-apis", "--ignore-changes", "--disable-cors"]
    env = clean_environment()
    # only whether it listens: a path without a running function would wait for one
    return Service("api", "the API", command, env, port, LOGS / "api.log", lambda: listens(port))


def gateway_service(config: Config) -> Service:
    """What clients talk to: limits an address as the firewall does in the cloud, and passes the rest on."""
    port = config.ports["CAMARAD_API_PORT"]
    command = [str(target_folder() / "gateway"), "--port", str(port), "--to", config.watch]
    limit = config.values.get("CAMARAD_ADDRESS_LIMIT")
    command += ["--limit", limit] if limit else []
    return Service("gateway", "the gateway", command, clean_environment(), port, LOGS / "gateway.log", lambda: listens(port))


def target_folder() -> Path:
    return Path(os.environ.get("CARGO_TARGET_DIR", str(ROOT / "target"))) / "debug"


def state_folder(persistent: bool) -> Path:
    """Where the local AWS keeps its data, with what the deployment noted. A demo begins with nothing."""
    return LOCAL / ("dev" if persistent else "once")
