// Refreshes the part of a page that is marked by data-live: fetches it from the address there every few seconds and
// puts it in place of the old one. Rests in hidden tabs, while text is marked, and when told to pause.
"use strict";
(() => {
  const region = document.querySelector("[data-live]");
  if (!region) return;
  const every = Number(region.dataset.every) * 1000;
  const button = document.querySelector("[data-live-pause]");
  const status = document.querySelector("[data-live-status]");
  const aloud = document.querySelector("[data-live-aloud]");
  let paused = false, timer = 0, shown = null, asking = null;

  // What has the focus, or is open, is known again by its id, else by where it leads.
  const name = element => element.id ? "#" + CSS.escape(element.id)
    : element.getAttribute("href") ? `a[href="${CSS.escape(element.getAttribute("href"))}"]` : null;

  // All but when it was made.
  const matter = text => text.replace(/ data-at="[^"]*"/, "");

  const swap = text => {
    if (matter(text) === shown) return;
    const focused = region.contains(document.activeElement) ? document.activeElement : null;
    const back = focused && (name(focused) || (focused.closest("figure") && `#${focused.closest("figure").id} ${focused.tagName}`));
    const open = [...region.querySelectorAll("figure[id] details[open]")].map(each => each.closest("figure").id);
    const scrolled = [...region.querySelectorAll(".scroll")].map(each => [each.scrollLeft, each.scrollTop]);
    shown = matter(text);
    region.innerHTML = text;
    for (const id of open) region.querySelector(`#${id} details`)?.setAttribute("open", "");
    region.querySelectorAll(".scroll").forEach((each, n) => scrolled[n] && each.scrollTo(...scrolled[n]));
    if (back) region.querySelector(back)?.focus({ preventScroll: true });
    const said = region.querySelector("[data-say]")?.textContent.trim() || "";
    if (said !== aloud.textContent) aloud.textContent = said;
  };

  const refresh = async () => {
    timer = 0;
    const marked = String(getSelection()) && region.contains(getSelection().anchorNode);
    if (!marked) {
      asking = new AbortController();
      try {
        const answer = await fetch(region.dataset.live, { signal: asking.signal, headers: { Accept: "text/html" } });
        if (answer.redirected) return location.reload();  // signed out: the page itself knows where to go
        if (!answer.ok) throw new Error(answer.status);
        const text = await answer.text();
        swap(text);
        status.textContent = / data-at="([^"]*)"/.exec(text)?.[1] || "";
      } catch (error) {
        if (error.name !== "AbortError") status.textContent = "cannot be refreshed now; trying again";
      }
      asking = null;
    }
    plan();
  };

  const plan = () => {
    clearTimeout(timer);
    timer = paused || document.hidden ? 0 : setTimeout(refresh, every);
  };

  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return clearTimeout(timer);
    if (!paused && !asking) refresh();
  });
  button.addEventListener("click", () => {
    paused = !paused;
    button.textContent = paused ? "Go on" : "Pause";
    button.setAttribute("aria-pressed", paused);
    asking?.abort();
    paused ? clearTimeout(timer) : refresh();
  });
  aloud.textContent = region.querySelector("[data-say]")?.textContent.trim() || "";
  status.textContent = region.querySelector("[data-at]")?.dataset.at || "";
  button.hidden = false;
  plan();
})();
