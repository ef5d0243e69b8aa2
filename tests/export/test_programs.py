"""The examples in C++ and JavaScript: compiled, run, and equal to PyTorch, over a stream that is cut anywhere.

The C++ program needs g++ and the headers of ONNX Runtime, which its wheel does not hold: $ONNXRUNTIME_INCLUDE names
their folder. It is linked with the library of the wheel. The program for Node gets onnxruntime-node from npm.
"""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from tests.models.test_contract import audio

RUNTIME = "onnxruntime-node@1.30.0"
HEADERS = "ONNXRUNTIME_INCLUDE"
pytestmark = pytest.mark.slow


def headers():
    """The folder of the headers; skips without one."""
    usual = ["/usr/include/onnxruntime", "/usr/include", "/usr/local/include"]
    for folder in [os.environ.get(HEADERS, ""), *usual]:
        if folder and (Path(folder) / "onnxruntime_cxx_api.h").is_file():
            return folder
    pytest.skip(f"there are no headers of ONNX Runtime: set {HEADERS} to the folder with them")


@pytest.fixture(scope="module")
def here(folder, tmp_path_factory):
    """A copy of the exported folder, to write to."""
    return Path(shutil.copytree(folder, tmp_path_factory.mktemp("programs") / "exported"))


def heard(words, folder, noisy):
    """What a program writes for raw samples."""
    done = subprocess.run(
        words, cwd=folder, input=noisy.tobytes(), capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return np.frombuffer(done.stdout, np.float32)


def assert_gives_what_torch_gives(words, folder, enhancer):
    """Compare a program with PyTorch on whole chunks and a rest, which it leaves out."""
    count = 40
    noisy = audio(count * enhancer.chunk_length + 7, batch=1)[0]
    with torch.no_grad():
        whole = noisy[None, : count * enhancer.chunk_length]
        wanted, _ = enhancer.step(whole, enhancer.initial_state())
    found = heard(words, folder, noisy.numpy())
    np.testing.assert_allclose(found, wanted[0].numpy(), atol=1e-5)


def test_the_example_in_cpp_gives_what_torch_gives(enhancer, here):
    if shutil.which("g++") is None:
        pytest.skip("there is no g++: apt-get install g++")
    wheel = Path(onnxruntime.__file__).parent / "capi"
    library = next(iter(sorted(wheel.glob("libonnxruntime.so*"))), None)
    if library is None:
        pytest.skip(f"{wheel} has no shared library")
    words = ["g++", "-std=c++17", "-O1", "example.cpp", f"-I{headers()}", str(library)]
    # The wheel has no file of the name that the library gives itself.
    (here / "libonnxruntime.so.1").symlink_to(library)
    words += [f"-Wl,-rpath,{here}", "-Wall", "-Wextra", "-o", "example"]
    built = subprocess.run(words, cwd=here, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    assert "example.cpp" not in built.stderr, f"warnings: {built.stderr}"
    assert_gives_what_torch_gives(["./example"], here, enhancer)


def test_the_example_in_javascript_gives_what_torch_gives(enhancer, here):
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"there is no {program}: apt-get install nodejs npm")
    # Its script would fetch libraries for graphics cards.
    words = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", RUNTIME]
    fetched = subprocess.run(words, cwd=here, capture_output=True, text=True, check=False)
    if fetched.returncode:
        pytest.skip(f"npm cannot fetch {RUNTIME}: {fetched.stderr[-200:]}")
    assert_gives_what_torch_gives(["node", "example.mjs"], here, enhancer)
