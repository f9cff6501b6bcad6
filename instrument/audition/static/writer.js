// "Into a patch": the chosen clips, a name, and a file in the run's folder.

import { warmth } from "./grid.js";
import { post, run } from "./store.js";

const dialog = document.getElementById("writer");
const form = document.getElementById("writing");
const bank = document.getElementById("bank");
const words = document.getElementById("written");
const buttons = Object.fromEntries(["write", "replace", "copy", "leave"].map((id) => [id, document.getElementById(id)]));
let chosen = new Set();
let changed = () => {};
let path = "";

/** Opens the dialog over `names`, a Set that it may change; `listener` is called when it did. */
export function open(names, listener) {
  chosen = names;
  changed = listener;
  tell("");
  if (!form.elements.name.value) form.elements.name.value = `${run.name} by ear`.slice(0, 60);
  list();
  dialog.showModal();
  form.elements.name.select();
}

function list() {
  bank.replaceChildren(...[...chosen].map(line));
  if (!chosen.size) bank.append(Object.assign(document.createElement("li"), { textContent: "No clip is chosen yet: p chooses the one you are at.", className: "none" }));
  buttons.write.disabled = !chosen.size;
}

function line(name, at, all) {
  const clip = run.clips.get(name);
  const item = document.createElement("li");
  const text = clip ? `epoch ${clip.epoch}, temperature ${warmth(clip.temperature)}, seed ${clip.seed}` : name;
  item.append(Object.assign(document.createElement("span"), { textContent: text }));
  item.append(button("↑", `${text}: earlier`, () => move(all, at, -1), at === 0));
  item.append(button("↓", `${text}: later`, () => move(all, at, 1), at === all.length - 1));
  item.append(button("×", `${text}: leave out`, () => order(all.filter((other) => other !== name), at)));
  return item;
}

function button(text, label, act, disabled = false) {
  const made = Object.assign(document.createElement("button"), { type: "button", textContent: text, disabled });
  made.setAttribute("aria-label", label);
  made.addEventListener("click", act);
  return made;
}

function move(all, at, by) {
  const next = [...all];
  [next[at], next[at + by]] = [next[at + by], next[at]];
  order(next, at + by);
}

function order(next, at) {
  chosen.clear();
  for (const name of next) chosen.add(name);
  list();
  changed();
  (bank.children[Math.min(at, bank.children.length - 1)]?.querySelector("button:not(:disabled)") ?? form.elements.name).focus();
}

async function write(replace) {
  const name = form.elements.name.value.trim();
  const together = form.elements.together.value === "yes";
  try {
    const done = await post("/api/patch", { name, clips: [...chosen], together, replace });
    path = done.path;
    tell(`Written: samplernn play ${quoted(path)}`, { copy: true });
    buttons.copy.focus();
  } catch (error) {
    tell(`${error.message}.`, { replace: error.status === 409, fault: true });
    if (error.status === 409) buttons.replace.focus();
  }
}

const quoted = (text) => (/^[\w./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

function tell(text, { replace = false, copy = false, fault = false } = {}) {
  words.textContent = text;
  words.classList.toggle("fault", fault);
  buttons.replace.hidden = !replace;
  buttons.copy.hidden = !copy;
}

form.addEventListener("submit", (event) => { event.preventDefault(); write(false); });
form.addEventListener("input", () => tell(""));
buttons.replace.addEventListener("click", () => write(true));
buttons.leave.addEventListener("click", () => dialog.close());
buttons.copy.addEventListener("click", async () => {
  await navigator.clipboard.writeText(`samplernn play ${quoted(path)}`);
  buttons.copy.textContent = "copied";
});
