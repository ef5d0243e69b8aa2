"""Notebooks as pages of the site, with the outputs that they were committed with."""

import base64
import re
from collections.abc import Iterable
from pathlib import Path

import nbformat
from nbformat import NotebookNode


def page(path: Path) -> tuple[str, dict[str, bytes]]:
    """Return a notebook as Markdown, and the pictures of its outputs by name."""
    notebook = nbformat.read(path, as_version=4)
    parts: list[str] = []
    pictures: dict[str, bytes] = {}
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown":
            # The badge is a picture from the network.
            parts.append(re.sub(r"^\[!\[.*\n*", "", cell.source))
            continue
        if number > 1:  # the first code cell installs rased on Colab
            parts.append(f"```python\n{cell.source}\n```")
        for text, picture in _outputs(cell.outputs):
            if picture:
                name = f"{path.stem}-{len(pictures) + 1}.png"
                pictures[name] = picture
                parts.append(f"![output of the cell above]({name})")
            else:
                parts.append(f"```text\n{text.rstrip()}\n```")
    return "\n\n".join(parts), pictures


def _outputs(outputs: Iterable[NotebookNode]) -> Iterable[tuple[str, bytes]]:
    """Yield the text or the picture of each output; sound and HTML are left out."""
    for output in outputs:
        data = output.get("data", {})
        if output.output_type == "stream" and output.text.strip():
            yield output.text, b""
        elif "image/png" in data:
            yield "", base64.b64decode(data["image/png"])
