"use strict";
// The page of a report. All text comes from the data block and reaches the page as text nodes.
(() => {
  const byId = (id) => document.getElementById(id);
  const report = JSON.parse(byId("report").textContent);
  const plots = JSON.parse(byId("plots").textContent);

  // Columns: one number for each row
  const ARRAYS = { float32: Float32Array, int32: Int32Array, int16: Int16Array, uint16: Uint16Array };
  function unpack(packed) {
    const bytes = Uint8Array.from(atob(packed.data), (sign) => sign.charCodeAt(0));
    return new ARRAYS[packed.type](bytes.buffer);
  }
  const column = {};
  for (const name of ["x", "y", "label", "second", "confidence"]) {
    column[name] = unpack(report.columns[name]);
  }
  const spaces = report.columns.spaces.map(unpack);
  const truth = report.truth && unpack(report.truth.rows);
  const names = report.names;
  const n = names.length;
  const allRows = Array.from({ length: n }, (_, row) => row);
  const searched = names.map((name) => name.toLowerCase());
  const classes = new Map(report.classes.map((card) => [card.id, card]));
  const confidence = (row) => column.confidence[row] / report.steps;
  const agreement = (row) =>
    spaces.filter((space) => space[row] === column.label[row]).length / spaces.length;

  // Elements
  function make(tag, properties = {}, ...children) {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  }
  const percent = (share) => `${(100 * share).toFixed(share < 0.0995 ? 1 : 0)} %`;
  const count = (number) => number.toLocaleString("en");
  const many = (number, what) => `${count(number)} ${what}${number === 1 ? "" : "s"}`;
  const thing = report.images ? "image" : "row";
  const colour = (id) => report.colours[id % report.colours.length];

  /** Black or white, whichever is read more easily on a colour. */
  function ink(hex) {
    const [red, green, blue] = [1, 3, 5].map((i) => (parseInt(hex.slice(i, i + 2), 16) / 255) ** 2.2);
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.18 ? "black" : "white";
  }
  function chip(id) {
    const element = make("span", { className: "chip", textContent: id });
    element.style.background = colour(id);
    element.style.color = ink(colour(id));
    return element;
  }
  /** The picture of a row, where the page has it: a list of one or none. */
  function pictures(row) {
    const file = report.thumbnails[row];
    if (!file) return [];
    const src = `data:image/jpeg;base64,${file}`;
    return [make("img", { src, alt: names[row], decoding: "async" })];
  }
  /** A button that chooses a row: its picture, or its name where the page has no room for it. */
  function tile(row) {
    const title = `${names[row]} · confidence ${confidence(row).toFixed(2)}`;
    const [inside = names[row]] = pictures(row);
    const button = make("button", { type: "button", className: "tile", title }, inside);
    button.addEventListener("click", () => choose(row));
    return button;
  }
  function listed(row, withClass) {
    const button = make(
      "button",
      { type: "button", className: "row" },
      ...(report.images ? [make("span", { className: "tile" }, ...pictures(row))] : []),
      make("span", { className: "name", textContent: names[row] }),
      ...(withClass ? [chip(column.label[row])] : []),
      make("span", { className: "number", textContent: confidence(row).toFixed(2) }),
    );
    button.dataset.row = row;
    button.addEventListener("click", () => choose(row));
    return make("li", {}, button);
  }
  function describe(list, pairs) {
    for (const [key, value] of pairs) {
      list.append(
        make("div", {}, make("dt", { textContent: key }), make("dd", { textContent: value })),
      );
    }
  }

  // Names that the reader gives: kept in this browser if it lets us
  const storageKey = `hume-turtle-report-${report.key}`;
  let given = {}; // class → { name, mixed }
  try {
    given = JSON.parse(localStorage.getItem(storageKey)) || {};
  } catch {
    byId("state").textContent = "This browser keeps no names: save before you leave.";
  }
  const givenName = (id) => (given[id] && given[id].name) || "";
  const isMixed = (id) => Boolean(given[id] && given[id].mixed);
  const name = (id) => givenName(id) || `class ${id}`;
  const title = (id) => (givenName(id) ? `${id} ${givenName(id)}` : `class ${id}`);

  function rename(id, change) {
    given[id] = { name: givenName(id), mixed: isMixed(id), ...change };
    try {
      localStorage.setItem(storageKey, JSON.stringify(given));
      byId("state").textContent = "Kept in this browser.";
    } catch {
      byId("state").textContent = "Not kept by this browser: save before you leave.";
    }
    showNames();
  }
  /** Names stand on the map and in the list of classes too. */
  function showNames() {
    for (const option of byId("class").options) {
      if (option.value) option.textContent = title(Number(option.value));
    }
    if (map.names) {
      const text = report.classes.map(({ id }) => (givenName(id) ? title(id) : String(id)));
      map.names.data = { ...map.names.data, text };
    }
    if (chosen !== null) showDetail();
  }

  // Cards
  function card(one) {
    const { id } = one;
    const field = make("input", {
      type: "text",
      value: givenName(id),
      placeholder: `name of class ${id}`,
      maxLength: 80,
      autocomplete: "off",
    });
    field.setAttribute("aria-label", `name of class ${id}`);
    field.addEventListener("input", () => rename(id, { name: field.value.trim() }));
    const mixed = make("input", { type: "checkbox", checked: isMixed(id) });
    mixed.addEventListener("change", () => {
      rename(id, { mixed: mixed.checked });
      element.classList.toggle("mixed", mixed.checked);
    });
    const find = make("button", { type: "button", textContent: "Find", title: `Find class ${id}` });
    find.setAttribute("aria-label", `find class ${id}`);
    find.addEventListener("click", () => {
      byId("class").value = id;
      refresh();
      byId("map-section").scrollIntoView();
    });
    const heading = make("h3", {}, chip(id));
    heading.setAttribute("aria-label", `class ${id}`);
    const facts = [many(one.size, thing), percent(one.share), `confidence ${one.confidence.toFixed(2)}`];
    if (one.agreement !== null) facts.push(`spaces agree ${percent(one.agreement)}`);
    const element = make(
      "article",
      { className: isMixed(id) ? "card mixed" : "card" },
      make("div", { className: "top" }, heading, field, make("label", {}, mixed, " mixed"), find),
      make("p", { textContent: facts.join(" · ") }),
      ...(one.truth.length ? [make("p", { textContent: `true classes: ${shares(one.truth)}` })] : []),
      ...examples("most confident", one.best),
      ...examples("least confident", one.worst),
    );
    element.style.borderTopColor = colour(id);
    return element;
  }
  const shares = (pairs) => pairs.map(([name, share]) => `${name} ${percent(share)}`).join(", ");
  function examples(heading, rows) {
    if (!rows.length) return [];
    const inside = report.images
      ? make("div", { className: "tiles" }, ...rows.map(tile))
      : make("ul", { className: "rows" }, ...rows.map((row) => listed(row, false)));
    return [make("h4", { textContent: heading }), inside];
  }
  function showCards() {
    const key = byId("order").value;
    const sign = key === "size" ? -1 : 1;
    const sorted = [...report.classes].sort((a, b) => sign * (a[key] - b[key]) || a.id - b.id);
    byId("cards").replaceChildren(...sorted.map(card));
  }

  // Find: search and filters, for the list and the map
  const EXTREME = 100;
  const PAGE = 50;
  let found = allRows;
  let listedRows = 0;
  const steady = (order) => (a, b) => order * (column.confidence[a] - column.confidence[b]) || a - b;
  const WHICH = {
    "": ["all", (rows) => rows],
    least: [`the ${EXTREME} least confident`, (rows) => [...rows].sort(steady(1)).slice(0, EXTREME)],
    most: [`the ${EXTREME} most confident`, (rows) => [...rows].sort(steady(-1)).slice(0, EXTREME)],
  };
  if (spaces.length > 1) {
    WHICH.apart = ["those on which spaces differ", (rows) => rows.filter((row) => agreement(row) < 1)];
  }
  if (truth) {
    const partner = new Map(report.truth.matched.map((id, i) => [id, i]));
    const wrong = (row) => partner.get(column.label[row]) !== truth[row];
    WHICH.wrong = ["those of another true class", (rows) => rows.filter(wrong)];
  }
  function refresh() {
    const text = byId("search").value.trim().toLowerCase();
    const id = byId("class").value;
    let rows = allRows;
    if (id) rows = rows.filter((row) => column.label[row] === Number(id));
    if (text) rows = rows.filter((row) => searched[row].includes(text));
    found = WHICH[byId("which").value][1](rows);
    byId("count").textContent =
      found.length === n ? many(n, thing) : `${count(found.length)} of ${many(n, thing)}`;
    byId("clear").hidden = !text && !id && !byId("which").value;
    byId("results").replaceChildren();
    listedRows = 0;
    listMore();
    showOnMap();
  }
  function listMore() {
    const next = found.slice(listedRows, listedRows + PAGE);
    byId("results").append(...next.map((row) => listed(row, true)));
    listedRows += next.length;
    byId("more").hidden = listedRows >= found.length;
    markListed();
  }
  function markListed() {
    for (const button of document.querySelectorAll("button.row")) {
      button.setAttribute("aria-current", String(Number(button.dataset.row) === chosen));
    }
  }

  // The chosen row
  let chosen = null;
  function choose(row) {
    chosen = row;
    showDetail();
    markListed();
    markOnMap();
  }
  function showDetail() {
    const detail = byId("detail");
    detail.hidden = chosen === null;
    if (chosen === null) return;
    const row = chosen;
    const lines = [
      `confidence ${confidence(row).toFixed(3)}, second choice ${title(column.second[row])}`,
      ...spaces.map((space, k) => `${report.spaces[k]}: ${title(space[row])}`),
      ...(truth ? [`true class: ${report.truth.names[truth[row]]}`] : []),
    ];
    const close = make("button", { type: "button", className: "close", textContent: "×" });
    close.setAttribute("aria-label", "close");
    close.addEventListener("click", () => choose(null));
    const where = make("button", { type: "button", className: "where", textContent: "Show on the map" });
    where.addEventListener("click", () => zoomTo(row));
    detail.replaceChildren(
      ...pictures(row),
      make("p", { className: "name", textContent: names[row] }),
      make("p", {}, chip(column.label[row]), ` ${name(column.label[row])}`),
      ...lines.map((textContent) => make("p", { textContent })),
      where,
      close,
    );
  }
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && chosen !== null) choose(null);
  });

  // The map: Bokeh's models, which the page fills and listens to
  const map = {};
  /** Whether WebGL runs on the processor: Bokeh's canvas, which draws a part while it moves, is
   * then many times faster. */
  function webglIsSlow() {
    const gl = make("canvas").getContext("webgl");
    if (!gl) return true;
    const debug = gl.getExtension("WEBGL_debug_renderer_info");
    const renderer = gl.getParameter(debug ? debug.UNMASKED_RENDERER_WEBGL : gl.RENDERER);
    gl.getExtension("WEBGL_lose_context")?.loseContext();
    return /swiftshader|llvmpipe|softpipe|software|basic render/i.test(renderer);
  }
  async function drawMap() {
    if (webglIsSlow()) plots.map.doc.roots[0].attributes.output_backend = "canvas";
    const view = await Bokeh.embed.embed_item(plots.map, byId("map"));
    const { document } = [...view][0].model;
    for (const name of ["rows", "filter", "others", "chosen", "names", "across", "upwards"]) {
      map[name] = document.get_model_by_name(name);
    }
    map.rows.data = { x: column.x, y: column.y, label: column.label };
    map.rows.inspect.connect(showHover);
    map.rows.selected.change.connect(() => {
      const row = topmost(map.rows.selected);
      if (row !== undefined) choose(row);
    });
    showNames();
    showOnMap();
    markOnMap();
  }
  /** Of points that lie on each other, the one that was drawn last. */
  const topmost = ({ indices }) => indices[indices.length - 1];
  function showOnMap() {
    if (!map.filter) return;
    const all = found.length === n;
    map.others.visible = !all;
    map.filter.indices = all ? null : found;
  }
  function markOnMap() {
    if (!map.chosen) return;
    const rows = chosen === null ? [] : [chosen];
    map.chosen.data = { x: rows.map((row) => column.x[row]), y: rows.map((row) => column.y[row]) };
  }
  /** Moves the map, so that a tenth of it is seen, with a row in the middle. */
  function zoomTo(row) {
    for (const [range, values] of [[map.across, column.x], [map.upwards, column.y]]) {
      const half = extent(values) / 20 || 1;
      range.setv({ start: values[row] - half, end: values[row] + half });
    }
    byId("map-section").scrollIntoView();
  }
  const extent = (values) => {
    const [low, high] = values.reduce(([a, b], x) => [Math.min(a, x), Math.max(b, x)], [Infinity, -Infinity]);
    return high - low;
  };
  const pointer = { x: 0, y: 0 };
  byId("map").addEventListener("pointermove", (event) => {
    pointer.x = event.clientX;
    pointer.y = event.clientY;
  });
  byId("map").addEventListener("pointerleave", () => (byId("hover").hidden = true));
  /** What is known of the row under the pointer, beside it. */
  function showHover() {
    const row = topmost(map.rows.inspected);
    const box = byId("hover");
    box.hidden = row === undefined;
    if (box.hidden) return;
    const id = column.label[row];
    box.replaceChildren(
      ...pictures(row),
      make("div", { textContent: names[row] }),
      make("div", {}, chip(id), ` ${name(id)} · confidence ${confidence(row).toFixed(2)}`),
    );
    const { width, height } = box.getBoundingClientRect();
    box.style.left = `${Math.min(pointer.x + 14, innerWidth - width - 4)}px`;
    box.style.top = `${Math.min(pointer.y + 14, innerHeight - height - 4)}px`;
  }

  // Tables
  function table(head, body) {
    const header = make("tr", {}, ...head.map((inside) => make("th", { scope: "col" }, inside)));
    return make("table", {}, make("thead", {}, header), make("tbody", {}, ...body));
  }
  function showCurve() {
    const { columns, rows, chosen: taken } = report.curve;
    const titles = columns.map((name) => (name === "n_classes" ? "classes" : name));
    const body = rows.map(([number, ...values]) =>
      make(
        "tr",
        { className: number === taken ? "chosen" : "" },
        make("th", { scope: "row", textContent: number }),
        ...values.map((x) => make("td", { textContent: x === null ? "–" : x.toFixed(3) })),
      ),
    );
    byId("curve-table").append(table(titles, body));
    if (taken !== null) byId("curve-hint").textContent = `The line marks ${taken}, the number that was taken.`;
    Bokeh.embed.embed_item(plots.curve, byId("curve"));
  }
  function showTruth() {
    const { scores, names: rows, found: ids, matched, counts } = report.truth;
    describe(byId("scores"), scores.map(([name, score]) => [name, score.toFixed(3)]));
    const body = counts.map((line, i) => {
      const total = line.reduce((sum, number) => sum + number, 0);
      const cells = line.map((number, j) => {
        const cell = make("td", { textContent: number || "" });
        const share = number / total;
        cell.style.background = `rgb(0 90 140 / ${(0.9 * share).toFixed(3)})`;
        cell.style.color = share > 0.5 ? "white" : "black";
        if (ids[j] === matched[i]) cell.className = "matched";
        return cell;
      });
      return make("tr", {}, make("th", { scope: "row", textContent: rows[i], title: rows[i] }), ...cells);
    });
    byId("confusion").append(table(["true ╲ found", ...ids.map(chip)], body));
  }

  // Saving
  /** A cell that no spreadsheet takes for a formula. */
  function cell(value) {
    const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value);
    return `"${text.replaceAll('"', '""')}"`;
  }
  function assignments() {
    const lines = allRows.map((row) => {
      const id = column.label[row];
      const mixed = isMixed(id) ? "yes" : "no";
      return [cell(names[row]), id, cell(name(id)), mixed, confidence(row), column.second[row]].join(",");
    });
    return ["file,class,name,mixed,confidence,second", ...lines, ""].join("\n");
  }
  byId("save").addEventListener("click", () => {
    const href = URL.createObjectURL(new Blob([assignments()], { type: "text/csv" }));
    make("a", { href, download: "assignments-renamed.csv" }).click();
    setTimeout(() => URL.revokeObjectURL(href), 60000);
  });

  // Start
  document.title = report.title;
  byId("title").textContent = report.title;
  byId("notes").append(...report.notes.map((textContent) => make("li", { textContent })));
  describe(byId("facts"), report.facts);
  if (!report.images) byId("classes").before(byId("map-section")); // the map says more than names
  if (!spaces.length) byId("order").querySelector('[value="agreement"]').remove();
  byId("class").append(make("option", { value: "", textContent: "all" }));
  for (const { id } of report.classes) byId("class").append(make("option", { value: id }));
  for (const [value, [textContent]] of Object.entries(WHICH)) {
    byId("which").append(make("option", { value, textContent }));
  }
  showCards();
  showNames();
  refresh();
  byId("order").addEventListener("change", showCards);
  byId("class").addEventListener("change", refresh);
  byId("which").addEventListener("change", refresh);
  byId("more").addEventListener("click", listMore);
  byId("clear").addEventListener("click", () => {
    for (const field of ["search", "class", "which"]) byId(field).value = "";
    refresh();
    byId("search").focus();
  });
  let waiting;
  byId("search").addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(refresh, 120);
  });
  byId("curve-section").hidden = byId("curve-link").hidden = !report.curve;
  byId("truth-section").hidden = byId("truth-link").hidden = !report.truth;
  if (report.curve) showCurve();
  if (report.truth) showTruth();
  drawMap();
})();
