"""Write what the recordings say to the part `parity` of rased/models/figures.json.

python -m tests.models.parity.table
"""

from pathlib import Path
from typing import Any

from safetensors import safe_open

from rased.disk import write_json
from rased.models.figures import FILE, read

HERE = Path(__file__).parent
PARTS = {"dual-path"}
"""A recording of a part of networks, which say nothing about the whole."""


def recorded() -> dict[str, dict[str, Any]]:
    """Source and largest difference of each recording of a whole network."""
    found = {}
    for path in sorted(HERE.glob("*.safetensors")):
        if path.stem not in PARTS:
            with safe_open(path, "pt") as file:
                told = file.metadata()
            source = f"{told['source']} ({told['commit']})"
            found[path.stem] = {"source": source, "max_error": float(told["largest_difference"])}
    return found


def write() -> None:
    """Update the table; a new recording does so, too."""
    write_json(FILE, {**read(), "parity": recorded()})


if __name__ == "__main__":
    write()
