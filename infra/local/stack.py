"""The local stack: AWS services, sign-in provider, AI provider, and the functions, all on 127.0.0.1.

    stack.py dev             run it in the foreground; functions reload as their code changes; Ctrl-C ends it
    stack.py up | down       the same in the background, without reloading
    stack.py status          what runs
    stack.py run -- CMD …    start it with empty data, run a command, stop it

`dev` and `up` keep their data in .local/dev; logs are in .local/logs.
"""
from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple

import commands
import functions
import processes
import services
import snapshot
import stripesetup
from console import Failure, paint, run_main, say, step
from processes import Known, Service
from project import HERE, HOST, LOCAL, LOGS, TOOLS, shown, tool_environment
from secretstore import put_secret
from supervise import Supervisor
from watching import announce

PARTS = ("aws", "oidc", "github", "stripe", "ai", "api", "gateway")
PATIENCE = {"aws": 60.0}  # seconds: it writes its data when it is stopped


class Started(NamedTuple):
    service: Service
    known: Known


@contextlib.contextmanager
def claim() -> Iterator[None]:
    """One stack per folder: two would share logs, data and process files."""
    LOCAL.mkdir(exist_ok=True)
    with (LOCAL / "lock").open("w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Failure(
                "A local stack is already starting or running from this folder.",
                "End it with Ctrl-C where it runs, then try again.",
            ) from None
        yield


def build() -> None:
    with step("Building the functions") as running:
        commands.run(
            ["cargo", "build", "--workspace"],
            LOGS / "build.log",
            "The build failed",
            "`cargo build --workspace` shows the same.",
            {**tool_environment(), **commands.CARGO_PROGRESS},
            on_line=commands.cargo_progress(running.note),
        )


def clear_logs() -> None:
    LOGS.mkdir(parents=True, exist_ok=True)
    for log in LOGS.glob("*.log"):
        log.unlink()


def spawn(service: Service, persistent: bool) -> Started:
    return Started(service, processes.start(service, persistent))


def await_ready(started: Started) -> None:
    with step("Waiting for %s" % started.service.title):
        processes.await_ready(started.service, started.known)


def deploy(config: services.Config, folder: Path) -> Dict[str, str]:
    """The real template into the local AWS. Answers the outputs of the stack."""
    command = [str(TOOLS / "sam" / "bin" / "python"), str(HERE / "deploy.py"), "--endpoint", config.aws]
    command += ["--mode", "proxy", "--proxy-url", config.watch, "--dir", str(folder)]
    env = {**services.clean_environment(), **services.aws_environment(config)}
    with step("Deploying template.yaml into it"):
        commands.run(
            command + services.template_parameters(config),
            LOGS / "deploy.log",
            "The deployment failed",
            "`sam validate --lint` may say why; its whole log is in %s." % shown(folder / "sam.log"),
            env,
        )
    return outputs_of(folder)


def outputs_of(deployment: Path) -> Dict[str, str]:
    return json.loads((deployment / "outputs.json").read_text(encoding="utf-8"))


def seed(config: services.Config, outputs: Dict[str, str]) -> None:
    """The secrets that an operator would put there by hand in the cloud."""
    clients = {name: services.CLIENT_SECRET for name in (services.PROVIDER, services.GITHUB_PROVIDER)}
    put_secret(config.aws, outputs["AuthSecretsSecret"], clients)
    put_secret(config.aws, outputs["AiProvidersSecret"], services.ai_providers(config))
    keys = stripesetup.seed(config)
    if "StripeSecret" in outputs:
        put_secret(config.aws, outputs["StripeSecret"], keys)


def stop(found: List[Known]) -> None:
    """Who asks before who answers: the functions, the API, what they ask."""
    order = [
        [known for known in found if known.name.startswith(functions.PREFIX)],
        *([known for known in found if known.name == part] for part in reversed(PARTS)),
    ]
    for group in filter(None, order):
        with ThreadPoolExecutor(len(group)) as pool:
            list(pool.map(lambda known: processes.stop(known, PATIENCE.get(known.name, 10.0)), group))


def stop_leftovers() -> None:
    """A stack whose owner was killed hard: its processes are known by id, and have nobody left who needs them."""
    found = processes.remembered()
    if found:
        with step("Stopping what is left of an earlier run"):
            stop(found)


def start(config: services.Config, persistent: bool) -> List[Service]:
    """Everything; answers the functions' services, for who wants to restart them."""
    processes.require_ports(config.ports)
    clear_logs()
    build()
    parts = (services.oidc_service, services.github_service, services.ai_service)
    peers = [spawn(part(config), persistent) for part in parts]
    outputs = start_aws_with_data(config) if persistent else start_aws_afresh(config)
    if config.stripe_is_local:  # after the data of an earlier run have been removed, where they are
        peers.append(spawn(services.stripe_service(config, services.state_folder(persistent)), persistent))
    for peer in peers:
        await_ready(peer)
    seed(config, outputs)
    return start_functions(config, services.function_environment(config, outputs), persistent)


