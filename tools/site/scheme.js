// Before anything is drawn: light or dark, as chosen here before, else as the system has it.
(() => {
  const root = document.documentElement;
  let chosen = null;
  try { chosen = localStorage.getItem("smalldocs-scheme"); } catch (e) { /* private window */ }
  const system = matchMedia("(prefers-color-scheme: dark)");
  const show = (dark) => {
    root.dataset.bsTheme = dark ? "dark" : "light";
    root.classList.toggle("quarto-dark", dark);
    if (dark) root.dataset.scheme = "alternate"; else delete root.dataset.scheme;
  };
  show(chosen ? chosen === "alternate" : system.matches);
  system.addEventListener("change", (e) => { if (!chosen) show(e.matches); });
  window.toggleScheme = () => {
    chosen = root.dataset.scheme ? "default" : "alternate";
    try { localStorage.setItem("smalldocs-scheme", chosen); } catch (e) { /* private window */ }
    show(chosen === "alternate");
  };
})();
