"""Promises of the lowest versions: those of pyproject.toml are the ones that are tested."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
# What checks or describes the code and never runs beside it.
TOOLS = {"mkdocs-material", "mkdocstrings", "pyright", "ruff"}


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def lowest_allowed() -> dict[str, Version]:
    """Return name -> the lowest version that pyproject.toml allows."""
    found = {}
    extras = project()["optional-dependencies"].values()
    for text in [*project()["dependencies"], *(text for extra in extras for text in extra)]:
        requirement = Requirement(text)
        name = canonicalize_name(requirement.name)
        if name in TOOLS or name == project()["name"]:
            continue
        (bound,) = requirement.specifier
        assert bound.operator == ">=", text
        assert found.setdefault(name, Version(bound.version)) == Version(bound.version), text
    return found


def lowest_tested() -> dict[str, Version]:
    """Return name -> version of .ci/lowest.txt."""
    found = {}
    for line in (ROOT / ".ci" / "lowest.txt").read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            name, version = line.split("==")
            found[canonicalize_name(name)] = Version(version)
    return found


def test_the_lowest_versions_that_are_allowed_are_those_that_are_tested():
    assert lowest_tested() == lowest_allowed()


def test_the_page_on_versions_names_the_lowest_ones():
    page = (ROOT / "docs" / "versions.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([\w-]+)[^|]* \| ([\d.]+) \| [\d.]+ \|$", page, re.MULTILINE)
    named = {canonicalize_name(name): Version(version) for name, version in rows}
    assert named.pop("python") == Version(project()["requires-python"].removeprefix(">="))
    assert named == {name: lowest_tested()[name] for name in named}
    assert {"torch", "transformers", "peft"} <= set(named)


def test_the_workflows_test_every_version_of_python_that_is_named():
    named = [
        text.removeprefix("Programming Language :: Python :: ")
        for text in project()["classifiers"]
        if text.startswith("Programming Language :: Python :: 3.")
    ]
    assert project()["requires-python"] == f">={named[0]}"
    nightly = (ROOT / ".github" / "workflows" / "nightly.yml").read_text(encoding="utf-8")
    assert [version for version in named if f'"{version}"' not in nightly] == []