def start_aws(config: services.Config, state: Path, persistent: bool) -> Known:
    aws = spawn(services.aws_service(config, state), persistent)
    await_ready(aws)
    return aws.known


def start_aws_with_data(config: services.Config) -> Dict[str, str]:
    """With what was there when it was stopped."""
    state = services.state_folder(persistent=True)
    shutil.rmtree(state / "tmp", ignore_errors=True)
    start_aws(config, state, True)
    return deploy(config, state / "deploy")


def start_aws_afresh(config: services.Config) -> Dict[str, str]:
    """Deployed, and without data."""
    state = services.state_folder(persistent=False)
    shutil.rmtree(state, ignore_errors=True)
    if not snapshot.restore(config, state):
        known = start_aws(config, state, False)
        deploy(config, state / "deploy")
        with step("Keeping the deployment for the next time"):
            processes.stop(known, PATIENCE["aws"])
            snapshot.save(config, state)
    start_aws(config, state, False)
    return outputs_of(state / "deploy")


def start_functions(config: services.Config, env: Dict[str, str], persistent: bool) -> List[Service]:
    found = functions.binaries(config, env)
    with step("Starting the functions") as running:
        api = spawn(services.api_service(config), persistent)
        processes.await_ready(api.service, api.known)
        gateway = spawn(services.gateway_service(config), persistent)
        processes.await_ready(gateway.service, gateway.known)
        for service in found:
            spawn(service, persistent)
        functions.warm(config, running)
    return found


@contextlib.contextmanager
def stack(config: services.Config, persistent: bool) -> Iterator[List[Service]]:
    """A running stack; however the block ends, nothing of it is left."""
    with claim():
        stop_leftovers()
        try:
            yield start(config, persistent)
        finally:
            shut_down(persistent)


def shut_down(persistent: bool) -> None:
    with commands.undisturbed():
        found = processes.remembered()
        if found:
            with step("Stopping the local stack"):
                stop(found)
        if not persistent:
            shutil.rmtree(services.state_folder(persistent=False), ignore_errors=True)


def dev(config: services.Config) -> int:
    with stack(config, persistent=True) as started, functions.LOG.open("r", encoding="utf-8", errors="replace") as log:
        announce(config)
        say(paint("Ctrl-C ends it. What the functions log:", "dim"))
        log.seek(0, os.SEEK_END)
        with contextlib.suppress(KeyboardInterrupt):  # the way it is meant to end
            Supervisor(started, build, log).run()
        say()
    return 0


def up(config: services.Config) -> int:
    with claim():
        stop_leftovers()
        try:
            start(config, persistent=True)
        except BaseException:
            shut_down(True)
            raise
    announce(config)
    say("It runs in the background; `python3 infra/local/stack.py down` ends it.")
    return 0


def down() -> int:
    found = processes.remembered()
    if not found:
        say("No local stack runs from this folder.")
        return 0
    with step("Stopping the local stack"):
        stop(found)
    return 0


def status() -> int:
    found = processes.remembered()
    for service in PARTS:
        known = processes.find(service, found)
        mark = paint("running", "green") if known else paint("stopped", "dim")
        where = " on port %d, process %d, log .local/logs/%s.log" % (known.port, known.pid, service) if known else ""
        say("%-7s %s%s" % (service, mark, where))
    api = processes.find("gateway", found)
    if not api:
        return 1
    healthy = services.answers("http://%s:%d/api/health" % (HOST, api.port))
    say("http://%s:%d %s" % (HOST, api.port, "answers" if healthy else "does not answer"))
    return 0 if healthy else 1


def run_command(config: services.Config, command: List[str]) -> int:
    with stack(config, persistent=False):
        env = {**tool_environment(), **services.aws_environment(config), "CAMARAD_API": config.api}
        return subprocess.run(command, env=env, check=False).returncode


def main() -> int:
    commands.stop_on_signals()
    arguments = sys.argv[1:]
    if arguments in (["down"], ["status"]):
        return down() if arguments == ["down"] else status()
    config = services.read_config()
    if arguments[:2] == ["run", "--"] and arguments[2:]:
        return run_command(config, arguments[2:])
    verbs = {"dev": dev, "up": up}
    if len(arguments) == 1 and arguments[0] in verbs:
        return verbs[arguments[0]](config)
    say(__doc__ or "")
    return 2


if __name__ == "__main__":
    run_main(main)
