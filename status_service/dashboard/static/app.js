// Live figures, relative times, values of the chart, and keys. Pages work without it.
(() => {
  "use strict";
  const $ = (selector, root = document) => root.querySelector(selector);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const body = document.body;

  // Relative times, as formats.relative has them; tests run both on the same cases.
  const months = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(" ");
  const relative = (moment, now) => {
    const seconds = Math.floor((now - moment) / 1000);
    const minutes = Math.floor(seconds / 60);
    const hours = Math.floor(minutes / 60);
    const days = Math.floor(hours / 24);
    if (seconds < 1) return "now";
    if (days >= 30) {
      const date = new Date(moment);
      return `${date.getUTCDate()} ${months[date.getUTCMonth()]} ${date.getUTCFullYear()}`;
    }
    if (days) return `${days} d ago`;
    if (hours) return minutes % 60 ? `${hours} h ${minutes % 60} min ago` : `${hours} h ago`;
    return minutes ? `${minutes} min ago` : `${seconds} s ago`;
  };
  window.closeout = { relative };
  // The server's clock: the browser's own may be wrong.
  const offset = body.dataset.now ? Date.parse(body.dataset.now) - Date.now() : 0;
  const say = (node, text) => {
    if (node && node.textContent !== text) node.textContent = text;
  };
  const tick = () => {
    if (document.hidden) return;
    const now = Date.now() + offset;
    for (const time of all("time[data-ago]")) say(time, relative(Date.parse(time.dateTime), now));
  };
  setInterval(tick, 1000);

  // Tables that become cards on a phone keep their roles.
  const roles = { TABLE: "table", THEAD: "rowgroup", TBODY: "rowgroup", TR: "row", TH: "columnheader", TD: "cell" };
  const keepRoles = () => {
    for (const table of all("table.cards"))
      for (const part of [table, ...all("*", table)])
        if (roles[part.tagName]) part.setAttribute("role", roles[part.tagName]);
  };
  keepRoles();

  // The chart: values under the pointer, or by arrow keys.
  const readChart = () => {
    const chart = $("#chart");
    if (!chart || chart.dataset.read) return;
    chart.dataset.read = "yes";
    const [at, sent, failed] = ["at", "sent", "failed"].map((name) => chart.dataset[name].split("|"));
    const line = $(".cur", chart);
    const text = $(".at", chart);
    let index = -1;
    const show = (wanted) => {
      index = Math.max(0, Math.min(wanted, at.length - 1));
      const x = `${((index + 0.5) / at.length) * 100}%`;
      line.setAttribute("x1", x);
      line.setAttribute("x2", x);
      line.setAttribute("visibility", "visible");
      text.textContent = `${at[index]} UTC: ${sent[index]} sent, ${failed[index]} failed`;
    };
    chart.addEventListener("pointermove", (event) => {
      const box = chart.getBoundingClientRect();
      show(Math.floor(((event.clientX - box.left - 44) / (box.width - 44)) * at.length));
    });
    chart.addEventListener("keydown", (event) => {
      if (event.key === "ArrowRight") show(index + 1);
      if (event.key === "ArrowLeft") show(index < 0 ? at.length - 1 : index - 1);
    });
    for (const left of ["pointerleave", "blur"])
      chart.addEventListener(left, () => {
        line.setAttribute("visibility", "hidden");
        text.textContent = "";
      });
  };
  readChart();

  // Announcements: a change of the sentence, at most once in half a minute; the last one counts.
  let announced = 0;
  let waiting = 0;
  const announce = (text) => {
    clearTimeout(waiting);
    const wait = announced + 30000 - Date.now();
    if (wait > 0) return void (waiting = setTimeout(announce, wait, text));
    announced = Date.now();
    say($("#announce"), text);
  };

  // A row or a page of a campaign takes what an event has of it.
  const SVG = "http://www.w3.org/2000/svg";
  const drawBar = (bar, row) => {
    if (!bar) return;
    if (bar.hasAttribute("aria-label")) bar.setAttribute("aria-label", row.label);
    const names = row.bar.map(([name]) => `p-${name}`).join();
    if (names !== [...bar.children].map((part) => part.getAttribute("class")).join())
      bar.replaceChildren(...row.bar.map(([name]) => {
        const part = document.createElementNS(SVG, "svg");
        part.setAttribute("class", `p-${name}`);
        return part;
      }));
    row.bar.forEach(([, width], index) => bar.children[index].setAttribute("width", width));
  };
  const fill = (root, texts) => {
    for (const node of all("[data-f]", root)) {
      const text = texts[node.dataset.f];
      if (text === undefined || node.textContent === text) continue;
      if (node.dataset.f === "sentence" && !node.closest("article")) announce(text);
      node.textContent = text;
    }
    if (root.tagName !== "TR" || !$(".bar", root)) return;
    // Cells of the list have no names: there are many.
    ["failed", "unknown", "rate", "left"].forEach((name, index) => {
      const cell = root.cells[index + 3];
      say(cell, texts[name]);
      if (index < 2) cell.classList.toggle("zero", texts[name] === "0");
    });
  };
  const idOf = (root) =>
    (root.dataset.version === undefined ? $("a", root).pathname : location.pathname).split("/")[2];
  const showState = (root, [icon, word, how]) => {
    const state = $(".state", root);
    if (!state) return;
    $("use", state).setAttribute("href", `#i-${icon}`);
    state.classList.toggle("done", icon === "completed");
    say(state.lastChild, word);
    say(state.parentNode.querySelector("small"), how);
  };
  const takeRow = (row) => {
    for (const root of all("[data-r]")) {
      if (idOf(root) !== row.c || row.revision < Number(root.dataset.r)) continue;
      root.dataset.r = row.revision;
      const page = root.dataset.version === undefined ? root : $("main");
      fill(page, row.text);
      drawBar($(".bar", page), row);
      const time = $("time[data-ago]", root);
      if (page === root) {
        showState(root, row.state);
        if (time && row.last.length) [time.dateTime, time.title] = row.last;
      } else if ((root.dataset.version !== row.version && asked !== row.version) || Date.now() - exchanged > 10000) {
        asked = row.version;
        exchange();
      }
    }
    tick();
  };
  const takeList = (event) => {
    const page = $("#page");
    if (!page || event.needy === undefined) return;
    fill(page, { lede: event.text.lede });
    const more = event.needy - Number(page.dataset.needy);
    $("#news").hidden = !more;
    if (!more) return;
    const count = Math.abs(more);
    const some = `${count === 1 ? "One" : count} ${more > 0 ? "more" : "fewer"}`;
    say($("#news-text"), `${some} ${count === 1 ? "campaign needs" : "campaigns need"} a person.`);
    announce($("#news-text").textContent);
  };

  // Sections that read differently now are exchanged, but not under somebody's hands.
  let exchanged = Date.now();
  let exchanging = false;
  let asked = ""; // for this version
  let again = false; // something changed meanwhile
  let owed = false; // a section waits until nobody uses it
  const isInUse = (block) => {
    if (block.contains(document.activeElement)) return true;
    const selection = getSelection();
    if (selection && !selection.isCollapsed && selection.containsNode(block, true)) return true;
    if ($("details[open]", block)) return true;
    return all("input, textarea", block).some((field) =>
      field.type === "checkbox" ? field.checked !== field.defaultChecked : field.value !== field.defaultValue);
  };
  const exchange = async () => {
    if (exchanging) return void (again = true);
    exchanging = true;
    again = owed = false;
    exchanged = Date.now();
    try {
      const answer = await fetch(location.href, { headers: { accept: "text/html" } });
      if (!answer.ok || answer.redirected) return;
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      const names = (root) => all("[data-block]", root).map((block) => block.dataset.block).join();
      const lead = $('[data-block="lead"]');
      const newer = $('[data-block="lead"]', fresh);
      const moved = names(document) !== names(fresh);
      if (moved && !isInUse($("main")) && lead.dataset.version !== newer.dataset.version) {
        $("main").replaceChildren(...$("main", fresh).childNodes);
      } else
        for (const block of all("[data-block]")) {
          const other = $(`[data-block="${block.dataset.block}"]`, fresh);
          if (!other || other.innerHTML === block.innerHTML) continue;
          if (isInUse(block)) owed = true;
          else block.replaceWith(other);
        }
      document.title = fresh.title;
      if (!fresh.body.dataset.stream) stop();
      keepRoles();
      readChart();
    } catch (error) {
      if (!(error instanceof TypeError)) throw error; // the network; the stream says so as well
    } finally {
      exchanging = false;
      if (again) exchange();
    }
  };
  for (const left of ["focusout", "pointerup"])
    document.addEventListener(left, () => setTimeout(() => owed && exchange()));

  // The stream. A hidden tab has none: a browser has few connections to a host.
  let source = null;
  let retry = 0;
  let hide = 0;
  let over = !body.dataset.stream;
  let since = 0;
  const clock = () => `${new Date(Date.now() + offset).toISOString().slice(11, 19)} UTC`;
  const mark = (state, text) => {
    if (!$("#live")) return;
    $("#live").dataset.state = state;
    say($("#live-text"), text);
  };
  const warn = (strong, text, link, address) => {
    const bold = document.createElement("b");
    bold.textContent = strong;
    $("#stale-text").replaceChildren(bold, ` ${text}`);
    $("#stale-link").textContent = link;
    $("#stale-link").href = address;
    $("#stale").hidden = false;
  };
  const close = () => {
    clearTimeout(retry);
    if (source) source.close();
    source = null;
  };
  const stop = () => {
    over = true;
    close();
    mark("static", `As of ${clock()}`);
  };
  const lost = () => {
    close();
    if (over || document.hidden) return;
    since = since || Date.now();
    const from = clock();
    setTimeout(() => {
      if (over || !since || source?.readyState === 1) return;
      mark("lost", "Not live");
      if ($("#stale").hidden)
        warn("Not live.", `The connection to the status service was lost at ${from}. Figures are from then; trying again.`, "Reload", location.href);
    }, 5000);
    retry = setTimeout(open, 3000 + Math.random() * 2000); // not all pages at once
  };
  function open() {
    if (over || source || document.hidden) return;
    clearTimeout(retry);
    source = new EventSource(body.dataset.stream);
    source.onopen = () => {
      since = 0;
      $("#stale").hidden = true;
      mark("live", "Live");
    };
    source.onmessage = (message) => {
      const event = JSON.parse(message.data);
      event.rows.forEach(takeRow);
      takeList(event);
    };
    source.addEventListener("signed-out", () => {
      stop();
      mark("lost", "Not live");
      const back = encodeURIComponent(location.pathname + location.search);
      warn("Your session has ended.", "", "Sign in", `/sign-in?next=${back}`);
    });
    source.onerror = lost;
  }
  open();
  document.addEventListener("visibilitychange", () => {
    clearTimeout(hide);
    if (document.hidden) hide = setTimeout(close, 5000);
    else if (!over && !source) {
      if ($("[data-version]")) exchange();
      open();
    }
  });
  addEventListener("pagehide", close);
  addEventListener("pageshow", (event) => event.persisted && open());

  // Keys; off in fields, with modifiers, and by the switch on the page of keys.
  const keysOff = () => localStorage.getItem("keys") === "off";
  let before = "";
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    const field = event.target.closest?.("input, textarea, select");
    if (field) {
      if (event.key === "Escape") field.blur();
      return;
    }
    if (keysOff()) return;
    const { key } = event;
    const places = { c: "/", p: "/problems" };
    if (before === "g" && places[key]) location.href = places[key];
    else if (key === "?") location.href = "/keyboard";
    else if (key === "/" && $("#q")) {
      event.preventDefault();
      $("#q").focus();
    } else if (key === "j" || key === "k") {
      const links = all("main h3 a, .list td:first-child a");
      const at = links.indexOf(document.activeElement) + (key === "j" ? 1 : -1);
      links[Math.max(0, Math.min(at, links.length - 1))]?.focus();
    }
    before = key;
  });
  const keySwitch = $("#keys");
  if (keySwitch) {
    keySwitch.disabled = false;
    keySwitch.checked = !keysOff();
    keySwitch.addEventListener("change", () => localStorage.setItem("keys", keySwitch.checked ? "on" : "off"));
  }
})();
