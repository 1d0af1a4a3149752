"""`make check`: everything that can be said about the code without running it. All checks run, also after a failure."""
from __future__ import annotations

import sys
from typing import Dict, List, NamedTuple

import commands
from console import Failure, Step, paint, report, run_main, say, step
from project import CORPORA, GITHUB, LOGS, OIDC, ROOT, STRIPE, tool_environment

SCRIPTS = ROOT / "infra"


class Check(NamedTuple):
    name: str
    command: List[str]
    hint: str


def python_files() -> List[str]:
    return [str(path) for folder in (SCRIPTS, ROOT / "benches") for path in sorted(folder.rglob("*.py"))]


def node_check() -> Check:
    peers = [OIDC.parent, *(folder for peer in (OIDC, GITHUB, STRIPE) for folder in (peer, peer / "test"))]
    sources = [SCRIPTS / "stripe", *(peer / "src" for peer in (OIDC, GITHUB, STRIPE))]
    files = [p for folder in (SCRIPTS, CORPORA, *peers) for p in sorted(folder.glob("*.mjs"))]
    files = [str(p) for p in files + [p for folder in sources for p in sorted(folder.rglob("*.mjs"))]]
    each = 'for file; do node --check "$file" || exit 1; done'  # `node --check` looks at one
    return Check("node", ["sh", "-c", each, "sh", *files], "It does not parse.")


def state_machines() -> List[str]:
    return [str(path) for path in sorted((SCRIPTS / "statemachine").glob("*.asl.json"))]


def checks() -> List[Check]:
    python, fix = sys.executable, "Run `make fix`."
    found: List[Check] = [
        Check("format", ["cargo", "fmt", "--all", "--check"], fix),
        Check("watch routes", [python, str(SCRIPTS / "local" / "router.py"), "--check"], fix),
        Check("python", [python, "-c", PARSE, *python_files()], "It does not parse."),
        node_check(),
    ]
    found += [
        Check("API of the template", [python, str(SCRIPTS / "api.py"), "--check"], fix),
        Check("licences, bans, sources", ["cargo", "deny", "-L", "error", "check", "licenses", "bans", "sources"], "See deny.toml."),
        Check("template", ["sam", "validate"], "See template.yaml."),
        Check("template lint", ["sam", "validate", "--lint"], "See template.yaml."),
        Check("state machines", ["statelint", "--ignore=FLOAT,URI", *state_machines()], "See the Amazon States Language."),
        Check("template rules", [python, str(SCRIPTS / "check_template.py")], "See template.yaml."),
    ]
    clippy = ["cargo", "clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]
    found.append(Check("clippy", clippy, "`cargo clippy --workspace --all-targets` shows the same."))
    return found


# without writing __pycache__ into the tree, as py_compile would
PARSE = "import ast, sys\nfor name in sys.argv[1:]: ast.parse(open(name, encoding='utf-8').read(), name, feature_version=(3, 9))"


def perform(check: Check, env: Dict[str, str], running: Step) -> None:
    is_cargo = check.command[:2] == ["cargo", "clippy"]
    commands.run(
        check.command,
        LOGS / "check" / ("%s.log" % check.name.replace(" ", "-").replace(",", "")),
        "%s failed" % check.name,
        check.hint,
        {**env, **commands.CARGO_PROGRESS} if is_cargo else env,
        on_line=commands.cargo_progress(running.note) if is_cargo else None,
    )


def main() -> int:
    commands.stop_on_signals()
    env = {**tool_environment(), "AWS_DEFAULT_REGION": "us-east-1"}  # sam validate wants a region, and asks nothing of it
    failures: List[Failure] = []
    for check in checks():
        try:
            with step(check.name) as running:
                perform(check, env, running)
        except Failure as failure:
            failures.append(failure)
    for failure in failures:
        say()
        report(failure, lines=80)
    if not failures:
        say(paint("✓ all checks passed", "green", "bold"))
    return 1 if failures else 0


if __name__ == "__main__":
    run_main(main)
