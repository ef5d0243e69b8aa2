# pip install numpy ai-edge-litert soundfile; python example_litert.py noisy.wav enhanced.wav ($sample_rate Hz, mono)
import json, sys
import numpy as np, soundfile
from ai_edge_litert.interpreter import Interpreter

run, facts = Interpreter("model.tflite").get_signature_runner(), json.load(open("model.json"))
state = [np.resize(np.float32(s["start"]), s["shape"]) for s in facts["state"].values()]
noisy, rate = soundfile.read(sys.argv[1], dtype="float32")
assert rate == facts["sample_rate"] and noisy.ndim == 1
padded = np.pad(
    noisy, (0, facts["latency"] + -(len(noisy) + facts["latency"]) % facts["chunk_length"])
)
enhanced = []
for chunk in padded.reshape(-1, 1, facts["chunk_length"]):
    after = run(**{f"args_{i}": one for i, one in enumerate([chunk, *state])})
    state = [after[f"output_{i + 1}"] for i in range(len(state))]
    enhanced.append(after["output_0"][0])
soundfile.write(sys.argv[2], np.concatenate(enhanced)[facts["latency"] :][: len(noisy)], rate)
