"""`rased export --to web`: the graph in a headless browser gives what PyTorch gives.

The runtime, onnxruntime-web, is fetched by npm into a scratch folder.
"""

import base64
import functools
import http.server
import shutil
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import rased
from rased.export.step import random_state
from rased.export.targets import described_graph, write, write_facts
from tests.browsing import CHROMIUM, QUIET
from tests.export.rounding import allowed
from tests.models.test_contract import audio
from tests.models.test_streams import float64  # noqa: F401

RUNTIME = "onnxruntime-web@1.30.0"
pytestmark = pytest.mark.browser
CONVERTED = """([states, blocks]) => (async () => {
  const { ort, enhancer } = window.rased;
  const floats = (text) => new Float32Array(Uint8Array.from(atob(text), (one) => one.charCodeAt(0)).buffer);
  let state = {};
  for (const [name, [values, shape]] of Object.entries(states))
    state[name] = new ort.Tensor("float32", floats(values), shape);
  const outputs = [];
  for (const block of blocks) {
    const [output, next] = await enhancer.step(floats(block), state);
    let text = "";
    for (const byte of new Uint8Array(Float32Array.from(output).buffer)) text += String.fromCharCode(byte);
    outputs.push(btoa(text));
    state = next;
  }
  return outputs;
})()"""


def packed(values):
    """Samples as text: a browser driver spends more on a list of numbers than the model on the sound."""
    return base64.b64encode(np.asarray(values, np.float32).tobytes()).decode()


def converted(window, state, blocks):
    """The output of a page for blocks of one channel, from a state."""
    states = {name: [packed(t), list(t.shape)] for name, t in state.items()}
    found = window.evaluate(CONVERTED, [states, [packed(block) for block in blocks]])
    return np.concatenate([np.frombuffer(base64.b64decode(one), np.float32) for one in found])


class Quiet(http.server.SimpleHTTPRequestHandler):
    extensions_map = {  # noqa: RUF012 (as in the base class)
        **http.server.SimpleHTTPRequestHandler.extensions_map,
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
    }

    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def runtime(tmp_path_factory):
    """The folder node_modules with the runtime."""
    if not CHROMIUM.is_file():
        pytest.skip(f"there is no {CHROMIUM}: apt-get install chromium")
    if shutil.which("npm") is None:
        pytest.skip("there is no npm: apt-get install npm")
    here = tmp_path_factory.mktemp("npm")
    command = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(here), RUNTIME]
    fetched = subprocess.run(command, capture_output=True, text=True, check=False)
    if fetched.returncode:
        pytest.skip(f"npm cannot fetch {RUNTIME}: {fetched.stderr[-200:]}")
    return here / "node_modules"


@pytest.fixture(scope="module")
def browser(runtime):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=str(CHROMIUM), args=QUIET)
        yield chromium
        chromium.close()


@pytest.fixture
def opened(runtime, browser, tmp_path):
    """A function that writes the page of a graph and opens it; any message on the console fails the test."""
    messages = []
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=str(tmp_path))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    window = browser.new_page()
    window.set_default_timeout(30_000)
    window.on("console", lambda message: messages.append(message.text))
    window.on("pageerror", lambda error: messages.append(str(error)))

    def open_page(graph):
        write(tmp_path, *graph, "web")
        (tmp_path / "node_modules").symlink_to(runtime)
        window.goto(f"http://127.0.0.1:{server.server_port}/index.html")
        window.wait_for_function(
            "document.getElementById('status').textContent === 'Ready.'", timeout=90_000
        )
        return window

    yield open_page
    window.close()
    server.shutdown()
    server.server_close()
    assert messages == []


def differences(window, enhancer, *, seeds, blocks, most):
    """The state, the input and the largest difference of the outputs between PyTorch and the browser, for each state.

    A block has 1 to `most` chunks.
    """
    random = np.random.default_rng(1)
    for seed in range(seeds):
        begun = state = random_state(enhancer, seed)
        lengths = random.integers(1, most + 1, blocks)
        given = [audio(int(n) * enhancer.chunk_length, batch=1, seed=int(n)) for n in lengths]
        outputs = []
        with torch.no_grad():
            for block in given:
                output, state = enhancer.step(block, state)
                outputs.append(output[0].numpy())
        heard = converted(window, begun, [block[0] for block in given])
        largest = np.abs(heard - np.concatenate(outputs)).max()
        yield begun, torch.cat(given, dim=-1), float(largest)


def test_the_browser_gives_what_torch_gives_from_any_state(opened, enhancer, graph):
    window = opened(graph)
    found = [*differences(window, enhancer, seeds=3, blocks=6, most=7)]
    assert max(difference for _, _, difference in found) < 1e-5
    noisy = audio(4_321, batch=1)[0]
    heard = window.evaluate(
        "async (noisy) => [...await window.rased.enhancer.enhance(Float32Array.from(noisy))]",
        noisy.tolist(),
    )
    with torch.no_grad():
        np.testing.assert_allclose(np.float32(heard), enhancer(noisy).numpy(), atol=2e-5)


def test_the_page_enhances_a_recording_that_is_chosen(opened, graph, tmp_path):
    window = opened(graph)
    soundfile.write(
        tmp_path / "noisy.wav", 0.1 * np.random.default_rng(0).standard_normal(44_100), 44_100
    )
    window.set_input_files("#file", tmp_path / "noisy.wav")
    window.wait_for_function("document.getElementById('status').textContent.startsWith('1.0 s in')")
    assert window.evaluate("document.getElementById('audio').src").startswith("blob:")
    (tmp_path / "text.wav").write_text("no audio")
    window.set_input_files("#file", Path(tmp_path / "text.wav"))
    window.wait_for_function(
        "document.getElementById('status').textContent.startsWith('This recording cannot be enhanced')"
    )


WIDER = {"lstm-psm-16k": 5e-4}
"""From random states of its LSTMs, which hear logarithms, it is off by 2.2e-4 at most; from the first state by 3e-8."""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gtcrn-tuned-16k", "lstm-psm-16k", "fastenhancer-mid-16k"])
def test_ten_minutes_in_the_browser_are_those_of_torch(opened, name, float64):  # noqa: F811
    """Twenty states, each for half a minute; long blocks, which PyTorch enhances in a fraction of the time."""
    enhancer = rased.load(name)
    window = opened(described_graph(enhancer, name))
    assert enhancer.chunk_length is not None
    blocks = round(30 * enhancer.sample_rate / enhancer.chunk_length / 50)
    found = [*differences(window, enhancer, seeds=20, blocks=blocks, most=99)]
    assert len(found) == 20
    print(*(f"{difference:.1e}" for *_, difference in found))
    for begun, heard, difference in found:
        if not difference <= 1e-5:
            assert difference < max(WIDER.get(name, 0.0), allowed(float64(enhancer), begun, heard))


def test_the_words_of_a_card_are_text_in_the_page(tmp_path):
    facts = {"name": "x", "summary": "<script>alert(1)</script>", "licence": "MIT", "state": {}}
    write_facts(tmp_path, facts, "web")
    page = (tmp_path / "index.html").read_text()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
