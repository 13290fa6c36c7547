"use strict";
(() => {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();

  // Figures carry a light theme for files; on the page they take the page's colours.
  const themed = (layout) => {
    const copy = structuredClone(layout);
    delete copy.width;
    copy.autosize = true;
    copy.paper_bgcolor = "rgba(0,0,0,0)";
    copy.font = { ...copy.font, color: colour("--text") };
    copy.hoverlabel = {
      ...copy.hoverlabel,
      bgcolor: colour("--card"),
      bordercolor: colour("--line"),
      font: { ...copy.hoverlabel?.font, color: colour("--text") },
    };
    for (const key of Object.keys(copy)) {
      if (/^[xy]axis\d*$/.test(key)) {
        for (const part of ["gridcolor", "linecolor", "tickcolor"]) copy[key][part] = colour("--line");
      }
    }
    return copy;
  };

  const settings = { displayModeBar: false, displaylogo: false, responsive: true };
  const draw = () => {
    for (const place of document.querySelectorAll(".plot")) {
      let text = document.getElementById(`${place.id}-data`).textContent;
      // On a dark card the palette's blue gives way to its sky blue, unless both are in use.
      if (!text.includes("#56B4E9") && colour("--accent") === "#56b4e9") {
        text = text.replaceAll("#0072B2", "#56B4E9").replaceAll("rgba(0,114,178,", "rgba(86,180,233,");
      }
      const figure = JSON.parse(text);
      place.style.height = `${figure.layout.height}px`;
      Plotly.react(place, figure.data, themed(figure.layout), settings);
    }
  };
  draw();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
})();
