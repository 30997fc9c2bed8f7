// What a person corrects: acts that the server writes down, and takes back by their ids.

import { post } from "./api.js";
import { el, tell } from "./dom.js";

const done = []; // ids of this page's corrections, the latest last

export async function correct(act, said) {
  const why = document.getElementById("why")?.value.trim() ?? "";
  const made = await post("api/corrections", { ...act, why });
  done.push(made.id);
  count(made.total);
  tell(`${said} · u takes it back`, 6000);
  return made;
}

export async function undo(id = done.at(-1)) {
  if (!id) { tell("nothing to take back: see Corrections for those of before"); return false; }
  const left = await post("api/corrections", { undo: id });
  if (done.includes(id)) done.splice(done.indexOf(id), 1);
  count(left.total);
  tell("taken back");
  return true;
}

export function count(total) {
  document.getElementById("corrections").textContent = total ? total.toLocaleString("en") : "";
}

// The character that waits for another: to be merged with it, or to receive tracks.
export const held = {
  get id() { return sessionStorage.getItem("held") ?? ""; },
  set id(id) { if (id) sessionStorage.setItem("held", id); else sessionStorage.removeItem("held"); },
};

export function whyInput() {
  return el("input", { id: "why", placeholder: "why (optional)", maxlength: 2000,
    "aria-label": "Why" });
}

// A button with its key; `keys` collects the acts that a page hears.
export function act(keys, key, text, run, attributes = {}) {
  keys[key] = run;
  return el("button", { type: "button", onclick: run, ...attributes }, text, " ",
    el("kbd", {}, key));
}

export function hearer(keys) {
  return (event) => {
    const run = keys[event.key];
    if (!run) return;
    event.preventDefault();
    run();
  };
}
