// Pieces that several pages show: a picture with its mask, a clip that plays, chips of scores.

import { media } from "./api.js";
import { el, number, words } from "./dom.js";

// The picture is shown pale, and the person, cut out by the mask, in colour above it.
export function reference(sampleId, place, row) {
  const picture = media.image(sampleId, place);
  const person = el("img", { class: "person", src: picture, alt: "", loading: "lazy" });
  const mask = `url("${media.mask(sampleId, place)}")`;
  person.style.maskImage = mask;
  return el(
    "figure",
    { class: "reference", title: `${words(row.kind)} · similarity ${number(row.similarity)}` },
    el("img", { class: "ground", src: picture, alt: "reference", loading: "lazy" }),
    person,
    el("figcaption", { class: `kind ${row.kind}` }, number(row.similarity)),
  );
}

// A poster that becomes a playing video while it is pointed at or focused.
export function clip(poster, source, label) {
  const image = el("img", { src: poster, alt: label, loading: "lazy", decoding: "async" });
  const box = el("div", { class: "clip" }, image);
  image.addEventListener("error", () => box.classList.add("empty"));
  let video = null;
  box.play = () => {
    if (video) return;
    video = el("video", { src: source, muted: true, loop: true, playsInline: true });
    video.muted = true;
    box.append(video);
    video.play().catch(() => {});
  };
  box.stop = () => {
    if (!video) return;
    video.pause();
    video.removeAttribute("src");
    video.load();
    video.remove();
    video = null;
  };
  box.addEventListener("pointerenter", box.play);
  box.addEventListener("pointerleave", box.stop);
  return box;
}

export function chip(label, value, kind = "") {
  return el("span", { class: `chip ${kind}` }, el("small", {}, label), ` ${value}`);
}

export function facts(row, names) {
  return el(
    "dl",
    { class: "facts" },
    names
      .filter((name) => row[name] !== null && row[name] !== undefined && row[name] !== "")
      .map((name) => [
        el("dt", {}, words(name)),
        el("dd", {}, typeof row[name] === "number" ? number(row[name], 3) : String(row[name])),
      ]),
  );
}
