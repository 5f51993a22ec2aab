"use strict";
// Draws the page from its data. All text from outside goes in as text nodes or is drawn; nothing is parsed as markup.
(() => {
const data = JSON.parse(document.getElementById("data").textContent);
const kernels = data.kernels, graph = data.graph, $ = (id) => document.getElementById(id);
const total = kernels.reduce((sum, k) => sum + (k.s || 0), 0), longest = kernels.reduce((most, k) => Math.max(most, k.s || 0), 1e-12);
const picked = { kernels: new Set(), node: -1 };

// --- elements and figures -----------------------------------------------------------------------------------------
function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name === "click") element.addEventListener("click", value);
    else if (value !== false && value !== undefined) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}
function count(n) {
  for (const unit of ["", "K", "M", "G", "T"]) {
    if (n < 9999.5) return (unit && n < 99.5 ? n.toFixed(1) : Math.round(n)) + unit;
    n /= 1000;
  }
  return Math.round(n) + "P";
}
const time = (s) => s === null || s === undefined ? "-" : s >= 1 ? s.toFixed(2) + " s" : s >= 1e-3 ? (s * 1e3).toFixed(2) + " ms" : (s * 1e6).toFixed(s < 1e-4 ? 2 : 1) + " us";
const percent = (p) => p === null || p === undefined ? "-" : (p * 100).toFixed(p < 0.095 ? 1 : 0) + " %";
const share = (k) => total ? (k.s || 0) / total : 0;
const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const fileName = (place) => data.files[place[0]].name + ":" + place[1];

// --- head ---------------------------------------------------------------------------------------------------------
const wasRun = kernels.some((k) => k.s !== null);
function summarise() {
  $("name").textContent = data.name;
  const sum = (key) => kernels.reduce((all, k) => all + k[key], 0);
  const facts = [
    [count(kernels.length), data.kind === "profile" ? "rows" : "kernels"],
    ...(wasRun ? [[time(total), data.kind === "profile" ? "in kernels of " + time(data.seconds) : "a run"]] : [["not run", ""]]),
    [count(sum("b")) + "B", "moved"], [count(sum("f")), "flops"],
    ...Object.entries(data.sizes || {}).map(([name, number]) => [name + " = " + number, "here"]),
    ...(data.memory ? [[count(data.memory.nbytes) + "B", "arena"]] : []),
    [count(data.roof.flops) + " flop/s", "best product, float32"],
    [data.roof.bytes.map((r) => count(r[1])).join(" / ") + " B/s", "best at " + data.roof.bytes.map((r) => r[0] < 1 << 20 ? r[0] / 1024 + " KiB" : r[0] / (1 << 20) + " MiB").join(" / ")],
  ];
  for (const [figure, what] of facts) $("summary").append(make("li", {}, make("b", {}, figure), " " + what));
  $("summary").append(make("li", {}, data.machine));
}

// --- selection ----------------------------------------------------------------------------------------------------
function select(numbers, node = -1, from = "") {
  picked.kernels = new Set(numbers);
  picked.node = node;
  const first = numbers.length ? kernels[numbers[0]] : null;
  if (from !== "source" && first && first.l.length) {
    const place = node >= 0 && graph.nodes[node].l.length ? graph.nodes[node].l[0] : first.l[0];
    showFile(place[0]);
    const line = document.querySelector('[data-line="' + place[1] + '"]');
    if (line) line.scrollIntoView({ block: "center" });
  }
  markLines();
  if (from !== "graph" && graph && numbers.length) view.show(numbers);
  if (from !== "table") table.reveal(numbers[0]);
  table.draw();
  if (graph) view.draw();
  for (const drawing of drawings) drawing();
  describe(numbers, node);
  if (numbers.length === 1 && location.protocol !== "about:") history.replaceState(null, "", "#kernel=" + numbers[0]);
}

