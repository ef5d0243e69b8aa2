// npm install onnxruntime-node; node example.mjs < noisy.f32 > enhanced.f32 (raw float32 at $sample_rate Hz)
import fs from "node:fs";
import * as ort from "onnxruntime-node";

const facts = JSON.parse(fs.readFileSync("model.json", "utf8"));
const session = await ort.InferenceSession.create("model.onnx", { intraOpNumThreads: 1 });
const product = (shape) => shape.reduce((a, b) => a * b, 1);
const state = {};
for (const [name, { shape, start }] of Object.entries(facts.state))
  state[name] = new ort.Tensor("float32", Float32Array.from({ length: product(shape) }, (_, i) => [start].flat()[i] ?? [start].flat()[0]), shape);
const bytes = fs.readFileSync(0);
const noisy = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
for (let at = 0; at + facts.chunk_length <= noisy.length; at += facts.chunk_length) {
  const chunk = new ort.Tensor("float32", noisy.slice(at, at + facts.chunk_length), [1, facts.chunk_length]);
  const after = await session.run({ chunk, ...state });
  for (const name in state) state[name] = after[name + ".next"];
  fs.writeSync(1, new Uint8Array(after.estimate.data.slice().buffer)); // facts.latency samples late
}
