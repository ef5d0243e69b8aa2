// $name for browsers and Node: a chunk of the waveform in, a chunk out. $sample_rate Hz, licence of the weights: $licence.
//
//   import * as ort from "onnxruntime-web";
//   import { Enhancer } from "./enhancer.mjs";
//   const enhancer = await Enhancer.load(ort, ".");
//   const enhanced = await enhancer.enhance(samples);   // Float32Array at enhancer.sampleRate; aligned, equally long

const size = (shape) => shape.reduce((product, length) => product * length, 1);

export class Enhancer {
  constructor(ort, session, facts) {
    Object.assign(this, { ort, session, facts });
    this.sampleRate = facts.sample_rate;
    this.chunkLength = facts.chunk_length;
    this.latency = facts.latency; // samples by which the output of step is late
  }

  /** Load model.onnx and model.json from a folder (a URL, without the last slash). */
  static async load(ort, folder = ".") {
    const facts = await (await fetch(folder + "/model.json")).json();
    const options = { executionProviders: ["wasm"], graphOptimizationLevel: "extended" };
    return new Enhancer(ort, await ort.InferenceSession.create(folder + "/model.onnx", options), facts);
  }

  /** Return the state before the first chunk of a stream. */
  initialState() {
    const state = {};
    for (const [name, { shape, start }] of Object.entries(this.facts.state)) {
      const values = new Float32Array(size(shape));
      if (Array.isArray(start)) values.set(start.map(Number));
      else values.fill(Number(start)); // "Infinity" is a word, as JSON has no such number
      state[name] = new this.ort.Tensor("float32", values, shape);
    }
    return state;
  }

  /** Enhance the next samples, a multiple of chunkLength; return [output, state]. The output is latency samples late. */
  async step(samples, state) {
    const { chunkLength } = this;
    if (!samples.length || samples.length % chunkLength)
      throw new Error("a chunk of " + samples.length + " samples: give a multiple of " + chunkLength);
    const output = new Float32Array(samples.length);
    for (let at = 0; at < samples.length; at += chunkLength) {
      const chunk = new this.ort.Tensor("float32", samples.slice(at, at + chunkLength), [1, chunkLength]);
      const results = await this.session.run({ chunk, ...state });
      output.set(results.estimate.data, at);
      const next = {};
      for (const name in state) next[name] = results[name + ".next"];
      state = next;
    }
    return [output, state];
  }

  /** Enhance a whole recording at sampleRate; the output is aligned with it and has its length. */
  async enhance(samples) {
    const chunks = Math.ceil((samples.length + this.latency) / this.chunkLength);
    const padded = new Float32Array(chunks * this.chunkLength);
    padded.set(samples);
    const [output] = await this.step(padded, this.initialState());
    return output.slice(this.latency, this.latency + samples.length);
  }
}
