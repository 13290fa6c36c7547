"use strict";
// Figures are drawn when their page is first shown, in the page's colours.
(() => {
  const root = document.documentElement;
  let printing = false;
  const isDark = () => !printing && getComputedStyle(root).colorScheme === "dark";
  const colour = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  const settings = { displayModeBar: false, displaylogo: false, responsive: true };

  // Figures carry a light theme for files. In the dark, text and lines take the page's colours, and
  // the palette's blue gives way to its sky blue unless both are in use.
  const recoloured = (text) => {
    if (!isDark()) return text;
    const swaps = [["#1b2430", colour("--text")], ["#d9dee5", colour("--line")]];
    if (!/#56b4e9/i.test(text)) {
      swaps.push(["#0072B2", "#56B4E9"], ["rgba(0,114,178,", "rgba(86,180,233,"]);
    }
    return swaps.reduce((all, [from, to]) => all.replaceAll(from, to), text);
  };

  const themed = (layout) => {
    delete layout.width;
    layout.autosize = true;
    if (!printing) {
      const ground = colour("--card");
      layout.paper_bgcolor = "rgba(0,0,0,0)";
      layout.font = { ...layout.font, color: colour("--text") };
      layout.hoverlabel = {
        ...layout.hoverlabel, bgcolor: ground, bordercolor: colour("--edge"),
        font: { ...layout.hoverlabel?.font, color: colour("--text") },
      };
    }
    return layout;
  };

  const draw = async (place) => {
    const data = document.getElementById(`${place.id}-data`).textContent;
    const figure = JSON.parse(recoloured(data));
    if (!place.classList.contains("drawn")) place.replaceChildren();
    place.classList.add("drawn");
    await Plotly.react(place, figure.data, themed(figure.layout), settings);
  };

  const failed = (place) => {
    place.textContent = place.getAttribute("aria-label");
    place.classList.add("drawn", "failed");
  };

  const drawAll = async (places) => {
    for (const place of places) {
      try { await draw(place); } catch (error) { failed(place); console.error(error); }
      await new Promise((next) => setTimeout(next, 0)); // the page answers between two figures
    }
  };

  const seen = (place) => place.offsetParent !== null && !place.classList.contains("failed");
  const show = () => {
    const places = [...document.querySelectorAll(".plot")].filter(seen);
    for (const place of places) {
      if (place.classList.contains("drawn")) Plotly.Plots.resize(place);
    }
    drawAll(places.filter((place) => !place.classList.contains("drawn")));
  };
  const again = () => {
    for (const place of document.querySelectorAll(".plot.drawn:not(.failed)")) {
      if (seen(place)) draw(place);
      else place.classList.remove("drawn"); // drawn anew when it is shown
    }
  };
  if (window.Plotly) {
    document.addEventListener("camsweep:shown", show);
    document.addEventListener("camsweep:theme", again);
    addEventListener("beforeprint", () => { printing = true; again(); });
    addEventListener("afterprint", () => { printing = false; again(); });
  }
})();
