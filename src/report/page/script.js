// Comforts; the page is complete without them. Sorting: a button in the head of each column. Tips:
// what browsers show over a number after a while, at once, in the page's type and for the keyboard.
(() => {
  const root = document.documentElement;
  const plain = (text) => text.replace(/\u2212/g, "-").replace(/[\s\u202f]/g, "");

  const sort = (table, head, column) => {
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
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    table.querySelectorAll("thead th").forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "sort";
      button.append(...head.childNodes);
      button.addEventListener("click", () => sort(table, head, column));
      head.append(button);
    });
  }

  const tip = document.createElement("div");
  tip.className = "tip";
  tip.id = "tip";
  tip.setAttribute("role", "tooltip");
  document.body.append(tip);
  for (const title of document.querySelectorAll("svg title")) {
    const owner = title.parentNode;
    owner.dataset.tip = title.textContent;
    owner.setAttribute("role", "img");
    owner.setAttribute("aria-label", title.textContent);
    // What is inside an image can't be focused.
    owner.ownerSVGElement.setAttribute("role", "group");
    title.remove();
  }
  for (const owner of document.querySelectorAll("[title]")) {
    owner.dataset.tip = owner.title;
    owner.removeAttribute("title");
  }
  const hide = () => {
    tip.classList.remove("on");
    document.querySelector("[aria-describedby=tip]")?.removeAttribute("aria-describedby");
  };
  const show = (owner) => {
    hide();
    tip.replaceChildren();
    owner.dataset.tip.split("\n").forEach((line, place) => {
      const part = document.createElement(place ? "span" : "b");
      part.textContent = line;
      tip.append(part);
    });
    owner.setAttribute("aria-describedby", "tip");
    tip.classList.add("on");
    const box = owner.getBoundingClientRect();
    const room = root.clientWidth - tip.offsetWidth - 8;
    const above = box.top - tip.offsetHeight - 8;
    tip.style.left = Math.max(8, Math.min(box.left + box.width / 2 - tip.offsetWidth / 2, room)) + "px";
    tip.style.top = (above > 4 ? above : box.bottom + 8) + "px";
  };
  const owner = (event) => event.target.closest?.("[data-tip]");
  for (const begin of ["pointerover", "focusin"]) {
    document.addEventListener(begin, (event) => (owner(event) ? show(owner(event)) : hide()));
  }
  document.addEventListener("focusout", hide);
  document.addEventListener("scroll", hide, { passive: true });

  // A table or picture is one stop of the Tab key; arrows go from number to number in it.
  for (const group of document.querySelectorAll("table, svg")) {
    const owners = () => [...group.querySelectorAll("[data-tip]")];
    owners().forEach((one, place) => one.setAttribute("tabindex", place ? "-1" : "0"));
    group.addEventListener("keydown", (event) => {
      if (event.key === "Escape") return hide();
      const here = owner(event);
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (!here || !step) return;
      const all = owners();
      const same = (one) => one.cellIndex === undefined || one.cellIndex === here.cellIndex;
      const along = event.key.endsWith("Down") || event.key.endsWith("Up") ? all.filter(same) : all;
      const next = along[along.indexOf(here) + step];
      if (!next) return;
      event.preventDefault();
      here.tabIndex = -1;
      next.tabIndex = 0;
      next.focus();
    });
  }

  // What fits needs no stop of the Tab key to be scrolled.
  const fit = () => {
    for (const region of document.querySelectorAll(".scroll")) {
      const wide = region.scrollWidth > region.clientWidth;
      wide ? region.setAttribute("tabindex", "0") : region.removeAttribute("tabindex");
    }
  };
  addEventListener("resize", fit);
  document.addEventListener("toggle", fit, true);
  fit();

  // Browsers whose style sheets can't open a closed section on paper.
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("details:not([open])")];
    closed.forEach((one) => (one.open = true));
  });
  addEventListener("afterprint", () => closed.forEach((one) => (one.open = false)));
})();
