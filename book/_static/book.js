/* Tables sort at a click on a header, and each figure has a link to its file. Pages read as well without this. */
"use strict";

/* What a cell sorts by: the number that it begins with, else its text; null for what is not there. */
function cellKey(cell) {
  const text = cell.textContent.trim().replaceAll("\u2212", "-");
  if (["", "\u2013", "-"].includes(text) || text.startsWith("not run")) return null;
  const number = text.match(/^[+-]?\d+(\.\d+)?(e[+-]?\d+)?/i);
  return number ? Number(number[0]) : text;
}

/* A column is one of numbers where most of its cells are; other texts in it count as not there. */
function columnKeys(rows, column) {
  const keys = rows.map((row) => cellKey(row.cells[column]));
  const numbers = keys.filter((key) => typeof key === "number").length;
  if (2 * numbers > keys.filter((key) => key !== null).length)
    return keys.map((key) => (typeof key === "number" ? key : null));
  return keys.map((key) => (key === null ? null : String(key)));
}

/* Rows by a column, what is not there last in either direction, equal ones in their order before. */
function sortedRows(rows, column, direction) {
  const keys = columnKeys(rows, column);
  const order = rows.map((_, i) => i).sort((a, b) => {
    if (keys[a] === null || keys[b] === null) return (keys[a] === null) - (keys[b] === null);
    const less = typeof keys[a] === "number" ? keys[a] - keys[b] : keys[a].localeCompare(keys[b]);
    return direction * less;
  });
  return order.map((i) => rows[i]);
}

/* A label that stands once for several rows is left blank in all but the first: write it into each. */
function fillLabels(rows) {
  rows.slice(1).forEach((row, i) => {
    for (const [column, cell] of [...row.cells].entries()) {
      if (cell.textContent.trim() || column === row.cells.length - 1) break;
      cell.innerHTML = rows[i].cells[column].innerHTML;
    }
  });
}

function makeSortable(table) {
  const body = table.tBodies[0], head = table.tHead;
  if (!body || !head || head.rows.length !== 1 || body.rows.length < 2) return;
  const asPrinted = [...body.rows].map((row) => row.cloneNode(true));
  const filled = [...body.rows].map((row) => row.cloneNode(true));
  fillLabels(filled);
  [...head.rows[0].cells].forEach((header, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "sort";
    button.title = "Sort: ascending, descending, as printed";
    button.append(...(header.querySelector("p") || header).childNodes);
    header.replaceChildren(button);
    button.addEventListener("click", () => {
      const next = { ascending: "descending", descending: "none" }[header.getAttribute("aria-sort")] || "ascending";
      for (const other of head.rows[0].cells) other.removeAttribute("aria-sort");
      if (next !== "none") header.setAttribute("aria-sort", next);
      const rows = next === "none" ? asPrinted : sortedRows(filled, column, next === "ascending" ? 1 : -1);
      body.replaceChildren(...rows);
    });
  });
}

function linkFile(figure) {
  const image = figure.querySelector("img"), caption = figure.querySelector("figcaption p");
  if (!image || !caption) return;
  const kind = image.getAttribute("src").split(".").pop();
  const link = document.createElement("a");
  link.href = image.getAttribute("src");
  link.download = `${figure.id}.${kind}`;
  link.textContent = kind.toUpperCase();
  caption.append(" ", link);
}

document.addEventListener("DOMContentLoaded", () => {
  document.querySelectorAll(".bd-article table:has(thead th)").forEach(makeSortable);
  document.querySelectorAll(".bd-article figure").forEach(linkFile);
});
