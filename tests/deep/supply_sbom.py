"""The bill of materials of an installed bifrost-llm, as CycloneDX JSON: what comes with it, and under which terms.

It is written to `dist/`, beside what is released.
"""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.deep import supply
from tests.deep.row import Row
from tests.deep.supply import ROOT, UnavailableError, environment, last_line

NAME = "sbom"

_FILE = ROOT / "dist" / "bifrost-llm.cdx.json"
_TOOLS = {"pip", "setuptools", "wheel"}
_LISTING = """
import json
from importlib.metadata import distributions
def licenses(meta):
    text = meta.get("License-Expression") or (meta.get("License") or "").split("\\n")[0][:80]
    return [text] if text else [each.split(" :: ")[-1] for each in meta.get_all("Classifier", []) if "License" in each]
print(json.dumps([
    {"name": each.metadata["Name"], "version": each.version, "licenses": licenses(each.metadata)}
    for each in distributions()
]))
"""


def installed(python: str) -> list[dict[str, Any]]:
    """Give the packages of an environment, with their versions and licences."""
    done = supply.run(python, "-c", _LISTING)
    if done.returncode:
        raise RuntimeError(last_line(done.stderr))
    return [each for each in json.loads(done.stdout) if each["name"].lower() not in _TOOLS]


def generated(tool: str, python: str) -> dict[str, Any]:
    """Let cyclonedx-bom describe an environment. Raises `RuntimeError` if it fails."""
    project = ("--pyproject", str(ROOT / "pyproject.toml"), "--mc-type", "library")
    command = ("-m", "cyclonedx_py", "environment", *project, "--output-reproducible", "--of", "JSON", python)
    done = supply.run(tool, *command)
    if done.returncode:
        raise RuntimeError(f"cyclonedx-py ended with {done.returncode}: {last_line(done.stderr)}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def written_here(packages: list[dict[str, Any]]) -> dict[str, Any]:
    """Write a bill from the packages' own metadata, where cyclonedx-bom cannot be had."""
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "library", "name": "bifrost-llm"}},
        "components": [
            {
                "type": "library",
                "name": each["name"],
                "version": each["version"],
                "purl": f"pkg:pypi/{each['name'].lower().replace('_', '-')}@{each['version']}",
                "licenses": [{"license": {"name": text}} for text in each["licenses"]],
            }
            for each in packages
        ],
    }


def rows(folder: Path) -> list[Row]:
    try:
        python = environment(folder / "subject", str(ROOT))
    except UnavailableError as error:
        return [Row("bill of materials", f"not made: {error}", "complete", ok=None)]
    packages = installed(python)
    try:
        bill, maker = generated(environment(folder / "tool", "cyclonedx-bom>=7,<8"), python), "cyclonedx-bom"
    except UnavailableError as error:
        bill, maker = written_here(packages), f"the packages' metadata, since cyclonedx-bom cannot be had ({error})"
    _FILE.parent.mkdir(exist_ok=True)
    _FILE.write_text(json.dumps(bill, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    told = {_plain(each["name"]) for each in bill["components"]} | {_plain(bill["metadata"]["component"]["name"])}
    missing = sorted({_plain(each["name"]) for each in packages} - told)
    unlicensed = sorted(each["name"] for each in packages if not each["licenses"])
    size = f"{len(bill['components'])} components by {maker}, in {_FILE.relative_to(ROOT)}"
    return [
        Row(
            "bill of materials (CycloneDX)",
            f"{size}; missing: {', '.join(missing)}" if missing else size,
            "every package that is installed with bifrost-llm",
            ok=not missing and len(packages) > 5,
        ),
        Row("packages that tell no licence", ", ".join(unlicensed) or "none", "none", ok=not unlicensed),
    ]


def _plain(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


def run() -> list[Row]:
    with TemporaryDirectory() as folder:
        return rows(Path(folder))
