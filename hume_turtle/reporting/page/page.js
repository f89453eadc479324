"use strict";
// The page of a report. All text comes from the data block and reaches the page as text nodes.
(() => {
  const byId = (id) => document.getElementById(id);
  const report = JSON.parse(byId("report").textContent);
  const plots = JSON.parse(byId("plots").textContent);
  const { columns, names, classes } = report;
  const { label, second, confidence } = columns; // one number for each row
  const spaces = columns.spaces.length > 1 ? columns.spaces : []; // one alone has nothing to add
  const truth = report.truth && report.truth.rows;
  const allRows = [...names.keys()];
  const searched = names.map((name) => name.toLowerCase());

  // Elements and text
  function make(tag, properties = {}, ...children) {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  }
  function button(properties, click, ...children) {
    const element = make("button", { type: "button", ...properties }, ...children);
    element.addEventListener("click", click);
    return element;
  }
  const lines = (tag, texts) => texts.map((textContent) => make(tag, { textContent }));
  const percent = (share) => `${(100 * share).toFixed(share < 0.0995 ? 1 : 0)} %`;
  const count = (number) => number.toLocaleString("en");
  const thing = report.images ? "image" : "row";
  const many = (number) => `${count(number)} ${thing}${number === 1 ? "" : "s"}`;
  const sure = (row) => confidence[row].toFixed(2);
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
    const src = `data:image/jpeg;base64,${file}`;
    return file ? [make("img", { src, alt: names[row], decoding: "async" })] : [];
  }
  /** A button that chooses a row: its picture, or its name where the page has no room for it. */
  function tile(row) {
    const [inside = names[row]] = pictures(row);
    const title = `${names[row]} · confidence ${sure(row)}`;
    return button({ className: "tile", title }, () => choose(row), inside);
  }
  function listed(row, ...marks) {
    const inside = [
      ...(report.images ? [make("span", { className: "tile" }, ...pictures(row))] : []),
      make("span", { className: "name", textContent: names[row] }),
      ...marks,
      make("span", { className: "number", textContent: sure(row) }),
    ];
    const element = button({ className: "row" }, () => choose(row), ...inside);
    element.dataset.row = row;
    return make("li", {}, element);
  }
  function describe(list, pairs) {
    list.append(...pairs.map(([key, value]) => make("div", {}, ...lines("dt", [key]), ...lines("dd", [value]))));
  }

  // Names that the reader gives, kept in this browser if it lets us
  const storageKey = `hume-turtle-report-${report.key}`;
  let given = {}; // class → { name, mixed }
  const givenName = (id) => given[id]?.name || "";
  const isMixed = (id) => Boolean(given[id]?.mixed);
  const name = (id) => givenName(id) || `class ${id}`;
  const title = (id) => (givenName(id) ? `${id} ${givenName(id)}` : `class ${id}`);

  /** Runs what uses the browser's storage, and says whether names are kept. */
  function withStorage(use) {
    try {
      use(localStorage);
      byId("state").textContent = Object.keys(given).length ? "Names are kept in this browser." : "";
    } catch {
      byId("state").textContent = "This browser keeps no names: save before you leave.";
    }
  }
  function rename(id, change) {
    given[id] = { name: givenName(id), mixed: isMixed(id), ...change };
    withStorage((storage) => storage.setItem(storageKey, JSON.stringify(given)));
    showNames();
  }
  /** Names stand on the map and in the list of classes too. */
  function showNames() {
    for (const option of byId("class").options) {
      if (option.value) option.textContent = title(option.value);
    }
    if (map.names) {
      const short = innerWidth < 600; // no room for names
      const text = classes.map(({ id }) => (givenName(id) && !short ? title(id) : String(id)));
      map.names.data = { ...map.names.data, text };
    }
    showDetail();
  }

  // Cards
  function card(one) {
    const { id } = one;
    const field = make("input", {
      type: "text",
      value: givenName(id),
      placeholder: `name of class ${id}`,
      ariaLabel: `name of class ${id}`,
      maxLength: 80,
      autocomplete: "off",
    });
    field.addEventListener("input", () => rename(id, { name: field.value.trim() }));
    const mixed = make("input", { type: "checkbox", checked: isMixed(id) });
    mixed.addEventListener("change", () => {
      rename(id, { mixed: mixed.checked });
      element.classList.toggle("mixed", mixed.checked);
    });
    const find = button({ textContent: "Find", ariaLabel: `find class ${id}` }, () => {
      byId("class").value = id;
      refresh();
      byId("finder").scrollIntoView();
    });
    const heading = make("h3", { ariaLabel: `class ${id}` }, chip(id));
    const facts = [many(one.size), percent(one.share), `confidence ${one.confidence.toFixed(2)}`];
    if (spaces.length) facts.push(`spaces agree ${percent(one.agreement)}`);
    const shares = one.truth.map(([name, share]) => `${name} ${percent(share)}`);
    const element = make(
      "article",
      { className: isMixed(id) ? "card mixed" : "card" },
      make("div", { className: "top" }, heading, field, make("label", {}, mixed, " mixed"), find),
      ...lines("p", [facts.join(" · "), ...(truth ? [`true classes: ${shares.join(", ")}`] : [])]),
      ...examples("most confident", one.best),
      ...examples("least confident", one.worst),
    );
    element.style.borderTopColor = colour(id);
    return element;
  }
  function examples(heading, rows) {
    if (!rows.length) return [];
    const inside = report.images
      ? make("div", { className: "tiles" }, ...rows.map(tile))
      : make("ul", { className: "rows" }, ...rows.map((row) => listed(row)));
    return [...lines("h4", [heading]), inside];
  }
  function showCards() {
    const key = byId("order").value;
    const sign = key === "size" ? -1 : 1;
    const sorted = [...classes].sort((a, b) => sign * (a[key] - b[key]) || a.id - b.id);
    byId("cards").replaceChildren(...sorted.map(card));
  }

  // Find: search and filters, for the list and the map
  const EXTREME = 100;
  const PAGE = 50;
  let found = allRows;
  let listedRows = 0;
  const byConfidence = (rows, sign) =>
    [...rows].sort((a, b) => sign * (confidence[a] - confidence[b]) || a - b).slice(0, EXTREME);
  const WHICH = {
    "": ["all", (rows) => rows],
    least: [`the ${EXTREME} least confident`, (rows) => byConfidence(rows, 1)],
    most: [`the ${EXTREME} most confident`, (rows) => byConfidence(rows, -1)],
  };
  if (spaces.length) {
    const differ = (row) => spaces.some((space) => space[row] !== label[row]);
    WHICH.apart = ["those on which the spaces differ", (rows) => rows.filter(differ)];
  }
  if (truth) {
    const wrong = (row) => report.truth.matched[truth[row]] !== label[row];
    WHICH.wrong = ["those of another true class", (rows) => rows.filter(wrong)];
  }
  function refresh() {
    const [text, id, which] = ["search", "class", "which"].map((field) => byId(field).value);
    const part = text.trim().toLowerCase();
    const chosenClass = (row) => !id || label[row] === Number(id);
    found = WHICH[which][1](allRows.filter((row) => chosenClass(row) && searched[row].includes(part)));
    const all = found.length === names.length;
    byId("count").textContent = all ? many(names.length) : `${count(found.length)} of ${many(names.length)}`;
    byId("clear").hidden = !(text || id || which);
    byId("results").replaceChildren();
    listedRows = 0;
    listMore();
    showOnMap();
  }
  function listMore() {
    const next = found.slice(listedRows, listedRows + PAGE);
    byId("results").append(...next.map((row) => listed(row, chip(label[row]))));
    listedRows += next.length;
    byId("more").hidden = listedRows >= found.length;
    markListed();
  }
  function markListed() {
    for (const element of document.querySelectorAll("button.row")) {
      element.ariaCurrent = String(Number(element.dataset.row) === chosen);
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
    byId("detail").hidden = chosen === null;
    if (chosen === null) return;
    const row = chosen;
    byId("detail").replaceChildren(
      button({ className: "close", textContent: "×", ariaLabel: "close" }, () => choose(null)),
      ...pictures(row),
      make("p", { className: "name", textContent: names[row] }),
      make("p", {}, chip(label[row]), ` ${name(label[row])} · confidence ${confidence[row].toFixed(3)}`),
      ...lines("p", [
        `second choice: ${title(second[row])}`,
        ...spaces.map((space, k) => `${report.spaces[k]} alone: ${title(space[row])}`),
        ...(truth ? [`true class: ${report.truth.names[truth[row]]}`] : []),
      ]),
      button({ className: "where", textContent: "Show on the map" }, () => zoomTo(row)),
    );
  }

  // The map: Bokeh's models, which the page fills and listens to
  const map = {};
  async function drawMap() {
    const view = await Bokeh.embed.embed_item(plots.map, byId("map"));
    const { document } = [...view][0].model;
    for (const name of ["rows", "filter", "others", "chosen", "names", "across", "upwards"]) {
      map[name] = document.get_model_by_name(name);
    }
    map.rows.data = { x: columns.x, y: columns.y, label };
    map.rows.inspect.connect(showHover);
    map.rows.selected.change.connect(() => {
      const row = map.rows.selected.indices.at(-1); // drawn last, so on top
      if (row !== undefined) choose(row);
    });
    showNames();
    showOnMap();
    markOnMap();
  }
  function showOnMap() {
    if (!map.filter) return;
    map.others.visible = found.length < names.length;
    map.filter.indices = map.others.visible ? found : null;
  }
  function markOnMap() {
    if (!map.chosen) return;
    const rows = chosen === null ? [] : [chosen];
    map.chosen.data = { x: rows.map((row) => columns.x[row]), y: rows.map((row) => columns.y[row]) };
  }
  /** Moves the map, so that a tenth of it is seen, with a row in the middle. */
  function zoomTo(row) {
    for (const [range, x] of [[map.across, columns.x[row]], [map.upwards, columns.y[row]]]) {
      range.setv({ start: x - range.tags[0] / 20, end: x + range.tags[0] / 20 });
    }
    byId("map-section").scrollIntoView();
  }
  const pointer = { x: 0, y: 0 };
  byId("map").addEventListener("pointermove", (event) => {
    pointer.x = event.clientX;
    pointer.y = event.clientY;
  });
  byId("map").addEventListener("pointerleave", () => (byId("hover").hidden = true));
  /** What is known of the row under the pointer, beside it. */
  function showHover() {
    const row = map.rows.inspected.indices.at(-1);
    const box = byId("hover");
    box.hidden = row === undefined;
    if (box.hidden) return;
    box.replaceChildren(
      ...pictures(row),
      ...lines("div", [names[row]]),
      make("div", {}, chip(label[row]), ` ${name(label[row])} · confidence ${sure(row)}`),
    );
    const { width, height } = box.getBoundingClientRect();
    box.style.left = `${Math.min(pointer.x + 14, innerWidth - width - 4)}px`;
    box.style.top = `${Math.min(pointer.y + 14, innerHeight - height - 4)}px`;
  }

  // Tables
  const line = (textContent, cells) => make("tr", {}, make("th", { scope: "row", textContent }), ...cells);
  function table(head, body) {
    const cells = head.map((inside) => make("th", { scope: "col" }, inside));
    return make("table", {}, make("thead", {}, make("tr", {}, ...cells)), make("tbody", {}, ...body));
  }
  function showCurve() {
    const { columns: head, rows, chosen: taken } = report.curve;
    const body = rows.map(([number, ...values]) => {
      const row = line(number, lines("td", values.map((x) => x.toFixed(3))));
      row.classList.toggle("chosen", number === taken);
      return row;
    });
    byId("curve-table").append(table(head, body));
    byId("taken").textContent = taken;
    Bokeh.embed.embed_item(plots.curve, byId("curve"));
  }
  function showTruth() {
    const { scores, names: rows, found: ids, matched, counts } = report.truth;
    describe(byId("scores"), scores.map(([name, score]) => [name, score.toFixed(3)]));
    const body = counts.map((numbers, i) => {
      const total = numbers.reduce((sum, number) => sum + number);
      const cells = lines("td", numbers.map((number) => number || ""));
      cells.forEach((cell, j) => {
        const share = numbers[j] / total;
        cell.style.background = `rgb(0 90 140 / ${(0.9 * share).toFixed(3)})`;
        cell.style.color = share > 0.5 ? "white" : "black";
        cell.classList.toggle("matched", ids[j] === matched[i]);
      });
      return line(rows[i], cells);
    });
    byId("confusion").append(table(["true ╲ found", ...ids.map(chip)], body));
  }

  // Saving
  /** A cell that no spreadsheet takes for a formula. */
  function cell(value) {
    const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
    return `"${text.replaceAll('"', '""')}"`;
  }
  function save() {
    const rows = allRows.map((row) => {
      const id = label[row];
      const mixed = isMixed(id) ? "yes" : "no";
      return [cell(names[row]), id, cell(name(id)), mixed, confidence[row], second[row]].join(",");
    });
    const text = ["file,class,name,mixed,confidence,second", ...rows, ""].join("\n");
    const href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
    make("a", { href, download: "assignments-renamed.csv" }).click();
    setTimeout(() => URL.revokeObjectURL(href), 60000);
  }

  // Start
  const on = (id, kind, react) => byId(id).addEventListener(kind, react);
  document.title = byId("title").textContent = report.title;
  byId("notes").append(...lines("li", report.notes));
  describe(byId("facts"), report.facts);
  if (!report.images) byId("classes").before(byId("map-section")); // the map says more than names
  if (!spaces.length) for (const element of document.querySelectorAll(".of-spaces")) element.remove();
  byId("class").append(make("option", { value: "", textContent: "all" }));
  byId("class").append(...classes.map(({ id }) => make("option", { value: id })));
  for (const [value, [textContent]] of Object.entries(WHICH)) {
    byId("which").append(make("option", { value, textContent }));
  }
  withStorage((storage) => (given = JSON.parse(storage.getItem(storageKey)) || {}));
  showCards();
  showNames();
  refresh();
  on("order", "change", showCards);
  on("class", "change", refresh);
  on("which", "change", refresh);
  on("more", "click", listMore);
  on("save", "click", save);
  on("clear", "click", () => {
    for (const field of ["search", "class", "which"]) byId(field).value = "";
    refresh();
    byId("search").focus();
  });
  let waiting;
  on("search", "input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(refresh, 120);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") choose(null);
  });
  byId("curve-section").hidden = byId("curve-link").hidden = !report.curve;
  byId("truth-section").hidden = byId("truth-link").hidden = !truth;
  if (report.curve) showCurve();
  if (truth) showTruth();
  drawMap();
})();
