// Small pieces of DOM: elements, texts that are written only when they change, tables with stable rows, two-click buttons.

export function el(tag, className = "", text = null) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== null) element.textContent = text;
  return element;
}

/** Write text and class only when they differ: an unchanged cell costs no layout. */
export function put(element, text, className) {
  if (element._text !== text) {
    element._text = text;
    element.textContent = text;
  }
  if (className !== undefined && element._class !== className) {
    element._class = className;
    element.className = className;
  }
}

const CONFIRM_MS = 4000;

/** A button that acts on its second click; the first one asks. A new key is made when the first click asks. */
export function confirmButton(label, question, act) {
  const button = el("button", "action", label);
  let timer = 0;
  const calm = () => {
    clearTimeout(timer);
    timer = 0;
    put(button, label, "action");
  };
  button.onclick = () => {
    if (timer) {
      calm();
      button.disabled = true;
      setTimeout(() => (button.disabled = false), 1500);
      act();
      return;
    }
    put(button, question(), "action asks");
    timer = setTimeout(calm, CONFIRM_MS);
  };
  put(button, label, "action");
  return button;
}

/**
 * A table whose rows keep their elements, so that a click on a button in a row that updates four times a second lands.
 * columns: [{title, cell(row) -> [text, class] | text, left?: bool} | {title, make(row) -> element, refresh?(element, row)}]
 */
export class Table {
  constructor(columns, emptyText) {
    this.columns = columns;
    this.root = el("div", "scroll");
    const table = this.root.appendChild(el("table"));
    const head = table.appendChild(el("thead")).appendChild(el("tr"));
    for (const column of columns) head.appendChild(el("th", column.left ? "left" : "", column.title));
    this.body = table.appendChild(el("tbody"));
    this.empty = this.root.appendChild(el("div", "empty", emptyText));
    this.emptyText = emptyText;
    this.rows = new Map();
  }

  update(rows, keyOf, emptyText = this.emptyText) {
    const keys = new Set();
    rows.forEach((row, i) => {
      const key = keyOf(row);
      keys.add(key);
      const shown = this.rows.get(key) ?? this.add(key, row);
      if (this.body.children[i] !== shown.element) this.body.insertBefore(shown.element, this.body.children[i] ?? null);
      this.columns.forEach((column, j) => {
        if (column.make) {
          column.refresh?.(shown.cells[j].firstChild, row);
          return;
        }
        const cell = column.cell(row);
        const [text, className] = Array.isArray(cell) ? cell : [cell, ""];
        put(shown.cells[j], text, (column.left ? "left " : "") + className);
      });
    });
    for (const [key, shown] of this.rows) {
      if (keys.has(key)) continue;
      shown.element.remove();
      this.rows.delete(key);
    }
    put(this.empty, emptyText);
    this.empty.hidden = rows.length > 0;
  }

  add(key, row) {
    const element = el("tr");
    const cells = this.columns.map((column) => {
      const cell = element.appendChild(el("td", column.left ? "left" : ""));
      if (column.make) cell.appendChild(column.make(row));
      return cell;
    });
    const shown = { element, cells };
    this.rows.set(key, shown);
    return shown;
  }
}
