"""The workflows of .github test what pyproject.toml promises, with commands that exist."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest
import yaml

from rased.cli import VERBS

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
FILES = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FLOWS = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in FILES}
PYTHONS = [
    found[1]
    for line in PROJECT["classifiers"]
    if (found := re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", line))
]
STEPS = [
    (f"{name}-{job}-{number}", step)
    for name, flow in FLOWS.items()
    for job, content in flow["jobs"].items()
    for number, step in enumerate(content["steps"])
]
COMMANDS = [
    pytest.param(line, id=where)
    for where, step in STEPS
    if "run" in step
    for line in step["run"].splitlines()
]


def matrix(flow, job):
    return FLOWS[flow]["jobs"][job]["strategy"]["matrix"]


def test_the_matrix_is_that_of_the_project():
    found = matrix("test", "test")
    assert found["os"] == ["ubuntu-latest", "macos-latest", "windows-latest"]
    assert found["python"] == PYTHONS
    assert PROJECT["requires-python"] == f">={PYTHONS[0]}"
    assert [minor.split(".")[1] for minor in PYTHONS] == ["11", "12", "13"]


def test_the_oldest_and_the_newest_versions_are_tested():
    assert matrix("test", "versions")["resolution"] == ["lowest-direct", "highest"]
    (install,) = (
        step["run"]
        for step in FLOWS["test"]["jobs"]["versions"]["steps"]
        if "--resolution" in step.get("run", "")
    )
    assert "constraints" not in install
    extras = PROJECT["optional-dependencies"].values()
    for line in [*PROJECT["dependencies"], *(line for extra in extras for line in extra)]:
        assert re.search(r">=\d", line) or line.startswith("rased["), (
            f"{line} has no oldest version"
        )


def test_a_release_is_installed_on_every_system_with_the_first_and_the_last_python():
    found = matrix("release", "install")
    assert found["os"] == matrix("test", "test")["os"]
    assert found["python"] == [PYTHONS[0], PYTHONS[-1]]


def test_the_repository_has_one_owner():
    """Badges, installations and torch.hub name that of pyproject.toml."""
    (owner,) = re.fullmatch(
        r"https://github\.com/([\w.-]+)/rased", PROJECT["urls"]["Repository"]
    ).groups()
    places = [
        ROOT / "hubconf.py",
        ROOT / "README.md",
        *ROOT.glob("docs/*.md"),
        *ROOT.glob("notebooks/*.ipynb"),
    ]
    pattern = r'(?:github(?:\.com)?/|hub\.load\(\\?")([\w.-]+)/rased\b'
    found = {place: re.findall(pattern, place.read_text(encoding="utf-8")) for place in places}
    named = {place.name: set(owners) for place, owners in found.items() if owners}
    assert {"hubconf.py", "zoo.md", "01_box_by_box.ipynb"} <= set(named)
    assert all(owners == {owner} for owners in named.values()), named


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_names_what_exists(command):
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    for target in re.findall(r"\bmake ([a-z-]+)", command):
        assert target in targets
    for extras in re.findall(r"\.\[([\w,]+)\]", command):
        assert set(extras.split(",")) <= set(PROJECT["optional-dependencies"])
    for verb in re.findall(r"\brased ([a-z]+)", command.partition("import ")[0]):
        assert verb in VERBS
    for word in shlex.split(command):
        if word.startswith("tests/") or word.endswith(".txt"):
            assert (ROOT / word).exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_ubuntu_has_what_is_installed(command):
    """Its package `chromium-browser` is a link to a snap, and `chromium` does not exist."""
    packages = re.findall(r"apt-get install ([^&|;]*)", command)
    assert "chromium" not in " ".join(packages)


@pytest.mark.parametrize("name", FLOWS)
def test_every_job_ends_by_itself(name):
    assert [
        job for job, content in FLOWS[name]["jobs"].items() if "timeout-minutes" not in content
    ] == []
