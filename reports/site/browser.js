"use strict";
// The picture browser: an image, its mask and the maps of the chosen variants at a threshold.
(() => {
  const source = document.getElementById("ui-gallery");
  if (!source) return;
  const data = JSON.parse(source.textContent);
  const page = source.closest(".page");
  const form = page.querySelector(".controls");
  const panels = document.getElementById("ui-panels");
  const told = document.getElementById("ui-told");
  const slider = document.getElementById("ui-threshold");
  const buttons = [...document.querySelectorAll("#ui-shots button")];
  const IGNORE = 255;
  let shot = 0;

  const picked = (name) => form.querySelector(`input[name=ui-${name}]:checked`)?.value;
  const nameOf = (index) => data.classes[index] ?? `class ${index}`;
  const colourOf = (index) => data.colours[(index - 1) % data.colours.length];
  const percent = (value) => (100 * value).toFixed(1);

  // Pixel values of a PNG; `values` are those of its first channel.
  const decoded = new Map();
  const load = async (uri) => {
    if (!decoded.has(uri)) {
      decoded.set(uri, (async () => {
        const image = new Image();
        image.src = uri;
        await image.decode();
        const canvas = document.createElement("canvas");
        canvas.width = image.naturalWidth;
        canvas.height = image.naturalHeight;
        const context = canvas.getContext("2d", { willReadFrequently: true });
        context.drawImage(image, 0, 0);
        const rgba = context.getImageData(0, 0, canvas.width, canvas.height).data;
        const values = new Uint8Array(rgba.length / 4);
        for (let i = 0; i < values.length; i += 1) values[i] = rgba[4 * i];
        return { rgba, values };
      })());
    }
    return decoded.get(uri);
  };

  // The labels at a threshold: a score strictly above it is foreground, as in the evaluation.
  const labelsAt = (score, winner, threshold) => {
    const labels = new Uint8Array(score.length);
    for (let i = 0; i < score.length; i += 1) {
      if (score[i] > 255 * threshold + 1e-9) labels[i] = winner ? winner[i] : 1;
    }
    return labels;
  };

  // IoU of each class in the mask or in the labels; without classes foreground is one class.
  const overlap = (mask, labels, classed) => {
    const [both, either] = [new Map(), new Map()];
    const add = (map, key) => map.set(key, (map.get(key) ?? 0) + 1);
    for (let i = 0; i < mask.length; i += 1) {
      if (mask[i] === IGNORE) continue;
      const truth = classed ? mask[i] : Number(mask[i] > 0);
      add(either, truth);
      if (labels[i] === truth) add(both, truth);
      else if (labels[i] !== IGNORE) add(either, labels[i]); // no class: it misses what is there
    }
    return [...either.keys()].sort((a, b) => a - b)
      .map((index) => ({ index, iou: (both.get(index) ?? 0) / either.get(index) }));
  };

  const words = (found, classed) => {
    if (!found.length) return "IoU –: every pixel is ignored";
    const mean = found.reduce((sum, one) => sum + one.iou, 0) / found.length;
    const name = (index) => (classed ? nameOf(index) : ["background", "foreground"][index]);
    const parts = found.map((one) => `${name(one.index)} ${percent(one.iou)}`);
    return `IoU ${percent(mean)} % (${parts.join(", ")})`;
  };

  // Dark to bright, even in lightness: points on matplotlib's inferno.
  const HEAT = [[0, 0, 4], [40, 11, 84], [101, 21, 110], [159, 42, 99], [212, 72, 66], [245, 125, 21],
    [250, 193, 39], [252, 255, 164]];
  const heat = (value) => {
    const place = (value / 255) * (HEAT.length - 1);
    const low = Math.min(Math.floor(place), HEAT.length - 2);
    return HEAT[low].map((from, c) => from + (place - low) * (HEAT[low + 1][c] - from));
  };

  const paint = (canvas, at, pixel) => {
    const { width, height } = data.shots[at];
    const small = document.createElement("canvas");
    small.width = width;
    small.height = height;
    const context = small.getContext("2d");
    const shown = context.createImageData(width, height);
    for (let i = 0; i < width * height; i += 1) {
      const [r, g, b] = pixel(i);
      shown.data.set([r, g, b, 255], 4 * i);
    }
    context.putImageData(shown, 0, 0);
    const scale = Math.max(1, Math.round(384 / Math.max(width, height)));
    canvas.width = width * scale;
    canvas.height = height * scale;
    const big = canvas.getContext("2d");
    big.imageSmoothingEnabled = false;
    big.drawImage(small, 0, 0, canvas.width, canvas.height);
    return scale;
  };

  // Edges between different labels; white on black shows on any ground, in grey too.
  const outline = (canvas, at, labels, scale, dash) => {
    const { width, height } = data.shots[at];
    const path = new Path2D();
    const line = (x1, y1, x2, y2) => { path.moveTo(scale * x1, scale * y1); path.lineTo(scale * x2, scale * y2); };
    for (let y = 0; y < height; y += 1) {
      for (let x = 0; x < width; x += 1) {
        const here = labels[y * width + x];
        if (x + 1 < width && labels[y * width + x + 1] !== here) line(x + 1, y, x + 1, y + 1);
        if (y + 1 < height && labels[(y + 1) * width + x] !== here) line(x, y + 1, x + 1, y + 1);
      }
    }
    const context = canvas.getContext("2d");
    for (const [style, thick] of [["#000", 5], ["#fff", 2]]) {
      context.setLineDash(dash);
      context.strokeStyle = style;
      context.lineWidth = thick;
      context.stroke(path);
    }
  };

  // Names in the middle of what they name: colours alone tell nothing in grey.
  const writeNames = (canvas, at, labels, scale) => {
    const { width, height } = data.shots[at];
    const sums = new Map();
    for (let i = 0; i < width * height; i += 1) {
      if (!labels[i] || labels[i] === IGNORE) continue;
      const [x, y, n] = sums.get(labels[i]) ?? [0, 0, 0];
      sums.set(labels[i], [x + (i % width), y + Math.floor(i / width), n + 1]);
    }
    const context = canvas.getContext("2d");
    context.setLineDash([]);
    context.font = "600 20px system-ui, 'DejaVu Sans', sans-serif";
    context.textAlign = "center";
    context.textBaseline = "middle";
    for (const [index, [x, y, n]] of sums) {
      const place = [nameOf(index), scale * (x / n + 0.5), scale * (y / n + 0.5), canvas.width];
      context.lineWidth = 5;
      context.strokeStyle = "#000";
      context.strokeText(...place);
      context.fillStyle = "#fff";
      context.fillText(...place);
    }
  };

  const grey = (rgba, i) => (rgba[4 * i] + rgba[4 * i + 1] + rgba[4 * i + 2]) / 3;
  const tint = (rgba, i, label) => {
    const base = grey(rgba, i);
    if (label === IGNORE) return [255, 255, 255];
    if (!label) return [0.6 * base, 0.6 * base, 0.6 * base];
    const colour = colourOf(label);
    return [1, 3, 5].map((at) => 0.4 * base + 0.6 * parseInt(colour.slice(at, at + 2), 16));
  };

  const panel = (title) => {
    const figure = document.createElement("figure");
    const canvas = document.createElement("canvas");
    const caption = document.createElement("figcaption");
    const [name, text] = [document.createElement("b"), document.createElement("span")];
    name.textContent = title;
    canvas.setAttribute("role", "img");
    caption.append(name, text);
    figure.append(canvas, caption);
    const say = (what) => {
      text.textContent = what;
      canvas.setAttribute("aria-label", `${title}: ${what}`);
    };
    return { figure, canvas, say };
  };

  const present = (labels) => {
    const found = [...new Set(labels)].filter((index) => index && index !== IGNORE).sort((a, b) => a - b);
    return found.map(nameOf).join(", ") || "no foreground";
  };

  // The kind asked for; where this image has none of it, the first that it has.
  const layerOf = (variant) => {
    const asked = picked("kind") ?? "map";
    const kinds = [asked, ...Object.keys(data.kinds)].filter((kind) => variant.maps[kind]?.[shot]);
    return kinds.length ? [kinds[0], variant.maps[kinds[0]][shot]] : [asked, null];
  };

  const variantPanel = async (variant, image, mask, threshold) => {
    const made = panel(variant.name);
    made.figure.className = "variant";
    const [kind, layer] = layerOf(variant);
    if (!layer) {
      made.say("not stored");
      return made.figure;
    }
    const labelled = data.labels.includes(kind);
    const score = labelled ? null : (await load(layer[0])).values;
    const winner = layer[1] ? (await load(layer[1])).values : null;
    const labels = labelled ? winner : labelsAt(score, winner, threshold);
    const scores = !labelled && picked("mode") === "score";
    const scale = paint(made.canvas, shot, (i) => {
      if (!scores) return tint(image.rgba, i, labels[i]);
      const base = grey(image.rgba, i);
      return heat(score[i]).map((value) => 0.35 * base + 0.65 * value);
    });
    outline(made.canvas, shot, labels, scale, []);
    if (!scores && winner) writeNames(made.canvas, shot, labels, scale);
    if (document.getElementById("ui-truth").checked) outline(made.canvas, shot, mask.values, scale, [16, 12]);
    const found = words(overlap(mask.values, labels, winner !== null), winner !== null);
    made.say(labelled ? `${data.kinds[kind]}: ${found}` : `threshold ${threshold.toFixed(2)}: ${found}`);
    return made.figure;
  };

  let asked = 0;
  const draw = async () => {
    const mine = (asked += 1);
    const common = Number(slider.value);
    const own = picked("whose") === "own";
    const image = await load(buttons[shot].querySelector("img").src);
    const mask = await load(data.shots[shot].mask);
    const first = panel("Image");
    paint(first.canvas, shot, (i) => [image.rgba[4 * i], image.rgba[4 * i + 1], image.rgba[4 * i + 2]]);
    first.say(data.shots[shot].key);
    const second = panel("Ground truth");
    const scale = paint(second.canvas, shot, (i) => tint(image.rgba, i, mask.values[i]));
    outline(second.canvas, shot, mask.values, scale, []);
    writeNames(second.canvas, shot, mask.values, scale);
    second.say(present(mask.values));
    const figures = [first.figure, second.figure];
    for (const box of form.querySelectorAll("input[name=ui-variant]:checked")) {
      const variant = data.variants[Number(box.value)];
      const threshold = own && variant.threshold !== null ? variant.threshold : common;
      figures.push(await variantPanel(variant, image, mask, threshold));
    }
    if (mine !== asked) return; // a newer choice is being drawn
    panels.replaceChildren(...figures);
    panels.dataset.drawn = String(mine);
  };

  const tellThreshold = () => {
    const text = Number(slider.value).toFixed(2);
    document.getElementById("ui-threshold-value").textContent = text;
    slider.setAttribute("aria-valuetext", text);
  };

  const choose = (index, focus) => {
    shot = (index + buttons.length) % buttons.length;
    buttons.forEach((button, at) => {
      button.tabIndex = at === shot ? 0 : -1;
      if (at === shot) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
    });
    if (focus) buttons[shot].focus();
    told.textContent = `Image ${shot + 1} of ${buttons.length}: ${data.shots[shot].label}`;
    draw();
  };

  buttons.forEach((button, index) => button.addEventListener("click", () => choose(index, false)));
  document.getElementById("ui-shots").addEventListener("keydown", (event) => {
    const to = {
      ArrowRight: shot + 1, ArrowDown: shot + 1, ArrowLeft: shot - 1, ArrowUp: shot - 1,
      Home: 0, End: buttons.length - 1,
    }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    choose(to, true);
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", (event) => {
    const common = form.querySelector("input[name=ui-whose][value=common]");
    if (event.target === slider && common) common.checked = true;
    tellThreshold();
    draw();
  });

  const known = data.variants.find((variant) => variant.threshold !== null);
  if (known) slider.value = String(known.threshold);
  tellThreshold();
  let begun = false;
  const begin = () => {
    if (begun || page.hidden) return;
    begun = true;
    choose(0, false);
  };
  document.addEventListener("camsweep:shown", begin);
  begin();
})();
