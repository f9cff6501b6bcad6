// The clips as cards: a row for each epoch and a column for each temperature, or one wall in another order.

import { whenSeen } from "./pictures.js";
import { classOf } from "./view.js";

const grid = document.getElementById("grid");
const template = document.getElementById("card");
const cards = new Map(); // clip's name -> its element, kept so that pictures stay
let order = []; // names as shown
let rows = []; // elements of the rows, or empty for a wall
let here = "";

/** A number as people write it. */
export const plain = (n) => String(Number(n.toFixed(3)));

/** A temperature: two decimals, three where the third says something. */
export const warmth = (t) => t.toFixed(3).replace(/0$/, "");

/** The name of the card that the keys are at, or "". */
export const focused = () => here;

/** Names as shown. */
export const names = () => order;

/** Shows `clips`; `epochs` has what is known of epochs. Returns nothing; the focus stays where it was, or near. */
export function show(clips, asRows, epochs, chosen) {
  const was = order.indexOf(here);
  const active = grid.contains(document.activeElement);
  order = clips.map((clip) => clip.clip);
  for (const clip of clips) update(clip, asRows, chosen);
  const body = asRows ? asTable(clips, epochs) : asWall(clips);
  grid.classList.toggle("wall", !asRows);
  grid.setAttribute("role", rows.length ? "grid" : "group");
  grid.replaceChildren(...body);
  if (!order.includes(here)) here = order[Math.max(0, Math.min(was, order.length - 1))] ?? "";
  mark();
  if (active) cards.get(here)?.focus();
}

function asTable(clips, epochs) {
  const temperatures = [...new Set(clips.map((clip) => clip.temperature))].sort((a, b) => a - b);
  const byEpoch = Map.groupBy ? Map.groupBy(clips, (clip) => clip.epoch) : group(clips);
  grid.style.setProperty("--columns", temperatures.length);
  rows = [...byEpoch].map(([epoch, members]) => rowOf(epoch, members, temperatures, epochs[epoch]));
  return clips.length ? [headOf(temperatures), ...rows] : [nothing()];
}

function group(clips) {
  const found = new Map();
  for (const clip of clips) found.set(clip.epoch, [...(found.get(clip.epoch) ?? []), clip]);
  return found;
}

function asWall(clips) {
  rows = [];
  return clips.length ? clips.map((clip) => cards.get(clip.clip)) : [nothing()];
}

function headOf(temperatures) {
  const head = make("div", "headings", "", "row");
  head.append(make("span", "", "epoch", "columnheader"));
  for (const t of temperatures) head.append(make("span", "", `T ${warmth(t)}`, "columnheader"));
  return head;
}

function rowOf(epoch, members, temperatures, known) {
  const row = make("div", "row", "", "row");
  const head = make("div", "epoch", "", "rowheader");
  head.append(make("b", "", String(epoch)));
  if (known?.bits != null) head.append(make("small", "", `${known.bits.toFixed(2)} bit`));
  if (!known) head.append(make("small", "gone", "no file"));
  row.append(head);
  for (const t of temperatures) {
    const cell = make("div", "cell", "", "gridcell");
    cell.append(...members.filter((clip) => clip.temperature === t).map((clip) => cards.get(clip.clip)));
    row.append(cell);
  }
  return row;
}

function nothing() {
  return make("p", "nothing", "No clip is shown. Training makes clips after each epoch; filters may hold some back.");
}

function make(kind, name, text = "", role = "") {
  const element = document.createElement(kind);
  if (name) element.className = name;
  if (text) element.textContent = text;
  if (role) element.setAttribute("role", role);
  return element;
}

/** Draws what a card says anew. */
export function update(clip, asRows, chosen) {
  const card = cards.get(clip.clip) ?? create(clip);
  const { score, class: said } = clip.rating;
  const label = card.querySelector(".class");
  const guess = classOf(clip);
  label.textContent = said ?? (guess && !clip.flags.length ? `${guess}?` : "");
  label.classList.toggle("guess", !said);
  card.dataset.class = guess ?? "";
  card.dataset.score = score ?? "";
  card.querySelector(".score").textContent = score ?? "";
  card.querySelector(".seed").textContent = asRows ? `#${clip.seed}` : `${clip.epoch} · ${warmth(clip.temperature)}`;
  card.querySelector(".flags").textContent = clip.fault ?? clip.flags.join(" ");
  card.classList.toggle("chosen", chosen.has(clip.clip));
  card.setAttribute("aria-label", spoken(clip, chosen));
}

