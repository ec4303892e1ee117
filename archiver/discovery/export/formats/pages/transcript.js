"use strict";
(() => {
  const form = document.querySelector(".find form");
  const input = form.querySelector("input[type=search]");
  const boxes = [...form.querySelectorAll("input[type=checkbox]")];
  const said = form.querySelector("output");
  const items = [...document.querySelectorAll(".m, .row")];
  const around = [...document.querySelectorAll(".day")];
  const folded = new Map();
  const fold = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
  const textOf = (item) => {
    if (!folded.has(item)) folded.set(item, fold(item.textContent));
    return folded.get(item);
  };
  const mark = (words) => {
    if (!window.CSS || !CSS.highlights || !window.Highlight) return;
    CSS.highlights.delete("found");
    if (!words.length) return;
    const found = new Highlight();
    let left = 2000;
    for (const item of items) {
      if (item.hidden || left <= 0) continue;
      const walker = document.createTreeWalker(item, NodeFilter.SHOW_TEXT);
      for (let node = walker.nextNode(); node && left > 0; node = walker.nextNode()) {
        const text = node.data.toLowerCase();
        if (text.length !== node.data.length) continue;
        for (const word of words) {
          for (let at = text.indexOf(word); at >= 0 && left > 0; at = text.indexOf(word, at + word.length)) {
            const range = new Range();
            range.setStart(node, at);
            range.setEnd(node, at + word.length);
            found.add(range);
            left -= 1;
          }
        }
      }
    }
    CSS.highlights.set("found", found);
  };
  const find = () => {
    const typed = input.value.trim();
    const words = fold(typed).split(/\s+/).filter(Boolean);
    const only = boxes.filter((box) => box.checked).map((box) => box.value);
    const narrowed = words.length > 0 || only.length > 0;
    let shown = 0;
    for (const item of items) {
      const fits = only.every((name) => item.classList.contains(name)) && (!words.length || words.every((word) => textOf(item).includes(word)));
      item.hidden = !fits;
      if (fits) shown += 1;
    }
    for (const day of around) day.hidden = narrowed && !day.querySelector(".m:not([hidden])");
    document.body.classList.toggle("narrowed", narrowed);
    said.textContent = narrowed ? shown.toLocaleString("en") + " of " + items.length.toLocaleString("en") : "";
    mark(typed.toLowerCase().split(/\s+/).filter(Boolean));
  };
  let waiting = 0;
  const later = () => {
    clearTimeout(waiting);
    waiting = setTimeout(find, 80);
  };
  form.hidden = false;
  form.addEventListener("submit", (event) => { event.preventDefault(); find(); });
  input.addEventListener("input", later);
  for (const box of boxes) box.addEventListener("change", find);
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && document.activeElement !== input) { event.preventDefault(); input.focus(); }
    if (event.key === "Escape" && document.activeElement === input) { input.value = ""; find(); }
  });
  window.addEventListener("hashchange", () => {
    const target = document.getElementById(location.hash.slice(1)) || document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (target && target.hidden) { input.value = ""; for (const box of boxes) box.checked = false; find(); target.scrollIntoView(); }
  });
})();
