"use strict";

// One recording at a time; each chosen model adds a version to the player, which keeps its position.
const $ = (id) => document.getElementById(id);
const NO_LIMIT = Number($("strength").max);
let offer = null;
let opened = null;
let player = null;
let round = 0;
let opening = 0;

async function ask(address, content, { raw = false } = {}) {
  let answer;
  try {
    answer = await fetch(address, {
      method: content === undefined ? "GET" : "POST",
      body: raw || content === undefined ? content : JSON.stringify(content),
    });
  } catch {
    throw new Error("The server does not answer: start `rased app` again, and reload this page.");
  }
  const found = await answer.json();
  if (!answer.ok) throw new Error(found.error);
  return found;
}

function say(sentence) {
  $("alert").textContent = sentence;
  $("alert").hidden = !sentence;
}

// Open a recording: `getting` begins the request for it. Of several at once, the last choice counts.
async function open(what, getting) {
  const mine = ++opening;
  say("");
  $("hint").textContent = `Opening ${what} …`;
  let found;
  try {
    found = await getting();
  } catch (error) {
    if (mine !== opening) return;
    say(error.message);
    $("hint").textContent = opened ? "" : "Choose a recording first.";
    return;
  }
  if (mine !== opening) return;
  opened = found;
  $("hint").textContent = "";
  build();
  await work();
}

function upload(blob, name) {
  if (blob.size > offer.bytes) return say(`'${name}' is too large for the page: use \`rased enhance\`.`);
  return open(name, () => ask(`recordings?name=${encodeURIComponent(name)}`, blob, { raw: true }));
}

// The player of a new recording, with the versions that are there at once: noisy, and for examples the target.
function build() {
  if (player?.playing) player.stop();
  const root = $("player").content.cloneNode(true).querySelector(".example");
  root.querySelector(".title").textContent = opened.title;
  root.querySelector(".rate").textContent = `${opened.sample_rate / 1000} kHz`;
  root.querySelector(".channels").textContent = opened.channels === 1 ? "mono" : `${opened.channels} channels`;
  root.querySelector(".seek").max = opened.seconds;
  root.querySelector(".high").textContent = `${opened.top_khz} kHz`;
  root.querySelector(".half").textContent = opened.top_khz / 2;
  for (const version of opened.versions) fill(add(root, version.label), version);
  $("place").replaceChildren(root);
  player = new Player(root);
  for (const track of player.tracks) listen(track);
  player.choose(0);
}

function add(root, label) {
  const card = $("version").content.cloneNode(true).querySelector(".version");
  card.dataset.label = label;
  card.querySelector(".who").textContent = label;
  root.querySelector(".tracks").append(card);
  return card;
}

function listen(track) {
  track.addEventListener("click", () => {
    const number = player.tracks.indexOf(track);
    if (number === player.chosen) player.toggle();
    else player.choose(number, { play: true });
  });
}

function card(label) {
  return [...player.root.querySelectorAll(".version")].find((one) => one.dataset.label === label);
}

// Show a version that the server has.
function fill(card, version) {
  card.classList.remove("busy", "failed");
  card.dataset.version = version.version;
  const track = card.querySelector(".track");
  track.disabled = false;
  track.dataset.sound = version.sound;
  card.querySelector("img").src = version.picture;
  const factor = version.real_time_factor;
  card.querySelector(".state").textContent = factor ? `real-time factor ${factor.toFixed(3)}` : "";
  card.querySelector(".mos").replaceChildren();
  const link = card.querySelector(".download");
  link.hidden = false;
  link.href = version.sound;
  link.download = version.download;
  link.setAttribute("aria-label", `Download ${version.label}`);
}

function chosen() {
  return [...$("choices").querySelectorAll(":checked")].map((box) => box.value);
}

function limit() {
  const value = Number($("strength").value);
  return value === NO_LIMIT ? null : value;
}

// Bring the versions in line with what is chosen: models one after the other, then the scores. A later call ends it.
async function work() {
  if (!opened) return;
  const mine = ++round;
  const [models, limit_db, recording] = [chosen(), limit(), opened.recording];
  const kept = new Set([...opened.versions.map(({ label }) => label), ...models]);
  for (const old of player.root.querySelectorAll(".version")) if (!kept.has(old.dataset.label)) old.remove();
  for (const name of models) {
    if (!card(name)) listen(add(player.root, name).querySelector(".track"));
    card(name).classList.add("busy");
    card(name).querySelector(".state").textContent = "working …";
  }
  renew();
  $("notes").textContent = opened.note;
  const notes = new Set(opened.note ? [opened.note] : []);
  for (const name of models) {
    try {
      const version = await ask("enhance", { recording, model: name, limit_db });
      if (mine !== round) return;
      fill(card(name), version);
      for (const note of version.notes) notes.add(`${name}: ${note}`);
      $("notes").textContent = [...notes].map((note) => `${note}.`).join(" ");
    } catch (error) {
      if (mine !== round) return;
      fail(card(name), error.message);
    }
    renew();
  }
  if (!offer.scores) await score(mine, recording);
}

