// One sample, large: the clip with the character's box, references, every score, tags.

import { ask, has, media, tags, toggle } from "./api.js";
import { clear, el, number, plural, tell, words } from "./dom.js";
import { correct } from "./mend.js";
import { facts, reference } from "./parts.js";

const dialog = document.getElementById("viewer");
let walk = null;
let current = null;
let video = null;

const SCORES = [
  "sharpness", "brightness", "motion", "camera_motion", "purity", "coverage", "area", "face_rate",
  "num_people",
];
const FACTS = [
  "split", "shot_size", "width", "height", "fps", "num_frames", "start_s", "end_s", "licence",
  "source", "caption_engine", "sample_id", "clip_id", "video_id", "shot_id", "track_id",
];

export function isOpen() {
  return dialog.open;
}

export async function openViewer(id, walker = null, tagging = false) {
  walk = walker;
  current = await ask(`api/samples/${encodeURIComponent(id)}`);
  video?.pause();
  video = el("video", {
    src: media.clip(id), controls: true, loop: true, muted: true, playsInline: true,
    preload: "auto", id: "player",
  });
  video.muted = true;
  const boxes = el("canvas", { class: "boxes", width: current.width, height: current.height });
  const stage = el("div", { class: "stage" }, video, boxes);
  stage.style.aspectRatio = `${current.width} / ${current.height}`;
  stage.style.maxWidth = `calc(66vh * ${current.width / current.height})`;
  clear(dialog,
    el("div", { class: "bar" },
      el("strong", {}, words(current.shot_size || "sample")),
      el("a", { href: `#/character/${encodeURIComponent(current.character_id)}`, onclick: close },
        `character ${current.character_id.slice(0, 8)}`),
      el("span", { class: "grow" }),
      el("button", { type: "button", onclick: () => step(-1), "aria-label": "Previous" }, "←"),
      el("button", { type: "button", onclick: () => step(1), "aria-label": "Next" }, "→"),
      el("button", { type: "button", onclick: close, "aria-label": "Close" }, "✕")),
    el("div", { class: "columns" },
      el("div", {}, stage, captioning(walker),
        el("p", { class: "soft" }, current.description), tagging_()),
      el("div", {},
        el("h2", {}, plural(current.references.length, "reference")),
        el("div", { class: "large references" }, current.references.map((row, place) =>
          el("div", {}, reference(id, place, row),
            el("p", { class: "soft" },
              `${words(row.kind)}, similarity ${number(row.similarity, 3)}, quality ` +
              `${number(row.quality)}${row.augmentation ? ", changed" : ""}`)))),
        el("h2", {}, "Scores"), facts(current, SCORES),
        el("h2", {}, "Facts"), facts(current, FACTS))));
  if (!dialog.open) dialog.showModal();
  drawBoxes(boxes);
  video.play().catch(() => {});
  if (tagging) document.getElementById("tag").focus();
}

// The caption, and where it is corrected: e opens, Ctrl and Enter or the button saves.
function captioning(walker) {
  const id = current.sample_id;
  const text = el("textarea", { id: "caption-it", rows: 3, maxlength: 2000, "aria-label": "Caption" });
  text.value = current.caption ?? "";
  const save = async () => {
    const value = text.value.trim();
    if (!value) { tell("a caption must not be empty"); return; }
    await correct({ act: "caption", sample: id, value }, "caption corrected");
    openViewer(id, walker);
    document.dispatchEvent(new CustomEvent("tagged", { detail: id }));
  };
  text.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && event.ctrlKey) save();
    else if (event.key === "Escape") { event.preventDefault(); box.classList.remove("open"); }
    event.stopPropagation();
  });
  const edit = el("button", { type: "button", id: "edit", onclick: () => {
    box.classList.add("open");
    text.focus();
  } }, "Correct ", el("kbd", {}, "e"));
  const box = el("div", { class: "captioning" },
    el("p", { class: "told" }, current.caption || "(no caption)"), edit, text,
    el("button", { type: "button", class: "save", onclick: save }, "Save ", el("kbd", {}, "Ctrl Enter")));
  return box;
}

function tagging_() {
  const id = current.sample_id;
  const list = el("span", { class: "chips" });
  const write = () => clear(list, (tags.get(id) ?? []).map((tag) =>
    el("button", { type: "button", class: `tag ${tag.tag === "veto" ? "veto" : ""}`,
      title: tag.note || "remove", onclick: () => toggle(id, tag.tag).then(write) },
    `${tag.tag} ✕`)));
  write();
  const name = el("input", { id: "tag", placeholder: "tag", maxlength: 40, "aria-label": "Tag" });
  const note = el("input", { id: "note", placeholder: "note", maxlength: 2000, "aria-label": "Note" });
  const veto = el("button", { type: "button", id: "veto",
    onclick: () => toggle(id, "veto", note.value).then(write) }, "Veto (v)");
  const form = el("form", { class: "tagging", onsubmit: (event) => {
    event.preventDefault();
    const tag = name.value.trim().toLowerCase();
    if (!tag) return;
    if (has(id, tag)) tell(`${tag} is set`);
    else toggle(id, tag, note.value).then(() => { name.value = note.value = ""; write(); });
  } }, name, note, el("button", { type: "submit" }, "Tag"), veto, list);
  document.addEventListener("tagged", write);
  return form;
}

function drawBoxes(canvas) {
  const pen = canvas.getContext("2d");
  const { fps, boxes, first_frame: first } = current;
  const player = video;
  const draw = () => {
    if (player !== video || !dialog.open) return;
    pen.clearRect(0, 0, canvas.width, canvas.height);
    const box = boxes[Math.floor(player.currentTime * fps + 0.01) - first];
    if (box && !dialog.classList.contains("plain")) {
      pen.strokeStyle = "#ff7a00";
      pen.lineWidth = 3;
      pen.strokeRect(box[0], box[1], box[2] - box[0], box[3] - box[1]);
    }
    requestAnimationFrame(draw);
  };
  requestAnimationFrame(draw);
}

export function close() {
  video?.pause();
  dialog.close();
}

async function step(by) {
  const found = walk && (await walk(by));
  if (found) openViewer(...found);
}

export function key(event) {
  const frame = 1 / (current?.fps || 24);
  const acts = {
    j: () => step(1), k: () => step(-1), ArrowRight: () => step(1), ArrowLeft: () => step(-1),
    v: () => document.getElementById("veto").click(),
    t: () => document.getElementById("tag").focus(),
    e: () => document.getElementById("edit").click(),
    b: () => dialog.classList.toggle("plain"),
    " ": () => (video.paused ? video.play() : video.pause()),
    ".": () => { video.pause(); video.currentTime += frame; },
    ",": () => { video.pause(); video.currentTime = Math.max(0, video.currentTime - frame); },
  };
  if (!acts[event.key]) return;
  acts[event.key]();
  event.preventDefault();
}

dialog.addEventListener("close", () => video?.pause());
dialog.addEventListener("click", (event) => { if (event.target === dialog) close(); });
