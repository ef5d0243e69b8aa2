# pip install numpy onnxruntime soundfile; python example.py noisy.wav enhanced.wav ($sample_rate Hz, mono)
import json
import sys

import numpy as np
import onnxruntime
import soundfile

session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
facts = json.loads(session.get_modelmeta().custom_metadata_map["rased"])
state = {name: np.resize(np.float32(s["start"]), s["shape"]) for name, s in facts["state"].items()}
noisy, rate = soundfile.read(sys.argv[1], dtype="float32")
assert rate == facts["sample_rate"] and noisy.ndim == 1
padded = np.pad(
    noisy, (0, facts["latency"] + -(len(noisy) + facts["latency"]) % facts["chunk_length"])
)
outputs = ["estimate", *(name + ".next" for name in state)]
enhanced = []
for chunk in padded.reshape(-1, 1, facts["chunk_length"]):
    estimate, *after = session.run(outputs, {"chunk": chunk, **state})
    state = dict(zip(state, after))
    enhanced.append(estimate[0])
soundfile.write(sys.argv[2], np.concatenate(enhanced)[facts["latency"] :][: len(noisy)], rate)