// --- source: the lines of one file at a time ----------------------------------------------------------------------
let shownFile = -1;
const byLine = new Map();  // "file:line" -> kernels
kernels.forEach((k, number) => k.l.forEach((place) => {
  const key = place.join(":");
  if (!byLine.has(key)) byLine.set(key, []);
  byLine.get(key).push(number);
}));
function showFile(number) {
  if (number === shownFile || !data.files[number]) return;
  shownFile = number;
  for (const tab of $("files").children) tab.setAttribute("aria-selected", tab.dataset.file === String(number));
  const box = $("lines"), file = data.files[number];
  box.replaceChildren();
  if (!file.parts.length) box.append(make("p", { class: "faint between" }, "The source of " + file.path + " is not there."));
  file.parts.forEach(([first, lines], part) => {
    if (part || first > 1) box.append(make("div", { class: "between" }, "\u22ef"));
    lines.forEach((text, at) => {
      const found = byLine.get(number + ":" + (first + at)), line = first + at;
      const part = found ? found.reduce((sum, n) => sum + share(kernels[n]), 0) : 0;
      const element = make("div", { class: found ? "line used" : "line", "data-line": line, title: found ? found.length + " kernels" : false,
        click: found ? () => select(found, -1, "source") : undefined },
      make("span", { class: "number" }, String(line)), make("span", { class: "share" }, part >= 0.0005 ? (part * 100).toFixed(1) + "%" : ""), make("span", {}, text));
      if (part) element.style.boxShadow = "inset 4px 0 rgba(" + style("--heat") + "," + Math.min(1, 0.15 + part * 2) + ")";
      box.append(element);
    });
  });
  markLines();
}
function markLines() {
  const lines = new Set();
  const places = picked.node >= 0 ? graph.nodes[picked.node].l : [...picked.kernels].flatMap((n) => kernels[n].l);
  for (const place of places) if (place[0] === shownFile) lines.add(String(place[1]));
  for (const line of document.querySelectorAll(".line.used")) line.classList.toggle("picked", lines.has(line.dataset.line));
}
function source() {
  const times = data.files.map((_, file) => kernels.reduce((sum, k) => sum + (k.l.some((p) => p[0] === file) ? 1 : 0), 0));
  data.files.forEach((file, number) => $("files").append(make("button", { role: "tab", "data-file": number, title: file.path, click: () => showFile(number) }, file.name)));
  if (data.files.length) showFile(times.indexOf(Math.max(...times)));
  else $("lines").append(make("p", { class: "faint between" }, "No line of a file is known."));
}

