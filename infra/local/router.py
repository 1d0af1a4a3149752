"""Writes the routes of `cargo lambda watch` into Cargo.toml, from routes.tsv, so that both name the same paths.

    python3 infra/local/router.py           write
    python3 infra/local/router.py --check   say whether it would change anything
"""
from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Dict, List

from console import Failure, paint, run_main, say
from project import ROOT

sys.path.append(str(Path(__file__).resolve().parents[1]))
from api import PREFLIGHT  # noqa: E402  the function that answers preflights in the template, too

MANIFEST = ROOT / "Cargo.toml"
ROUTES = ROOT / "routes.tsv"
BEGIN = "# begin routes of `cargo lambda watch`: written by infra/local/router.py from routes.tsv"
END = "# end routes of `cargo lambda watch`"


def live_routes() -> List[Dict[str, str]]:
    with ROUTES.open(encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file, delimiter="\t") if row["state"] == "live"]


def block(rows: List[Dict[str, str]]) -> str:
    paths: Dict[str, List[str]] = {}
    for row in rows:
        entry = '{ method = "%s", function = "%s" }' % (row["method"], row["function"])
        paths.setdefault(row["path"], []).append(entry)
    for entries in paths.values():
        entries.append('{ method = "OPTIONS", function = "%s" }' % PREFLIGHT)
    lines = ['"%s" = [%s]' % (path, ", ".join(entries)) for path, entries in paths.items()]
    return "\n".join([BEGIN, "[workspace.metadata.lambda.watch.router]"] + lines + [END]) + "\n"


def updated(manifest: str, routes: str) -> str:
    begin, end = manifest.find(BEGIN), manifest.find(END)
    if begin < 0 and end < 0:
        return manifest.rstrip("\n") + "\n\n" + routes
    if begin < 0 or end < begin:
        raise Failure("The marks of the watch routes in Cargo.toml are broken.", "Delete them with what is between and run `make fix`.")
    return manifest[:begin] + routes + manifest[end + len(END) :].lstrip("\n")


def main() -> int:
    current = MANIFEST.read_text(encoding="utf-8")
    wanted = updated(current, block(live_routes()))
    if current == wanted:
        say(paint("✓", "green") + " the watch routes in Cargo.toml are those of routes.tsv")
    elif sys.argv[1:] == ["--check"]:
        raise Failure("The watch routes in Cargo.toml are not those of routes.tsv.", "Run `make fix`.")
    else:
        MANIFEST.write_text(wanted, encoding="utf-8")
        say(paint("✓", "green") + " wrote the watch routes into Cargo.toml")
    return 0


if __name__ == "__main__":
    run_main(main)
