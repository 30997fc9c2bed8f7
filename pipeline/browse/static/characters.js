// Characters, and one character: every shot, every reference, how alike the shots are, and what a
// person corrects of them.

import { ask, media } from "./api.js";
import { clear, el, number, plural, tell, words } from "./dom.js";
import { Grid } from "./grid.js";
import { act, correct, hearer, held, whyInput } from "./mend.js";
import { chip, reference } from "./parts.js";
import { plain, Shots } from "./people.js";

let grid = null;
let hears = () => {};
const chosen = new Set(); // in the grid, to be merged

const place = (id) => `#/character/${encodeURIComponent(id)}`;

export async function showAll(page) {
  grid?.close();
  chosen.clear();
  const keys = {};
  grid = new Grid(
    (offset, limit) => ask("api/characters", { offset, limit }),
    (row) => el("article", { class: chosen.has(row.character_id) ? "chosen" : "",
      data: { character: row.character_id } },
    el("div", { class: "face" }, el("img", { src: media.image(row.shown, 0), alt: "reference",
      loading: "lazy" })),
    el("p", { class: "caption" }, row.name ? el("strong", {}, `${row.name} `) : [],
      row.description || "(no description)"),
    el("div", { class: "chips" }, chip("", plural(row.samples, "sample")),
      chip("", plural(row.videos, "video")), chip("sim", number(row.similarity)))),
    { cardWidth: 220, cardHeight: 330, onOpen: (row) => { location.hash = place(row.character_id); } },
  );
  const count = el("output", { class: "soft" });
  grid.node.addEventListener("counted", (event) => {
    count.textContent = plural(event.detail, "character");
  });
  const merge = act(keys, "g", "Merge the chosen", () => mergeChosen(page), { disabled: true });
  const tally = el("output", { class: "soft" });
  const showChosen = () => {
    merge.disabled = chosen.size < 2;
    tally.textContent = chosen.size ? `${chosen.size} chosen` : "";
  };
  keys.x = () => {
    const row = grid.current;
    if (!row) return;
    if (!chosen.delete(row.character_id)) chosen.add(row.character_id);
    grid.cards.get(grid.selected)?.classList.toggle("chosen", chosen.has(row.character_id));
    showChosen();
  };
  const choose = act(keys, "x", "Choose", keys.x);
  clear(page, el("div", { class: "head" }, el("h2", {}, "Characters"), count),
    el("div", { class: "acts", role: "toolbar", "aria-label": "Corrections" }, choose, merge,
      tally, whyInput()), grid.node);
  const others = hearer(keys);
  hears = (event) => { if (!grid.key(event)) others(event); };
  await grid.reset();
}

async function mergeChosen(page) {
  if (chosen.size < 2) { tell("choose two or more with x"); return; }
  await correct({ act: "merge", characters: [...chosen] }, `${chosen.size} characters are one`);
  await showAll(page);
}

export function key(event) {
  hears(event);
}

// Two characters beside each other: are they one person?
export async function showTwo(page, ids) {
  const keys = {};
  const sides = ids.map(() => el("section", {}));
  const facts = el("p", { class: "soft" });
  const yes = async () => {
    const made = await correct({ act: "merge", characters: ids }, "one person");
    location.hash = place(made.characters[0]);
  };
  const no = () => correct({ act: "different", characters: ids }, "two people");
  clear(page, el("div", { class: "acts", role: "toolbar", "aria-label": "Same person?" },
    el("strong", {}, "Same person?"), act(keys, "y", "Yes", yes), act(keys, "n", "No", no),
    whyInput(), facts), el("div", { class: "sides" }, sides));
  hears = hearer(keys);
  await Promise.all(ids.map((id, side) => drawOne(sides[side], id, {}, false)));
  facts.textContent = alike(await ask("api/likeness", { a: ids[0], b: ids[1] }));
}

// How alike people are, in words; purity is the mean cosine of a character's shots.
export function alike({ inside: [first, second], between, together }) {
  const parts = [];
  if (between !== null) parts.push(`mean cosine between them ${number(between)}`);
  if (first !== null) parts.push(`inside the first ${number(first)}`);
  if (second !== null) parts.push(`inside the second ${number(second)}`);
  if (together !== null) parts.push(`together ${number(together)}`);
  return parts.join(" · ") || "no vectors of them are stored";
}

