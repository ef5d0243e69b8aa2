"""Execute the notebooks and keep their outputs: `python docs/notebooks.py [NAME ...]`, without a name all of them.

Each runs in an empty folder. Outputs that differ between machines are left out: messages on stderr, times and paths.
"""

import base64
import io
import os
import re
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode
from PIL import Image

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
TIMEOUT = 1800
"""Seconds for a cell; far more than any needs."""


def execute(path: Path, folder: Path) -> NotebookNode:
    """Return the notebook with new outputs, executed in a folder.

    Raises:
        CellExecutionError: a cell failed.
    """
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=TIMEOUT,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        record_timing=False,
    )
    # The commands of this Python come first, so that `!rased` is this rased.
    own = str(Path(sys.executable).parent)
    env = {
        **os.environ,
        "PATH": f"{own}{os.pathsep}{os.environ.get('PATH', '')}",
        "PYTHONPATH": str(ROOT),
        "WANDB_MODE": "disabled",
        "COLUMNS": "120",
        "TERM": "dumb",  # no progress bars
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    }
    client.execute(env=env)
    return portable(notebook, folder)


def portable(notebook: NotebookNode, folder: Path) -> NotebookNode:
    """Remove from the outputs what only this machine says."""
    for cell in notebook.cells:
        cell.metadata = NotebookNode()
        if cell.cell_type != "code":
            continue
        cell.outputs = joined(one for one in cell.outputs if one.get("name") != "stderr")
        for output in cell.outputs:
            if "text" in output:
                output.text = without_places(output.text, folder)
            if "image/png" in output.get("data", {}):
                output.data["image/png"] = smaller(output.data["image/png"])
            if "text/plain" in output.get("data", {}):
                output.data["text/plain"] = without_places(output.data["text/plain"], folder)
    notebook.metadata.pop("widgets", None)
    notebook.metadata["language_info"] = {"name": "python"}
    return notebook


def joined(outputs: Iterable[NotebookNode]) -> list[NotebookNode]:
    """Join texts that follow each other: how they were cut depends on the speed of the machine."""
    found: list[NotebookNode] = []
    for output in outputs:
        if found and output.output_type == found[-1].output_type == "stream":
            found[-1].text += output.text
        else:
            found.append(output)
    return found


def smaller(picture: str) -> str:
    """Return a picture (PNG in base64) with a palette of 64 colours: a fraction of the size."""
    with Image.open(io.BytesIO(base64.b64decode(picture))) as full:
        few = full.convert("RGB").quantize(64, dither=Image.Dither.NONE)
    saved = io.BytesIO()
    few.save(saved, "PNG", optimize=True)
    return base64.b64encode(saved.getvalue()).decode()


def without_places(text: str, folder: Path) -> str:
    """Replace the paths of this machine, and remove colours; progress bars keep their last state."""
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    for place, name in ((folder, "."), (ROOT, "rased"), (Path.home(), "~")):
        text = text.replace(str(place), name)
    return re.sub(r"[^\n]*\r(?!\n)", "", text)


def main(names: list[str]) -> None:
    """Execute the notebooks whose names contain one of these words, and write them."""
    for path in NOTEBOOKS:
        if names and not any(name in path.stem for name in names):
            continue
        with tempfile.TemporaryDirectory() as folder:
            notebook = execute(path, Path(folder))
        nbformat.write(notebook, path)
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1:])
