"""What the benches run on: the local AWS with the real template in it, the sign-in and AI providers, on free ports."""
from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import urllib.request
from pathlib import Path
from typing import Dict, Iterator, List

import services
import stack
from console import Failure
from peer import Function
from people import People
from project import HOST, LOCAL, LOGS, ROOT

STATE = LOCAL / "bench"
MEMORY_MB = {"runtime": 512}  # as in template.yaml; the others have 256
# Between two deltas of the AI provider: ten times faster than a real one, and slow enough for the first word to be on its
# way before the settlement begins.
AI_DELAY_MS = 2
AUTHORIZATION = "AWS4-HMAC-SHA256 Credential=test/20200101/us-east-1/%s/aws4_request, SignedHeaders=host, Signature=0"


def free_ports(names: List[str]) -> Dict[str, int]:
    with contextlib.ExitStack() as open_ones:
        sockets = [open_ones.enter_context(socket.socket()) for _ in names]
        for one in sockets:
            one.bind((HOST, 0))
        return {name: one.getsockname()[1] for name, one in zip(names, sockets)}


def config() -> services.Config:
    """Without the developer's `.env`: no real AI provider, no other ports."""
    return services.Config({}, free_ports(list(services.PORTS)))


def all_functions() -> List[str]:
    return sorted(path.parent.name for path in (ROOT / "functions").glob("*/Cargo.toml"))


class Stage:
    def __init__(self, config: services.Config, outputs: Dict[str, str], binaries: Path):
        self.config, self.outputs, self.binaries = config, outputs, binaries
        self.people = People(config, outputs["TableName"], self.function)

    def environment(self, name: str) -> Dict[str, str]:
        """What Lambda and template.yaml give a function."""
        full_name = "camarad-local-" + name
        return {
            "PATH": os.environ.get("PATH", ""),
            "TZ": ":UTC",
            "LOG_LEVEL": "INFO",
            "_HANDLER": "bootstrap",
            "LAMBDA_TASK_ROOT": str(self.binaries),
            "AWS_EXECUTION_ENV": "AWS_Lambda_provided.al2023",
            "AWS_LAMBDA_FUNCTION_NAME": full_name,
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(MEMORY_MB.get(name, 256)),
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/" + full_name,
            "AWS_LAMBDA_LOG_STREAM_NAME": "bench",
            **services.function_environment(self.config, self.outputs),
        }

    def program(self, name: str) -> Path:
        return self.binaries / name

    def function(self, name: str) -> Function:
        if not self.program(name).exists():
            raise Failure("%s has not been built." % self.program(name))
        return Function(name, [str(self.program(name))], self.environment(name), STATE / ("%s.log" % name))


def local_aws(url: str, path: str, method: str = "GET") -> bytes:
    request = urllib.request.Request(url + path, headers={"Authorization": AUTHORIZATION % "lambda"}, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=10) as response:
        return response.read()


def quieten(config: services.Config) -> None:
    """No queue or stream calls functions while others are measured; there is nothing here that would take the calls."""
    listed = json.loads(local_aws(config.aws, "/2015-03-31/event-source-mappings/"))
    for mapping in listed["EventSourceMappings"]:
        local_aws(config.aws, "/2015-03-31/event-source-mappings/" + mapping["UUID"], "DELETE")


@contextlib.contextmanager
def stage(binaries: Path) -> Iterator[Stage]:
    """However the block ends, nothing of it is left running."""
    with stack.claim():
        stack.stop_leftovers()
        shutil.rmtree(STATE, ignore_errors=True)
        STATE.mkdir(parents=True)
        LOGS.mkdir(parents=True, exist_ok=True)
        chosen = config()
        try:
            ai = services.ai_service(chosen)
            ai = ai._replace(command=ai.command + ["--delay-ms", str(AI_DELAY_MS)])
            peers = [stack.spawn(service, False) for service in (services.oidc_service(chosen), ai)]
            stack.start_aws(chosen, STATE, False)
            outputs = stack.deploy(chosen, STATE / "deploy")
            quieten(chosen)
            stack.seed(chosen, outputs)
            for peer in peers:
                stack.await_ready(peer)
            ready = Stage(chosen, outputs, binaries)
            try:
                yield ready
            finally:
                ready.people.close()
        finally:
            stack.shut_down(True)
