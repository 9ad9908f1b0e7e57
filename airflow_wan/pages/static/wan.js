// What the pages do in the browser: Airflow's theme, language and time zone, live state, playing on demand, keys, copying.
// It loads before the page is drawn, so that the page appears in the right colours at once.
"use strict";

(() => {
  const root = document.documentElement;
  const framed = window.parent !== window;

  function remembered(key) {
    try {
      return localStorage.getItem(key);
    } catch {
      return null; // the browser blocks storage
    }
  }

  // As Airflow does: the key "theme" is "light", "dark" or "system".
  function wearTheme() {
    const theme = remembered("theme");
    if (theme === "light" || theme === "dark") root.dataset.theme = theme;
    else delete root.dataset.theme; // the style sheet follows the system
  }

  // Airflow's language is known only here. A cookie tells it to the server, which writes the page.
  function speakAsAirflow() {
    const chosen = remembered("i18nextLng");
    const language = chosen?.toLowerCase().startsWith("zh") ? "zh" : "en";
    if (!chosen || root.lang.startsWith(language)) return;
    const cookie = `wan_language=${language}`;
    if (document.cookie.split("; ").includes(cookie)) return; // the server knows and does not follow: no second try
    document.cookie = `${cookie}; path=${root.dataset.root || "/"}; SameSite=Lax`;
    if (document.cookie.split("; ").includes(cookie)) location.reload();
  }

  wearTheme();
  speakAsAirflow();
  window.addEventListener("storage", (event) => {
    if (event.key === "theme") wearTheme();
    if (event.key === "i18nextLng") speakAsAirflow();
  });

  // Times: the server writes UTC; they are shown in the time zone chosen in Airflow.
  function timeZone() {
    const chosen = remembered("timezone")?.replaceAll('"', "");
    return !chosen || chosen === "local" ? undefined : chosen;
  }

  function showTimes(within) {
    for (const time of within.querySelectorAll("time[datetime]")) {
      try {
        const format = new Intl.DateTimeFormat("sv-SE", { dateStyle: "short", timeStyle: "medium", timeZone: timeZone() });
        time.title ||= time.textContent;
        time.textContent = format.format(new Date(time.dateTime));
      } catch {
        return; // a zone that this browser does not know: UTC stays
      }
    }
  }

  function showElapsed() {
    for (const place of document.querySelectorAll("[data-since]")) {
      const seconds = Math.max(0, Math.round((Date.now() - Date.parse(place.dataset.since)) / 1000));
      const minutes = Math.floor(seconds / 60);
      place.textContent = minutes ? `${minutes} min ${String(seconds % 60).padStart(2, "0")} s` : `${seconds} s`;
    }
  }

  // Live state: while something goes on, the server names an interval. The page is asked for again, and the parts that
  // the server writes differently are replaced. What plays, and where the focus is, stays.
  const written = new Map();
  let failures = 0;

  function rememberParts(page) {
    for (const part of page.querySelectorAll("[data-live]")) written.set(part.id, part.outerHTML);
  }

  function say(sentence) {
    document.getElementById("live-status").textContent = sentence;
  }

  function replaceParts(page) {
    for (const fresh of page.querySelectorAll("[data-live]")) {
      if (written.get(fresh.id) === fresh.outerHTML) continue;
      const old = document.getElementById(fresh.id);
      const part = document.importNode(fresh, true);
      if (!old && !insert(part, fresh)) return location.reload();
      if (old && [...old.querySelectorAll("video, audio")].some((one) => !one.paused)) continue; // the next time
      written.set(fresh.id, fresh.outerHTML);
      const focus = old?.contains(document.activeElement) && document.activeElement.dataset.key;
      old?.replaceWith(part);
      enliven(part);
      if (focus) [...part.querySelectorAll("[data-key]")].find((one) => one.dataset.key === focus)?.focus();
    }
  }

  // A part that was not there before, such as the tile of a task that has begun.
  function insert(part, fresh) {
    const before = document.getElementById(fresh.previousElementSibling?.id);
    const around = document.getElementById(fresh.parentElement.id);
    if (before) before.after(part);
    else around?.prepend(part);
    return Boolean(before || around);
  }

  async function refresh() {
    if (document.hidden) return wait();
    try {
      const answer = await fetch(location.href, { cache: "no-store", redirect: "error" });
      if (!answer.ok) throw new Error(answer.status);
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      failures = 0;
      say("");
      document.title = page.title;
      document.body.dataset.refreshS = page.body.dataset.refreshS || "";
      replaceParts(page);
    } catch {
      failures += 1;
      say(document.body.dataset.lost);
    }
    wait();
  }

  function wait() {
    const seconds = Number(document.body.dataset.refreshS);
    if (seconds) setTimeout(refresh, Math.min(60, seconds * 2 ** Math.min(failures, 4)) * 1000);
  }

  // Playing on demand: a tile is a link with a picture; pressing it puts a player in its place.
  function play(link) {
    const frame = link.closest(".frame");
    const player = document.createElement("video");
    Object.assign(player, { controls: true, playsInline: true, src: link.dataset.video });
    player.setAttribute("aria-label", link.getAttribute("aria-label"));
    player.dataset.key = link.dataset.key;
    const poster = link.querySelector("img");
    if (poster) player.poster = poster.currentSrc || poster.src;
    player.addEventListener("play", () => pauseOthers(player));
    player.addEventListener("error", () => {
      const note = document.createElement("p");
      note.className = "note";
      note.textContent = document.body.dataset.unplayable;
      player.replaceWith(link);
      link.querySelector(".play")?.replaceWith(note);
      link.focus();
    });
    player.stop = () => {
      player.pause();
      player.replaceWith(link);
      link.focus();
    };
    link.replaceWith(player);
    frame.querySelector(".length")?.remove();
    player.focus();
    player.play().catch(() => {}); // a browser that allows no sound without a click; the controls are there
  }

  function pauseOthers(player) {
    for (const other of document.querySelectorAll("video, audio")) if (other !== player) other.pause();
  }

  // A clip without a poster shows its first frame, which the browser gets from the file when the tile is in view.
  const stills =
    "IntersectionObserver" in window &&
    new IntersectionObserver(
      (entries) => {
        for (const { isIntersecting, target } of entries) {
          if (!isIntersecting) continue;
          stills.unobserve(target);
          target.preload = "metadata";
          target.src = `${target.dataset.still}#t=0.1`;
        }
      },
      { rootMargin: "200px" },
    );

  // Keys: space plays and pauses; arrows seek by a second in a player, and go from tile to tile.
  const playables = () => [...document.querySelectorAll(".tile .frame > :is(a, video)")];

  function neighbour(tiles, here, key) {
    const index = tiles.indexOf(here);
    if (key === "ArrowRight") return tiles[index + 1];
    if (key === "ArrowLeft") return tiles[index - 1];
    const place = (one) => one.getBoundingClientRect();
    const { left, top } = place(here);
    const below = key === "ArrowDown";
    const column = tiles.filter((one) => Math.abs(place(one).left - left) < 8 && (below ? place(one).top > top : place(one).top < top));
    return below ? column[0] : column.at(-1);
  }

  function seek(player, seconds) {
    player.currentTime = Math.min(Math.max(0, player.currentTime + seconds), player.duration || 0);
  }

  function toggle(player) {
    if (player.paused) player.play().catch(() => {});
    else player.pause();
  }

  function onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const here = event.target;
    if (here.closest("input, select, textarea, summary, .code, .words")) return;
    const tile = here.closest(".tile .frame > :is(a, video)");
    const player = tile ? null : document.querySelector("video.player");
    const seconds = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    let action = null;
    if (tile && event.key === " ") action = () => (tile.dataset.video ? play(tile) : tile.stop ? toggle(tile) : tile.click());
    else if (tile?.stop && event.key === "Escape") action = tile.stop;
    else if (tile && event.key.startsWith("Arrow")) action = () => neighbour(playables(), tile, event.key)?.focus();
    else if (player && event.key === " " && !here.closest("button, a, audio")) action = () => toggle(player);
    else if (player && seconds && !here.closest("audio")) action = () => seek(player, seconds);
    if (!action) return;
    event.preventDefault();
    event.stopPropagation();
    action();
  }

  // Copying: the clipboard where the browser allows it (https, localhost), otherwise the old way.
  async function copy(button) {
    const source = document.getElementById(button.dataset.copy);
    try {
      await navigator.clipboard.writeText(source.textContent);
    } catch {
      const selection = getSelection();
      selection.selectAllChildren(source);
      document.execCommand("copy");
      selection.removeAllRanges();
    }
    const label = button.textContent;
    if (button.dataset.done === label) return;
    button.textContent = button.dataset.done;
    setTimeout(() => (button.textContent = label), 1500);
  }

  // Airflow shows these pages in a frame that may not leave it. Links to Airflow's own pages belong to the page around.
  function openInAirflow(event, link) {
    if (!framed || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const outer = window.parent.document.createElement("a");
    outer.href = link.href;
    outer.click();
  }

  function onClick(event) {
    const link = event.target.closest("a[data-video]");
    const button = event.target.closest("button[data-copy]");
    const outside = event.target.closest("a[data-airflow]");
    if (link && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
      event.preventDefault();
      play(link);
    } else if (button) {
      copy(button);
    } else if (outside) {
      openInAirflow(event, outside);
    }
  }

  function enliven(part) {
    showTimes(part);
    showElapsed();
    if (stills) for (const still of part.querySelectorAll("video[data-still]")) stills.observe(still);
    for (const player of part.querySelectorAll("video.player")) player.addEventListener("play", () => pauseOthers(player));
  }

  document.addEventListener("DOMContentLoaded", () => {
    rememberParts(document);
    enliven(document);
    document.addEventListener("click", onClick);
    document.addEventListener("keydown", onKey, true);
    setInterval(showElapsed, 1000);
    wait();
  });
})();
