// The server's answers. Everything is on this machine; a failure is told, never swallowed.

import { tell } from "./dom.js";

// The version of the dataset that this page shows. With another one the page begins anew: what was
// forgotten since must not stay on the screen.
let version = null;

function follow(answer) {
  const now = answer.headers.get("x-dataset-version");
  if (version !== null && now !== null && now !== version) {
    location.reload();
  }
  version ??= now;
}

export function watch(seconds = 5) {
  setInterval(() => fetch("api/version").then(follow, () => {}), 1000 * seconds);
}

export async function ask(path, parameters = {}) {
  const query = new URLSearchParams(parameters).toString();
  const answer = await fetch(query ? `${path}?${query}` : path);
  follow(answer);
  const body = await answer.json();
  if (!answer.ok) {
    tell(body.error ?? `error ${answer.status}`);
    throw new Error(body.error ?? answer.status);
  }
  return body;
}

export async function post(path, body) {
  const headers = { "content-type": "application/json", "x-browse": "1" };
  const answer = await fetch(path, { method: "POST", headers, body: JSON.stringify(body) });
  follow(answer);
  const told = await answer.json();
  if (!answer.ok) {
    tell(told.error ?? `error ${answer.status}`);
    throw new Error(told.error ?? answer.status);
  }
  return told;
}

const path = encodeURIComponent;
export const media = {
  clip: (id) => `media/clip/${path(id)}`,
  poster: (id) => `media/poster/${path(id)}`,
  image: (id, place) => `media/image/${path(id)}/${place}`,
  mask: (id, place) => `media/mask/${path(id)}/${place}`,
  unitClip: (id) => `media/unit-clip/${path(id)}`,
  unitPoster: (id) => `media/unit-poster/${path(id)}`,
};

// Tags by sample, shared by all pages.
export const tags = new Map();

export async function loadTags() {
  tags.clear();
  for (const tag of await ask("api/tags")) {
    tags.set(tag.sample_id, [...(tags.get(tag.sample_id) ?? []), tag]);
  }
}

export function has(id, name) {
  return (tags.get(id) ?? []).some((tag) => tag.tag === name);
}

export async function toggle(id, name, note = "") {
  const remove = has(id, name);
  const now = await post("api/tags", { sample_id: id, tag: name, note, remove });
  tags.set(id, now.tags);
  tell(remove ? `${name} removed` : `${name} saved`);
  document.dispatchEvent(new CustomEvent("tagged", { detail: id }));
}
