// Shows counts on a page: <span data-views="VIDEO"></span>, and data-kind="like" for another kind.
(() => {
  const own = document.currentScript, { key, lang } = own.dataset, asked = {};
  const ask = (url) => (asked[url] ||= fetch(url, { credentials: "omit" }).then((answer) => answer.json()));
  const show = () =>
    document.querySelectorAll("[data-views]").forEach((place) => {
      const { views, kind } = place.dataset;
      const url = new URL(`v1/videos/${encodeURIComponent(views)}/views`, own.src);
      if (kind) url.searchParams.set("kind", kind);
      if (key) url.searchParams.set("key", key);
      // What cannot be read leaves the text of the page.
      ask(url).then((total) => Number.isInteger(total.views) && (place.textContent = total.views.toLocaleString(lang)), () => {});
    });
  document.readyState == "loading" ? addEventListener("DOMContentLoaded", show) : show();
})();