// --- details ------------------------------------------------------------------------------------------------------
const unpacked = new Map();
async function textsOf(number) {
  if (!unpacked.has(number)) {
    const bytes = Uint8Array.from(atob(data.texts[number]), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    unpacked.set(number, JSON.parse(await new Response(stream).text()));
  }
  return unpacked.get(number);
}
let wantedTab = "Kernel";
function openDetails(box, inside, numbers) {  // the kernel, or one of its texts, which are unpacked then
  const tabs = make("nav", { role: "tablist" }), body = make("div", {});
  async function show(name) {
    wantedTab = name;
    for (const tab of tabs.children) tab.setAttribute("aria-selected", tab.textContent === name);
    body.replaceChildren(inside);
    if (name === "Kernel") return;
    const texts = await Promise.all(numbers.map(textsOf));
    if (wantedTab !== name || !body.isConnected) return;
    const shown = texts.map((t, n) => (texts.length > 1 ? "; kernel " + (n + 1) + " of " + texts.length + "\n" : "") + (t[name] || "; " + t.note));
    body.replaceChildren(make("pre", { tabindex: 0 }, shown.join("\n\n")));
  }
  for (const name of ["Kernel", "IR", "LLVM", "assembly"]) tabs.append(make("button", { role: "tab", click: () => show(name) }, name));
  box.append(tabs, body);
  show(wantedTab);
}
function facts(rows) {
  return make("dl", {}, ...rows.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
}
function link(text, click) { return make("button", { class: "link mono", click }, text); }
function describe(numbers, node) {
  const box = $("details");
  box.replaceChildren();
  box.scrollTop = 0;
  if (!numbers.length) { box.append(make("p", { class: "faint" }, "Select a kernel, a node or a line.")); return; }
  if (numbers.length > 1) {
    const sum = (key) => numbers.reduce((all, n) => all + (kernels[n][key] || 0), 0);
    box.append(make("h2", {}, numbers.length + " kernels"), facts([["time", wasRun ? time(sum("s")) : "-"], ["bytes", count(sum("b")) + "B"], ["flops", count(sum("f"))]]), make("h3", {}, "Kernels"));
    for (const n of numbers.slice(0, 200)) box.append(make("div", {}, link(n + "  " + kernels[n].t, () => select([n]))));
    if (numbers.length > 200) box.append(make("p", { class: "faint" }, "and " + (numbers.length - 200) + " more: see the table"));
    return;
  }
  const k = kernels[numbers[0]], inside = make("div", {});
  box.append(make("h2", {}, (data.kind === "profile" ? "" : "kernel " + numbers[0] + ": ") + k.t));
  const least = k.s && k.p ? k.s * k.p : null;
  inside.append(facts([
    ["time", time(k.s) + (total ? "  (" + percent(share(k)) + " of all)" : "")], ["roofline", percent(k.p) + (least ? "  (" + time(least) + " at least)" : "")],
    ["bytes", count(k.b) + "B"], ["flops", count(k.f)], ...(k.n ? [["calls", count(k.n)]] : []), ...(k.c ? [["launch", k.c]] : []),
  ]));
  if (k.l.length) {
    inside.append(make("h3", {}, "Lines"));
    for (const place of k.l) inside.append(make("div", {}, link(fileName(place), () => { showFile(place[0]); select(byLine.get(place.join(":")), -1, "line"); })));
  }
  if (graph) {
    inside.append(make("h3", {}, "Nodes"));
    for (const n of graph.rows[numbers[0]]) {
      const found = graph.nodes[n];
      const row = make("div", {}, link(found.n + " = " + found.o + "  " + found.y, () => select(numbers, n, "graph")), make("span", { class: "faint" }, "  " + found.f));
      if (n === node) row.style.background = style("--picked");
      inside.append(row);
    }
    for (const [name, values] of [["Reads", k.r], ["Writes", k.w]]) {
      inside.append(make("h3", {}, name), ...values.map((v) => make("div", { class: "mono" }, v)));
    }
  }
  openDetails(box, inside, [k.x].flat());
}

// --- table: only the rows in sight are elements -------------------------------------------------------------------
const table = (() => {
  const height = 22, panel = make("div", { class: "panel", id: "kernels", tabindex: 0 }), body = make("div", {}), space = make("div", {});
  const columns = [["#", (k, n) => n], ["kernel", (k) => k.t], ["line", (k) => k.l.length ? fileName(k.l[0]) : ""], ...(data.kind === "profile" ? [["calls", (k) => k.n]] : [["part", share]]),
    ["bytes", (k) => k.b], ["flops", (k) => k.f], ["time", (k) => k.s || 0], ["roofline", (k) => k.p || 0], ["share", share]];
  let order = kernels.map((_, n) => n), sorted = -1, falling = false;
  if (data.kind === "profile") order.sort((a, b) => kernels[b].s - kernels[a].s);
  const head = make("div", { class: "row head" }, ...columns.map(([name], at) => make("span", { class: at > 2 && at < 8 ? "figure" : "" }, make("button", { click: () => sort(at) }, name))));
  body.style.position = "relative";
  panel.append(head, body);
  body.append(space);
  function sort(at) {
    falling = sorted === at ? !falling : at > 2;
    sorted = at;
    const key = kernels.map((k, n) => columns[at][1](k, n));
    order.sort((a, b) => (key[a] < key[b] ? -1 : key[a] > key[b] ? 1 : a - b) * (falling ? -1 : 1));
    panel.scrollTop = 0;
    draw();
  }
  function row(n, top) {
    const k = kernels[n], bar = make("i", {});
    bar.style.width = Math.round(100 * (k.s || 0) / longest) + "%";
    const cells = [n, k.t, k.l.slice(0, 2).map(fileName).join(", "), data.kind === "profile" ? count(k.n) : percent(share(k)), count(k.b), count(k.f), time(k.s), percent(k.p)];
    const element = make("div", { class: picked.kernels.has(n) ? "row picked" : "row", title: k.t, click: () => select([n], -1, "table") },
      ...cells.map((cell, at) => make("span", { class: at > 2 ? "figure" : "" }, String(cell))), make("span", { class: "bar" }, bar));
    element.style.top = top + "px";
    return element;
  }
  function draw() {
    body.style.height = order.length * height + "px";
    const first = Math.max(0, Math.floor(panel.scrollTop / height) - 5), last = Math.min(order.length, first + Math.ceil((panel.clientHeight || 400) / height) + 12);
    const rows = [];
    for (let at = first; at < last; at++) rows.push(row(order[at], at * height));
    body.replaceChildren(...rows);
  }
  function reveal(n) {
    const at = order.indexOf(n);
    if (at >= 0 && (at * height < panel.scrollTop || at * height > panel.scrollTop + panel.clientHeight - 60)) panel.scrollTop = at * height - panel.clientHeight / 2;
  }
  panel.addEventListener("scroll", draw);
  return { panel, draw, reveal };
})();

// --- canvases -----------------------------------------------------------------------------------------------------
function sized(canvas) {
  const scale = window.devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
  }
  const pen = canvas.getContext("2d");
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, width, height);
  return [pen, width, height];
}
function tip(event, text) {
  const box = $("tip");
  box.hidden = !text;
  if (!text) return;
  box.textContent = text;
  box.style.left = Math.max(0, Math.min(event.clientX + 14, window.innerWidth - box.offsetWidth - 8)) + "px";
  box.style.top = Math.max(0, Math.min(event.clientY + 14, window.innerHeight - box.offsetHeight - 8)) + "px";
}
const clipped = (text, most) => text.length > most ? text.slice(0, Math.max(1, most - 1)) + "\u2026" : text;
const drawings = [];