export async function showOne(page, id) {
  const keys = {};
  hears = hearer(keys);
  await drawOne(page, id, keys, true);
}

async function drawOne(page, id, keys, mends) {
  const found = await ask(`api/characters/${encodeURIComponent(id)}`);
  const shots = new Set(found.tracks.map((row) => row.shot_id)).size;
  const videos = new Set(found.tracks.map((row) => row.video_id)).size;
  const bySample = new Map(found.samples.map((row) => [row.track_id, row.sample_id]));
  const rows = (found.tracks.length ? found.tracks : found.samples).map((row) =>
    ({ ...row, sample_id: bySample.get(row.track_id) }));
  const some = new Shots(rows, { choose: mends, onChange: (size) => bar.chosen?.(size),
    note: (row) => `${plain(row)}${row.sample_id ? "" : " · no sample"} · purity ` +
      number(row.purity) });
  const again = () => drawOne(page, id, keys, mends);
  const bar = mends ? corrections(id, found, some, keys, again) : el("span", {});
  clear(page,
    el("div", { class: "head" },
      el("h2", {}, found.name || `Character ${id.slice(0, 12)}`),
      el("span", { class: "soft" }, `${found.name ? `${id.slice(0, 12)} · ` : ""}` +
        `${plural(found.samples.length, "sample")} · ` +
        `${plural(rows.length, "track")} in ${plural(shots, "shot")} of ${plural(videos, "video")}`)),
    bar,
    el("h3", {}, plural(found.references.length, "reference")),
    el("div", { class: "large references wrap" }, found.references.map((row) =>
      el("div", { class: row.mark ? `marked ${row.mark}` : "" },
        reference(row.sample_id, row.place, row),
        el("p", { class: "soft" }, row.mark ? `${row.mark} · ` : "", words(row.kind)),
        mends ? marks(row, again) : []))),
    el("h3", {}, "Shots"), some.node,
    el("h3", {}, "How alike the shots are"),
    found.similarity
      ? matrix(found.similarity, found.tracks)
      : el("p", { class: "soft" }, "This dataset holds no embeddings of these tracks."));
}

// What can be corrected of one character; the bar's `chosen` says how many shots are.
function corrections(id, found, some, keys, again) {
  const open = (made, person = 0) => { // whoever this page is about may have another id now
    if (made.characters[person] === id) return again();
    location.hash = place(made.characters[person]);
    return null;
  };
  const part = act(keys, "s", "Split off the chosen", async () => {
    const tracks = [...some.chosen];
    if (!tracks.length) { tell("choose shots with x"); return; }
    open(await correct({ act: "separate", character: id, tracks },
      `${plural(tracks.length, "shot")} split off`), 1);
  }, { disabled: true });
  const move = act(keys, "o", "Move the chosen to the held", async () => {
    if (!some.chosen.size || !held.id) { tell("hold a character with h, choose shots with x"); return; }
    const tracks = [...some.chosen];
    open(await correct({ act: "move", character: held.id, tracks },
      `${plural(tracks.length, "shot")} moved`));
  }, { disabled: true });
  const two = held.id && held.id !== id;
  const merge = two ? act(keys, "g", `Merge with the held ${held.id.slice(0, 8)}`, async () =>
    open(await correct({ act: "merge", characters: [held.id, id] }, "one person"))) : [];
  const side = two ? act(keys, "c", "Compare with it",
    () => { location.hash = `#/compare/${encodeURIComponent(held.id)}/${encodeURIComponent(id)}`; }) : [];
  const name = el("input", { id: "name-it", value: found.name, maxlength: 80, placeholder: "name",
    "aria-label": "Name" });
  const form = el("form", { class: "line", onsubmit: async (event) => {
    event.preventDefault();
    await correct({ act: "name", character: id, value: name.value }, "named");
    again();
  } }, name, el("button", { type: "submit" }, "Name it"));
  const split = el("select", { "aria-label": "Split", id: "split-it", onchange: async () => {
    await correct({ act: "split", character: id, value: split.value }, `in ${split.value}`);
    again();
  } }, ["train", "validation", "test"].map((each) => el("option",
    { value: each, selected: each === found.samples[0]?.split }, each)));
  const tally = el("output", { class: "soft" });
  keys.a = () => some.all();
  keys.n = () => name.focus();
  const bar = el("div", { class: "acts", role: "toolbar", "aria-label": "Corrections" },
    act(keys, "h", held.id === id ? "Held" : "Hold", () => { held.id = held.id === id ? "" : id; again(); },
      { "aria-pressed": String(held.id === id) }),
    merge, side, part, two ? move : [], tally,
    act(keys, "f", "Find more like this",
      () => { location.hash = `#/similar/${encodeURIComponent(id)}`; }),
    form, el("label", { class: "line" }, "split", split), whyInput());
  bar.chosen = (size) => {
    part.disabled = move.disabled = !size;
    tally.textContent = size ? `${size} of ${found.tracks.length} chosen` : "";
  };
  return bar;
}

