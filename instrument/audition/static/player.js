// One player for the whole page: a clip or a source at a time.

const audio = document.getElementById("player");
const listeners = { change: () => {}, ended: () => {}, fault: () => {} };
let current = ""; // the address that is loaded; "" for none
let wanted = 0; // where to begin once the sound's length is known

export const addressOf = (clip) => `/clips/${encodeURIComponent(clip.clip)}`;
export const sourceAddress = (number) => `/sources/${number}`;

/** Listeners: change() at every start, stop and move, ended() at the end, fault(text). */
export const listen = (given) => Object.assign(listeners, given);

export const player = {
  get address() { return current; },
  get playing() { return current !== "" && !audio.paused; },
  get position() { return audio.currentTime || 0; },
  get duration() { return Number.isFinite(audio.duration) ? audio.duration : 0; },

  /** Whether `address` is what sounds. */
  sounds(address) { return current === address && !audio.paused; },

  /** Plays `address` from `seconds`. */
  play(address, seconds = 0) {
    if (current !== address) {
      current = address;
      wanted = seconds;
      audio.src = address;
    } else {
      audio.currentTime = seconds;
    }
    audio.play().catch((error) => {
      if (error.name !== "AbortError") listeners.fault("this sound cannot be played here");
      listeners.change();
    });
    listeners.change();
  },

  stop() { audio.pause(); listeners.change(); },

  /** Moves to `seconds` of `address`, playing on if it played. */
  seek(address, seconds) {
    if (current === address) audio.currentTime = Math.max(0, Math.min(seconds, this.duration || seconds));
    else this.play(address, seconds);
    listeners.change();
  },

  set loop(on) { audio.loop = on; },
  get loop() { return audio.loop; },
};

audio.addEventListener("loadedmetadata", () => {
  if (wanted > 0) audio.currentTime = Math.min(wanted, Math.max(0, audio.duration - 0.05));
  wanted = 0;
});
audio.addEventListener("ended", () => { listeners.change(); listeners.ended(); });
audio.addEventListener("playing", () => listeners.change());
audio.addEventListener("pause", () => listeners.change());
