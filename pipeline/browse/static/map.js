// A map of all tracks: who is alike lies near. A lasso chooses; what was chosen is corrected.

import { ask } from "./api.js";
import { clear, el, plural, tell } from "./dom.js";
import { act, correct, hearer, held, whyInput } from "./mend.js";
import { plain, Shots } from "./people.js";

const RIM = 18; // pixels around the map
const NEAR = 12; // pixels within which a point is pointed at
let hears = () => {};
let view = null;

export function key(event) {
  hears(event);
}

export async function show(page) {
  const drawn = await ask("api/map");
  if (!drawn.ids.length) {
    clear(page, el("h2", {}, "Map"), el("p", { class: "soft" },
      "This dataset holds no embeddings, so nobody knows who is alike."));
    return;
  }
  view = new TrackMap(page, drawn);
  view.follow(); // not waited for: the page is there
}

// A colour per character, the same each time: golden-angle steps by the order of their names.
function colours(characters) {
  const known = [...new Set(characters)].sort();
  return new Map(known.map((id, place) => [id,
    `hsl(${(place * 137.5) % 360} ${place % 2 ? 60 : 75}% ${place % 3 === 0 ? 42 : 55}%)`]));
}

class TrackMap {
  constructor(page, drawn) {
    this.chosen = new Set();
    this.cursor = 0;
    this.path = [];
    this.keys = {};
    this.canvas = el("canvas", { class: "map", tabindex: 0, role: "application",
      "aria-label": "Map of all tracks. Arrows go to the next track, space chooses it, " +
        "Enter opens its character." });
    this.facts = el("span", { class: "soft" });
    this.told = el("output", { class: "soft" });
    this.panel = el("div", { class: "picked" });
    this.acts = this.bar();
    clear(page, el("div", { class: "head" }, el("h2", {}, "Map"), this.facts), this.acts,
      el("div", { class: "map-and-picked" }, el("div", {}, this.canvas, this.told), this.panel));
    this.take(drawn);
    this.listen();
    hears = hearer(this.keys);
    new ResizeObserver(() => this.draw()).observe(this.canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    this.picked();
  }

  take(drawn) {
    Object.assign(this, drawn);
    this.colour = colours(drawn.characters);
    const people = new Set(drawn.characters).size;
    const share = drawn.all > drawn.ids.length ? ` of ${drawn.all.toLocaleString("en")}` : "";
    this.facts.textContent = `${plural(drawn.ids.length, "track")}${share} of ` +
      `${plural(people, "character")} by ${drawn.method}` +
      `${drawn.drawing ? "; t-SNE is being made" : ""}. Near is alike; distances across the map say little.`;
    this.draw();
  }

  // The first map is by PCA; the better one takes a while.
  async follow() {
    while (this.drawing && this.canvas.isConnected) {
      await new Promise((done) => { setTimeout(done, 1500); });
      if (this.canvas.isConnected) this.take(await ask("api/map"));
    }
  }

  bar() {
    const run = (make) => async () => {
      if (!this.chosen.size) { tell("choose tracks: draw around them, or space"); return; }
      await make([...this.chosen]);
      this.chosen.clear();
      this.take(await ask("api/map"));
      this.picked();
    };
    const merge = run((tracks) => this.merge(tracks));
    const part = run((tracks) => this.part(tracks));
    const move = run((tracks) => (held.id
      ? correct({ act: "move", character: held.id, tracks }, `${plural(tracks.length, "track")} moved`)
      : tell("hold a character on its page with h")));
    this.keys.c = () => { this.chosen.clear(); this.picked(); };
    return el("div", { class: "acts", role: "toolbar", "aria-label": "Corrections" },
      act(this.keys, "g", "All of one person", merge), act(this.keys, "s", "Split off", part),
      act(this.keys, "o", "Move to the held", move), act(this.keys, "c", "Choose none", this.keys.c),
      whyInput());
  }

  byCharacter(tracks) {
    const found = new Map();
    for (const id of tracks) {
      const who = this.characters[this.ids.indexOf(id)];
      found.set(who, [...(found.get(who) ?? []), id]);
    }
    return found;
  }

  // The largest of the chosen characters takes in the chosen tracks of the others.
  async merge(tracks) {
    const groups = [...this.byCharacter(tracks)].sort((a, b) => b[1].length - a[1].length);
    if (groups.length < 2) { tell("these are one character already"); return; }
    const [[home], ...others] = groups;
    await correct({ act: "move", character: home, tracks: others.flatMap(([, ids]) => ids) },
      `${plural(tracks.length, "track")} of one person`);
  }

  async part(tracks) {
    const groups = [...this.byCharacter(tracks)];
    if (groups.length !== 1) { tell("choose tracks of one character to split them off"); return; }
    await correct({ act: "separate", character: groups[0][0], tracks },
      `${plural(tracks.length, "track")} split off`);
  }

  async picked() {
    this.draw();
    const ids = [...this.chosen];
    const round = (this.round = (this.round ?? 0) + 1);
    if (!ids.length) {
      clear(this.panel, el("p", { class: "soft" },
        "Draw around tracks with the mouse, with Shift to add; or use the arrows and space. " +
        "A colour inside another's cloud is worth a look."));
      return;
    }
    const { rows } = await ask("api/tracks", { ids: ids.slice(0, 60).join(",") });
    if (round !== this.round) return;
    const by = this.byCharacter(ids);
    clear(this.panel, el("p", {}, el("strong", {}, plural(ids.length, "track")), " of ",
      plural(by.size, "character")), [...by].map(([who, tracks]) => {
      const own = rows.filter((row) => tracks.includes(row.track_id));
      const swatch = el("span", { class: "swatch" });
      swatch.style.background = this.colour.get(who);
      return el("section", {}, el("h3", {}, swatch,
        el("a", { href: `#/character/${encodeURIComponent(who)}` },
          own[0]?.name || `character ${who.slice(0, 8)}`), el("small", {}, ` ${tracks.length}`)),
      new Shots(own, { choose: false, note: plain }).node);
    }));
  }

  at(place) {
    const wide = this.canvas.clientWidth - 2 * RIM;
    const high = this.canvas.clientHeight - 2 * RIM;
    const [x, y] = this.places[place];
    return [RIM + x * wide, RIM + (1 - y) * high];
  }

  draw() {
    if (!this.places || !this.canvas.clientWidth) return;
    const scale = devicePixelRatio || 1;
    this.canvas.width = this.canvas.clientWidth * scale;
    this.canvas.height = this.canvas.clientHeight * scale;
    const pen = this.canvas.getContext("2d");
    pen.scale(scale, scale);
    const style = getComputedStyle(document.documentElement);
    const ink = style.getPropertyValue("--ink");
    const size = this.ids.length > 1000 ? 3 : 5.5;
    this.ids.forEach((id, place) => {
      const [x, y] = this.at(place);
      pen.globalAlpha = this.chosen.size && !this.chosen.has(id) ? 0.35 : 0.9;
      pen.fillStyle = this.colour.get(this.characters[place]);
      pen.beginPath();
      pen.arc(x, y, size, 0, 7);
      pen.fill();
      if (this.chosen.has(id)) this.ring(pen, x, y, size + 2, ink, 2);
    });
    pen.globalAlpha = 1;
    if (document.activeElement === this.canvas) {
      this.ring(pen, ...this.at(this.cursor), size + 6, style.getPropertyValue("--focus"), 3);
    }
    if (this.path.length > 1) {
      pen.strokeStyle = style.getPropertyValue("--accent");
      pen.lineWidth = 2;
      pen.beginPath();
      this.path.forEach(([x, y], place) => (place ? pen.lineTo(x, y) : pen.moveTo(x, y)));
      pen.closePath();
      pen.stroke();
    }
  }

  ring(pen, x, y, radius, colour, width) {
    pen.strokeStyle = colour;
    pen.lineWidth = width;
    pen.beginPath();
    pen.arc(x, y, radius, 0, 7);
    pen.stroke();
  }

  nearest(x, y) {
    let best = [-1, NEAR];
    this.ids.forEach((_, place) => {
      const [left, top] = this.at(place);
      const far = Math.hypot(left - x, top - y);
      if (far < best[1]) best = [place, far];
    });
    return best[0];
  }

  say(place) {
    this.told.textContent = `track ${this.ids[place].slice(0, 8)} of character ` +
      `${this.characters[place].slice(0, 8)}${this.chosen.has(this.ids[place]) ? ", chosen" : ""}`;
  }

  listen() {
    const where = (event) => {
      const box = this.canvas.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    };
    this.canvas.addEventListener("pointerdown", (event) => {
      this.path = [where(event)];
      this.canvas.setPointerCapture(event.pointerId);
    });
    this.canvas.addEventListener("pointermove", (event) => {
      const [x, y] = where(event);
      if (!this.path.length) {
        const place = this.nearest(x, y);
        if (place >= 0) this.say(place);
        return;
      }
      this.path.push([x, y]);
      this.draw();
    });
    this.canvas.addEventListener("pointerup", (event) => this.lasso(event));
    for (const change of ["focus", "blur"]) {
      this.canvas.addEventListener(change, () => this.draw());
    }
    this.canvas.addEventListener("keydown", (event) => this.key(event));
  }

  lasso(event) {
    const path = this.path;
    this.path = [];
    if (!event.shiftKey) this.chosen.clear();
    const wide = Math.max(...path.map(([x, y]) => Math.hypot(x - path[0][0], y - path[0][1])));
    if (wide < 5) {
      const place = this.nearest(...path[0]);
      if (place >= 0) { this.chosen.add(this.ids[place]); this.cursor = place; this.say(place); }
    } else {
      this.ids.forEach((id, place) => { if (inside(this.at(place), path)) this.chosen.add(id); });
    }
    this.picked();
  }

  key(event) {
    const ways = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };
    if (event.key in ways) this.step(...ways[event.key]);
    else if (event.key === " ") {
      const id = this.ids[this.cursor];
      if (!this.chosen.delete(id)) this.chosen.add(id);
      this.picked();
    } else if (event.key === "Enter") {
      location.hash = `#/character/${encodeURIComponent(this.characters[this.cursor])}`;
    } else return;
    event.preventDefault();
    event.stopPropagation();
    this.say(this.cursor);
  }

  // The nearest point that lies rather this way than to a side.
  step(right, down) {
    const [x, y] = this.at(this.cursor);
    let best = [this.cursor, Infinity];
    this.ids.forEach((_, place) => {
      const [left, top] = this.at(place);
      const along = (left - x) * right + (top - y) * down;
      const aside = Math.abs((left - x) * down) + Math.abs((top - y) * right);
      if (along > 0.5 && aside <= along * 1.5 && along + aside < best[1]) {
        best = [place, along + aside];
      }
    });
    this.cursor = best[0];
    this.draw();
  }
}

// Whether a point lies inside a closed path: it crosses the path an odd number of times.
function inside([x, y], path) {
  let within = false;
  path.forEach(([x1, y1], place) => {
    const [x2, y2] = path[(place + 1) % path.length];
    if ((y1 > y) !== (y2 > y) && x < ((x2 - x1) * (y - y1)) / (y2 - y1) + x1) within = !within;
  });
  return within;
}
