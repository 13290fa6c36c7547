"use strict";
// The leaderboard: one board at a time, sorted by any column, filtered.
(() => {
  const form = document.querySelector("#leaderboard .controls");
  if (!form) return;
  const { memory } = window.camsweep;
  const boards = [...document.querySelectorAll("#leaderboard .of-board")];
  const filters = [...form.querySelectorAll("[data-filter]")];
  const sets = [...form.querySelectorAll("input[name=ui-set]")];

  const state = () => Object.fromEntries(filters.map((f) => [f.dataset.filter, f.value]));

  const passes = (row, asked) => {
    const { method, backbone, stage, seeds, find } = row.dataset;
    const words = asked.find.toLowerCase().split(/\s+/).filter(Boolean);
    return (!asked.method || method === asked.method)
      && (!asked.backbone || backbone === asked.backbone)
      && (!asked.stage || stage === asked.stage)
      && Number(seeds) >= Number(asked.seeds)
      && words.every((word) => find.includes(word));
  };

  const filter = () => {
    const asked = state();
    const board = Number(asked.board ?? 0);
    boards.forEach((part, index) => {
      part.hidden = index !== board;
      const rows = [...part.querySelectorAll("tbody tr")];
      if (!rows.length) return;
      for (const row of rows) row.hidden = !passes(row, asked);
      const left = rows.filter((row) => !row.hidden).length;
      part.querySelector(".count").textContent = `${left} of ${rows.length} variants shown`;
    });
    memory.set("board", asked);
    document.dispatchEvent(new Event("camsweep:shown"));
  };

  // Numbers as numbers; what is not known comes last, whichever way is up.
  const order = (index, down) => (a, b) => {
    const [x, y] = [a, b].map((row) => row.children[index].dataset.v);
    if (x === "" || y === "") return (x === "") - (y === "");
    const [m, n] = [Number(x), Number(y)];
    const sign = Number.isNaN(m) || Number.isNaN(n) ? (x < y ? -1 : Number(x > y)) : m - n;
    return down ? -sign : sign;
  };

  const sort = (head, direction) => {
    const table = head.closest("table");
    for (const other of table.querySelectorAll("thead th")) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", direction);
    const body = table.tBodies[0];
    body.append(...[...body.rows].sort(order(head.cellIndex, direction === "descending")));
  };

  for (const head of document.querySelectorAll("#leaderboard table.board thead th")) {
    head.querySelector("button").addEventListener("click", () => {
      const now = head.getAttribute("aria-sort");
      const other = now === "ascending" ? "descending" : "ascending";
      const direction = now ? other : head.dataset.first;
      sort(head, direction);
      memory.set("sort", { key: head.dataset.key, direction });
    });
  }

  const columns = () => {
    const chosen = sets.find((box) => box.checked).value;
    for (const table of document.querySelectorAll("#leaderboard table.board")) {
      table.dataset.set = chosen;
    }
    memory.set("set", chosen);
  };

  form.addEventListener("input", (event) => (event.target.dataset.filter ? filter() : columns()));
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(() => { columns(); filter(); }, 0));

  const kept = memory.get("board") ?? {};
  for (const control of filters) {
    const value = kept[control.dataset.filter];
    const known = control.tagName !== "SELECT" || [...control.options].some((o) => o.value === value);
    if (value !== undefined && known) control.value = value;
  }
  const set = sets.find((box) => box.value === memory.get("set"));
  if (set) set.checked = true;
  const sorted = memory.get("sort");
  for (const head of document.querySelectorAll("#leaderboard table.board thead th")) {
    if (sorted && head.dataset.key === sorted.key) sort(head, sorted.direction);
  }
  columns();
  filter();
})();