function marks(row, again) {
  const set = (value, said) => async () => {
    const same = row.mark === value;
    await correct({ act: "reference", reference: row.reference_id, value: same ? "" : value },
      same ? "no mark" : said);
    again();
  };
  const button = (value, text, said) => el("button", { type: "button",
    "aria-pressed": String(row.mark === value), onclick: set(value, said) }, text);
  return el("div", { class: "line" }, button("best", "★ best", "the best picture"),
    button("bad", "✕ bad", "never used again"));
}

// Tracks of others that are most like a character: whoever is the same person is moved to it.
export async function showSimilar(page, id) {
  const keys = {};
  const [found, mine] = await Promise.all([
    ask(`api/similar/${encodeURIComponent(id)}`, { limit: 60 }),
    ask(`api/characters/${encodeURIComponent(id)}`),
  ]);
  const some = new Shots(found.rows, { onChange: (size) => { move.disabled = !size; },
    note: (row) => [el("strong", {}, number(row.cosine)), ` ${plain(row)} · `,
      row.character_id ? el("a", { href: place(row.character_id) }, row.name ||
        row.character_id.slice(0, 8)) : "nobody"] });
  const move = act(keys, "g", "The chosen are this person", async () => {
    if (!some.chosen.size) { tell("choose shots with x"); return; }
    await correct({ act: "move", character: id, tracks: [...some.chosen] },
      `${plural(some.chosen.size, "shot")} moved here`);
    showSimilar(page, id);
  }, { disabled: true });
  clear(page, el("div", { class: "head" }, el("h2", {}, "More like ",
    el("a", { href: place(id) }, mine.name || id.slice(0, 12))),
  el("span", { class: "soft" }, found.total ? `${plural(found.total, "track")} of others, the ` +
    "most alike first, by the mean of the stored vectors" : "No vectors are stored.")),
  el("div", { class: "references wrap" }, mine.references.slice(0, 6).map((row) =>
    reference(row.sample_id, row.place, row))),
  el("div", { class: "acts", role: "toolbar", "aria-label": "Corrections" }, move, whyInput()),
  some.node);
  hears = hearer(keys);
}

function matrix({ tracks: names, cosines }, tracks) {
  const of = new Map(tracks.map((row) => [row.track_id, row]));
  const label = (name) => `${(of.get(name)?.video_id ?? name).slice(0, 6)} ` +
    `${number(of.get(name)?.start_s, 1)} s`;
  const cell = (value, row, column) => {
    const node = el("td", { title: `${label(names[row])} / ${label(names[column])}: ${value}` },
      names.length <= 24 ? value.toFixed(2) : "");
    node.style.setProperty("--heat", Math.max(0, Math.min(1, (value - 0.3) / 0.7)).toFixed(3));
    return node;
  };
  return el("div", { class: "scrolls", tabindex: 0, role: "region", "aria-label": "table" }, el("table", { class: "matrix" },
    el("tbody", {}, cosines.map((line, row) =>
      el("tr", {}, el("th", { scope: "row" }, label(names[row])),
        line.map((value, column) => cell(value, row, column)))))));
}
