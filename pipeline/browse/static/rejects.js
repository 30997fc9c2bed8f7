// What was dropped, and what another threshold would keep.

import { ask, media } from "./api.js";
import { clear, el, number, plural, words } from "./dom.js";
import { Grid } from "./grid.js";
import { clip } from "./parts.js";

let grid = null;

export async function show(page, facts, stage = "", reason = "") {
  grid?.close();
  const chosen = { stage, reason };
  grid = new Grid((offset, limit) => ask("api/rejects", { ...chosen, offset, limit }), card,
    { cardWidth: 250, cardHeight: 280 });
  const count = el("output", { class: "soft" });
  grid.node.addEventListener("counted", (event) => {
    count.textContent = plural(event.detail, "reject");
    grid.node.classList.toggle("nothing", event.detail === 0);
  });
  const buttons = [{ stage: "", reason: "", number: facts.counts.rejects }, ...facts.reasons];
  const list = el("div", { class: "reasons" }, buttons.map((each) =>
    el("button", {
      type: "button", "aria-pressed": each.stage === stage && each.reason === reason,
      data: { reason: each.reason },
      onclick: (event) => {
        Object.assign(chosen, { stage: each.stage, reason: each.reason });
        for (const other of list.children) other.setAttribute("aria-pressed", "false");
        event.currentTarget.setAttribute("aria-pressed", "true");
        grid.reset();
      },
    }, each.reason ? `${words(each.stage)}: ${words(each.reason)}` : "all",
    el("small", {}, ` ${each.number.toLocaleString("en")}`))));
  clear(page, el("div", { class: "head" }, el("h2", {}, "Rejects"), count), list, grid.node);
  await grid.reset();
}

export function key(event) {
  grid?.key(event);
}

function card(row) {
  const shown = row.clip_id
    ? clip(media.unitPoster(row.clip_id), media.unitClip(row.clip_id), "rejected clip")
    : el("div", { class: "clip empty" });
  const measured = row.value === null ? "" : `${number(row.value, 3)}, allowed ` +
    number(row.threshold, 3);
  return el("article", { data: { reason: row.reason } }, shown,
    el("p", { class: "reason" }, words(row.reason), el("small", {}, ` ${row.stage} · ${row.level}`)),
    row.uri ? el("p", { class: "soft name", title: row.uri }, row.uri.split("/").pop()) : [],
    el("p", { class: "soft" }, measured), el("p", { class: "soft detail" }, row.detail ?? ""));
}

export async function showThreshold(page) {
  const gates = await ask("api/gates");
  const inside = el("div", {});
  const select = el("select", { id: "gate", "aria-label": "Threshold",
    onchange: () => draw(inside, gates.find((gate) => gate.gate === select.value)) },
  gates.map((gate) => el("option", { value: gate.gate },
    `${words(gate.column)} ${gate.keeps_above ? "at least" : "at most"} (${words(gate.reason)}` +
    `${gate.dropped ? `, dropped ${gate.dropped}` : ""})`)));
  clear(page, el("div", { class: "head" }, el("h2", {}, "What would another threshold keep?"), select),
    inside);
  const first = gates.find((gate) => gate.dropped) ?? gates[0];
  if (!first) return;
  select.value = first.gate;
  await draw(inside, first);
}

async function draw(place, gate) {
  const { rows } = await ask(`api/gates/${encodeURIComponent(gate.gate)}`);
  const low = gate.low;
  const high = gate.high > low ? gate.high : low + 1;
  const start = gate.threshold ?? (gate.keeps_above ? low : high);
  const slider = el("input", { type: "range", id: "threshold", min: low, max: high,
    step: "any", value: start, "aria-label": "Threshold" });
  const verdict = el("p", { id: "verdict" });
  const unit = gate.unit ? ` (${gate.unit})` : "";
  const bound = gate.threshold === null ? "" : `, ${number(gate.threshold, 3)} in this version`;
  const setting = el("p", { class: "soft" }, `Setting: ${gate.setting}${unit}${bound}`);
  const back = el("div", { class: "shots" });
  const gone = el("div", { class: "shots" });
  const passes = (value, at) => (gate.keeps_above ? value >= at : value <= at);
  const level = gate.level;
  let clock = 0;
  const write = () => {
    const at = Number(slider.value);
    const now = rows.filter((row) => row.fate === "kept");
    const returns = rows.filter((row) => row.fate === "dropped" && passes(row.value, at));
    const leaves = now.filter((row) => !passes(row.value, at));
    verdict.textContent = `At ${number(at, 3)}: ${plural(now.length - leaves.length +
      returns.length, level)} would pass this gate (now ${now.length}); ${returns.length} would ` +
      `come back, ${leaves.length} would go. ${rows.length - now.length - returns.length} stay ` +
      "dropped, by this gate or another.";
    clearTimeout(clock);
    clock = setTimeout(() => {
      clear(back, strip("Would come back", returns));
      clear(gone, strip("Would go", leaves));
    }, 150);
  };
  slider.addEventListener("input", write);
  clear(place, el("div", { class: "threshold" }, histogram(rows, low, high), slider, legend()), verdict,
    setting, back, gone);
  write();
}

function legend() {
  const fates = { kept: "kept", dropped: "dropped by this gate", elsewhere: "dropped by another" };
  return el("p", { class: "legend soft" }, Object.entries(fates).flatMap(([fate, says]) =>
    [el("span", { class: fate }), says]));
}

function strip(title, rows) {
  if (!rows.length) return [];
  return [el("h3", {}, `${title}: ${rows.length}`), ...rows.slice(0, 24).map((row) =>
    el("article", { class: "shot" },
      clip(media.unitPoster(row.clip_id), media.unitClip(row.clip_id), "clip"),
      el("p", { class: "soft" }, number(row.value, 3))))];
}

function histogram(rows, low, high, bins = 48) {
  const counts = Array.from({ length: bins }, () => ({ kept: 0, dropped: 0, elsewhere: 0 }));
  for (const row of rows) {
    const place = Math.floor(((row.value - low) / (high - low)) * bins);
    counts[Math.max(0, Math.min(bins - 1, place))][row.fate] += 1;
  }
  const most = Math.max(1, ...counts.map((bin) => bin.kept + bin.dropped + bin.elsewhere));
  return el("div", { class: "histogram", role: "img", "aria-label": "distribution of the values" },
    counts.map((bin) => el("div", {}, ["elsewhere", "dropped", "kept"].map((fate) => {
      const bar = el("span", { class: fate, title: `${bin[fate]} ${fate}` });
      bar.style.height = `${(bin[fate] / most) * 100}%`;
      return bar;
    }))));
}
