// Two optional features; the page is complete without them. Sorting: click the head of a column.
// Tooltips: shown at once, in the font of the page, instead of the delayed ones of browsers.
(() => {
  const root = document.documentElement;
  root.classList.add("js");
  const plain = (text) => text.replace(/\u2212/g, "-").replace(/[\s\u202f]/g, "");
  for (const table of document.querySelectorAll("table.sortable")) {
    table.querySelectorAll("thead th").forEach((head, column) => {
      head.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") !== "descending";
        table.querySelectorAll("thead th").forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const body = table.tBodies[0];
        const value = (row) => row.cells[column]?.textContent.trim() ?? "";
        const compare = (a, b) => {
          const [x, y] = [parseFloat(plain(value(a))), parseFloat(plain(value(b)))];
          if (!isNaN(x) && !isNaN(y)) return x - y;
          return value(a).localeCompare(value(b), "en", { numeric: true });
        };
        const rows = [...body.rows].sort(compare);
        body.append(...(down ? rows.reverse() : rows));
      });
    });
  }
  const tip = document.createElement("div");
  tip.className = "tip";
  document.body.append(tip);
  for (const title of document.querySelectorAll("svg title")) {
    title.parentNode.dataset.tip = title.textContent;
    title.remove();
  }
  for (const owner of document.querySelectorAll("[title]")) {
    owner.dataset.tip = owner.title;
    owner.removeAttribute("title");
  }
  const hide = () => tip.classList.remove("on");
  document.addEventListener("pointerover", (event) => {
    const owner = event.target.closest?.("[data-tip]");
    if (!owner) return hide();
    tip.replaceChildren();
    owner.dataset.tip.split("\n").forEach((line, place) => {
      const part = document.createElement(place ? "span" : "b");
      part.textContent = line;
      tip.append(part);
    });
    tip.classList.add("on");
    const box = owner.getBoundingClientRect();
    const room = root.clientWidth - tip.offsetWidth - 8;
    const above = box.top - tip.offsetHeight - 8;
    tip.style.left = Math.max(8, Math.min(box.left + box.width / 2 - tip.offsetWidth / 2, room)) + "px";
    tip.style.top = (above > 4 ? above : box.bottom + 8) + "px";
  });
  document.addEventListener("scroll", hide, { passive: true });
})();
