// Loaded before the page is drawn, so that it never flashes in the other colours.
(function () {
  var root = document.documentElement;
  var system = matchMedia("(prefers-color-scheme: dark)");
  function chosen() {
    try { return localStorage.getItem("theme"); } catch (e) { return null; }
  }
  function apply() {
    root.dataset.bsTheme = chosen() || (system.matches ? "dark" : "light");
  }
  apply();
  system.addEventListener("change", apply);
  root.classList.add("js");
  window.switchTheme = function () {
    var other = root.dataset.bsTheme === "dark" ? "light" : "dark";
    try {
      // Back to the system's own choice means following it again.
      if (other === (system.matches ? "dark" : "light")) localStorage.removeItem("theme");
      else localStorage.setItem("theme", other);
    } catch (e) { /* a browser that keeps nothing still switches */ }
    root.dataset.bsTheme = other;
  };
})();