function fail(card, sentence) {
  card.classList.remove("busy");
  card.classList.add("failed");
  card.querySelector(".state").textContent = sentence;
  card.querySelector(".track").disabled = true;
  card.querySelector(".download").hidden = true;
  card.querySelector(".mos").replaceChildren();
}

// The player takes the versions of the page; the keys are numbered again.
function renew() {
  player.collect();
  player.root.querySelectorAll(".key").forEach((key) => { key.textContent = ""; });
  player.tracks.slice(0, 10).forEach((track, at) => { track.querySelector(".key").textContent = (at + 1) % 10; });
}

// DNSMOS of each version, with the change from the noisy recording.
async function score(mine, recording) {
  let before = null;
  for (const card of [...player.root.querySelectorAll(".version:not(.failed)")]) {
    let scores;
    try {
      scores = Object.values(await ask("scores", { recording, version: card.dataset.version }));
    } catch (error) {
      if (mine === round) say(error.message);
      return;
    }
    if (mine !== round) return;
    before ??= scores;
    card.querySelector(".mos").replaceChildren(...scores.map((score, at) => shown(score, before[at])));
  }
}

function shown({ title, value, status }, before) {
  const part = document.createElement("span");
  if (value === null) {
    part.className = "undefined";
    part.textContent = `${title} ${status}`;
    return part;
  }
  part.textContent = `${title} ${value.toFixed(2)}`;
  if (before.value !== null && before.value !== value) {
    const change = document.createElement("span");
    const by = value - before.value;
    change.className = by > 0 ? "better" : "worse";
    change.textContent = ` ${by > 0 ? "+" : "−"}${Math.abs(by).toFixed(2)}`;
    part.append(change);
  }
  return part;
}

// Record until the button is pressed again, or the longest recording is full.
let microphone = null;
async function record() {
  const button = $("record");
  if (microphone) {
    const ended = microphone;
    microphone = null;
    button.setAttribute("aria-pressed", "false");
    button.textContent = "Record";
    return upload(await ended.stop(), "recording.wav");
  }
  const begun = new Microphone();
  button.disabled = true; // the browser may ask for permission
  try {
    await begun.start();
  } catch (error) {
    begun.release();
    return say(`The microphone cannot be used: ${error.message}`);
  } finally {
    button.disabled = false;
  }
  microphone = begun;
  button.setAttribute("aria-pressed", "true");
  const tick = () => {
    if (microphone !== begun) return;
    button.textContent = `Stop · ${begun.seconds.toFixed(0)} s`;
    if (begun.seconds >= 60 * offer.minutes - 1) record();
    else setTimeout(tick, 200);
  };
  tick();
}

async function start() {
  offer = await ask("offer");
  $("minutes").textContent = offer.minutes;
  for (const { id, facts } of offer.examples) $("example").add(new Option(`${id} · ${facts}`, id));
  for (const name of offer.models) {
    const label = document.createElement("label");
    const box = document.createElement("input");
    Object.assign(box, { type: "checkbox", value: name, checked: offer.chosen.includes(name) });
    label.append(box, name);
    $("choices").append(label);
  }
  if (offer.scores) $("missing").textContent = `DNSMOS before and after needs: ${offer.scores}`;
}

const drop = $("drop");
$("file").addEventListener("change", ({ target }) => {
  if (target.files.length) upload(target.files[0], target.files[0].name);
  target.value = "";
});
for (const kind of ["dragover", "dragleave", "drop"]) {
  drop.addEventListener(kind, (event) => {
    event.preventDefault();
    drop.classList.toggle("over", kind === "dragover");
    const file = kind === "drop" && event.dataTransfer.files[0];
    if (file) upload(file, file.name);
  });
}
// A file that misses the field must not replace the page.
for (const kind of ["dragover", "drop"]) document.addEventListener(kind, (event) => event.preventDefault());
$("record").addEventListener("click", record);
$("example").addEventListener("change", ({ target }) => {
  if (target.value) open(target.value, () => ask("examples", { name: target.value }));
});
$("choices").addEventListener("change", work);
$("strength").addEventListener("input", () => {
  const value = limit();
  $("limit").value = value === null ? "no limit" : `${value} dB at most`;
});
// Keys move it step by step: wait for the last one.
let waiting = 0;
$("strength").addEventListener("change", () => {
  clearTimeout(waiting);
  waiting = setTimeout(work, 250);
});
document.addEventListener("keydown", (event) => {
  if (player && forPage(event) && player.press(event)) event.preventDefault();
});
start().catch((error) => say(error.message));
