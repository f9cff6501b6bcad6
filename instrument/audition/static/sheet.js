// A clip at full size: its picture, its player, what was measured, what is said of it.

import { plain, warmth } from "./grid.js";
import { addressOf, player } from "./player.js";
import { run } from "./store.js";

const FIGURES = [
  ["distance", "distance", (v) => plain(Number(v.toFixed(2)))],
  ["level_db", "level", (v) => `${v.toFixed(1)} dB`],
  ["brightness_hz", "brightness", (v) => `${Math.round(v)} Hz`],
  ["flatness", "flatness", (v) => v.toFixed(2)],
  ["onsets_per_s", "onsets", (v) => `${v.toFixed(1)}/s`],
  ["pitch", "pitch", (v) => v.toFixed(2)],
  ["entropy_bits", "entropy", (v) => `${v.toFixed(2)} bit`],
  ["seconds", "length", (v) => `${plain(v)} s`],
  ["step", "step", String],
  ["backend", "made by", String],
  ["precision", "precision", String],
];

/** Keys of the classes: their first letters, but b for garbled. */
export const KEYS = { s: "silence", w: "wind", t: "tones", v: "voice", r: "rhythmic", g: "gnarly", b: "garbled", h: "hellish" };

/** The position of `seconds` as people write it. */
export const clock = (seconds) => (seconds < 60 ? seconds.toFixed(1) : `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`);

export class Sheet {
  /** `hooks`: rate(clip, fields), pick(clip), play(clip). */
  constructor(side, hooks) {
    this.element = document.getElementById("sheet").content.firstElementChild.cloneNode(true);
    this.clip = null;
    this.hooks = hooks;
    this.find(".side").textContent = side;
    this.fill(".scores", [1, 2, 3, 4, 5, 6].map((n) => [n, String(n), n === 1 ? "worst" : n === 6 ? "best" : ""]), "score");
    this.fill(".classes", Object.entries(KEYS).map(([key, name]) => [name, name, key]), "class");
    this.find(".play").addEventListener("click", () => hooks.play(this.clip));
    this.find(".pick").addEventListener("click", () => hooks.pick(this.clip));
    this.find(".seek").addEventListener("input", (event) => this.seek(Number(event.target.value)));
    this.find(".view").addEventListener("click", (event) => {
      const box = this.find(".view").getBoundingClientRect();
      this.seek((event.clientX - box.left) / box.width);
    });
    this.find(".note").addEventListener("change", (event) => hooks.rate(this.clip, { note: event.target.value.trim() }));
  }

  find(selector) { return this.element.querySelector(selector); }

  fill(selector, choices, field) {
    for (const [value, name, key] of choices) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = name;
      if (field === "class") {
        const hint = document.createElement("kbd");
        hint.textContent = key;
        button.append(" ", hint);
        button.dataset.class = value;
      } else {
        button.dataset.score = value;
        button.title = key;
      }
      button.dataset.value = value;
      button.addEventListener("click", () => {
        this.hooks.rate(this.clip, { [field]: this.clip.rating[field] === value ? null : value });
      });
      this.find(selector).append(button);
    }
  }

  seek(share) {
    const seconds = share * (this.clip.seconds ?? player.duration);
    player.seek(addressOf(this.clip), seconds);
  }

  /** Shows `clip`. */
  show(clip, chosen) {
    this.element.hidden = !clip;
    if (!clip) return;
    const other = this.clip?.clip !== clip.clip;
    this.clip = clip;
    if (other) this.find("img").src = `/pictures/${encodeURIComponent(clip.clip)}`;
    this.find(".title").textContent = `epoch ${clip.epoch} · T ${warmth(clip.temperature)} · #${clip.seed}`;
    for (const button of this.element.querySelectorAll(".choices button")) {
      const field = button.dataset.score ? "score" : "class";
      button.setAttribute("aria-pressed", String(clip.rating[field] ?? "") === button.dataset.value);
    }
    this.find(".note").value = other || document.activeElement !== this.find(".note") ? clip.rating.note : this.find(".note").value;
    const pick = this.find(".pick");
    pick.setAttribute("aria-pressed", chosen);
    pick.textContent = chosen ? "chosen for the patch (p)" : "choose for a patch (p)";
    this.say(clip);
    this.tick();
  }

  say(clip) {
    const flags = clip.flags.map((flag) => Object.assign(document.createElement("mark"), { textContent: flag, className: flag }));
    const guess = clip.guess ? `${clip.guess}? ` : "";
    const words = clip.fault ?? (clip.guess || clip.reason ? `${guess}${clip.reason}` : "not measured yet");
    this.find(".heard").replaceChildren(...flags, ` ${words}`);
    const rows = FIGURES.filter(([key]) => clip[key] != null).map(([key, name, show]) => {
      const row = document.createElement("div");
      row.append(Object.assign(document.createElement("dt"), { textContent: name }));
      row.append(Object.assign(document.createElement("dd"), { textContent: show(clip[key]) }));
      return row;
    });
    this.find("dl").replaceChildren(...rows);
  }

  /** Follows the player. */
  tick() {
    if (this.clip) follow(this.element, addressOf(this.clip), this.clip.seconds ?? 0);
  }
}

/** The sources' strip: one line each. */
export function sourceStrip(number, source) {
  const element = document.getElementById("source").content.firstElementChild.cloneNode(true);
  const address = `/sources/${number}`;
  element.querySelector(".name").textContent = source.name;
  if (!source.there) {
    element.classList.add("lost");
    element.replaceChildren(element.querySelector(".name"), " is not where it was: listen on without it");
    return { element, tick() {} };
  }
  element.querySelector("img").src = `${address}/picture`;
  const seek = (share) => {
    if (player.address === address && player.duration) player.seek(address, share * player.duration);
    else player.play(address, source.seconds * share || 0);
  };
  element.querySelector(".play").addEventListener("click", () => (player.sounds(address) ? player.stop() : player.play(address, resume(address))));
  element.querySelector(".seek").addEventListener("input", (event) => seek(Number(event.target.value)));
  element.querySelector(".view").addEventListener("click", (event) => {
    const box = element.querySelector(".view").getBoundingClientRect();
    seek((event.clientX - box.left) / box.width);
  });
  return { element, tick: () => follow(element, address, source.seconds ?? 0) };
}

const left = new Map(); // where a source was stopped

/** Where to go on with a source. */
export const resume = (address) => left.get(address) ?? 0;

function follow(element, address, known) {
  const loaded = player.address === address;
  const total = (loaded && player.duration) || known;
  const position = loaded ? player.position : 0;
  if (loaded && address.startsWith("/sources/")) left.set(address, position < total - 0.2 ? position : 0);
  const share = total ? position / total : 0;
  element.classList.toggle("sounding", loaded && position > 0);
  element.style.setProperty("--at", share);
  const seek = element.querySelector(".seek");
  seek.value = share;
  seek.setAttribute("aria-valuetext", `${clock(position)} seconds`);
  element.querySelector(".time").textContent = total ? `${clock(position)} / ${clock(total)}` : "";
  const sounds = player.sounds(address);
  const play = element.querySelector(".play");
  play.textContent = sounds ? "■" : "▶";
  play.setAttribute("aria-pressed", sounds);
}

/** Titles for a run's classes in the filter. */
export function classOptions(select) {
  const known = new Set([...select.options].map((option) => option.value));
  for (const name of run.classes) if (!known.has(name)) select.append(new Option(name, name));
}
