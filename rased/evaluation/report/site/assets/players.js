"use strict";

// A player for the versions of one utterance. One plays at a time; switching keeps the position.
let sounding = null;
const SEEK = 0.5;

class Player {
  constructor(root) {
    this.root = root;
    this.play = root.querySelector(".play");
    this.seek = root.querySelector(".seek");
    this.time = root.querySelector(".time");
    this.stage = root.querySelector(".stage");
    this.tracks = [];
    this.sounds = [];
    this.length = Number(this.seek.max);
    this.position = 0;
    this.chosen = 0;
    this.play.addEventListener("click", () => this.toggle());
    this.seek.addEventListener("input", () => this.move(Number(this.seek.value)));
    this.stage.addEventListener("click", (event) => {
      const picture = this.stage.querySelector(".picture").getBoundingClientRect();
      this.move((this.length * (event.clientX - picture.left)) / picture.width);
    });
    this.collect();
    this.show();
  }

  // Read the versions from the page again. The chosen one goes on from the same place, also if its sound is new.
  collect() {
    const { playing, sounds, tracks } = this;
    if (playing) this.position = this.sound.currentTime;
    const before = new Map(tracks.map((track, number) => [track.dataset.opened, sounds[number]]));
    const chosen = tracks[this.chosen];
    this.tracks = [...this.root.querySelectorAll(".track:not(:disabled)")];
    this.sounds = this.tracks.map((track) => before.get(track.dataset.sound) ?? this.open(track.dataset.sound));
    for (const track of this.tracks) track.dataset.opened = track.dataset.sound;
    for (const sound of sounds) if (!this.sounds.includes(sound)) sound.pause();
    const number = Math.max(this.tracks.indexOf(chosen), 0);
    const same = chosen && this.sounds[number] === sounds[this.chosen];
    this.chosen = number;
    if (!chosen || same) return;
    if (playing) sounding = null; // the position is that of the sound before
    this.choose(number, { play: playing });
  }

  open(address) {
    const sound = new Audio();
    sound.preload = this.playing ? "auto" : "none";
    sound.src = address;
    sound.addEventListener("ended", () => { if (sound === this.sound) this.stop(0); });
    return sound;
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

  // Use a key of the player: digits choose a version, Space plays and stops, arrows seek. Return whether it is one.
  press({ key, target }, choose = (number) => this.choose(number)) {
    const digit = /^[0-9]$/.test(key) ? Number(key) || 10 : 0;
    if (digit && digit <= this.tracks.length) choose(digit - 1);
    else if (key === " " && !target.closest("button, summary, a, [type=checkbox]")) this.toggle();
    else if ((key === "ArrowLeft" || key === "ArrowRight") && !target.closest("[type=range], .scroll")) {
      this.move(this.position + (key === "ArrowRight" ? SEEK : -SEEK));
      return false; // the page may still scroll
    } else return false;
    return true;
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

// Whether a key is meant for the page: not for the browser, nor a field, nor a dialogue.
function forPage({ ctrlKey, metaKey, altKey, target }) {
  if (ctrlKey || metaKey || altKey || target.closest("dialog, .chooser")) return false;
  return !target.matches("input:not([type=range], [type=checkbox]), select, textarea");
}