const view = graph && (() => {
  const canvas = $("graph"), at = { x: 0, y: 0, zoom: 1 }, rowHeight = 15, headHeight = 40;
  const boxes = graph.boxes, edges = graph.edges.map(([a, b]) => ({ a, b }));
  const all = boxes.reduce((r, b) => [Math.max(r[0], b[0] + b[2]), Math.max(r[1], b[1] + b[3])], [1, 1]);
  let waiting = false;
  function draw() { if (!waiting) { waiting = true; requestAnimationFrame(() => { waiting = false; paint(); }); } }
  function paint() {
    const [pen, width, height] = sized(canvas);
    const left = -at.x / at.zoom, top = -at.y / at.zoom, right = left + width / at.zoom, bottom = top + height / at.zoom;
    pen.save();
    pen.translate(at.x, at.y);
    pen.scale(at.zoom, at.zoom);
    const edgeColour = style("--edge"), pick = style("--pick"), any = picked.kernels.size > 0;
    pen.lineWidth = 0.9 / at.zoom;
    for (const pass of [0, 1]) {
      pen.strokeStyle = pass ? pick : edgeColour;
      pen.globalAlpha = pass ? 0.9 : any ? 0.25 : 0.45;
      pen.beginPath();
      for (const { a, b } of edges) {
        const chosen = picked.kernels.has(a) || picked.kernels.has(b);
        if (chosen !== (pass === 1)) continue;
        const p = boxes[a], q = boxes[b], x = p[0] + p[2] / 2, y = p[1] + p[3], u = q[0] + q[2] / 2, v = q[1];
        if (Math.max(y, v) < top || Math.min(y, v) > bottom || Math.max(x, u) < left - 200 || Math.min(x, u) > right + 200) continue;
        pen.moveTo(x, y);
        const bend = Math.min(120, Math.max(14, (v - y) / 2));
        if (at.zoom < 0.06) pen.lineTo(u, v); else pen.bezierCurveTo(x, y + bend, u, v - bend, u, v);
      }
      pen.stroke();
    }
    pen.globalAlpha = 1;
    const text = style("--text"), faint = style("--faint"), back = style("--box"), rule = style("--rule"), heat = style("--heat");
    pen.textBaseline = "middle";
    boxes.forEach((box, n) => {
      if (box[0] > right || box[1] > bottom || box[0] + box[2] < left || box[1] + box[3] < top) return;
      const chosen = picked.kernels.has(n), k = kernels[n], hot = (k.s || 0) / longest;
      pen.fillStyle = back;
      pen.fillRect(...box);
      pen.fillStyle = "rgba(" + heat + "," + (0.06 + 0.75 * hot) + ")";
      pen.fillRect(box[0], box[1], box[2], at.zoom < 0.35 ? box[3] : 20);
      pen.strokeStyle = chosen ? pick : rule;
      pen.lineWidth = (chosen ? 2.2 : 1) / at.zoom;
      pen.strokeRect(...box);
      if (at.zoom < 0.35) return;
      const most = Math.floor((box[2] - 12) / 6.2);
      pen.fillStyle = text;
      pen.font = "600 11px system-ui, sans-serif";
      pen.fillText(clipped(n + "  " + k.t, most), box[0] + 7, box[1] + 11);
      pen.fillStyle = faint;
      pen.font = "10px system-ui, sans-serif";
      pen.fillText(clipped((k.s === null ? count(k.b) + "B" : time(k.s) + "  " + percent(k.p)) + (k.l.length ? "  " + fileName(k.l[0]) : ""), most + 6), box[0] + 7, box[1] + 29);
      if (at.zoom < 0.55) return;
      pen.font = "10.5px ui-monospace, DejaVu Sans Mono, monospace";
      graph.rows[n].slice(0, graph.shown).forEach((number, row) => {
        const node = graph.nodes[number], y = box[1] + headHeight + row * rowHeight + 5;
        if (number === picked.node) { pen.fillStyle = style("--picked"); pen.fillRect(box[0] + 2, y - 7, box[2] - 4, rowHeight); }
        pen.fillStyle = text;
        pen.fillText(clipped(node.n + " " + node.o + " " + node.y, Math.floor((box[2] - 12) / 6.4)), box[0] + 7, y);
      });
      if (graph.rows[n].length > graph.shown) {
        pen.fillStyle = faint;
        pen.fillText("\u2026 " + (graph.rows[n].length - graph.shown) + " more", box[0] + 7, box[1] + headHeight + graph.shown * rowHeight + 5);
      }
    });
    if (picked.node >= 0) paintNode(pen, pick);
    pen.restore();
  }
  function placeOf(number) {
    const node = graph.nodes[number], box = boxes[node.k], row = Math.min(graph.rows[node.k].indexOf(number), graph.shown);
    return [box[0], box[1] + headHeight + row * rowHeight + 5, box[2]];
  }
  function paintNode(pen, colour) {
    const [x, y] = placeOf(picked.node);
    pen.strokeStyle = colour;
    pen.lineWidth = 1.6 / at.zoom;
    pen.beginPath();
    for (const from of graph.nodes[picked.node].i) {
      const [u, v] = placeOf(from);
      pen.moveTo(u, v);
      pen.bezierCurveTo(u - 40, v, x - 40, y, x, y);
    }
    pen.stroke();
  }
  function zoom(factor, x, y) {
    const next = Math.min(4, Math.max(0.002, at.zoom * factor));
    at.x = x - (x - at.x) * next / at.zoom;
    at.y = y - (y - at.y) * next / at.zoom;
    at.zoom = next;
    draw();
  }
  function fit() {
    const width = canvas.clientWidth, height = canvas.clientHeight;
    at.zoom = Math.min(1.2, Math.max(0.002, Math.min(width / (all[0] + 40), height / (all[1] + 40))));
    at.x = (width - all[0] * at.zoom) / 2;
    at.y = Math.max(12, (height - all[1] * at.zoom) / 2);
    draw();
  }
  function start() {  // a tall graph begins at its top, where it can be read
    fit();
    if (at.zoom < 0.55) {
      at.zoom = 0.8;
      at.x = canvas.clientWidth / 2 - (boxes[0][0] + boxes[0][2] / 2) * at.zoom;
      at.y = 16;
      draw();
    }
  }
  function show(numbers) {
    const box = boxes[numbers[0]], x = box[0] * at.zoom + at.x, y = box[1] * at.zoom + at.y;
    if (at.zoom < 0.4 || at.zoom > 1.8) at.zoom = 0.9;
    else if (x > 0 && y > 0 && x + box[2] * at.zoom < canvas.clientWidth && y + box[3] * at.zoom < canvas.clientHeight) return;
    at.x = canvas.clientWidth / 2 - (box[0] + box[2] / 2) * at.zoom;
    at.y = canvas.clientHeight / 2 - (box[1] + box[3] / 2) * at.zoom;
  }
  function hit(event) {
    const bounds = canvas.getBoundingClientRect(), x = (event.clientX - bounds.left - at.x) / at.zoom, y = (event.clientY - bounds.top - at.y) / at.zoom;
    const n = boxes.findIndex((b) => x >= b[0] && x <= b[0] + b[2] && y >= b[1] && y <= b[1] + b[3]);
    if (n < 0) return [-1, -1];
    const row = Math.floor((y - boxes[n][1] - headHeight + 2) / rowHeight), rows = graph.rows[n];
    return [n, at.zoom >= 0.55 && row >= 0 && row < Math.min(rows.length, graph.shown) ? rows[row] : -1];
  }
  let held = null;
  canvas.addEventListener("pointerdown", (e) => { canvas.setPointerCapture(e.pointerId); held = { x: e.clientX, y: e.clientY, moved: false }; });
  canvas.addEventListener("pointermove", (e) => {
    if (held) {
      held.moved = held.moved || Math.abs(e.clientX - held.x) + Math.abs(e.clientY - held.y) > 4;
      if (held.moved) { at.x += e.movementX; at.y += e.movementY; tip(e, ""); draw(); }
      return;
    }
    const [n, node] = hit(e);
    if (n < 0) { tip(e, ""); return; }
    const k = kernels[n], found = node >= 0 ? graph.nodes[node] : null;
    tip(e, found ? found.n + ": " + found.y + " = " + found.o + "\n" + found.f + (found.l.length ? "\n" + fileName(found.l[0]) : "")
      : "kernel " + n + ": " + k.t + "\n" + time(k.s) + ", " + percent(k.p) + " of the roofline, " + count(k.b) + "B, " + count(k.f) + " flops");
  });
  canvas.addEventListener("pointerup", (e) => {
    const click = held && !held.moved;
    held = null;
    if (!click) return;
    const [n, node] = hit(e);
    select(n < 0 ? [] : [n], node, "graph");
  });
  canvas.addEventListener("pointerleave", (e) => tip(e, ""));
  canvas.addEventListener("wheel", (e) => {
    e.preventDefault();
    const bounds = canvas.getBoundingClientRect();
    zoom(Math.exp(-e.deltaY * (e.deltaMode ? 0.05 : 0.0015)), e.clientX - bounds.left, e.clientY - bounds.top);
  }, { passive: false });
  const middle = (factor) => zoom(factor, canvas.clientWidth / 2, canvas.clientHeight / 2);
  canvas.addEventListener("keydown", (e) => {
    const step = { ArrowRight: [-60, 0], ArrowLeft: [60, 0], ArrowDown: [0, -60], ArrowUp: [0, 60] }[e.key];
    if (step) { at.x += step[0]; at.y += step[1]; draw(); } else if (e.key === "+" || e.key === "=") middle(1.25); else if (e.key === "-") middle(0.8);
    else if (e.key === "0") fit(); else return;
    e.preventDefault();
  });
  $("fit").addEventListener("click", fit);
  $("closer").addEventListener("click", () => middle(1.25));
  $("farther").addEventListener("click", () => middle(0.8));
  return { draw, start, show, fit, zoom: middle };
})();

