// Reads a chart's value under the pointer; the numbers come from the table that stands beneath it for everybody.
(function () {
  "use strict";
  function spots(figure) {
    if (figure.spots) return figure.spots;
    var found = [];
    figure.querySelector(".curve").getAttribute("d").split(/[ML]/).forEach(function (pair) {
      if (pair) found.push(pair.split(" ").map(Number));
    });
    figure.querySelectorAll(".dot").forEach(function (dot) { found.push([dot.cx.baseVal.value, dot.cy.baseVal.value]); });
    found.sort(function (a, b) { return a[0] - b[0]; });
    var rows = Array.prototype.map.call(figure.querySelectorAll("tbody tr"), function (row) {
      return [row.cells[0].textContent, row.cells[1].textContent];
    }).filter(function (row) { return /\d/.test(row[1]); });
    figure.spots = found.map(function (spot, index) { return { x: spot[0], y: spot[1], row: rows[index] }; });
    return figure.spots;
  }
  function nearest(list, x) {
    var low = 0, high = list.length - 1;
    while (high - low > 1) {
      var middle = (low + high) >> 1;
      if (list[middle].x < x) low = middle; else high = middle;
    }
    return Math.abs(list[low].x - x) <= Math.abs(list[high].x - x) ? list[low] : list[high];
  }
  document.addEventListener("pointermove", function (event) {
    var svg = event.target.closest && event.target.closest(".chart > svg");
    if (!svg) return;
    var figure = svg.parentElement, list = spots(figure);
    if (!list.length) return;
    var place = svg.getBoundingClientRect();
    var spot = nearest(list, (event.clientX - place.left) / place.width * svg.viewBox.baseVal.width);
    if (!spot.row) return;
    var mark = svg.querySelector(".here");
    mark.setAttribute("visibility", "visible");
    mark.querySelector("path").setAttribute("transform", "translate(" + spot.x + " 0)");
    mark.querySelector("circle").setAttribute("transform", "translate(" + spot.x + " " + spot.y + ")");
    figure.querySelector(".reading").textContent = "step " + spot.row[0] + " · " + spot.row[1];
  });
  document.addEventListener("pointerout", function (event) {
    var svg = event.target.closest && event.target.closest(".chart > svg");
    if (!svg || (event.relatedTarget && svg.contains(event.relatedTarget))) return;
    svg.querySelector(".here").setAttribute("visibility", "hidden");
    var reading = svg.parentElement.querySelector(".reading");
    reading.textContent = reading.dataset.rest;
  });
})();
