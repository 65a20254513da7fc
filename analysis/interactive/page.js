import DataTable from "TABLES_MODULE";

const NARROW = matchMedia("(max-width: 700px)");
const CONFIG = {displaylogo: false, responsive: true, modeBarButtonsToRemove: ["select2d", "lasso2d"]};
const json = id => JSON.parse(document.getElementById(id).textContent);
const drawn = new Map();  // place: its chart

function draw(place, chart) {
  drawn.set(place, chart);
  const layout = structuredClone(NARROW.matches ? chart.narrow : chart.wide);
  const tools = NARROW.matches || place.dataset.runChart?.startsWith("map") ? false : "hover";  // where there is room
  return Plotly.react(place, structuredClone(chart.data), layout, {...CONFIG, displayModeBar: tools});
}

NARROW.addEventListener("change", () => drawn.forEach((chart, place) => place.hidden || draw(place, chart)));

// Charts of the page, some by a choice above them.
for (const place of document.querySelectorAll("[data-chart]")) {
  const {chart, by} = place.dataset, choice = by && document.getElementById(by);
  const show = () => draw(place, json(by ? `${chart}-${choice.value}` : chart));
  show();
  choice?.addEventListener("change", show);
  place.on("plotly_click", event => choose(event.points[0].customdata));
}

// One run.
const {runs, layouts, first} = json("runs-data");
const select = document.getElementById("choose-run");
for (const trace of new Set(runs.map(run => run.of))) {
  const group = document.createElement("optgroup");
  group.label = trace;
  runs.forEach((run, i) => run.of === trace && group.append(new Option(run.name, i)));
  select.append(group);
}

function showRun() {
  const run = runs[select.value];
  document.getElementById("facts").replaceChildren(...run.facts.map(([name, value]) => {
    const pair = document.createElement("div");
    pair.append(document.createElement("dt"), document.createElement("dd"));
    pair.firstChild.textContent = name;
    pair.lastChild.textContent = value;
    return pair;
  }));
  for (const place of document.querySelectorAll("[data-run-chart]")) {
    const name = place.dataset.runChart, data = run.charts[name];
    place.hidden = !data;
    if (data) draw(place, {data, ...layouts[run.trace][name]});
  }
  document.getElementById("unpredicted").textContent = run.charts.predicted ? ""
    : "No error is predicted for this run: it leaves tokens out, samples them, or attends to all.";
}

function choose(id) {
  const index = runs.findIndex(run => run.id === id);
  if (index < 0) return;
  select.value = index;
  showRun();
  document.getElementById("run").scrollIntoView();
}

select.value = first;
select.addEventListener("change", showRun);
showRun();

document.addEventListener("click", event => {
  const link = event.target.closest("[data-run]");
  if (link) choose(link.dataset.run);
});

// Tables.
for (const table of document.querySelectorAll("table.data")) {
  const rows = table.tBodies[0].rows.length, many = rows > 25, some = rows > 2;
  new DataTable(table, {
    order: [], autoWidth: false, paging: many, pageLength: 25, lengthMenu: [25, 100, {label: "all", value: -1}],
    layout: {topStart: many ? "pageLength" : null, topEnd: some ? "search" : null,
             bottomStart: many ? "info" : null, bottomEnd: many ? "paging" : null},
    ordering: {indicators: false, handler: false},
    columnControl: some ? ["order", ["search"]] : rows > 1 ? ["order"] : [],
    language: {search: "", searchPlaceholder: "filter these rows"},
  });
}
document.documentElement.dataset.ready = "yes";
