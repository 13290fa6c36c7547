// A page that is watched reads itself again; it comes back where its reader was.
"use strict";
(() => {
  const key = "camsweep-place";
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
  addEventListener("pagehide", keep);
  // Plots are drawn when the page is there, and give it its height.
  addEventListener("load", () => { back(); setTimeout(back, 300); });
})();
