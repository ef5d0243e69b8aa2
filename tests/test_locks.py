"""requirements*.lock hold the versions of constraints.txt with hashes, and everything that the project depends on."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LOCKS = ("requirements.lock", "requirements-torch.lock")
STALE = "run `make lock` (CONTRIBUTING, Versions)"


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pinned(path: Path) -> dict[str, str]:
    """Version by name."""
    found = re.findall(r"^([A-Za-z0-9_.-]+)==([^\s;\\]+)", path.read_text(), re.MULTILINE)
    return {normal(name): version for name, version in found}


@pytest.mark.parametrize("name", LOCKS)
def test_versions_are_those_of_the_constraints(name: str) -> None:
    constraints, locked = pinned(ROOT / "constraints.txt"), pinned(ROOT / name)
    assert len(locked) > 20
    unlike = {one for one in constraints.keys() & locked.keys() if constraints[one] != locked[one]}
    assert not unlike, f"{name} is stale in {sorted(unlike)}: {STALE}"


@pytest.mark.parametrize("name", LOCKS)
def test_every_version_has_hashes(name: str) -> None:
    entries = re.split(r"^(?=[A-Za-z0-9])", (ROOT / name).read_text(), flags=re.MULTILINE)[1:]
    for entry in entries:
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry.splitlines()[0]


def test_everything_that_the_project_names_is_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    wanted = {normal(re.match(r"[\w.-]+", one).group()) for group in groups for one in group}
    locked = {one for name in LOCKS for one in pinned(ROOT / name)}
    missing = wanted - locked - {"rased"}
    assert not missing, f"no lock holds {sorted(missing)}: {STALE}"


def test_torch_and_what_comes_with_it_are_apart() -> None:
    """Who takes torch for a CPU installs requirements.lock alone."""
    assert "torch" in pinned(ROOT / LOCKS[1])
    ours = pinned(ROOT / LOCKS[0])
    assert not [
        one
        for one in ours
        if one.startswith(("torch-", "nvidia-", "cuda-")) or one in ("torch", "triton")
    ]
