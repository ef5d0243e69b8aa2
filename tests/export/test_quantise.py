"""`rased export --int8`: smaller, close, and honest about what it costs."""

import json

import numpy as np
import onnx
import pytest

import rased.onnx
from rased import audio
from rased.data.shards.index import bundle
from rased.export import quantise
from rased.export.targets import write
from rased.metrics.intrusive import pesq_mos


@pytest.fixture(scope="module")
def excerpts(tmp_path_factory):
    """A test set of two recordings of two seconds: those of the bundled one, cut."""
    out = tmp_path_factory.mktemp("bundle")
    for part in ("noisy", "target"):
        (out / "frozen" / part).mkdir(parents=True)
        for path in sorted((bundle() / "frozen/noisy").glob("*.flac"))[:2]:
            waveform, rate = audio.read(bundle() / "frozen" / part / path.name)
            audio.write(out / "frozen" / part / path.name, waveform[:, : 2 * rate], rate)
    return out


@pytest.fixture(scope="module")
def small(folder, excerpts, tmp_path_factory):
    """The folder of the same graph in 8 bits."""
    out = tmp_path_factory.mktemp("int8")
    facts = json.loads((folder / "model.json").read_text())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quantise, "bundle", lambda: excerpts)
        model, facts = quantise.quantised(onnx.load(folder / "model.onnx"), facts)
    write(out, model.SerializeToString(), facts, "onnx")
    return out


def test_the_stated_scores_are_those_of_both_graphs(folder, small, excerpts):
    facts = json.loads((small / "model.json").read_text())
    for key, place in (("pesq_float", folder), ("pesq_int8", small)):
        enhancer, scores = rased.onnx.load(place), []
        for path in sorted((excerpts / "frozen/noisy").glob("*.flac")):
            (noisy, rate), (target, _) = (
                audio.read(excerpts / "frozen" / part / path.name, sample_rate=16_000)
                for part in ("noisy", "target")
            )
            scores.append(pesq_mos(target[0], enhancer(noisy[0], rate), "wb"))
        assert facts[key] == pytest.approx(np.mean(scores))
        assert 1 < facts[key] < 4.7
    assert facts["quantised"]
    assert facts["testset"] == "the bundled test set"
    assert not json.loads((folder / "model.json").read_text())["quantised"]


def test_weights_are_of_8_bits_and_the_transform_is_not(folder, small):
    before, after = (onnx.load(place / "model.onnx").graph for place in (folder, small))
    rounded = [one for one in after.initializer if one.data_type == onnx.TensorProto.INT8]
    assert rounded, "no weight was rounded"
    assert "MatMulInteger" in {node.op_type for node in after.node}
    kept = {node.name for node in before.node if node.op_type in ("GRU", "LSTM")}
    assert kept <= {node.name for node in after.node}
    assert [one.name for one in after.input] == [one.name for one in before.input]
    assert [one.name for one in after.output] == [one.name for one in before.output]


def test_it_sounds_alike_but_not_equal(folder, small, excerpts):
    noisy, rate = audio.read(next((excerpts / "frozen/noisy").glob("*.flac")), sample_rate=16_000)
    wanted, found = (rased.onnx.load(place)(noisy[0], rate) for place in (folder, small))
    ratio_db = 10 * np.log10(np.square(wanted).mean() / np.square(found - wanted).mean())
    assert 15 < ratio_db < 90
