"use strict";

// Theme: the system's, until the button is pressed.
(function () {
  const root = document.documentElement;
  const stored = (value) => {
    try {
      if (value !== undefined) localStorage.setItem("rased-theme", value);
      return localStorage.getItem("rased-theme");
    } catch {
      return null;
    }
  };
  if (stored()) root.dataset.theme = stored();
  document.getElementById("theme").addEventListener("click", () => {
    const dark = root.dataset.theme
      ? root.dataset.theme === "dark"
      : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    stored(root.dataset.theme);
  });
})();

// Tables: a heading sorts, a second press turns the order; rows without a value stay at the end.
for (const table of document.querySelectorAll("table.scores")) {
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    heading.querySelector("button").addEventListener("click", () => {
      const turned = { ascending: "descending", descending: "ascending" };
      const order = turned[heading.getAttribute("aria-sort")] || heading.dataset.first || "ascending";
      for (const other of headings) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", order);
      const sign = order === "ascending" ? 1 : -1;
      const value = (row) => row.cells[column].dataset.value;
      const compare = (a, b) => {
        const [left, right] = [value(a), value(b)];
        if (left === undefined || right === undefined) return (left === undefined) - (right === undefined);
        if (heading.dataset.sort === "text") return sign * left.localeCompare(right);
        return sign * (Number(left) - Number(right));
      };
      table.tBodies[0].append(...[...table.tBodies[0].rows].sort(compare));
    });
  });
}

// Examples: one version sounds at a time; choosing another goes on from the same place.
let sounding = null;
let recent = null;

class Player {
  constructor(root) {
    this.root = root;
    this.play = root.querySelector(".play");
    this.seek = root.querySelector(".seek");
    this.time = root.querySelector(".time");
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
    this.tracks.forEach((track, number) => {
      track.addEventListener("click", () => {
        if (number === this.chosen) this.toggle();
        else this.choose(number, true);
      });
    });
    root.addEventListener("focusin", () => { recent = this; });
    this.show();
  }

  get playing() { return sounding === this; }
  get sound() { return this.sounds[this.chosen]; }

  async start() {
    if (sounding && sounding !== this) sounding.stop();
    sounding = this;
    recent = this;
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

  choose(number, play = this.playing) {
    if (this.playing) {
      this.position = this.sound.currentTime;
      this.sound.pause();
    }
    this.tracks.forEach((track, at) => track.setAttribute("aria-pressed", String(at === number)));
    this.chosen = number;
    if (play) this.start();
  }

  move(position) {
    this.position = position;
    if (this.playing) this.sound.currentTime = position;
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

const players = [...document.querySelectorAll(".example")].map((root) => new Player(root));

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !players.length) return;
  const player = sounding || recent || players[0];
  if (/^[1-9]$/.test(event.key) && Number(event.key) <= player.tracks.length) {
    player.choose(Number(event.key) - 1);
  } else if (event.key === " " && (event.target === document.body || event.target.classList.contains("seek"))) {
    event.preventDefault();
    player.toggle();
  }
});
