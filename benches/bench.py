"""`make bench`: start, size, memory, streaming and build times, as Markdown, and into benches/RESULTS.md.

Functions run as in Lambda, behind a Runtime API of our own (`runtime-peer`), against MiniStack with the real template.
Figures are for people: no test looks at them.
"""
from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import List

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "infra" / "local")]

import builds  # noqa: E402
import commands  # noqa: E402
import machine  # noqa: E402
import starts  # noqa: E402
import streams  # noqa: E402
from console import Failure, run_main, say, step  # noqa: E402
from figures import markdown  # noqa: E402
from project import tool_environment  # noqa: E402
from stage import AI_DELAY_MS, Stage, stage  # noqa: E402

PARTS = ("start", "stream", "build")
NOTES = """
First poll: from before fork and exec until the function asks for work. Each function warms its connection to the table
before, so one round trip to MiniStack is in it. First answer: from the same moment until the answer to an event that was
waiting already; "of it the request" is the part after the first poll. Peak is VmHWM after the first request. Median of
%(starts)d starts; warm is the median of %(warm)d further requests of each process. The zip holds the stripped program at
deflate level 9.

Streaming: %(calls)d calls in sequence, each followed by the same request to the AI peer directly and by one GetItem, all
timed by one process. "First word" is the first delta with text. The recorded run sends the function's AWS requests
through a stopover that notes how long each was waited for, and that itself costs about a millisecond a request. The AI
peer waits %(delay)d ms between two deltas. The peers are dev builds.
"""


DEV = """
**Taken from unoptimized dev builds**: they show that the benches work and how the parts relate. Sizes, times and memory of
what is deployed are a fraction of these; `make bench` writes them after a release build.
"""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", choices=["release", "dev"], default="release", help="dev: without a release build")
    parser.add_argument("--bin-dir", type=Path, help="where the functions are, built already")
    parser.add_argument("--no-build", action="store_true", help="take functions and peers as they have been built")
    parser.add_argument("--only", choices=PARTS, action="append", help="a part of it (can be repeated)")
    parser.add_argument("--starts", type=int, default=20, help="starts of each function")
    parser.add_argument("--calls", type=int, default=200, help="streamed calls")
    parser.add_argument("--full", action="store_true", help="build from nothing, too")
    parser.add_argument("--out", type=Path, help="file (default: benches/RESULTS.md, for a whole run in release)")
    args = parser.parse_args()
    if args.out is None and args.profile == "release" and not args.only:
        args.out = HERE / "RESULTS.md"
    args.only = args.only or list(PARTS)
    return args


def build(args: argparse.Namespace) -> Path:
    """The peers always; the functions unless they are there already."""
    usual = builds.target() / ("release" if args.profile == "release" else "debug")
    wanted = [["cargo", "build", "-p", "camarad-tests", "--bins"]]
    if not args.bin_dir:
        wanted.append(builds.RELEASE if args.profile == "release" else builds.DEV)
    if args.no_build:
        return args.bin_dir or usual
    with step("Building") as running:
        env = {**tool_environment(), **commands.CARGO_PROGRESS}
        for command in wanted:
            on_line = commands.cargo_progress(running.note)
            commands.run(command, builds.LOG, "The build failed", env=env, on_line=on_line)
    return args.bin_dir or usual


def measure(ready: Stage, args: argparse.Namespace, problems: List[str]) -> List[str]:
    lines: List[str] = []
    if "start" in args.only:
        with step("Starts, sizes, memory") as running:
            lines += markdown(starts.COLUMNS, starts.run(ready, args.starts, running, problems)) + [""]
    if "stream" in args.only:
        try:
            with step("Streaming") as running:
                lines += markdown(streams.COLUMNS, streams.rows(streams.run(ready, args.calls, running))) + [""]
        except Failure as failure:
            problems.append("streaming: %s" % failure.message)
    return lines


def main() -> int:
    commands.stop_on_signals()
    args = arguments()
    binaries = build(args)
    problems: List[str] = []
    load = machine.load()
    lines: List[str] = []
    if set(args.only) & {"start", "stream"}:
        with stage(binaries.resolve()) as ready:
            lines += measure(ready, args, problems)
    if "build" in args.only:
        with step("Build times") as running:
            lines += markdown(builds.COLUMNS, builds.run(args.full, running)) + [""]
    notes = NOTES % {"starts": args.starts, "warm": starts.WARM, "calls": args.calls, "delay": AI_DELAY_MS}
    head = ["# Figures", "", "Written by `make bench`.", "", *machine.lines(args.profile)]
    head += ["- load average %s before, %s after: what else ran takes part in the figures" % (load, machine.load()), ""]
    said = ["Not measured:", "", *("- " + text for text in problems), ""] if problems else []
    warning = DEV.split("\n")[1:] if args.profile == "dev" else []
    result = "\n".join(head + warning + lines + said) + notes
    say()
    say(result)
    if args.out:
        args.out.write_text(result, encoding="utf-8")
        say("Written to %s." % args.out)
    return 1 if problems else 0


if __name__ == "__main__":
    run_main(main)
