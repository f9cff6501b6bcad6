// The audition page: puts the parts together and answers the keys. No part asks anything of another machine.

import * as grid from "./grid.js";
import { addressOf, listen, player, sourceAddress } from "./player.js";
import { classOptions, KEYS, resume, Sheet, sourceStrip } from "./sheet.js";
import { load, onSaving, rate, retry, run, saving } from "./store.js";
import { filtering, recall, remember, shown, wishes } from "./view.js";
import * as writer from "./writer.js";

const POLL_MS = 4000;
const SIZES = [96, 122, 160, 210, 280, 360]; // of a card, CSS pixels
const $ = (id) => document.getElementById(id);
const buttons = Object.fromEntries(["auto", "loop", "compare", "filter", "patch", "keyed", "help"].map((id) => [id, $(id)]));

const chosen = new Set();
let beside = ""; // the clip that others are compared with
let playOn = false;
let size = 1;
let strips = [];
let lost = ""; // why the server cannot be reached
let fault = "";
let keyed = true; // whether single characters act

const hooks = {
  rate: say,
  pick: (clip) => choose(clip.clip),
  play: (clip) => toggle(addressOf(clip)),
};
const left = new Sheet("A", hooks);
const right = new Sheet("B", hooks);
$("desk").append(left.element, right.element);

// --- what is shown ---------------------------------------------------------------------------------------------------

const asRows = () => wishes().sort === "epoch";
const here = () => run.clips.get(grid.focused()) ?? null;

function arrange() {
  const wanted = wishes();
  grid.show(shown(run.clips.values(), wanted, run.classes), asRows(), run.epochs, chosen);
  buttons.filter.classList.toggle("on", filtering(wanted));
  refresh();
}

function rearrange() {
  remember();
  arrange();
  grid.toTop();
  refresh();
}

function refresh() {
  left.show(run.clips.get(beside) ?? null, chosen.has(beside));
  right.show(here(), chosen.has(grid.focused()));
  $("desk").classList.toggle("two", Boolean(beside));
  document.body.classList.toggle("comparing", Boolean(beside));
  buttons.compare.setAttribute("aria-pressed", Boolean(beside));
  $("chosen").textContent = chosen.size;
  count();
  tick();
}

function count() {
  const all = run.clips.size;
  const scored = [...run.clips.values()].filter((clip) => clip.rating.score !== null).length;
  const parts = [`${all} clips`, grid.names().length === all ? "" : `${grid.names().length} shown`, `${scored} scored`];
  $("count").textContent = parts.filter(Boolean).join(" · ");
  const words = [...run.notices, lost, fault, saving.refused, saving.count() ? `${saving.count()} not saved yet: ${saving.fault || "saving"}` : ""];
  const urgent = Boolean(lost || fault || saving.refused || saving.fault);
  $("notices").replaceChildren(...words.filter(Boolean).map((text) => Object.assign(document.createElement("p"), { textContent: text })));
  $("notices").classList.toggle("urgent", urgent);
}

function drawSources() {
  const known = JSON.stringify(run.sources);
  if (drawSources.known === known) return;
  drawSources.known = known;
  strips = run.sources.map((source, number) => sourceStrip(number, source));
  $("sources").replaceChildren(...strips.map((strip) => strip.element));
}

function drawTemperatures() {
  const select = $("filters").elements.temperature;
  const known = new Set([...select.options].map((option) => option.value));
  const found = [...new Set([...run.clips.values()].map((clip) => clip.temperature))].sort((a, b) => a - b);
  for (const t of found) if (!known.has(String(t))) select.append(new Option(grid.warmth(t), String(t)));
}

// --- what is done ----------------------------------------------------------------------------------------------------

function say(clip, fields) {
  rate(clip, fields);
  grid.update(clip, asRows(), chosen);
  refresh();
}

function choose(name) {
  if (!chosen.delete(name)) chosen.add(name);
  keepChosen();
}

function keepChosen() {
  sessionStorage.setItem("chosen", JSON.stringify([...chosen]));
  for (const clip of run.clips.values()) grid.update(clip, asRows(), chosen);
  refresh();
}

function toggle(address) {
  fault = "";
  if (player.sounds(address)) player.stop();
  else player.play(address);
}

/** Moves to the clip called `name`; if a clip sounds, that one sounds now. */
function go(name) {
  if (!name || name === grid.focused()) return grid.go(name);
  const sounding = player.playing && player.address.startsWith("/clips/");
  grid.go(name);
  if (sounding) player.play(addressOf(here()));
  return refresh();
}

function compare() {
  beside = beside ? "" : grid.focused();
  refresh();
}

function changeSides() {
  const one = run.clips.get(beside);
  if (!one || !here()) return;
  const to = player.address === addressOf(one) ? here() : one;
  const from = player.address.startsWith("/clips/") ? player.position : 0;
  player.play(addressOf(to), from);
}

function nextUnscored() {
  const names = grid.names();
  const at = names.indexOf(grid.focused());
  go([...names.slice(at + 1), ...names.slice(0, at + 1)].find((name) => run.clips.get(name).rating.score === null));
}

function playSource() {
  const number = Math.max(0, run.sources.findIndex((_, i) => player.address === sourceAddress(i)));
  const address = sourceAddress(number);
  if (!run.sources[number]?.there) return;
  if (player.sounds(address)) player.stop();
  else player.play(address, resume(address));
}

function showFilters(open = $("filters").hidden) {
  $("filters").hidden = !open;
  buttons.filter.setAttribute("aria-expanded", open);
  if (open) $("filters").elements.sort.focus();
  else grid.go(grid.focused());
}

function resize(by) {
  size = Math.max(0, Math.min(size + by, SIZES.length - 1));
  document.documentElement.style.setProperty("--card", `${SIZES[size]}px`);
  sessionStorage.setItem("size", size);
}

