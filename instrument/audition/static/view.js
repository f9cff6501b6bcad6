// Which clips are shown, and in what order.

const form = document.getElementById("filters");

/** What the form says. */
export function wishes() {
  const said = Object.fromEntries(new FormData(form));
  const number = (text) => (text === "" || text === undefined ? null : Number(text));
  return { ...said, falling: Boolean(said.falling), from: number(said.from), to: number(said.to), distance: number(said.distance) };
}

/** The clip's class: a human's word, else the suggestion. */
export const classOf = (clip) => clip.rating.class ?? clip.guess;

/** True if anything is held back. */
export const filtering = (w) =>
  [w.temperature, w.score, w.class, w.flag].some(Boolean) || [w.from, w.to, w.distance].some((n) => n !== null);

function admits(w, clip) {
  const { score } = clip.rating;
  return (w.from === null || clip.epoch >= w.from)
    && (w.to === null || clip.epoch <= w.to)
    && (!w.temperature || clip.temperature === Number(w.temperature))
    && (!w.score || (w.score === "none" ? score === null : score !== null && score >= Number(w.score)))
    && (!w.class || (w.class === "none" ? clip.rating.class === null : classOf(clip) === w.class))
    && (!w.flag || (w.flag === "none" ? !clip.flags.length : clip.flags.includes(w.flag)))
    && (w.distance === null || (clip.distance !== undefined && clip.distance <= w.distance));
}

/** The clips that are wished for, in order. What has no value to sort by comes last, whichever way. */
export function shown(clips, w, classes) {
  const by = {
    score: (clip) => clip.rating.score,
    class: (clip) => (classOf(clip) === null ? null : classes.indexOf(classOf(clip))),
    flag: (clip) => clip.flags.join() || null,
  }[w.sort] ?? ((clip) => clip[w.sort] ?? null);
  const way = w.falling ? -1 : 1;
  const order = (a, b) => {
    const [x, y] = [by(a), by(b)];
    if (x === y) return natural(a, b);
    if (x === null) return 1;
    if (y === null) return -1;
    return (x < y ? -1 : 1) * way;
  };
  return [...clips].filter((clip) => admits(w, clip)).sort(order);
}

const natural = (a, b) => a.epoch - b.epoch || a.temperature - b.temperature || (a.clip < b.clip ? -1 : 1);

/** Keeps the form's words over a reload of the page. */
export function remember() {
  sessionStorage.setItem("filters", JSON.stringify(Object.fromEntries(new FormData(form))));
}

/** Puts the kept words back. */
export function recall() {
  let kept = {};
  try { kept = JSON.parse(sessionStorage.getItem("filters") ?? "{}"); } catch { /* nothing kept */ }
  for (const [name, value] of Object.entries(kept)) {
    const field = form.elements[name];
    if (field?.type === "checkbox") field.checked = Boolean(value);
    else if (field) field.value = value;
  }
}
