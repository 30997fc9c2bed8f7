"""The page that raters see: plain HTML and JavaScript, no network, answers as CSV."""

import json
from collections.abc import Sequence
from html import escape

from pipeline.evaluate.page import page

COLUMNS = ("study", "rater", "pair", "question", "answer", "seconds", "place")
_SCALE = ((-2, "A clearly"), (-1, "A slightly"), (0, "no difference"), (1, "B slightly"),
          (2, "B clearly"))  # fmt: skip
_STYLE = """
body { max-width: 1000px; }
#pair { display: grid; grid-template-columns: 200px 1fr 1fr; gap: 16px; align-items: start; }
#pair figure { margin: 0; } #pair figcaption { font-weight: 600; margin-bottom: 4px; }
#pair img, #pair video { width: 100%; border-radius: 6px; background: var(--raised);
  display: block; }
@media (max-width: 700px) { #pair { grid-template-columns: 1fr 1fr; }
  #pair figure:first-child { grid-column: 1 / 3; } #pair figure:first-child img { width: 45%; } }
fieldset { border: 0; border-top: 1px solid var(--line); padding: 12px 0 4px; margin: 0;
  display: grid; grid-template-columns: 120px 1fr; align-items: center; }
legend { display: contents; } legend span { font-weight: 600; }
.scale { display: grid; grid-template-columns: repeat(5, 1fr); gap: 6px; }
.scale label { border: 1px solid var(--line); border-radius: 6px; padding: 8px 4px; cursor: pointer;
  text-align: center; font-size: 14px; }
.scale label:has(:checked) { border-color: var(--accent); background: var(--raised); }
.scale label:has(:focus-visible) { outline: 2px solid var(--accent); }
.scale input { accent-color: var(--accent); margin: 0 4px 0 0; }
button { font: inherit; padding: 10px 22px; border: 0; border-radius: 6px; color: var(--paper);
  background: var(--accent); cursor: pointer; margin: 16px 12px 0 0; }
button:disabled { opacity: .4; cursor: default; }
button.plain { background: none; color: var(--accent); border: 1px solid var(--line); }
input[type=text] { font: inherit; padding: 9px; border: 1px solid var(--line); border-radius: 6px;
  background: var(--paper); color: var(--ink); }
progress { width: 100%; accent-color: var(--accent); } [hidden] { display: none !important; }
@media (max-width: 700px) { fieldset { display: block; } .scale { margin-top: 6px; }
  .scale label { font-size: 12px; } }
"""
_SCRIPT = """
const study = JSON.parse(document.getElementById('study').textContent);
const by = id => document.getElementById(id);
let rater = '', order = [], place = 0, started = 0, answers = {};

function hash(text) {  // FNV-1a, so that a rater sees the same order after a reload
  let h = 2166136261;
  for (const sign of text) { h ^= sign.codePointAt(0); h = Math.imul(h, 16777619) >>> 0; }
  return h;
}
function random(seed) {  // mulberry32
  return () => {
    seed = (seed + 0x6D2B79F5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}
function shuffled(count, seed) {
  const draw = random(seed), list = [...Array(count).keys()];
  for (let i = count - 1; i > 0; i--) {
    const j = Math.floor(draw() * (i + 1));
    [list[i], list[j]] = [list[j], list[i]];
  }
  return list;
}
const slot = () => 'study ' + study.id + ' ' + rater;
function save() { try { localStorage.setItem(slot(), JSON.stringify(answers)); } catch (e) { } }
function restore() { try { return JSON.parse(localStorage.getItem(slot())) || {}; }
  catch (e) { return {}; } }

function begin() {
  rater = by('rater').value.trim();
  order = shuffled(study.pairs.length, hash(study.id + ' ' + rater));
  answers = restore();
  place = order.findIndex(i => !(study.pairs[i].pair in answers));
  if (place < 0) place = order.length;
  by('start').hidden = true;
  show();
}
function show() {
  const done = place >= order.length;
  by('rate').hidden = done; by('end').hidden = !done;
  if (done) return;
  const pair = study.pairs[order[place]];
  by('reference').src = pair.reference; by('a').src = pair.a; by('b').src = pair.b;
  by('prompt').textContent = pair.prompt;
  by('bar').max = order.length; by('bar').value = place;
  by('count').textContent = (place + 1) + ' of ' + order.length;
  for (const input of document.querySelectorAll('.scale input')) input.checked = false;
  by('next').disabled = true; started = performance.now();
  window.scrollTo(0, 0);
}
function chosen() {
  const found = {};
  for (const question of study.questions) {
    const input = document.querySelector('input[name=' + question + ']:checked');
    if (!input) return null;
    found[question] = Number(input.value);
  }
  return found;
}
function next() {
  const found = chosen();
  if (!found) return;
  answers[study.pairs[order[place]].pair] =
    { answers: found, seconds: (performance.now() - started) / 1000, place: place };
  save(); place += 1; show();
}
const quoted = text => '"' + String(text).replaceAll('"', '""') + '"';
function table() {
  const lines = [study.columns.join(',')];
  for (const [pair, each] of Object.entries(answers))
    for (const [question, answer] of Object.entries(each.answers))
      lines.push([study.id, quoted(rater), pair, question, answer, each.seconds.toFixed(1),
        each.place].join(','));
  return lines.join('\\r\\n') + '\\r\\n';
}
function download() {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([table()], { type: 'text/csv' }));
  link.download = 'answers-' + rater.replace(/[^A-Za-z0-9_-]+/g, '_') + '.csv';
  link.click();
}
by('rater').oninput = () => { by('begin').disabled = !by('rater').value.trim(); };
by('begin').onclick = begin; by('next').onclick = next; by('save').onclick = download;
by('again').onclick = () => {
  for (const id of ['a', 'b']) { by(id).currentTime = 0; by(id).play(); }
};
document.addEventListener('change', () => { by('next').disabled = !chosen(); });
"""