function spoken(clip, chosen) {
  const { score, class: said } = clip.rating;
  return [
    `epoch ${clip.epoch}, temperature ${warmth(clip.temperature)}, seed ${clip.seed}`,
    said ?? (clip.guess ? `perhaps ${clip.guess}` : ""), score ? `score ${score}` : "", ...clip.flags,
    clip.fault ?? "", chosen.has(clip.clip) ? "chosen" : "",
  ].filter(Boolean).join(", ");
}

function create(clip) {
  const card = template.content.firstElementChild.cloneNode(true);
  card.dataset.clip = clip.clip;
  const picture = card.querySelector("img");
  picture.addEventListener("error", () => card.classList.add("faulty"));
  whenSeen(picture, `/pictures/${encodeURIComponent(clip.clip)}`);
  cards.set(clip.clip, card);
  return card;
}

function mark() {
  for (const card of grid.querySelectorAll(".here")) {
    card.classList.remove("here");
    card.tabIndex = -1;
    card.removeAttribute("aria-current");
  }
  const card = cards.get(here);
  if (!card) return;
  card.classList.add("here");
  card.tabIndex = 0;
  card.setAttribute("aria-current", "true");
}

/** Moves the focus to the clip called `name`. */
export function go(name) {
  if (!name || !cards.has(name)) return;
  here = name;
  mark();
  cards.get(name).focus({ preventScroll: true });
  cards.get(name).scrollIntoView({ block: "nearest", inline: "nearest" });
}

/** Back to the first clip, as after another order. */
export function toTop() {
  here = order[0] ?? "";
  mark();
  grid.scrollTop = 0;
}

/** The name that a key leads to from here. */
export function neighbour(key) {
  const at = order.indexOf(here);
  const last = order.length - 1;
  const within = (i) => order[Math.max(0, Math.min(i, last))];
  switch (key) {
    case "ArrowLeft": return within(at - 1);
    case "ArrowRight": return within(at + 1);
    case "Home": return order[0];
    case "End": return order[last];
    case "ArrowUp": return vertical(-1, 1);
    case "ArrowDown": return vertical(1, 1);
    case "PageUp": return vertical(-1, 4);
    default: return vertical(1, 4);
  }
}

function vertical(way, times) {
  if (!rows.length) {
    const columns = getComputedStyle(grid).gridTemplateColumns.split(" ").length;
    const at = order.indexOf(here);
    let to = at + way * columns * times;
    while (to < 0 || to >= order.length) to -= way * columns; // the last line that is there
    return order[to];
  }
  let name = here;
  for (let i = 0; i < times; i += 1) name = nextLine(name, way) ?? name;
  return name;
}

/** The nearest card in the next line of cards, which may be in the same row. */
function nextLine(name, way) {
  const from = cards.get(name).getBoundingClientRect();
  const row = rows.findIndex((each) => each.contains(cards.get(name)));
  const boxes = [rows[row], rows[row + way]].filter(Boolean).flatMap((each) =>
    [...each.querySelectorAll(".card")].map((card) => ({ name: card.dataset.clip, box: card.getBoundingClientRect() })));
  const ahead = boxes.filter(({ box }) => (box.top - from.top) * way > 4);
  const line = Math.min(...ahead.map(({ box }) => box.top * way));
  const near = ahead.filter(({ box }) => Math.abs(box.top * way - line) < 4);
  return near.sort((a, b) => Math.abs(a.box.left - from.left) - Math.abs(b.box.left - from.left))[0]?.name;
}

/** Shows which card sounds, and how far it is (0 to 1). */
export function playhead(name, share) {
  for (const card of grid.querySelectorAll(".sounding")) if (card.dataset.clip !== name) card.classList.remove("sounding");
  const card = cards.get(name);
  card?.classList.add("sounding");
  card?.style.setProperty("--at", share);
}
