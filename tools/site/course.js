// What a page of the course does beside smalldocs.js: chapters on phones, dark mode, search, keys.
(() => {
  const $ = (selector) => document.querySelector(selector);
  const all = (selector) => [...document.querySelectorAll(selector)];

  // ---- the list of chapters on phones, which smalldocs.js opens and closes
  const button = $(".quarto-btn-toggle"), sidebar = $("#quarto-sidebar");
  if (button && sidebar) {
    new MutationObserver(() => {
      const open = sidebar.classList.contains("show");
      button.setAttribute("aria-expanded", open);
      if (open) sidebar.querySelector("a").focus();
    }).observe(sidebar, {attributeFilter: ["class"]});
    document.addEventListener("keydown", (e) => {
      if (e.key === "Escape" && sidebar.classList.contains("show")) { button.click(); button.focus(); }
    });
  }

  $(".quarto-color-scheme-toggle").addEventListener("click", () => window.toggleScheme());

  // ---- what scrolls sideways can be reached and scrolled by keyboard
  const scrolling = all("pre, .sd-table, .cell-output-display, .math.display, .plot, .margin-sidebar, .sidebar-navigation");
  const mark = () => scrolling.forEach((e) => {
    const scrolls = e.scrollWidth > e.clientWidth + 1 || e.scrollHeight > e.clientHeight + 1;
    if (scrolls) e.tabIndex = 0; else e.removeAttribute("tabindex");
  });
  mark();
  addEventListener("load", mark);
  addEventListener("resize", mark);

  // ---- a picture that moves stands still where the reader wants calm: only its first frame is kept
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) {
    all("main img[src^='data:image/gif']").forEach((image) => image.decode().then(() => {
      const still = document.createElement("canvas");
      still.width = image.naturalWidth;
      still.height = image.naturalHeight;
      still.getContext("2d").drawImage(image, 0, 0);
      image.src = still.toDataURL();
    }));
  }

  // ---- search
  const input = $(".course-search input"), results = $(".course-search .search-results");
  let entries = null, loading = null, active = -1;
  const load = () => loading ||= fetch("search.json").then((r) => r.json())
    .then((found) => { entries = found; }, () => { loading = null; entries = []; });
  const part = (kind, text) => Object.assign(document.createElement("div"), {className: kind, textContent: text});
  const show = async () => {
    const asked = input.value.trim();
    if (asked.length < 2) { results.hidden = true; return; }
    await load();
    const hits = rank(entries, asked);
    results.replaceChildren(...hits.map((hit) => {
      const link = Object.assign(document.createElement("a"), {className: "search-result", href: hit.href});
      link.append(part("search-result-title", hit.section || hit.title));
      if (hit.section) link.append(part("search-result-section", hit.title));
      link.append(part("search-result-text", excerpt(hit.text, asked)));
      return link;
    }));
    if (!hits.length) results.append(part("search-none", "Nothing found"));
    results.hidden = false;
    active = -1;
  };
  input.addEventListener("input", show);
  input.addEventListener("focus", load);
  input.addEventListener("keydown", (e) => {
    const hits = [...results.querySelectorAll("a")];
    if (e.key === "Escape") results.hidden = true;
    if (e.key === "Enter" && hits.length) hits[Math.max(active, 0)].click();
    if ((e.key === "ArrowDown" || e.key === "ArrowUp") && hits.length) {
      e.preventDefault();
      active = (active + (e.key === "ArrowDown" ? 1 : hits.length - 1) + (active < 0 && e.key === "ArrowUp" ? 1 : 0)) % hits.length;
      hits.forEach((hit, i) => hit.classList.toggle("active", i === active));
      hits[active].scrollIntoView({block: "nearest"});
    }
  });
  document.addEventListener("click", (e) => { if (!e.target.closest(".course-search")) results.hidden = true; });
  document.addEventListener("keydown", (e) => {
    const typing = /^(INPUT|TEXTAREA)$/.test(document.activeElement.tagName);
    if ((e.key === "/" && !typing && !e.ctrlKey && !e.metaKey) || ((e.ctrlKey || e.metaKey) && e.key === "k")) {
      e.preventDefault();
      input.focus();
    }
  });
})();
