"""The table of docs/export.md: `python -m tests.export.table [NAME...]` measures entries and replaces their rows.

Needs chromium, npm, and the weights of the entries. A minute for each entry. With --equality, on a machine that is too
busy for times, it measures equality and size alone.
"""

import functools
import http.server
import re
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np
import torch

from rased.cli.bench.chunks import summed_up, torch_costs
from rased.cli.bench.costs import costs_of
from rased.errors import RasedError
from rased.export.step import random_state
from rased.export.targets import described_graph, difference, write
from rased.machine import processor
from rased.onnx import Enhancer as Exported
from rased.onnx.runtime import session_of
from rased.zoo import list_checkpoints, load
from tests.browsing import CHROMIUM, QUIET
from tests.export.test_web import RUNTIME, Quiet, converted

PAGE = Path(__file__).parents[2] / "docs/export.md"
BEGIN, END = "<!-- table: python -m tests.export.table -->", "<!-- end of the table -->"
HEAD = (
    "| checkpoint | MB | ONNX - PyTorch | browser - PyTorch | PyTorch RTF, p99 | ONNX RTF, p99 | browser RTF, p99 |\n"
    "|---|---|---|---|---|---|---|\n"
)
SECONDS = 8.0
IN_BROWSER = """async ([chunks, count]) => {
  const { enhancer } = window.rased;
  let state = enhancer.initialState(), output;
  const times = [];
  for (let number = -20; number < count; ++number) {
    const started = performance.now();
    [output, state] = await enhancer.step(Float32Array.from(chunks[Math.abs(number) % chunks.length]), state);
    if (number >= 0) times.push(performance.now() - started);
  }
  return times;
}"""


def row(name, window, folder, *, timed):
    """The row of an entry."""
    enhancer = load(name)
    content, facts = described_graph(enhancer, name)
    write(folder, content, facts, "web")
    exported = Exported(session_of(content), facts)
    window.reload()
    window.wait_for_function("document.getElementById('status').textContent === 'Ready.'")
    largest = difference(enhancer, exported), in_browser(enhancer, window)
    speeds = times(enhancer, exported, window) if timed else "- | - | -"
    return f"| {name} | {len(content) / 1e6:.2f} | {largest[0]:.0e} | {largest[1]:.0e} | {speeds} |"


def times(enhancer, exported, window):
    """The columns of the times."""
    count = round(SECONDS * enhancer.sample_rate / enhancer.chunk_length)
    chunk_ms = 1000 * enhancer.chunk_length / enhancer.sample_rate
    ours = summed_up("x", torch_costs(enhancer, count // 4), chunk_ms)
    theirs = summed_up(
        "x",
        costs_of(exported.step, exported.initial_state(), exported.chunk_length, count),
        chunk_ms,
    )
    chunks = 0.1 * np.random.default_rng(0).standard_normal((8, enhancer.chunk_length))
    elapsed = window.evaluate(IN_BROWSER, [chunks.tolist(), count // 4])
    browser = summed_up("x", np.array(elapsed) / 1000, chunk_ms)
    return " | ".join(
        f"{one['x']:.3f}, {one['x_p99_ms']:.2f} ms" for one in (ours, theirs, browser)
    )


@torch.no_grad()
def in_browser(enhancer, window):
    """The largest difference to PyTorch, from a random state."""
    state = random_state(enhancer, 0)
    begun, noisy = state, 0.1 * torch.randn(1, 40 * enhancer.chunk_length)
    wanted = []
    for chunk in noisy.split(enhancer.chunk_length, dim=-1):
        output, state = enhancer.step(chunk, state)
        wanted.append(output[0].numpy())
    found = converted(window, begun, [noisy[0]])
    return float(np.abs(found - np.concatenate(wanted)).max())


def main(names):
    """Measure entries, one row after another."""
    from playwright.sync_api import sync_playwright

    torch.set_num_threads(1)
    timed, names = "--equality" not in names, [name for name in names if name != "--equality"]
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as playwright:
        folder = Path(scratch)
        subprocess.run(
            ["npm", "install", "--prefix", scratch, RUNTIME], check=True, capture_output=True
        )
        handler = functools.partial(Quiet, directory=scratch)
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=QUIET)
        window = browser.new_page()
        window.set_default_timeout(300_000)
        window.goto(f"http://127.0.0.1:{server.server_port}/")
        window.goto(f"http://127.0.0.1:{server.server_port}/index.html")
        for name in names or list_checkpoints():
            try:
                put(name, row(name, window, folder, timed=timed))
            except RasedError as error:
                print(f"{name}: {error}")
        browser.close()


def kept(line, before):
    """A row without times, with those of the row before."""
    return "|".join(line.split("|")[:5] + before.split("|")[5:])


def put(name, line):
    """Replace the row of an entry on the page."""
    print(line, flush=True)
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    table, _, after = rest.partition(END)
    rows = {
        one.split("|")[1].strip(): one for one in re.findall(r"^\| [\w-]+ \|.*\d.*", table, re.M)
    }
    rows.pop("checkpoint", None)  # the head
    rows[name] = line if "- | - | -" not in line else kept(line, rows.get(name, line))
    body = "\n".join(rows[one] for one in sorted(rows))
    note = (
        "\n\nRTF: seconds for a second of audio, one thread; p99: of a chunk. PyTorch and ONNX Runtime by the time of\n"
        f"the processor, the browser by the clock, with no other work on the machine. {processor()}. -: not\n"
        "measured (`--equality`).\n"
    )
    PAGE.write_text(f"{before}{BEGIN}\n\n{HEAD}{body}{note}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
