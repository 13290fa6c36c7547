"use strict";
// Runs before anything is shown. `camsweep.memory` is what the page keeps until its tab is closed.
(() => {
  const memory = {
    get: (key) => {
      try { return JSON.parse(sessionStorage.getItem(`camsweep.${key}`)); } catch { return null; }
    },
    set: (key, value) => {
      try { sessionStorage.setItem(`camsweep.${key}`, JSON.stringify(value)); } catch { /* private */ }
    },
  };
  window.camsweep = { memory };
  const root = document.documentElement;
  root.classList.add("js");

  const system = matchMedia("(prefers-color-scheme: dark)");
  const dark = () => (root.dataset.theme ?? (system.matches ? "dark" : "light")) === "dark";
  const told = () => {
    document.getElementById("ui-theme")?.setAttribute("aria-pressed", String(dark()));
    document.dispatchEvent(new Event("camsweep:theme"));
  };
  const choose = (name) => {
    root.dataset.theme = name;
    told();
  };
  const kept = memory.get("theme");
  if (kept === "dark" || kept === "light") root.dataset.theme = kept;

  system.addEventListener("change", told);
  document.addEventListener("DOMContentLoaded", () => {
    document.getElementById("ui-theme").addEventListener("click", () => {
      choose(dark() ? "light" : "dark");
      memory.set("theme", root.dataset.theme);
    });
    told();
  });
})();
