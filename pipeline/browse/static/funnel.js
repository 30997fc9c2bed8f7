// What became of everything, stage by stage.

import { clear, el, words } from "./dom.js";
import { losses } from "./losses.js";

export function show(page, facts) {
  const most = new Map();
  for (const row of facts.funnel) most.set(row.level, Math.max(most.get(row.level) ?? 1, row.entered));
  clear(page,
    losses(),
    el("div", { class: "head" }, el("h2", {}, "What became of everything")),
    el("div", { class: "scrolls", tabindex: 0, role: "region", "aria-label": "table" }, el("table", { class: "funnel" },
      el("thead", {}, el("tr", {}, ["stage", "of", "in", "kept", "dropped", "", "reasons"].map(
        (name) => el("th", { scope: "col", class: ["in", "kept", "dropped"].includes(name) ? "number" : "" },
          name)))),
      el("tbody", {}, facts.funnel.map((row) => line(row, most.get(row.level)))))),
    el("h3", {}, "Engines"),
    el("ul", { class: "soft" }, facts.engines.map((engine) =>
      el("li", {}, `${words(engine.task ?? "")}: ${engine.id} (${engine.licence})`))));
}

function line(row, most) {
  const lost = row.rejected + row.failed;
  const kept = el("span", { class: "kept" });
  kept.style.width = `${(row.kept / most) * 100}%`;
  const gone = el("span", { class: "dropped" });
  gone.style.width = `${(lost / most) * 100}%`;
  return el("tr", {},
    el("th", { scope: "row" }, words(row.stage)), el("td", {}, `${row.level}s`),
    ...[row.entered, row.kept, lost].map((value) => el("td", { class: "number" },
      value.toLocaleString("en"))),
    el("td", { class: "bars" }, el("div", { class: "bar-line" }, kept, gone)),
    el("td", {}, Object.entries(row.reasons).map(([reason, count]) =>
      el("a", { class: "chip", href: `#/rejects/${encodeURIComponent(row.stage)}/` +
        encodeURIComponent(reason) }, `${words(reason)} ${count}`))));
}
