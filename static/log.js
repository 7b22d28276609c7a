// Follows a job's log by byte offset, loads what came before on demand, and keeps a bounded number of lines in the page.
(function () {
  "use strict";
  var MOST_LINES = 8000, SOON = 1000, LATER = 4000;

  function start(box) {
    if (box.dataset.started) return;
    box.dataset.started = "1";
    var lines = document.getElementById("log-lines"), partial = document.getElementById("log-partial");
    var earlier = document.getElementById("log-earlier"), end = document.getElementById("log-end");
    var follow = document.getElementById("log-follow"), wrap = document.getElementById("log-wrap");
    var next = Number(box.dataset.next), complete = "complete" in box.dataset, wait = SOON;
    var tail = follow.checked, top = 0;

    function remember(name, value) { try { localStorage.setItem(name, value); } catch (e) { /* kept for this page only */ } }
    function remembered(name) { try { return localStorage.getItem(name); } catch (e) { return null; } }
    function count(piece) { return piece ? piece.textContent.split("\n").length - 1 : 0; }
    function total() {
      return Array.prototype.reduce.call(lines.querySelectorAll(".piece"), function (sum, piece) { return sum + count(piece); }, 0);
    }
    function toEnd() { box.scrollTop = box.scrollHeight; top = box.scrollTop; }
    function piece(from, texts) {
      var span = document.createElement("span");
      span.className = "piece";
      span.dataset.start = from;
      span.textContent = texts.join("\n") + "\n";
      return span;
    }
    function firstStart() {
      var first = lines.querySelector(".piece");
      return first ? Number(first.dataset.start) : Number(box.dataset.start);
    }
    function trimTop() {
      var over = total() - MOST_LINES, first;
      while (over > 0 && (first = lines.querySelector(".piece")) && first.nextElementSibling !== partial) {
        over -= count(first);
        first.remove();
      }
      earlier.hidden = firstStart() === 0;
    }
    function take(part) {
      if (part.lines.length) lines.insertBefore(piece(part.start, part.lines), partial);
      partial.textContent = part.partial;
      next = part.next;
      complete = part.complete;
      if (complete) end.textContent = lines.textContent ? "End of the log." : "The program printed nothing.";
      else if (lines.textContent) end.textContent = "";
      // Somebody who has begun to scroll up is not pulled back, though the event of it has yet to come.
      if (box.scrollTop < top - 2) follow.checked = false;
      if (follow.checked) { trimTop(); toEnd(); }
    }
    function ask(query) {
      return fetch(box.dataset.url + "?" + query, { headers: { Accept: "application/json", "X-Poll": "1" } }).then(function (answer) {
        if (answer.redirected || answer.status === 401) { location.reload(); return null; }
        if (answer.status === 204) return null;
        if (!answer.ok) throw new Error(String(answer.status));
        return answer.json();
      });
    }
    function again() { if (box.isConnected && !complete) setTimeout(read, wait); }
    function read() {
      if (!box.isConnected || complete) return;
      // Somebody who reads further up is not to be overrun.
      if (document.hidden || (!follow.checked && (!tail || total() > MOST_LINES))) { again(); return; }
      ask("offset=" + next).then(function (part) {
        var fresh = part && (part.lines.length || part.next !== next || part.partial !== partial.textContent);
        wait = fresh ? SOON : Math.min(wait * 1.4, LATER);
        if (part) take(part);
        if (part && part.lines.length > 200) wait = 50;
        again();
      }, function () { wait = LATER; again(); });
    }

    wrap.checked = remembered("log-wrap") === "1";
    box.classList.toggle("wrap", wrap.checked);
    wrap.addEventListener("change", function () {
      box.classList.toggle("wrap", wrap.checked);
      remember("log-wrap", wrap.checked ? "1" : "0");
      if (follow.checked) toEnd();
    });
    follow.addEventListener("change", function () {
      if (!follow.checked) return;
      if (!tail) { location.assign(location.pathname); return; }
      trimTop();
      toEnd();
    });
    box.addEventListener("scroll", function () {
      var up = box.scrollTop < top - 2;
      top = box.scrollTop;
      if (!tail) return;
      if (box.scrollHeight - top - box.clientHeight < 30) follow.checked = true;
      else if (up) follow.checked = false;
    });
    earlier.addEventListener("click", function () {
      follow.checked = false;
      earlier.disabled = true;
      ask("before=" + firstStart()).then(function (part) {
        earlier.disabled = false;
        if (!part) return;
        var height = box.scrollHeight;
        if (part.lines.length) lines.insertBefore(piece(part.start, part.lines), lines.firstChild);
        earlier.hidden = part.start === 0;
        box.scrollTop += box.scrollHeight - height;
      }, function () { earlier.disabled = false; });
    });
    if (tail) toEnd();
    again();
  }

  document.addEventListener("htmx:load", function () {
    var box = document.getElementById("log");
    if (box) start(box);
  });
})();