// --- memory: offset x step; and what ran when -------------------------------------------------------------------------
function chart(id, rectangles, label, axes) {
  const panel = make("div", { class: "panel", id }), canvas = make("canvas", { tabindex: 0 });
  panel.append(canvas);
  const range = axes.range.slice();  // of what is across, in sight
  const pad = { left: 92, right: 12, top: 10, bottom: 24 };
  const across = (v, width) => pad.left + (v - range[0]) / (range[1] - range[0]) * (width - pad.left - pad.right);
  const down = (v, height) => pad.top + v / axes.high * (height - pad.top - pad.bottom);
  function draw() {
    if (panel.hidden || !canvas.clientWidth) return;
    const [pen, width, height] = sized(canvas);
    pen.font = "11px system-ui, sans-serif";
    pen.fillStyle = style("--faint");
    pen.strokeStyle = style("--rule");
    pen.textBaseline = "middle";
    for (let i = 0; i <= 4; i++) {
      const y = down(axes.high * i / 4, height), x = across(range[0] + (range[1] - range[0]) * i / 4, width);
      if (axes.rows === undefined) { pen.textAlign = "right"; pen.fillText(count(axes.high * i / 4) + "B", pad.left - 8, y); }
      pen.textAlign = i === 4 ? "right" : "center";
      pen.fillText(axes.mark(range[0] + (range[1] - range[0]) * i / 4), x, height - 10);
    }
    (axes.rows || []).forEach((name, n) => { pen.textAlign = "right"; pen.fillText(clipped(name, 13), pad.left - 8, down(n + 0.5, height)); });
    pen.strokeRect(pad.left, pad.top, width - pad.left - pad.right, height - pad.top - pad.bottom);
    pen.save();
    pen.beginPath();
    pen.rect(pad.left, pad.top, width - pad.left - pad.right, height - pad.top - pad.bottom);
    pen.clip();
    const hot = style("--heat"), pick = style("--pick"), picking = picked.kernels.size > 0;
    for (const r of rectangles) {
      const x = across(r.x0, width), u = Math.max(x + 0.8, across(r.x1, width)), y = down(r.y0, height), v = Math.max(y + 0.8, down(r.y1, height));
      if (u < pad.left || x > width) continue;
      const chosen = picking && r.of(picked.kernels);
      pen.fillStyle = chosen ? pick : "rgba(" + hot + "," + (picking ? 0.22 : 0.25 + 0.5 * ((r.n * 7) % 10) / 10) + ")";
      pen.fillRect(x, y, u - x, v - y);
      if (u - x > 3 && v - y > 3) { pen.strokeStyle = style("--panel"); pen.lineWidth = 0.5; pen.strokeRect(x, y, u - x, v - y); }
    }
    pen.restore();
  }
  function hit(event) {
    const bounds = canvas.getBoundingClientRect(), px = event.clientX - bounds.left, py = event.clientY - bounds.top;
    const x = range[0] + (px - pad.left) / (bounds.width - pad.left - pad.right) * (range[1] - range[0]), y = (py - pad.top) / (bounds.height - pad.top - pad.bottom) * axes.high;
    const slack = 2 / bounds.width * (range[1] - range[0]);
    return rectangles.findLast((r) => x >= r.x0 - slack && x <= r.x1 + slack && y >= r.y0 && y <= r.y1);
  }
  let held = null;
  canvas.addEventListener("pointerdown", (e) => { canvas.setPointerCapture(e.pointerId); held = { x: e.clientX, moved: false, range: range.slice() }; });
  canvas.addEventListener("pointermove", (e) => {
    if (held) {
      const by = (held.x - e.clientX) / canvas.clientWidth * (held.range[1] - held.range[0]);
      held.moved = held.moved || Math.abs(e.clientX - held.x) > 4;
      if (held.moved) { range[0] = held.range[0] + by; range[1] = held.range[1] + by; draw(); }
      return;
    }
    const found = hit(e);
    tip(e, found ? label(found) : "");
  });
  canvas.addEventListener("pointerup", (e) => {
    const found = held && !held.moved ? hit(e) : null;
    held = null;
    if (found) select([found.kernel], -1, id);
  });
  canvas.addEventListener("pointerleave", (e) => tip(e, ""));
  canvas.addEventListener("dblclick", () => { range.splice(0, 2, ...axes.range); draw(); });
  canvas.addEventListener("wheel", (e) => {
    e.preventDefault();
    const part = (e.offsetX - pad.left) / Math.max(1, canvas.clientWidth - pad.left - pad.right), centre = range[0] + part * (range[1] - range[0]), factor = Math.exp(e.deltaY * 0.0015);
    range[0] = centre + (range[0] - centre) * factor;
    range[1] = centre + (range[1] - centre) * factor;
    draw();
  }, { passive: false });
  drawings.push(draw);
  return panel;
}
function memory() {
  const plan = data.memory;
  const rectangles = plan.rows.map(([offset, nbytes, first, last, name], n) => ({ x0: first, x1: last + 1, y0: offset, y1: offset + Math.max(nbytes, 1), name, n, nbytes, kernel: first, of: (set) => set.has(first) || set.has(last) }));
  const label = (r) => r.name + "\n" + count(r.nbytes) + "B at " + r.y0 + ", kernels " + r.x0 + " to " + (r.x1 - 1) + "\n" + kernels[r.kernel].t + (kernels[r.kernel].l.length ? ", " + fileName(kernels[r.kernel].l[0]) : "");
  return chart("memory", rectangles, label, { range: [0, Math.max(1, plan.steps)], high: Math.max(1, plan.nbytes), mark: (v) => "kernel " + Math.round(v) });
}
function timeline() {
  const { events, threads, left } = data.timeline, end = events.reduce((last, e) => Math.max(last, e[0] + e[1]), 1e-3);
  const rectangles = events.map(([start, took, thread, row], n) => ({ x0: start, x1: start + took, y0: thread + 0.15, y1: thread + 0.85, n: row, kernel: row, took, of: (set) => set.has(row) }));
  const label = (r) => kernels[r.kernel].t + "\n" + time(r.took * 1e-6) + " at " + time(r.x0 * 1e-6) + (kernels[r.kernel].l.length ? "\n" + fileName(kernels[r.kernel].l[0]) : "");
  const panel = chart("timeline", rectangles, label, { range: [0, end], high: Math.max(6, threads.length), rows: threads, mark: (v) => time(v * 1e-6) });
  if (left) panel.append(make("p", { class: "faint between" }, left + " later kernels are not shown; chrome_trace(path) has more"));
  return panel;
}
function guards() {
  return make("div", { class: "panel", id: "guards" }, make("p", { class: "faint" }, "This graph is used as long as all of this holds; else the function is captured again."), make("ol", {}, ...data.guards.map(([text, times]) => make("li", {}, times > 1 ? text + "  (" + times + " times)" : text))));
}

