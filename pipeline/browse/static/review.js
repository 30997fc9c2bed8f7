// The queue of doubts, one key a decision; and the list of what was decided.

import { ask } from "./api.js";
import { alike } from "./characters.js";
import { clear, el, number, plural, words } from "./dom.js";
import { act, correct, hearer, undo, whyInput } from "./mend.js";
import { reference } from "./parts.js";
import { plain, Shots } from "./people.js";

let hears = () => {};
const passed = new Set(); // questions that were skipped come last

const name = (row) => `${row.kind} ${row.a} ${row.b} ${row.track_id}`;

export function key(event) {
  hears(event);
}

export async function show(page) {
  const { rows } = await ask("api/review");
  document.getElementById("doubts").textContent = rows.length || "";
  const left = rows.filter((row) => !passed.has(name(row)));
  if (!left.length) {
    passed.clear();
    hears = () => {};
    clear(page, el("div", { class: "head" }, el("h2", {}, rows.length
      ? `${plural(rows.length, "doubt")} skipped` : "No doubt is left")),
    el("p", {}, rows.length
      ? el("button", { type: "button", onclick: () => show(page) }, "Begin again")
      : "What was decided waits in Corrections for the next curation."));
    return;
  }
  await ask_(page, left[0], left.length, rows.length);
}

async function ask_(page, row, number_, of) {
  const keys = {};
  const stray = row.kind === "merge";
  const next = () => show(page);
  const yes = async () => {
    await correct({ act: "merge", characters: stray ? [row.a] : [row.a, row.b] }, "one person");
    next();
  };
  const no = async () => {
    await correct(stray
      ? { act: "separate", character: row.a, tracks: [row.track_id] }
      : { act: "different", characters: [row.a, row.b] }, "two people");
    next();
  };
  const skip = () => { passed.add(name(row)); next(); };
  const facts = el("p", { class: "soft gain" });
  const sides = [el("section", {}), el("section", {})];
  clear(page,
    el("div", { class: "head" }, el("h2", {}, "Same person?"),
      el("span", { class: "soft" }, `${plural(of, "doubt")} left${number_ < of
        ? `, ${of - number_} skipped` : ""} · concerns ${plural(row.samples, "sample")} · cosine ` +
        `${number(row.similarity)}, held against ${number(row.threshold)}`)),
    el("div", { class: "acts", role: "toolbar", "aria-label": "Same person?" },
      act(keys, "y", "Yes", yes), act(keys, "n", "No", no), act(keys, "s", "Skip", skip),
      whyInput()),
    facts, el("div", { class: "sides" }, sides));
  hears = hearer(keys);
  const [first, second] = await Promise.all([row.a, stray ? row.a : row.b].map((id) =>
    ask(`api/characters/${encodeURIComponent(id)}`)));
  const isStray = (each) => each.track_id === row.track_id;
  person(sides[0], stray ? "All other shots" : first.name || `Character ${row.a.slice(0, 12)}`,
    row.a, first, stray ? (each) => !isStray(each) : () => true);
  person(sides[1], stray ? "This shot" : second.name || `Character ${row.b.slice(0, 12)}`,
    stray ? row.a : row.b, second, stray ? isStray : () => true);
  const likeness = await ask("api/likeness", { a: row.a, b: row.b, track: stray ? row.track_id : "" });
  facts.textContent = `${alike(likeness)}. ${gain(likeness, stray)}`;
}

// What an answer does to the purity of the characters: the mean cosine of their shots.
function gain({ inside: [first], together, between, pairs }, stray) {
  if (stray && first !== null && together !== null) {
    return `"No" raises the purity of the character from ${number(together)} to ${number(first)}.`;
  }
  if (!stray && together !== null && between !== null) {
    return `"Yes" makes one character of purity ${number(together)}; ` +
      `it gains ${plural(pairs, "pair")} of shots, "No" keeps them apart for good.`;
  }
  return "";
}

function person(side, title, id, found, wanted) {
  const bySample = new Map(found.samples.map((row) => [row.track_id, row.sample_id]));
  const rows = (found.tracks.length ? found.tracks : found.samples).filter(wanted).map((row) =>
    ({ ...row, sample_id: bySample.get(row.track_id) }));
  const pictures = found.references.filter(wanted).slice(0, 6);
  clear(side, el("h3", {}, el("a", { href: `#/character/${encodeURIComponent(id)}` }, title),
    el("small", {}, ` ${plural(rows.length, "shot")}`)),
  pictures.length ? el("div", { class: "large references wrap" }, pictures.map((row) =>
    el("div", {}, reference(row.sample_id, row.place, row)))) : [],
  new Shots(rows.slice(0, 12), { choose: false, note: plain }).node);
}

const STATES = {
  holds: "this version obeys it", waits: "waits for the next curation",
  replaced: "a later decision says otherwise", lost: "no longer applies",
};

export async function showCorrections(page) {
  hears = () => {};
  const { rows } = await ask("api/corrections");
  const back = (row) => el("button", { type: "button", onclick: async () => {
    await undo(row.id);
    showCorrections(page);
  } }, "Take back");
  const waits = rows.filter((row) => row.state === "waits").length;
  clear(page, el("div", { class: "head" }, el("h2", {}, "Corrections"),
    el("span", { class: "soft" }, rows.length ? `${rows.length.toLocaleString("en")}, of which ` +
      `${waits} wait for the next jobs/curate.py, which decodes nothing` : "Nobody has corrected anything."),
    el("a", { class: "button", href: "corrections.jsonl", download: true }, "corrections.jsonl")),
  rows.length ? el("div", { class: "scrolls", tabindex: 0, role: "region", "aria-label": "table" }, el("table", { class: "funnel" },
    el("thead", {}, el("tr", {}, ["when", "who", "what", "why", "state", ""].map((each) =>
      el("th", { scope: "col" }, each)))),
    el("tbody", {}, rows.map((row) => el("tr", { data: { state: row.state } },
      el("td", {}, row.at.replace("T", " ").replace("Z", "")), el("td", {}, row.by),
      el("th", { scope: "row" }, what(row)), el("td", {}, row.why ?? ""),
      el("td", {}, el("span", { class: `chip state ${row.state}` }, STATES[row.state]),
        el("small", {}, ` ${row.detail}`)), el("td", {}, back(row))))))) : []);
}

function what(row) {
  const sizes = row.people.map((tracks) => tracks.length);
  const people = { merge: `${sizes[0]} tracks are one person`,
    separate: `${sizes[0]} split off from ${sizes[1]}`, different: `${sizes[0]} and ${sizes[1]} ` +
    "tracks are two people", move: `moved: now ${sizes[0]} tracks, and ${sizes.slice(1).join(", ")} left` };
  if (people[row.kind]) return people[row.kind];
  const value = row.value ? `: ${row.value}` : ": none";
  return `${words(row.kind)}${value}`;
}
