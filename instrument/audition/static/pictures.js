// Pictures come when their place is in sight, the newest in sight first, and few at a time: a browser keeps six
// connections to a server, and a clip that shall sound must not wait for pictures that are still being drawn.

const AT_ONCE = 3;
const waiting = new Map(); // picture -> its address, the last in first out
let coming = 0;

const watcher = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (isIntersecting && !target.src) waiting.set(target, target.dataset.address);
    else if (!isIntersecting) waiting.delete(target);
  }
  next();
}, { root: document.getElementById("grid"), rootMargin: "160px" });

/** Shows the picture at `address` in `picture` once that is in sight. */
export function whenSeen(picture, address) {
  picture.dataset.address = address;
  for (const event of ["load", "error"]) picture.addEventListener(event, arrived, { once: true });
  watcher.observe(picture);
}

function arrived(event) {
  watcher.unobserve(event.target);
  coming -= 1;
  next();
}

function next() {
  while (coming < AT_ONCE && waiting.size) {
    const [picture, address] = [...waiting].at(-1);
    waiting.delete(picture);
    coming += 1;
    picture.src = address;
  }
}
