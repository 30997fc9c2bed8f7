// A grid of any length: only the cards near the screen exist, and pages are fetched as they come.

import { clear, el } from "./dom.js";

const PAGE = 60;
const SPARE_ROWS = 2;

export class Grid {
  // `fetchPage(offset, limit)` gives {total, rows}; `makeCard(row, index)` gives an element.
  constructor(fetchPage, makeCard, { cardWidth = 300, cardHeight = 330, onOpen = () => {} } = {}) {
    Object.assign(this, { fetchPage, makeCard, cardWidth, cardHeight, onOpen });
    this.space = el("div", { class: "space" });
    this.node = el("section", { class: "grid", "aria-label": "results" }, this.space);
    this.total = 0;
    this.selected = 0;
    this.rows = new Map();
    this.cards = new Map();
    this.asked = new Set();
    this.round = 0;
    this.waiting = false;
    this.draw = this.draw.bind(this);
    this.soon = this.soon.bind(this);
    addEventListener("scroll", this.soon, { passive: true });
    this.watcher = new ResizeObserver(this.soon);
    this.watcher.observe(this.node);
  }

  close() {
    removeEventListener("scroll", this.soon);
    this.watcher.disconnect();
  }

  async reset() {
    this.round += 1;
    this.rows.clear();
    this.asked.clear();
    this.dropCards();
    this.selected = 0;
    await this.load(0);
    this.draw();
  }

  dropCards() {
    for (const card of this.cards.values()) card.querySelector(".clip")?.stop?.();
    this.cards.clear();
    clear(this.space);
  }

  async load(page) {
    if (this.asked.has(page)) return;
    this.asked.add(page);
    const round = this.round;
    try {
      const found = await this.fetchPage(page * PAGE, PAGE);
      if (round !== this.round) return;
      this.total = found.total;
      found.rows.forEach((row, place) => this.rows.set(page * PAGE + place, row));
      this.node.dispatchEvent(new CustomEvent("counted", { detail: this.total }));
    } catch (error) {
      this.asked.delete(page);
    }
  }

  soon() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => { this.waiting = false; this.draw(); });
  }

  get columns() {
    return Math.max(1, Math.floor((this.node.clientWidth + 12) / (this.cardWidth + 12)));
  }

  draw() {
    if (!this.node.isConnected) return;
    const columns = this.columns;
    const high = this.cardHeight + 12;
    this.space.style.height = `${Math.ceil(this.total / columns) * high}px`;
    const top = this.space.getBoundingClientRect().top;
    const first = Math.max(0, Math.floor(-top / high) - SPARE_ROWS) * columns;
    const last = Math.min(
      this.total,
      (Math.ceil((innerHeight - top) / high) + SPARE_ROWS) * columns,
    );
    for (const [index, card] of this.cards) {
      if (index < first || index >= last) {
        card.querySelector(".clip")?.stop?.();
        card.remove();
        this.cards.delete(index);
      }
    }
    const width = (this.node.clientWidth - (columns - 1) * 12) / columns;
    for (let index = first; index < last; index += 1) this.place(index, columns, width, high);
  }

  place(index, columns, width, high) {
    let card = this.cards.get(index);
    if (!card) {
      const row = this.rows.get(index);
      if (!row) {
        const page = Math.floor(index / PAGE);
        if (!this.asked.has(page)) this.load(page).then(this.soon);
        return;
      }
      card = this.makeCard(row, index);
      card.classList.add("card");
      card.dataset.index = index;
      card.tabIndex = index === this.selected ? 0 : -1;
      card.addEventListener("click", () => { this.select(index, false); this.onOpen(row, index); });
      card.addEventListener("focus", () => this.select(index, false));
      this.cards.set(index, card);
      this.space.append(card);
    }
    const left = (index % columns) * (width + 12);
    card.style.width = `${width}px`;
    card.style.height = `${this.cardHeight}px`;
    card.style.transform = `translate(${left}px, ${Math.floor(index / columns) * high}px)`;
    card.classList.toggle("selected", index === this.selected);
  }

  refresh(id) {
    for (const [index, card] of this.cards) {
      if (this.rows.get(index)?.sample_id === id) {
        card.remove();
        this.cards.delete(index);
      }
    }
    this.draw();
  }

  select(index, focus = true) {
    this.selected = Math.max(0, Math.min(this.total - 1, index));
    const high = this.cardHeight + 12;
    const place = this.space.getBoundingClientRect().top;
    const row = Math.floor(this.selected / this.columns) * high + place;
    if (focus && (row < 130 || row + high > innerHeight)) {
      scrollBy({ top: row - Math.max(130, (innerHeight - high) / 2), behavior: "instant" });
      this.draw();
    }
    for (const [number, card] of this.cards) {
      card.classList.toggle("selected", number === this.selected);
      card.tabIndex = number === this.selected ? 0 : -1;
    }
    if (focus) this.cards.get(this.selected)?.focus({ preventScroll: true });
  }

  get current() {
    return this.rows.get(this.selected);
  }

  // Returns whether the key was for the grid.
  key(event) {
    const steps = {
      ArrowRight: 1, ArrowLeft: -1, ArrowDown: this.columns, ArrowUp: -this.columns,
      Home: -this.selected, End: this.total,
    };
    if (event.key in steps) this.select(this.selected + steps[event.key]);
    else if (event.key === "Enter" && this.current) this.onOpen(this.current, this.selected);
    else return false;
    event.preventDefault();
    return true;
  }
}
