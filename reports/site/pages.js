"use strict";
// One page at a time, by the address's hash: a page's own id, or the id of anything on it.
(() => {
  const pages = [...document.querySelectorAll("main > .page")];
  const links = [...document.querySelectorAll("nav a")];
  const title = document.title;
  history.scrollRestoration = "manual";

  const targetOf = (hash) => {
    try { return document.getElementById(decodeURIComponent(hash.slice(1))); } catch { return null; }
  };

  const show = (page) => {
    for (const other of pages) other.hidden = other !== page;
    for (const link of links) {
      const to = link.hash === location.hash || link.hash === `#${page.id}`;
      if (link.classList.contains("to-page") && link.hash === `#${page.id}`) {
        link.setAttribute("aria-current", "page");
      } else if (to) {
        link.setAttribute("aria-current", "location");
      } else {
        link.removeAttribute("aria-current");
      }
    }
    document.title = `${page.querySelector("h1").textContent} – ${title}`;
    document.dispatchEvent(new Event("camsweep:shown"));
  };

  let shown = null;
  const route = (first) => {
    const target = location.hash.length > 1 ? targetOf(location.hash) : null;
    const page = target?.closest(".page") ?? (target && shown ? shown : pages[0]);
    const moved = page !== shown;
    shown = page;
    show(page);
    if (target && target !== page) target.scrollIntoView();
    else if (moved) scrollTo(0, 0);
    // Who listens to the page hears where it went.
    if (moved && !first) page.querySelector("h1").focus({ preventScroll: true });
  };
  addEventListener("hashchange", () => route(false));
  route(true);
})();
