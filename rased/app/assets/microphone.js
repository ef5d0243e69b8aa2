"use strict";

// The microphone as it is: browsers have noise suppression of their own, which would be compared as well.
const PLAIN = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };

class Microphone {
  async start() {
    if (!navigator.mediaDevices) throw new Error("Browsers record on https:// pages and on this machine only.");
    this.stream = await navigator.mediaDevices.getUserMedia({ audio: PLAIN });
    this.context = new AudioContext();
    await this.context.audioWorklet.addModule("recorder.js");
    this.blocks = [];
    const recorder = new AudioWorkletNode(this.context, "recorder");
    recorder.port.onmessage = ({ data }) => this.blocks.push(data);
    this.context.createMediaStreamSource(this.stream).connect(recorder).connect(this.context.destination);
  }

  get seconds() { return this.blocks.reduce((sum, block) => sum + block.length, 0) / this.context.sampleRate; }

  // Switch the microphone off, also if not all of `start` was done.
  release() {
    for (const track of this.stream?.getTracks() ?? []) track.stop();
  }

  async stop() {
    this.release();
    const { sampleRate } = this.context;
    await this.context.close();
    return wav(this.blocks, sampleRate);
  }
}

// A WAV file of one channel in 16 bits.
function wav(blocks, rate) {
  const count = blocks.reduce((sum, block) => sum + block.length, 0);
  const view = new DataView(new ArrayBuffer(44 + 2 * count));
  const text = (at, letters) => [...letters].forEach((one, place) => view.setUint8(at + place, one.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, 36 + 2 * count, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true);
  view.setUint16(22, 1, true);
  view.setUint32(24, rate, true);
  view.setUint32(28, 2 * rate, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  text(36, "data");
  view.setUint32(40, 2 * count, true);
  let at = 44;
  for (const block of blocks) {
    for (const sample of block) {
      view.setInt16(at, Math.max(-32768, Math.min(32767, Math.round(32768 * sample))), true);
      at += 2;
    }
  }
  return new Blob([view], { type: "audio/wav" });
}
