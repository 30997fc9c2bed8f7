// Shots of people: cards that play, can be chosen by mouse or key, and are acted upon together.

import { media } from "./api.js";
import { el, number } from "./dom.js";
import { clip } from "./parts.js";
import { openViewer } from "./viewer.js";

export function label(row) {
  return row.name || `character ${(row.character_id ?? "").slice(0, 8)}`;
}

export function shown(row) {
  return row.sample_id
    ? clip(media.poster(row.sample_id), media.clip(row.sample_id), "clip")
    : clip(media.unitPoster(row.clip_id), media.unitClip(row.clip_id), "clip");
}

export class Shots {
  // `onChange` is called when another set is chosen; `note(row)` gives what stands below a shot.
  constructor(rows, { onChange = () => {}, note = plain, choose = true } = {}) {
    Object.assign(this, { rows, onChange, note, choose });
    this.chosen = new Set();
    this.node = el("div", { class: "shots", role: "list" }, rows.map((row) => this.card(row)));
  }

  card(row) {
    const tick = el("input", { type: "checkbox", "aria-label": `choose the shot ${plain(row)}`,
      tabindex: -1 });
    const node = el("article", { class: "shot", role: "listitem", tabindex: 0,
      data: { track: row.track_id } }, shown(row), this.choose ? tick : [],
    el("p", { class: "soft" }, this.note(row)));
    const open = () => row.sample_id && openViewer(row.sample_id);
    node.addEventListener("click", (event) => { if (event.target !== tick) open(); });
    node.addEventListener("keydown", (event) => {
      if (event.key === "Enter") open();
      else if (event.key === "x" && this.choose) this.toggle(row.track_id);
      else if (event.key.startsWith("Arrow")) this.move(node, event);
      else return;
      event.stopPropagation();
    });
    tick.addEventListener("change", () => this.toggle(row.track_id));
    return node;
  }

  toggle(id) {
    if (!this.chosen.delete(id)) this.chosen.add(id);
    const node = this.node.querySelector(`[data-track="${CSS.escape(id)}"]`);
    node.classList.toggle("chosen", this.chosen.has(id));
    node.querySelector("input").checked = this.chosen.has(id);
    this.onChange(this.chosen.size);
  }

  all() {
    const whole = this.chosen.size === this.rows.length;
    for (const row of this.rows) {
      if (this.chosen.has(row.track_id) === whole) this.toggle(row.track_id);
    }
  }

  move(node, event) {
    const nodes = [...this.node.children];
    const wide = nodes.filter((each) => each.offsetTop === nodes[0].offsetTop).length;
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: wide, ArrowUp: -wide }[event.key];
    nodes[nodes.indexOf(node) + step]?.focus();
    event.preventDefault();
  }
}

export function plain(row) {
  return `video ${row.video_id.slice(0, 8)}, ${number(row.start_s, 1)} s`;
}
