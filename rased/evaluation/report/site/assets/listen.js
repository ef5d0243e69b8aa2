"use strict";

// Utterances to listen to, one at a time; and a blind ABX test between two versions of an utterance.

class BlindTest {
  constructor(root, listen) {
    this.root = root;
    this.listen = listen;
    this.form = root.querySelector("form");
    this.output = root.querySelector("output");
    this.hear = [...root.querySelectorAll(".hear")];
    this.guesses = [...root.querySelectorAll(".guess")];
    this.right = 0;
    this.answers = 0;
    for (const button of this.hear) button.addEventListener("click", () => this.choose(button.dataset.letter));
    for (const button of this.guesses) button.addEventListener("click", () => this.answer(button.dataset.letter));
    this.form.addEventListener("input", () => {
      this.right = this.answers = 0;
      this.output.value = "A new pair: the count starts again.";
      this.end();
    });
    root.addEventListener("toggle", () => this.end());
    this.draw();
  }

  get open() { return this.root.open; }
  track(letter) { return Number(this.form.elements[letter === "x" ? this.x : letter].value); }

  draw() {
    this.x = Math.random() < 0.5 ? "a" : "b";
    for (const button of this.guesses) button.disabled = true;
  }

  press(letter) {
    for (const button of this.hear) button.setAttribute("aria-pressed", String(button.dataset.letter === letter));
  }

  choose(letter) {
    this.press(letter);
    this.listen.player.choose(this.track(letter), { play: true, secret: letter.toUpperCase() });
    const same = this.form.elements.a.value === this.form.elements.b.value;
    if (same) this.output.value = "A and B are the same version: choose another.";
    if (letter === "x") for (const button of this.guesses) button.disabled = same;
  }

  answer(letter) {
    const right = letter === this.x;
    this.right += right;
    this.answers += 1;
    const [n, k] = [this.answers, this.right];
    // Probability of at least k right answers in n by guessing.
    let [chance, choose] = [0, 1];
    for (let hits = n; hits >= k; hits -= 1) {
      chance += choose / 2 ** n;
      choose = (choose * hits) / (n - hits + 1);
    }
    this.output.value =
      `${right ? "Right" : "Wrong"}: X was ${this.x.toUpperCase()}. ` +
      `${k} of ${n} right; guessing is at least as good with probability ${chance.toFixed(2)}. X is chosen again.`;
    this.end();
  }

  // Return to open listening, with a new X.
  end() {
    this.press("");
    if (this.listen.player.playing) this.listen.player.stop();
    this.listen.player.choose(this.listen.player.chosen);
    this.draw();
  }
}

class Listen {
  constructor(root) {
    this.root = root;
    this.pick = root.querySelector(".pick");
    this.players = [...root.querySelectorAll(".example")].map((example) => new Player(example));
    this.current = 0;
    for (const player of this.players) {
      player.tracks.forEach((track, number) => {
        track.addEventListener("click", () => {
          if (number === player.chosen && !this.secret) player.toggle();
          else this.choose(number, true);
        });
      });
    }
    this.blind = root.querySelector(".abx") && new BlindTest(root.querySelector(".abx"), this);
    this.pick.addEventListener("input", () => this.show(this.pick.selectedIndex));
    root.querySelector(".previous").addEventListener("click", () => this.show(this.current - 1));
    root.querySelector(".next").addEventListener("click", () => this.show(this.current + 1));
    root.addEventListener("focusin", () => { recent = this; });
    for (const button of root.closest(".board").querySelectorAll(".open")) {
      button.addEventListener("click", () => {
        recent = this;
        this.show(this.players.findIndex((player) => player.root.dataset.utterance === button.dataset.utterance));
        this.choose(Number(button.dataset.track), true);
        this.player.root.scrollIntoView({ block: "center" });
        this.player.play.focus({ preventScroll: true });
      });
    }
    this.show(0);
  }

  get player() { return this.players[this.current]; }
  get secret() { return this.player.stage.classList.contains("secret"); }

  // Choose a version openly. This ends a blind trial, because it could reveal X.
  choose(number, play = this.player.playing) {
    if (this.secret) this.blind.end();
    this.player.choose(number, { play });
  }

  show(number) {
    if (number < 0 || number >= this.players.length) return;
    const { playing, chosen } = this.player;
    if (this.secret) this.blind.end();
    if (playing) this.player.stop();
    this.current = number;
    this.players.forEach((player, at) => { player.root.hidden = at !== number; });
    this.pick.selectedIndex = number;
    this.player.choose(Math.min(chosen, this.player.tracks.length - 1), { play: playing });
  }
}

let recent = null;
const listens = [...document.querySelectorAll(".listen")].map((root) => new Listen(root));

document.addEventListener("keydown", (event) => {
  if (!listens.length || !forPage(event)) return;
  const { key } = event;
  const listen = listens.find((one) => one.player.playing) || recent || listens[0];
  const { player, blind } = listen;
  if (key === "j" || key === "k") {
    listen.show(listen.current + (key === "j" ? 1 : -1));
  } else if (blind?.open && ["a", "b", "x"].includes(key)) {
    blind.choose(key);
  } else if (player.press(event, (number) => listen.choose(number))) {
    event.preventDefault();
  }
});
