// Characters, and one character: every shot, every reference, and how alike the shots are.

import { ask, media } from "./api.js";
import { clear, el, number, plural, words } from "./dom.js";
import { Grid } from "./grid.js";
import { chip, clip, reference } from "./parts.js";
import { openViewer } from "./viewer.js";

let grid = null;

export async function showAll(page) {
  grid?.close();
  grid = new Grid(
    (offset, limit) => ask("api/characters", { offset, limit }),
    (row) => el("article", { data: { character: row.character_id } },
      el("div", { class: "face" }, el("img", { src: media.image(row.shown, 0), alt: "reference",
        loading: "lazy" })),
      el("p", { class: "caption" }, row.description || "(no description)"),
      el("div", { class: "chips" }, chip("", plural(row.samples, "sample")),
        chip("", plural(row.videos, "video")), chip("sim", number(row.similarity)))),
    { cardWidth: 220, cardHeight: 330,
      onOpen: (row) => { location.hash = `#/character/${encodeURIComponent(row.character_id)}`; } },
  );
  const count = el("output", { class: "soft" });
  grid.node.addEventListener("counted", (event) => {
    count.textContent = plural(event.detail, "character");
  });
  clear(page, el("div", { class: "head" }, el("h2", {}, "Characters"), count), grid.node);
  await grid.reset();
}

export function key(event) {
  grid?.key(event);
}

// Two characters beside each other: are they one person?
export async function showTwo(page, ids) {
  const sides = ids.map(() => el("section", {}));
  clear(page, el("div", { class: "sides" }, sides));
  await Promise.all(ids.map((id, place) => showOne(sides[place], id)));
}

export async function showOne(page, id) {
  const found = await ask(`api/characters/${encodeURIComponent(id)}`);
  const shots = new Set(found.tracks.map((row) => row.shot_id)).size;
  const videos = new Set(found.tracks.map((row) => row.video_id)).size;
  const bySample = new Map(found.samples.map((row) => [row.track_id, row.sample_id]));
  clear(page,
    el("div", { class: "head" }, el("h2", {}, `Character ${id.slice(0, 12)}`),
      el("span", { class: "soft" }, `${plural(found.samples.length, "sample")} · ` +
        `${plural(found.tracks.length, "track")} in ${plural(shots, "shot")} of ` +
        plural(videos, "video"))),
    el("h3", {}, plural(found.references.length, "reference")),
    el("div", { class: "large references wrap" }, found.references.map((row) =>
      el("div", {}, reference(row.sample_id, row.place, row),
        el("p", { class: "soft" }, words(row.kind))))),
    el("h3", {}, "Shots"),
    el("div", { class: "shots" }, (found.tracks.length ? found.tracks : found.samples).map((row) =>
      shot(row, bySample.get(row.track_id)))),
    el("h3", {}, "How alike the shots are"),
    found.similarity
      ? matrix(found.similarity, found.tracks)
      : el("p", { class: "soft" }, "This dataset holds no embeddings of these tracks."));
}

function shot(row, sampleId) {
  const moving = sampleId
    ? clip(media.poster(sampleId), media.clip(sampleId), "clip")
    : clip(media.unitPoster(row.clip_id), media.unitClip(row.clip_id), "clip");
  const node = el("article", { class: "shot", tabindex: 0 }, moving,
    el("p", { class: "soft" }, `video ${row.video_id.slice(0, 8)}, ${number(row.start_s, 1)} s` +
      `${sampleId ? "" : " · no sample"} · purity ${number(row.purity)}`));
  const open = () => sampleId && openViewer(sampleId);
  node.addEventListener("click", open);
  node.addEventListener("keydown", (event) => { if (event.key === "Enter") open(); });
  return node;
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
  return el("div", { class: "scrolls" }, el("table", { class: "matrix" },
    el("tbody", {}, cosines.map((line, row) =>
      el("tr", {}, el("th", { scope: "row" }, label(names[row])),
        line.map((value, column) => cell(value, row, column)))))));
}
