"""The local AWS as it is right after a deployment, kept so that the next demo need not deploy again.

Deploying costs more than all the rest of a second demo. The copy is taken while the services are stopped, and is used only
as long as everything that made it is the same.
"""
from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import services
from project import HERE, LOCAL, ROOT

FOLDER = LOCAL / "deployed"


def kept(config: services.Config) -> Path:
    """Where the copy for this template, these scripts, versions, ports and parameters is."""
    made_of = hashlib.sha256()
    sources = [ROOT / "template.yaml", HERE / "requirements-local.txt", HERE / "requirements-sam.txt"]
    for source in sources + [HERE / "deploy.py"] + sorted((ROOT / "infra").glob("*.py")):
        made_of.update(source.read_bytes())
    made_of.update("\0".join([config.aws, config.api, config.watch, str(ROOT), *services.template_parameters(config)]).encode())
    return FOLDER / made_of.hexdigest()[:20]


def restore(config: services.Config, state: Path) -> bool:
    source = kept(config)
    if not source.is_dir():
        return False
    shutil.copytree(source, state)
    return True


def save(config: services.Config, state: Path) -> None:
    target = kept(config)
    shutil.rmtree(FOLDER, ignore_errors=True)  # one is enough; the others belong to an older template
    partial = FOLDER / "partial"
    shutil.copytree(state, partial, ignore=shutil.ignore_patterns("tmp"))
    partial.rename(target)  # whole or not at all
