"""The import direction of CONTRIBUTING.md, and what must never be imported, checked on the syntax tree."""

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "rased"
FOUNDATION = {
    "exports",
    "yaml_reader",
    "classes",
    "conditions",
    "building",
    "terminal",
    "construction",
    "errors",
    "extras",
    "parallel",
    "names",
    "documents",
    "disk",
    "machine",
    "fetch",
    "tensors",
    "config",
    "audio",
    "signal",
    "native",
    "onnx",
    "shelves",
    "rates",
    "rewriting",
}
LAYERS = {
    **dict.fromkeys(FOUNDATION, 0),
    "layers": 1,
    **dict.fromkeys(("models", "losses", "metrics", "data"), 2),
    **dict.fromkeys(("training", "streaming"), 3),
    "zoo": 4,
    **dict.fromkeys(("evaluation", "export", "files", "live"), 5),
    "app": 6,
    "cli": 7,
    "__main__": 8,
}
WINGS = {
    "data": {
        **dict.fromkeys(("columns", "schemas", "manifest", "testset"), 0),
        "shards": 1,
        "corpora": 2,
        **dict.fromkeys(("integrity", "mixtures"), 3),
        **dict.fromkeys(("datamodule", "preparation"), 4),
        "frames": 5,
    },
    "evaluation": {
        **dict.fromkeys(("collecting", "plausible", "result", "schema", "stated", "testset"), 0),
        **dict.fromkeys(("comparison", "scoring"), 1),
        "report": 2,
        "closing": 3,
    },
}
"""What lies in the two large rooms; single modules of rank 0 may import each other."""
ENTRANCE = "__init__"
FORBIDDEN = {
    "torchaudio",
    "torchvision",
    "torchcodec",
    "pickle",
    "configs",
    "experiments",
    "notebooks",
}


def _imports(path):
    """(line, dotted name) of everything that a file imports, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}:{node.lineno}: relative import"
            yield node.lineno, node.module
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def _room(dotted):
    parts = dotted.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in LAYERS else None


def violations(package=PACKAGE):
    found = []
    for path in sorted(package.rglob("*.py")):
        inside = path.relative_to(package).with_suffix("").parts
        room = inside[0]
        for line, name in _imports(path):
            where = f"{path.relative_to(package.parent)}:{line}"
            if name.split(".")[0] in FORBIDDEN:
                found.append(f"{where} imports {name}, which nothing here may")
            if not name.startswith("rased.") or room == ENTRANCE:
                continue
            other = _room(name)
            if other == room and room in WINGS:
                found += _within(inside, name.split("."), where)
            if other is None or other == room:
                continue
            if LAYERS[other] > LAYERS[room]:
                found.append(f"{where} imports {name}: upward")
            if LAYERS[other] == LAYERS[room] and not {other, room} <= FOUNDATION:
                found.append(f"{where} imports {name}: sideways")
        if inside[0] == "models" and inside[-1] not in ("__init__", "base"):
            for line, name in _imports(path):
                parts = name.split(".")
                sideways = (
                    parts[:2] == ["rased", "models"]
                    and len(parts) > 2
                    and parts[2] not in ("base", inside[1])
                )
                if sideways and path.stem != "cost":
                    found.append(
                        f"rased/{path.relative_to(package)}:{line} imports another model, {name}"
                    )
    return found


def _within(inside, imported, where):
    """What is wrong with an import between the wings of a room."""
    ranks = WINGS[inside[0]]
    if inside[1] == ENTRANCE or len(imported) < 3 or imported[2] not in ranks:
        return []
    if inside[1] not in ranks:
        return [f"{where}: {inside[1]} is not in WINGS"]
    ours, theirs = ranks[inside[1]], ranks[imported[2]]
    if theirs > ours:
        return [f"{where} imports {'.'.join(imported)}: upward"]
    if theirs == ours and theirs and imported[2] != inside[1]:
        return [f"{where} imports {'.'.join(imported)}: sideways"]
    return []


def test_imports_run_one_way():
    assert violations() == []


def test_the_check_finds_what_it_is_for(tmp_path):
    package = tmp_path / "rased"
    for name, text in {
        "signal/low.py": "from rased.models.base import Enhancer\n",
        "losses/side.py": "import rased.metrics.base\n",
        "models/one.py": "from rased.models.two import Two\n",
        "data/forbidden.py": "def later():\n    import torchaudio\n",
        "data/shards/up.py": "from rased.data.mixtures.plan import Plan\n",
        "data/mixtures/side.py": "import rased.data.integrity.verify\n",
        "data/columns.py": "from rased.data.schemas import Role\n",
    }.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(text)
    found = "\n".join(violations(package))
    assert "rased/signal/low.py:1 imports rased.models.base: upward" in found
    assert "rased/data/shards/up.py:1 imports rased.data.mixtures.plan: upward" in found
    assert "rased/data/mixtures/side.py:1 imports rased.data.integrity.verify: sideways" in found
    assert "data/columns.py" not in found
    assert "rased/losses/side.py:1 imports rased.metrics.base: sideways" in found
    assert "rased/models/one.py:1 imports another model, rased.models.two" in found
    assert "rased/data/forbidden.py:2 imports torchaudio" in found


def test_inference_needs_no_training_stack():
    code = (
        "import sys, rased; rased.load; rased.enhance; import rased.models.frequency\n"
        "heavy = {'pytorch_lightning', 'wandb', 'webdataset', 'torchmetrics', 'matplotlib', 'scipy', 'h5py',"
        " 'torchaudio', 'torchvision', 'torchcodec'} & set(sys.modules)\n"
        "print(*sorted(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_importing_the_package_is_cheap():
    code = "import sys, rased; print('torch' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
