// What of the videos is in no sample, and which setting would bring some of it back.

import { ask } from "./api.js";
import { clear, el, plural, words } from "./dom.js";

const minutes = (seconds) => (seconds / 60).toFixed(1);

export function losses() {
  const place = el("section", { class: "losses" }, el("p", { class: "soft" }, "…"));
  ask("api/losses").then((found) => fill(place, found), (error) =>
    clear(place, el("p", { role: "alert" }, `What was lost could not be read: ${error.message}`)));
  return place;
}

function fill(place, found) {
  clear(place,
    el("h2", {}, "What was lost, and what would bring it back"),
    el("p", {}, `${plural(found.videos, "video")}, ${minutes(found.seconds)} minutes: ` +
      `${plural(found.samples, "sample")} of ${plural(found.characters, "character")}, in ` +
      `${minutes(found.sampled_s)} minutes of clips. ` +
      (found.lost.length ? `${minutes(found.lost_s)} minutes of clips are in no sample.`
        : "Nothing was lost.")),
    found.lost.length ? table(found) : null);
}

function table(found) {
  const names = ["reason", "share", "minutes", "clips", "what would bring some back"];
  return el("div", { class: "scrolls", tabindex: 0, role: "region", "aria-label": "table" }, el("table", { class: "funnel" },
    el("thead", {}, el("tr", {}, names.map((name, place) =>
      el("th", { scope: "col", class: place > 0 && place < 4 ? "number" : "" }, name)))),
    el("tbody", {}, found.lost.map(line))),
  found.further ? el("p", { class: "soft" }, `and ${plural(found.further, "rarer reason")}`) : null);
}

function line(loss) {
  return el("tr", {},
    el("th", { scope: "row" }, words(loss.reason)),
    el("td", { class: "number" }, `${Math.round(loss.share * 100)} %`),
    el("td", { class: "number" }, minutes(loss.seconds)),
    el("td", { class: "number" }, loss.clips.toLocaleString("en")),
    el("td", {}, loss.change ? [el("code", {}, loss.change),
      ` lets up to ${plural(loss.back, "clip")} pass` +
      (loss.decodes ? "; looks at the videos again" : "")] : null));
}