def study_page(study_id: str, screens: Sequence[dict[str, str]], questions: Sequence[str]) -> str:
    """Return the page. `screens` name pair, reference, a, b, prompt; media lie beside the page."""
    study = {"id": study_id, "pairs": list(screens), "questions": list(questions)}
    study["columns"] = list(COLUMNS)
    # Inside a script element only this sequence could end it.
    data = json.dumps(study, sort_keys=True).replace("</", "<\\/")
    holder = f'<script type="application/json" id="study">{data}</script>'
    return page("Who is who?", _body(questions), _STYLE, _SCRIPT, holder)


def _body(questions: Sequence[str]) -> str:
    fields = "".join(_question(question) for question in questions)
    return (
        "<section id=start><h1>Who is who?</h1>"
        "<p>You will see a picture of a person and two short videos, A and B. For each part of the "
        "person, say which video shows it more like the picture. Do not judge how beautiful or how "
        "sharp a video is. There are no trick questions, but some pairs have an obvious answer: "
        "they show whether one was looking.</p>"
        "<p>Your answers stay in this browser until you save them as a file at the end.</p>"
        "<p><label>Your name or number <input type=text id=rater maxlength=60></label></p>"
        "<button id=begin disabled>Begin</button></section>"
        "<section id=rate hidden><progress id=bar value=0></progress>"
        "<p class=soft><span id=count></span> · <span id=prompt></span></p><div id=pair>"
        "<figure><figcaption>The person</figcaption><img id=reference alt='the person'></figure>"
        f"{_video('a', 'A')}{_video('b', 'B')}</div>"
        "<button id=again class=plain>Play both again</button>"
        f"<h2>Which one keeps the person better?</h2>{fields}"
        "<button id=next disabled>Next</button></section>"
        "<section id=end hidden><h1>Thank you</h1><p>Save your answers and send the file to "
        "whoever asked you.</p><button id=save>Save the answers</button></section>"
    )


def _video(name: str, shown: str) -> str:
    video = f"<video id={name} autoplay loop muted playsinline></video>"
    return f"<figure><figcaption>{shown}</figcaption>{video}</figure>"


def _question(name: str) -> str:
    choices = "".join(
        f"<label><input type=radio name={escape(name)} value={value}>{escape(text)}</label>"
        for value, text in _SCALE
    )
    return (
        f"<fieldset><legend><span>{escape(name.capitalize())}</span></legend>"
        f"<div class=scale>{choices}</div></fieldset>"
    )
