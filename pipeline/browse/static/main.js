// Which page is shown, and which keys it hears.

import { ask, loadTags, watch } from "./api.js";
import * as characters from "./characters.js";
import { clear, el, plural } from "./dom.js";
import * as funnel from "./funnel.js";
import * as map from "./map.js";
import { count, undo } from "./mend.js";
import * as rejects from "./rejects.js";
import * as review from "./review.js";
import * as samples from "./samples.js";
import * as viewer from "./viewer.js";

const page = document.getElementById("page");
const keys = document.getElementById("keys");
let facts = null;
let hears = () => {};
let rounds = 0;

const PAGES = ["samples", "characters", "review", "map", "corrections", "rejects", "threshold",
  "funnel"];

async function route() {
  const parts = location.hash.replace(/^#\/?/, "").split("/").map(decodeURIComponent);
  const [name = "samples", one = "", two = ""] = parts[0] ? parts : ["samples"];
  for (const link of document.querySelectorAll("nav a")) {
    const here = link.hash === `#/${name}` ||
      (/^(character|compare|similar)$/.test(name) && link.hash === "#/characters");
    if (here) link.setAttribute("aria-current", "page"); else link.removeAttribute("aria-current");
  }
  hears = () => {};
  const round = (rounds += 1); // a page that is left while it loads must not come back
  const place = el("div", {}, el("p", { class: "soft" }, "…"));
  scrollTo(0, 0);
  clear(page, place);
  try {
    const key = await open(place, name, one, two);
    if (round === rounds && key) hears = key;
  } catch (error) {
    clear(place, el("p", { role: "alert" }, `This page could not be shown: ${error.message}`));
  }
}

// Fills a page and returns the function that hears its keys, if it has any.
async function open(place, name, one, two) {
  if (name === "characters") await characters.showAll(place);
  else if (name === "character") await characters.showOne(place, one);
  else if (name === "compare") await characters.showTwo(place, [one, two]);
  else if (name === "similar") await characters.showSimilar(place, one);
  if (/^(character|compare|similar)/.test(name)) return characters.key;
  if (name === "review") { await review.show(place); return review.key; }
  if (name === "map") { await map.show(place); return map.key; }
  if (name === "corrections") { await review.showCorrections(place); return null; }
  if (name === "rejects") { await rejects.show(place, facts, one, two); return rejects.key; }
  if (name === "threshold") { await rejects.showThreshold(place); return null; }
  if (name === "funnel") { await funnel.show(place, facts); return null; }
  await samples.show(place, facts);
  return samples.key;
}

const HELP = [
  ["← ↑ → ↓", "move in the grid; previous and next in the viewer"], ["Enter", "open"],
  ["space", "play or pause"], [". and ,", "one frame on or back"], ["v", "veto, or take it back"],
  ["t", "tag"], ["b", "box on or off"], ["m", "masks on or off"], ["/", "search"],
  ["x, a", "choose a shot or character; all shots"], ["g", "merge the chosen, or with the held"],
  ["h", "hold a character for another"], ["s", "split the chosen off; skip a doubt"],
  ["o", "move the chosen to the held"], ["f", "find more like this"], ["n", "name"],
  ["y, n, s", "same person? yes, no, skip"], ["e", "correct the caption in the viewer"],
  ["u", "take the last correction back"], ["1 to 8", "pages"], ["Esc", "close"], ["?", "this list"],
];

function help() {
  if (keys.open) { keys.close(); return; }
  clear(keys, el("h2", {}, "Keyboard"), el("dl", { class: "facts" }, HELP.map(([name, act]) =>
    [el("dt", {}, el("kbd", {}, name)), el("dd", {}, act)])),
  el("button", { type: "button", onclick: () => keys.close() }, "Close"));
  keys.showModal();
}

document.getElementById("help").addEventListener("click", help);
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.matches("input:not([type=checkbox]), select, textarea")) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  if (event.key === "?") help();
  else if (event.key === "m") document.body.classList.toggle("plain-masks");
  else if (keys.open) return;
  else if (viewer.isOpen()) viewer.key(event);
  else if (event.key === "u") undo().then((changed) => changed && route());
  else if (/^[1-8]$/.test(event.key)) location.hash = `#/${PAGES[Number(event.key) - 1]}`;
  else if (!event.target.matches("button, a, summary, input") || !/^( |Enter)$/.test(event.key)) {
    hears(event); // space and Enter are the button's own
  }
});
addEventListener("hashchange", route);

function tellFacts() {
  document.title = facts.name;
  document.getElementById("doubts").textContent = facts.review || "";
  count(facts.corrections);
  document.getElementById("name").textContent = facts.name;
  const counts = document.getElementById("counts");
  counts.textContent = counts.title = [
    `version ${facts.version}`,
    ...(facts.reading < 1 ? [`${Math.floor(100 * facts.reading)} % read`] : []),
    plural(facts.counts.samples, "sample"), plural(facts.counts.characters, "character"),
    plural(facts.counts.videos, "video"),
  ].join(" · ");
}

// A large dataset is shown while it is read; when all of it is there, the page begins anew.
async function readOn() {
  while (facts.reading < 1) {
    await new Promise((done) => { setTimeout(done, 1500); });
    const { reading } = await ask("api/version");
    facts = reading < 1 ? { ...facts, reading } : await ask("api/summary");
    tellFacts();
    if (reading === 1) await route();
  }
}

[facts] = await Promise.all([ask("api/summary"), loadTags()]);
tellFacts();
await route();
watch();
readOn();
