# pip install numpy onnxruntime soundfile; python example_streams.py a.wav b.wav ... (up to $streams, $sample_rate Hz, mono)
import json
import sys

import numpy as np
import onnxruntime
import soundfile

session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
facts = json.loads(session.get_modelmeta().custom_metadata_map["rased"])
state = {
    name: np.stack([np.resize(np.float32(s["start"]), s["shape"])] * facts["streams"])
    for name, s in facts["state"].items()
}
files, length, late = sys.argv[1:], facts["chunk_length"], facts["latency"]
recordings = [soundfile.read(name, dtype="float32")[0] for name in files]
chunks = -(-(max(map(len, recordings)) + late) // length)
noisy = np.zeros((facts["streams"], chunks * length), np.float32)
for row, recording in zip(noisy, recordings):
    row[: len(recording)] = recording
outputs, enhanced = ["estimate", *(name + ".next" for name in state)], []
for chunk in np.split(noisy, chunks, axis=1):
    estimate, *after = session.run(outputs, {"chunk": chunk, **state})
    state = dict(zip(state, after))
    enhanced.append(estimate)
for name, recording, row in zip(files, recordings, np.concatenate(enhanced, axis=1)):
    soundfile.write(f"enhanced-{name}", row[late : late + len(recording)], facts["sample_rate"])
