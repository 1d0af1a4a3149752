"""Runs a script under the SAM CLI's own Python, and reads templates the way SAM does."""
from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional

ROOT = Path(__file__).resolve().parent.parent
TEMPLATE = ROOT / "template.yaml"
_MARK = "CAMARAD_UNDER_SAMS_PYTHON"


def fail(message: str) -> None:
    sys.exit("%s: %s" % (Path(sys.argv[0]).name, message))


def find_sam() -> str:
    """The SAM CLI of this repository, else the one on PATH."""
    own = ROOT / ".tools" / "bin" / "sam"
    sam = str(own) if own.exists() else shutil.which("sam")
    if not sam:
        fail("the SAM CLI is missing: `make setup` installs it")
    return str(sam)


def use_sams_python() -> None:
    """Goes on under the Python that SAM is installed in: it has the reader for templates, the transform and boto3."""
    try:
        import samcli  # noqa: F401  (only whether it is there)

        return
    except ImportError:
        pass
    python = Path(find_sam()).resolve().parent / "python3"
    if os.environ.get(_MARK) or not python.exists():
        fail("there is no Python with the SAM CLI beside %s: `make setup` installs it" % find_sam())
    os.execve(str(python), [str(python), *sys.argv], {**os.environ, _MARK: "1", "PYTHONDONTWRITEBYTECODE": "1"})


def read_template() -> Dict[str, Any]:
    """template.yaml with the long forms of !Sub, !Ref and the others."""
    from samcli.yamlhelper import yaml_parse

    # Through JSON, to have plain dictionaries of which no part is shared.
    return json.loads(json.dumps(yaml_parse(TEMPLATE.read_text(encoding="utf-8"))))


def transformed(template: Dict[str, Any]) -> Dict[str, Any]:
    """What CloudFormation makes of a SAM template, conditions still in it."""
    import logging

    os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")
    from samtranslator.translator.transform import transform

    for noisy in ("samtranslator.feature_toggle.feature_toggle", "samtranslator.metrics.metrics"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)

    class NoManagedPolicies:
        def load(self) -> Dict[str, str]:
            return {}

    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            # The transform runs after the code was uploaded.
            resource["Properties"]["CodeUri"] = "s3://bucket/code.zip"
        if resource["Type"] == "AWS::Serverless::StateMachine":
            resource["Properties"]["DefinitionUri"] = "s3://bucket/machine.json"
    template["Globals"]["Function"].pop("CodeUri", None)
    return transform(template, {}, NoManagedPolicies())


class Resolver:
    """Resolves conditions, parameters and what can be known of references before a deployment."""

    def __init__(self, template: Dict[str, Any], given: Optional[Dict[str, str]] = None) -> None:
        self.template = template
        self.parameters = {name: str(p.get("Default", "")) for name, p in template["Parameters"].items()}
        self.parameters.update(given or {})
        self.parameters.update(
            {
                "AWS::Region": "eu-central-1",
                "AWS::AccountId": "123456789012",
                "AWS::Partition": "aws",
                "AWS::URLSuffix": "amazonaws.com",
                "AWS::StackName": "camarad",
                "AWS::StackId": "arn:aws:cloudformation:eu-central-1:123456789012:stack/camarad/1",
            }
        )
        self.dangling: List[str] = []
        self.resources: Dict[str, Any] = {
            name: resource
            for name, resource in template["Resources"].items()
            if "Condition" not in resource or self.condition(resource["Condition"])
        }

    def condition(self, name: str) -> bool:
        return bool(self._test(self.template["Conditions"][name]))

    def _test(self, value: Any) -> bool:
        (kind, arguments), = value.items()
        if kind == "Condition":
            return self.condition(arguments)
        if kind == "Fn::Equals":
            left, right = (self.value(item) for item in arguments)
            return str(left) == str(right)
        if kind == "Fn::Not":
            return not self._test(arguments[0])
        if kind == "Fn::And":
            return all(self._test(item) for item in arguments)
        if kind == "Fn::Or":
            return any(self._test(item) for item in arguments)
        raise ValueError("unknown condition %s" % kind)

    def _reference(self, name: str, attribute: str = "") -> str:
        if name in self.parameters and not attribute:
            return self.parameters[name]
        if name not in self.resources:
            self.dangling.append(name)
        # Stands for what only a deployment knows, and says of which resource.
        return "<%s%s>" % (name, "." + attribute if attribute else "")

    def _sub(self, text: str, own: Dict[str, Any]) -> str:
        out, rest = "", text
        while "${" in rest:
            before, rest = rest.split("${", 1)
            name, rest = rest.split("}", 1)
            if name.startswith("!"):
                out += before + "${" + name[1:] + "}"
            elif name in own:
                out += before + str(self.value(own[name]))
            else:
                out += before + self._reference(*name.split(".", 1))
        return out + rest

    def value(self, value: Any) -> Any:
        """A value with everything resolved; None where it resolves to AWS::NoValue."""
        if isinstance(value, list):
            return [item for item in (self.value(item) for item in value) if item is not None]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            (kind, arguments), = value.items()
            if kind == "Ref":
                return None if arguments == "AWS::NoValue" else self._reference(arguments)
            if kind == "Fn::GetAtt":
                parts = arguments.split(".", 1) if isinstance(arguments, str) else arguments
                return self._reference(parts[0], str(parts[1]))
            if kind == "Fn::Sub":
                text, own = (arguments, {}) if isinstance(arguments, str) else arguments
                return self._sub(text, own)
            if kind == "Fn::If":
                return self.value(arguments[1] if self.condition(arguments[0]) else arguments[2])
            if kind == "Fn::Join":
                return arguments[0].join(str(item) for item in self.value(arguments[1]))
            if kind == "Fn::Split":
                return str(self.value(arguments[1])).split(arguments[0])
            if kind == "Fn::Select":
                return self.value(arguments[1])[int(arguments[0])]
            if kind.startswith("Fn::"):
                raise ValueError("%s is not resolved here yet" % kind)
        resolved = {key: self.value(item) for key, item in value.items()}
        return {key: item for key, item in resolved.items() if item is not None}


def resolved(template: Dict[str, Any], given: Optional[Dict[str, str]] = None) -> Dict[str, Any]:
    """The resources and outputs of a transformed template under these parameters, and references that lead nowhere."""
    resolver = Resolver(template, given)
    resources = {}
    for name, resource in resolver.resources.items():
        depends = resource.get("DependsOn", [])
        for other in [depends] if isinstance(depends, str) else depends:
            if other not in resolver.resources and other not in template["Resources"]:
                resolver.dangling.append(other)
        resources[name] = {
            "Type": resource["Type"],
            "Properties": resolver.value(resource.get("Properties", {})),
            "DeletionPolicy": resource.get("DeletionPolicy", "Delete"),
        }
    outputs = resolver.value(template.get("Outputs", {}))
    return {"Resources": resources, "Outputs": outputs, "Dangling": sorted(set(resolver.dangling))}
