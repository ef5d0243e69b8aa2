"use strict";

// A player for the versions of one utterance. One plays at a time; switching keeps the position.
let sounding = null;

class Player {
  constructor(root) {
    this.root = root;
    this.play = root.querySelector(".play");
    this.seek = root.querySelector(".seek");
    this.time = root.querySelector(".time");
    this.stage = root.querySelector(".stage");
    this.tracks = [...root.querySelectorAll(".track")];
    this.length = Number(this.seek.max);
    this.position = 0;
    this.chosen = 0;
    this.sounds = this.tracks.map((track) => {
      const sound = new Audio();
      sound.preload = "none";
      sound.src = track.dataset.sound;
      sound.addEventListener("ended", () => this.stop(0));
      return sound;
    });
    this.play.addEventListener("click", () => this.toggle());
    this.seek.addEventListener("input", () => this.move(Number(this.seek.value)));
    this.stage.addEventListener("click", (event) => {
      const picture = this.stage.querySelector(".picture").getBoundingClientRect();
      this.move((this.length * (event.clientX - picture.left)) / picture.width);
    });
    this.show();
  }

  get playing() { return sounding === this; }
  get sound() { return this.sounds[this.chosen]; }

  async start() {
    if (sounding && sounding !== this) sounding.stop();
    sounding = this;
    const sound = this.sound;
    sound.currentTime = this.position;
    this.root.classList.add("playing");
    this.play.setAttribute("aria-label", "Stop");
    try {
      await sound.play();
      for (const other of this.sounds) other.preload = "auto";
      this.follow();
    } catch {
      if (this.playing && sound === this.sound) this.stop();
    }
  }

  stop(position = this.sound.currentTime) {
    for (const sound of this.sounds) sound.pause();
    if (this.playing) sounding = null;
    this.root.classList.remove("playing");
    this.play.setAttribute("aria-label", "Play");
    this.position = position;
    this.show();
  }

  toggle() {
    if (this.playing) this.stop();
    else this.start();
  }

  // A blind choice (`secret` is its label) shows neither the name of the version nor its spectrogram.
  choose(number, { play = this.playing, secret = "" } = {}) {
    if (this.playing) {
      this.position = this.sound.currentTime;
      this.sound.pause();
    }
    this.tracks.forEach((track, at) => track.setAttribute("aria-pressed", String(at === number && !secret)));
    this.chosen = number;
    this.stage.classList.toggle("secret", secret !== "");
    this.stage.querySelector(".now").textContent = secret || this.tracks[number].querySelector(".who").textContent;
    if (!secret) this.stage.querySelector("img").src = this.tracks[number].querySelector("img").src;
    if (play) this.start();
  }

  move(position) {
    this.position = Math.min(Math.max(position, 0), this.length);
    if (this.playing) this.sound.currentTime = this.position;
    this.show();
  }

  follow() {
    if (!this.playing) return;
    this.position = this.sound.currentTime;
    this.show();
    requestAnimationFrame(() => this.follow());
  }

  show() {
    this.seek.value = this.position;
    this.time.value = `${this.position.toFixed(1)} / ${this.length.toFixed(1)} s`;
    this.root.style.setProperty("--position", `${(100 * this.position) / this.length}%`);
  }
}
