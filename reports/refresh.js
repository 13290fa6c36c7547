// A page that is watched reads itself again, and comes back where its reader was.
"use strict";
(() => {
  const key = "camsweep-place";
  const told = document.querySelector('meta[name="camsweep-refresh"]');
  const keep = () => {
    try {
      sessionStorage.setItem(key, JSON.stringify([location.hash, scrollX, scrollY]));
    } catch { /* a browser without storage starts at the top */ }
  };
  const back = () => {
    try {
      const [hash, x, y] = JSON.parse(sessionStorage.getItem(key));
      if (hash === location.hash) scrollTo({ left: x, top: y, behavior: "instant" });
    } catch { /* nothing was kept */ }
  };
  let timer = 0;
  // Whoever is using the page is left alone.
  const later = () => {
    clearTimeout(timer);
    timer = setTimeout(() => location.reload(), 1000 * Number(told.content));
  };
  for (const name of ["pointerdown", "keydown", "wheel", "touchmove"]) {
    addEventListener(name, later, { passive: true });
  }
  addEventListener("pagehide", keep);
  // Plots are drawn when the page is there, and give it its height.
  addEventListener("load", () => { back(); setTimeout(back, 300); later(); });
})();
