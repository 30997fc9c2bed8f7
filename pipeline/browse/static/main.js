// Which page is shown, and which keys it hears.

import { ask, loadTags, watch } from "./api.js";
import * as characters from "./characters.js";
import { clear, el, plural } from "./dom.js";
import * as funnel from "./funnel.js";
import * as rejects from "./rejects.js";
import * as samples from "./samples.js";
import * as viewer from "./viewer.js";

const page = document.getElementById("page");
const keys = document.getElementById("keys");
let facts = null;
let hears = () => {};

const PAGES = ["samples", "characters", "rejects", "threshold", "funnel"];

async function route() {
  const parts = location.hash.replace(/^#\/?/, "").split("/").map(decodeURIComponent);
  const [name = "samples", one = "", two = ""] = parts[0] ? parts : ["samples"];
  for (const link of document.querySelectorAll("nav a")) {
    const here = link.hash === `#/${name}` || (/^(character|compare)$/.test(name) && link.hash === "#/characters");
    if (here) link.setAttribute("aria-current", "page"); else link.removeAttribute("aria-current");
  }
  hears = () => {};
  scrollTo(0, 0);
  clear(page, el("p", { class: "soft" }, "…"));
  try {
    if (name === "characters") { await characters.showAll(page); hears = characters.key; }
    else if (name === "character") await characters.showOne(page, one);
    else if (name === "compare") await characters.showTwo(page, [one, two]);
    else if (name === "rejects") { await rejects.show(page, facts, one, two); hears = rejects.key; }
    else if (name === "threshold") await rejects.showThreshold(page);
    else if (name === "funnel") funnel.show(page, facts);
    else { await samples.show(page, facts); hears = samples.key; }
  } catch (error) {
    clear(page, el("p", { role: "alert" }, `This page could not be shown: ${error.message}`));
  }
}

const HELP = [
  ["← ↑ → ↓", "move in the grid; previous and next in the viewer"], ["Enter", "open"],
  ["space", "play or pause"], [". and ,", "one frame on or back"], ["v", "veto, or take it back"],
  ["t", "tag"], ["b", "box on or off"], ["m", "masks on or off"], ["/", "search"], ["1 to 5", "pages"],
  ["Esc", "close"], ["?", "this list"],
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
  else if (/^[1-5]$/.test(event.key)) location.hash = `#/${PAGES[Number(event.key) - 1]}`;
  else if (!event.target.matches("button, a, summary, input") || event.key.length > 5) hears(event);
});
addEventListener("hashchange", route);

[facts] = await Promise.all([ask("api/summary"), loadTags()]);
document.title = facts.name;
document.getElementById("name").textContent = facts.name;
document.getElementById("counts").textContent = [
  `version ${facts.version}`, plural(facts.counts.samples, "sample"),
  plural(facts.counts.characters, "character"), plural(facts.counts.videos, "video"),
].join(" · ");
await route();
watch();