// --- start --------------------------------------------------------------------------------------------------------
function openTab(id) {
  for (const panel of $("panels").children) panel.hidden = panel.id !== id;
  for (const tab of $("tabs").children) tab.setAttribute("aria-selected", tab.dataset.panel === id);
  table.draw();
  for (const drawing of drawings) drawing();
}
summarise();
if (data.kind === "profile") document.querySelector("main").classList.add("profile");
const panels = [["kernels", data.kind === "profile" ? "Ops" : "Kernels", table.panel]];
if (data.memory) panels.push(["memory", "Memory over time", memory()]);
if (data.timeline) panels.push(["timeline", "Timeline", timeline()]);
if (data.guards) panels.push(["guards", "Guards (" + data.guards.reduce((sum, g) => sum + g[1], 0) + ")", guards()]);
for (const [id, name, panel] of panels) {
  $("tabs").append(make("button", { role: "tab", "data-panel": id, click: () => openTab(id) }, name));
  $("panels").append(panel);
}
source();
const asked = new URLSearchParams(location.hash.slice(1));
openTab(panels.some((p) => p[0] === asked.get("tab")) ? asked.get("tab") : "kernels");
if (graph && graph.boxes.length) view.start();
if (asked.has("text")) wantedTab = asked.get("text");
const wanted = Number(asked.get("kernel") ?? NaN);
if (kernels[wanted]) select([wanted], graph && asked.has("node") ? graph.rows[wanted][Number(asked.get("node"))] ?? -1 : -1);
if (asked.has("fit") && graph && graph.boxes.length) view.fit();
const redraw = () => { table.draw(); if (graph) view.draw(); for (const drawing of drawings) drawing(); };
window.addEventListener("resize", redraw);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
document.body.dataset.ready = "yes";
})();
