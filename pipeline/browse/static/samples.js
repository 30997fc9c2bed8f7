// The grid of samples with its filters.

import { ask, has, media, tags, toggle } from "./api.js";
import { clear, el, number, plural, words } from "./dom.js";
import { Grid } from "./grid.js";
import { chip, clip, reference } from "./parts.js";
import { openViewer } from "./viewer.js";

const question = { sort: "", descending: false, text: "", words: {}, least: {}, most: {}, kinds: [] };
const RANGES = [
  "best_similarity", "least_similarity", "sharpness", "motion", "brightness", "purity", "coverage",
  "area", "face_rate", "duration_s", "num_references",
];
const WORDS = ["split", "shot_size", "licence", "source", "caption_engine"];
let grid = null;

export function only(filter) {
  Object.assign(question, { text: "", words: {}, least: {}, most: {}, kinds: [] }, filter);
  delete question.tagged;
}

export function card(row) {
  const marks = (tags.get(row.sample_id) ?? []).map((tag) =>
    el("span", { class: `tag ${tag.tag === "veto" ? "veto" : ""}` }, tag.tag));
  return el(
    "article",
    { class: has(row.sample_id, "veto") ? "vetoed" : "", data: { id: row.sample_id },
      "aria-label": row.caption || row.sample_id },
    clip(media.poster(row.sample_id), media.clip(row.sample_id), "clip"),
    el("div", { class: "references" },
      row.references.slice(0, 4).map((each, place) => reference(row.sample_id, place, each))),
    el("p", { class: "caption" }, row.caption || "(no caption)"),
    el("div", { class: "chips" },
      chip("sim", number(row.best_similarity)),
      chip("sharp", number(row.sharpness)),
      chip("motion", number(row.motion)),
      chip("", row.split ?? ""), marks),
  );
}

export async function show(page, facts) {
  grid?.close();
  grid = new Grid(
    (offset, limit) => ask("api/samples", { filter: JSON.stringify(question), offset, limit }),
    card,
    { onOpen: (row, index) => openViewer(row.sample_id, walker(index)) },
  );
  const count = el("output", { id: "found" });
  grid.node.addEventListener("counted", (event) => {
    count.textContent = plural(event.detail, "sample");
  });
  clear(page, el("div", { class: "split" }, filters(facts, count), grid.node));
  await grid.reset();
}

// Lets the viewer go to the sample before and after.
function walker(index) {
  return async (step) => {
    const next = index + step;
    if (next < 0 || next >= grid.total) return null;
    await grid.load(Math.floor(next / 60));
    const row = grid.rows.get(next);
    if (row) grid.select(next, false);
    return row ? [row.sample_id, walker(next)] : null;
  };
}

export function key(event) {
  if (!grid) return;
  if (grid.key(event)) return;
  const row = grid.current;
  if (event.key === "/") {
    document.getElementById("search")?.focus();
    event.preventDefault();
  } else if (row && event.key === "v") toggle(row.sample_id, "veto");
  else if (row && event.key === "t") openViewer(row.sample_id, walker(grid.selected), true);
  else if (row && event.key === " ") {
    const box = grid.cards.get(grid.selected)?.querySelector(".clip");
    if (box?.querySelector("video")) box.stop(); else box?.play();
    event.preventDefault();
  }
}

document.addEventListener("tagged", (event) => grid?.refresh(event.detail));

let clock = 0;
function again() {
  clearTimeout(clock);
  clock = setTimeout(() => { scrollTo(0, 0); grid.reset(); }, 120);
}

function filters(facts, count) {
  const search = el("input", {
    id: "search", type: "search", placeholder: "caption, description or id", value: question.text,
    "aria-label": "Search", oninput: (event) => { question.text = event.target.value; again(); },
  });
  return el(
    "aside", { class: "filters", "aria-label": "Filters" },
    el("div", { class: "line" }, count,
      el("button", { type: "button", onclick: () => { only({ sort: "" }); location.reload(); } },
        "Clear")),
    search, sorting(facts), kinds(facts),
    el("details", { open: innerWidth > 800 }, el("summary", {}, "Words"),
      WORDS.map((name) => choice(name, facts.words[name] ?? [])), tagged(facts)),
    el("details", { open: innerWidth > 800 }, el("summary", {}, "Scores"),
      RANGES.filter((name) => facts.ranges[name]).map((name) => range(name, facts.ranges[name]))),
  );
}

function sorting(facts) {
  const names = ["", ...Object.keys(facts.ranges), "character_id", "video_id", "split", "caption"];
  const select = el("select", { id: "sort", "aria-label": "Sort by",
    onchange: (event) => { question.sort = event.target.value; again(); } },
    names.map((name) => el("option", { value: name, selected: name === question.sort },
      name ? words(name) : "as stored")));
  const turn = el("button", { type: "button", id: "turn", "aria-label": "Turn the order round",
    onclick: () => {
      question.descending = !question.descending;
      turn.textContent = question.descending ? "↓" : "↑";
      again();
    } }, question.descending ? "↓" : "↑");
  return el("label", { class: "line" }, "Sort", select, turn);
}

function kinds(facts) {
  return el("fieldset", { id: "kinds" }, el("legend", {}, "References"),
    facts.words.kinds.map(({ value, number: count }) =>
      el("label", { class: "tick" },
        el("input", { type: "checkbox", value, checked: question.kinds.includes(value),
          onchange: (event) => {
            const rest = question.kinds.filter((kind) => kind !== value);
            question.kinds = event.target.checked ? [...rest, value] : rest;
            again();
          } }),
        el("span", { class: `kind ${value}` }), words(value), el("small", {}, count))));
}

function choice(name, values) {
  const chosen = question.words[name]?.[0] ?? "";
  return el("label", { class: "line" }, words(name),
    el("select", { id: `word-${name}`, onchange: (event) => {
      if (event.target.value) question.words[name] = [event.target.value];
      else delete question.words[name];
      again();
    } },
    el("option", { value: "" }, "any"),
    values.filter((each) => each.value !== null && each.value !== "").map((each) =>
      el("option", { value: each.value, selected: each.value === chosen },
        `${each.value} (${each.number})`))));
}

function tagged(facts) {
  const names = [["", "any"], ["*", "with a tag"], ["none", "without"],
    ...Object.keys(facts.tags).map((name) => [`=${name}`, name])];
  return el("label", { class: "line" }, "tag",
    el("select", { id: "tagged", onchange: (event) => {
      const value = event.target.value;
      if (value) question.tagged = value === "*" ? "" : value.replace(/^=/, "");
      else delete question.tagged;
      again();
    } }, names.map(([value, text]) => el("option", { value }, text))));
}

function range(name, { min, max }) {
  const step = (max - min) / 200 || 1;
  const told = el("output", {});
  const low = bound("least", Math.min, min);
  const high = bound("most", Math.max, max);
  function bound(side, _, start) {
    return el("input", {
      type: "range", min, max, step, value: question[side][name] ?? start,
      "aria-label": `${words(name)} at ${side}`, id: `${side}-${name}`,
      oninput: (event) => {
        const value = Number(event.target.value);
        if (value === start) delete question[side][name]; else question[side][name] = value;
        write();
        again();
      },
    });
  }
  function write() {
    told.textContent = `${number(question.least[name] ?? min)} – ${number(question.most[name] ?? max)}`;
  }
  write();
  return el("div", { class: "range" }, el("div", { class: "line" }, words(name), told), low, high);
}