/** Whether letters, digits and signs are keys; speech and slips of the hand type them too (WCAG 2.1.4). */
function setKeys(on) {
  keyed = press("keyed", on);
  document.body.classList.toggle("unkeyed", !on);
  localStorage.setItem("keys", on ? "on" : "off");
}

function press(button, on) {
  buttons[button].setAttribute("aria-pressed", on);
  return on;
}

const actions = {
  " ": () => here() && toggle(addressOf(here())),
  n: nextUnscored,
  e: () => right.find(".note").focus(),
  y: () => here()?.guess && say(here(), { class: here().guess }),
  o: playSource,
  c: compare,
  x: changeSides,
  l: () => { player.loop = press("loop", !player.loop); },
  a: () => { playOn = press("auto", !playOn); },
  p: () => here() && choose(grid.focused()),
  f: () => showFilters(),
  "?": () => $("keys").showModal(),
  Enter: () => writer.open(chosen, keepChosen),
  0: () => here() && say(here(), { score: null }),
  "+": () => resize(1),
  "=": () => resize(1),
  "-": () => resize(-1),
  ",": () => player.seek(player.address, player.position - 1),
  ".": () => player.seek(player.address, player.position + 1),
};
for (const n of [1, 2, 3, 4, 5, 6]) actions[n] = () => here() && say(here(), { score: n });
for (const [key, name] of Object.entries(KEYS)) {
  actions[key] = () => here() && say(here(), { class: here().rating.class === name ? null : name });
}
const MOVES = new Set(["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End", "PageUp", "PageDown"]);

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const at = event.target;
  if (event.key === "Escape") return escape(at);
  if (at.matches("input:not([type=range]):not([type=checkbox]), select")) return at.matches(".note") && event.key === "Enter" ? escape(at) : undefined;
  const own = at.matches("button, input") && [" ", "Enter"].includes(event.key); // the control's own
  const slides = at.matches("input[type=range]") && MOVES.has(event.key);
  if (own || slides) return undefined;
  if (!keyed && event.key.length === 1 && event.key !== " ") return undefined;
  if (MOVES.has(event.key)) go(grid.neighbour(event.key));
  else if (actions[event.key]) actions[event.key]();
  else return undefined;
  return event.preventDefault();
});

function escape(at) {
  if (at.closest("#filters")) showFilters(false);
  else grid.go(grid.focused()); // leaving a note keeps it
}

$("grid").addEventListener("click", (event) => {
  const name = event.target.closest(".card")?.dataset.clip;
  if (!name) return;
  const address = addressOf(run.clips.get(name));
  const again = player.sounds(address);
  if (name !== grid.focused()) { grid.go(name); refresh(); }
  if (again) player.stop();
  else toggle(address);
});
$("filters").addEventListener("input", rearrange);
$("filters").addEventListener("reset", () => setTimeout(rearrange)); // the form is emptied after this event
$("filters").addEventListener("submit", (event) => event.preventDefault());
for (const [id, key] of Object.entries({ auto: "a", loop: "l", compare: "c", filter: "f", patch: "Enter", help: "?" })) {
  buttons[id].addEventListener("click", () => actions[key]());
}

buttons.keyed.addEventListener("click", () => setKeys(!keyed));

// --- time ------------------------------------------------------------------------------------------------------------

let frame = 0;

function tick() {
  left.tick();
  right.tick();
  for (const strip of strips) strip.tick();
  const clip = player.address.startsWith("/clips/") ? decodeURIComponent(player.address.slice(7)) : "";
  grid.playhead(clip, player.duration ? player.position / player.duration : 0);
  cancelAnimationFrame(frame);
  if (player.playing) frame = requestAnimationFrame(tick);
}

listen({
  change: tick,
  ended() {
    if (playOn && player.address === addressOf(here() ?? { clip: "" })) {
      const next = grid.neighbour("ArrowRight");
      if (next !== grid.focused()) { grid.go(next); player.play(addressOf(here())); refresh(); }
    }
  },
  fault(text) { fault = text; count(); },
});
onSaving((name) => {
  const clip = run.clips.get(name);
  if (clip) grid.update(clip, asRows(), chosen);
  refresh();
});

async function poll() {
  if (document.hidden) return;
  try {
    const before = run.clips;
    const news = await load();
    lost = "";
    if (saving.count()) await retry();
    if (news) follow(before);
    count();
  } catch (error) {
    lost = `samplernn audition has ended, or does not answer (${error.message}); what you say is kept here until it does.`;
    count();
  }
}

/** Shows a run that has changed: only new clips move others. */
function follow(before) {
  drawSources();
  drawTemperatures();
  const same = before.size === run.clips.size && [...run.clips.keys()].every((name) => before.has(name));
  if (!same) return arrange();
  for (const clip of run.clips.values()) grid.update(clip, asRows(), chosen);
  return refresh();
}

async function begin() {
  await load();
  document.title = `${run.name} · audition`;
  $("run").textContent = run.name;
  $("run").title = run.folder;
  classOptions($("filters").elements.class);
  drawTemperatures();
  recall();
  for (const name of JSON.parse(sessionStorage.getItem("chosen") ?? "[]")) if (run.clips.has(name)) chosen.add(name);
  size = Number(sessionStorage.getItem("size") ?? size);
  resize(0);
  setKeys(localStorage.getItem("keys") !== "off");
  drawSources();
  arrange();
  grid.go(grid.focused());
  performance.mark("cards");
  setInterval(poll, POLL_MS);
}

addEventListener("beforeunload", (event) => { if (saving.count()) event.preventDefault(); });
begin().catch((error) => { $("run").textContent = error.message; });
