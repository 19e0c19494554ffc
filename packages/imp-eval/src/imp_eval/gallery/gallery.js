"use strict";
// Searches by words or by a file, shows what is found, and classifies the file among given names.
// "/" leads to the words from anywhere.

const $ = (id) => document.getElementById(id);
const state = { query: null, token: "", asked: 0 };

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

async function ask(path, body) {
  const response = await fetch(path, body === undefined ? {} : { method: "POST", body });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

function say(text, wrong = false) {
  $("status").textContent = text;
  $("status").classList.toggle("wrong", wrong);
}

function media(modality, url, name) {
  const box = element("div", "media");
  if (!url) {
    box.textContent = `${modality}: no file here`;
    return box;
  }
  const shown = element({ image: "img", video: "video", audio: "audio" }[modality] ?? "a");
  if (modality === "image") {
    shown.alt = name;
    shown.loading = "lazy";
  } else if (modality === "text") {
    shown.href = url;
    shown.textContent = name;
  } else {
    shown.controls = true;
    shown.setAttribute("aria-label", name);
  }
  if (modality === "video") Object.assign(shown, { muted: true, loop: true, autoplay: true, playsInline: true });
  if (modality !== "text") shown.src = url;
  box.append(shown);
  return box;
}

function card(hit) {
  const item = element("li", "card");
  const about = element("div", "about");
  const words = element("div");
  words.append(element("span", "name", hit.id.split("/").pop()));
  const fields = Object.entries(hit.metadata).map(([key, value]) => `${key}: ${value}`).join(" · ");
  if (fields) words.append(element("span", "fields", fields));
  words.title = hit.id;
  about.append(words, element("span", "score", hit.score.toFixed(3)));
  item.append(media(hit.modality, hit.url, hit.id), about);
  if (hit.url && hit.modality !== "text") {
    const use = element("button", "use", "Search by this");
    use.setAttribute("aria-label", `Search by ${hit.id}`);
    use.onclick = async () => {
      const blob = await (await fetch(hit.url)).blob();
      byFile(new File([blob], hit.id.split("/").pop(), { type: blob.type }), hit.modality);
    };
    item.append(use);
  }
  return item;
}

async function search(further = false) {
  if (!state.query) return;
  const asked = ++state.asked;
  const { modality, body } = state.query;
  const parameters = { collection: $("collection").value, modality, token: further ? state.token : "" };
  say("Searching…");
  try {
    const answer = await ask(`/api/search?${new URLSearchParams(parameters)}`, body);
    if (asked !== state.asked) return;
    if (!further) $("hits").replaceChildren();
    $("hits").append(...answer.hits.map(card));
    state.token = answer.next;
    $("more").hidden = !answer.next;
    const count = $("hits").childElementCount;
    say(count ? `${count} best of ${answer.num_items}, by ${state.query.title}` : "Nothing found");
  } catch (error) {
    if (asked === state.asked) say(error.message, true);
  }
}

function byWords() {
  const words = $("words").value.trim();
  if (!words) return;
  state.query = { modality: "text", body: words, title: `“${words}”` };
  $("query").hidden = true;
  search();
}

function byFile(file, modality = file.type.split("/")[0]) {
  if (!["image", "video", "audio"].includes(modality)) {
    say(`${file.name} is no image, video or sound`, true);
    return;
  }
  state.query = { modality, body: file, title: file.name };
  const shown = media(modality, URL.createObjectURL(file), file.name);
  $("given").replaceChildren(shown, element("figcaption", "", file.name));
  $("bars").replaceChildren();
  $("query").hidden = false;
  search();
  if ($("classes").value.trim()) classify();
}

async function classify() {
  const names = $("classes").value.split(/[,\n]/).map((name) => name.trim()).filter(Boolean);
  if (!names.length || !state.query) return;
  const { modality, body } = state.query;
  const parameters = new URLSearchParams([["modality", modality], ...names.map((name) => ["class", name])]);
  try {
    const answer = await ask(`/api/classify?${parameters}`, body);
    $("bars").replaceChildren(...answer.classes.map(({ name, probability }) => {
      const line = element("li");
      const bar = element("span", "bar");
      bar.style.width = `${100 * probability}%`;
      line.append(bar, element("span", "", name), element("span", "", `${(100 * probability).toFixed(1)} %`));
      return line;
    }));
  } catch (error) {
    $("bars").replaceChildren(element("li", "", error.message));
  }
}

async function start() {
  try {
    const { collections } = await ask("/api/collections");
    $("collection").replaceChildren(...collections.map(({ name, modality, num_items }) =>
      new Option(`${name} · ${num_items} ${modality}`, name)));
    say(collections.length ? "" : "No collections yet; make one with imp-eval index");
  } catch (error) {
    say(error.message, true);
  }
}

$("search").onsubmit = (event) => { event.preventDefault(); byWords(); };
$("zero-shot").onsubmit = (event) => { event.preventDefault(); classify(); };
$("collection").onchange = () => search();
$("choose").onclick = () => $("file").click();
$("file").onchange = () => { if ($("file").files[0]) byFile($("file").files[0]); };
$("more").onclick = () => search(true);
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && !event.target.matches("input, textarea, select")) {
    event.preventDefault();
    $("words").focus();
  }
});
document.addEventListener("dragover", (event) => { event.preventDefault(); $("drop").hidden = false; });
document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) $("drop").hidden = true; });
document.addEventListener("drop", (event) => {
  event.preventDefault();
  $("drop").hidden = true;
  if (event.dataTransfer.files[0]) byFile(event.dataTransfer.files[0]);
});
start();
