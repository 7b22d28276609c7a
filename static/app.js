// What every page shares: ticking times, menus, confirmations, one submission per form, and manners for htmx's polling.
(function () {
  "use strict";
  var picked = new Set();

  function coarse(seconds) {
    var s = Math.max(0, Math.floor(seconds));
    if (s < 60) return s + " s";
    if (s < 3600) return Math.floor(s / 60) + " min";
    if (s < 172800) return Math.floor(s / 3600) + " h";
    return Math.floor(s / 86400) + " d";
  }
  function lasting(seconds) {
    var s = Math.max(0, Math.floor(seconds)), m = Math.floor(s / 60), h = Math.floor(m / 60);
    if (s < 60) return s + " s";
    if (h < 1) return m + " min " + String(s % 60).padStart(2, "0") + " s";
    if (h < 48) return h + " h " + String(m % 60).padStart(2, "0") + " min";
    return Math.floor(h / 24) + " d " + (h % 24) + " h";
  }
  function tick() {
    var now = Date.now();
    document.querySelectorAll("time[data-ago], time[data-since]").forEach(function (el) {
      var at = Date.parse(el.dateTime), seconds = (now - at) / 1000, text;
      if ("since" in el.dataset) text = lasting(seconds);
      else text = seconds < 5 ? "just now" : coarse(seconds) + " ago";
      if (el.textContent !== text) el.textContent = text;
      if (!el.title) el.title = new Date(at).toLocaleString();
    });
  }

  function closeMenus(except) {
    document.querySelectorAll("details.menu[open]").forEach(function (menu) {
      if (menu !== except) menu.open = false;
    });
  }

  function confirmThen(button) {
    var dialog = document.getElementById("confirm"), form = button.form, name = button.dataset.confirm;
    var count = picked.size, said = button.dataset;
    function put(part, text) { document.getElementById("confirm-" + part).textContent = text; }
    put("title", said.title || (name ? "Cancel " + name + "?" : "Cancel " + count + (count === 1 ? " job?" : " jobs?")));
    put("text", said.text || "What runs is ended; what it has written and printed so far is kept.");
    put("yes", said.yes || "Cancel");
    put("no", said.no || "Keep it running");
    dialog.returnValue = "no";
    dialog.onclose = function () {
      if (dialog.returnValue !== "yes") { button.focus(); return; }
      var sure = document.createElement("input");
      sure.type = "hidden"; sure.name = "confirmed"; sure.value = "1";
      form.append(sure);
      // The live table may have put a new button in the place of this one.
      var now = button.isConnected ? button : document.getElementById(button.id);
      if (now) form.requestSubmit(now);
    };
    dialog.showModal();
  }

  function showPicked() {
    var bar = document.getElementById("bulk"), all = document.getElementById("pick-all");
    if (!bar) return;
    var boxes = document.querySelectorAll("#jobs-table input[name=job]");
    var here = new Set();
    boxes.forEach(function (box) { here.add(box.value); box.checked = picked.has(box.value); });
    picked.forEach(function (id) { if (!here.has(id)) picked.delete(id); });
    bar.hidden = picked.size === 0;
    document.getElementById("bulk-count").textContent = picked.size ? picked.size + " selected" : "";
    if (all) {
      all.checked = boxes.length > 0 && picked.size === boxes.length;
      all.indeterminate = picked.size > 0 && picked.size < boxes.length;
    }
  }

  function copy(button) {
    var text = button.closest(".code").querySelector("pre").textContent, label = button.querySelector("span");
    function done(ok) {
      label.textContent = ok ? "Copied" : "Select and copy it by hand";
      setTimeout(function () { label.textContent = "Copy"; }, 2000);
    }
    if (navigator.clipboard) navigator.clipboard.writeText(text).then(function () { done(true); }, function () { done(false); });
    else done(false);
  }

  document.addEventListener("click", function (event) {
    var target = event.target.closest("button, summary, a") || event.target;
    closeMenus(event.target.closest("details.menu"));
    if (target.id === "theme") window.switchTheme();
    if (target.dataset && "copy" in target.dataset) copy(target);
    if (target.dataset && target.dataset.fillLogin) {
      document.getElementById("id_login").value = target.dataset.fillLogin;
      document.getElementById("id_password").value = target.dataset.fillPassword;
      document.querySelector(".local button[type=submit]").focus();
    }
    if (target.dataset && "confirm" in target.dataset) { event.preventDefault(); confirmThen(target); }
  });
  document.addEventListener("keydown", function (event) {
    if (event.key !== "Escape") return;
    var open = document.querySelector("details.menu[open]");
    if (open) { open.open = false; open.querySelector("summary").focus(); }
  });

  document.addEventListener("submit", function (event) {
    var form = event.target;
    if (!("once" in form.dataset)) return;
    if (form.dataset.sent) { event.preventDefault(); return; }
    form.dataset.sent = "1";
    if (event.submitter) event.submitter.classList.add("busy");
  });
  window.addEventListener("pageshow", function (event) {
    if (!event.persisted) return;
    document.querySelectorAll("form[data-sent]").forEach(function (form) { delete form.dataset.sent; });
    document.querySelectorAll(".busy").forEach(function (el) { el.classList.remove("busy"); });
  });

  document.addEventListener("change", function (event) {
    var box = event.target;
    if (box.id === "pick-all") {
      document.querySelectorAll("#jobs-table input[name=job]").forEach(function (one) {
        if (box.checked) picked.add(one.value); else picked.delete(one.value);
      });
      showPicked();
    } else if (box.name === "job" && box.type === "checkbox") {
      if (box.checked) picked.add(box.value); else picked.delete(box.value);
      showPicked();
    }
  });

  // Live parts: nobody looks at a hidden page, and what had the focus keeps it.
  var focused = null, opened = [];
  // What no person asked for is no activity: a session does not live on by a tab that polls.
  document.addEventListener("htmx:configRequest", function (event) {
    if (!event.detail.triggeringEvent) event.detail.headers["X-Poll"] = "1";
  });
  document.addEventListener("htmx:beforeRequest", function (event) {
    if ((event.target.id === "poll" || event.target.id === "quota") && document.hidden) event.preventDefault();
  });
  document.addEventListener("visibilitychange", function () {
    if (!document.hidden) document.body.dispatchEvent(new CustomEvent("poke"));
  });
  document.addEventListener("htmx:beforeSwap", function (event) {
    var answered = new URL(event.detail.xhr.responseURL || location.href).pathname;
    if (answered.indexOf("/accounts/") === 0 && location.pathname.indexOf("/accounts/") !== 0) {
      event.detail.shouldSwap = false;
      location.reload();
    }
  });
  document.addEventListener("htmx:oobBeforeSwap", function (event) {
    var active = document.activeElement;
    focused = active && active.id && event.detail.target.contains(active) ? active.id : null;
    opened = Array.prototype.map.call(event.detail.target.querySelectorAll("details[open] > summary[id]"), function (el) { return el.id; });
  });
  document.addEventListener("htmx:oobAfterSwap", function () {
    opened.forEach(function (id) { var el = document.getElementById(id); if (el) el.parentElement.open = true; });
    var el = focused && document.getElementById(focused);
    if (el) el.focus({ preventScroll: true });
    showPicked();
    tick();
  });
  function reachable(is) { document.getElementById("offline").hidden = is; }
  document.addEventListener("htmx:sendError", function () { reachable(false); });
  document.addEventListener("htmx:responseError", function (event) {
    if (event.detail.xhr.status >= 500) reachable(false);
    else if (event.target.id === "poll") location.reload();
  });
  document.addEventListener("htmx:afterRequest", function (event) { if (event.detail.successful) reachable(true); });
  document.addEventListener("htmx:load", function () { ready(); });

  function ready() {
    document.querySelectorAll(".copy[hidden]").forEach(function (el) { el.hidden = false; });
    document.getElementById("theme").hidden = false;
    showPicked();
    tick();
  }
  ready();
  setInterval(tick, 1000);
})();
