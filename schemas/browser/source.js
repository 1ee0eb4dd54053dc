// Counts plays of a page, and sends each of them until ingest has acknowledged it. docs/browser.md is its manual.
//
// What holds here:
// - The id and the time of an event are made once, before it is stored or sent, and never change. So sending it again
//   counts nothing twice, whoever does so: this page, another tab, or the next page.
// - Each event that has no answer yet is one entry of localStorage. Tabs never write each other's entries, and removing
//   one twice does no harm, so that no lock is needed.
(() => {
  // A page that has the tag twice counts once.
  if (window.vc?.play) return;
  const script = document.currentScript || document.querySelector("script[data-key]");
  const config = script.dataset;
  const local = attempt(() => localStorage);
  const session = attempt(() => sessionStorage);

  // Names of what is stored. A site that shares its origin with another one gives its entries a name of its own.
  const prefix = "vc" + (config.store || "") + ":";
  const EVENT = prefix + "e:";
  const OFF = prefix + "off";
  const OFFSET = prefix + "offset";
  const WAIT = prefix + "wait";

  const STORED_MAX = 500;
  // Browsers let 64 KiB of requests with keepalive be on their way at once.
  const FLYING_BYTES_MAX = 60 << 10;
  const ANSWER_MS = 3e4;
  const WAIT_MAX_MS = 36e5;
  const WAIT_UNTOLD_MAX_S = 300;
  // A device's clock that is so far off was set since it was compared.
  const CLOCK_OFF_MAX_MS = 6e4;
  // Longer texts are refused anyway.
  const TEXT_LENGTH_MAX = 200;
  // A longer step between two positions was a pause.
  const STEP_MAX_MS = 3e3;
  const VIDEO_ID_LENGTH_MAX = 64;

  const engagedMs = 1e3 * (config.engaged || 10);
  const base = new URL((config.to || "").replace(/\/?$/, "/"), new URL("/", script.src)).href + "v1/";
  const eventsUrl = base + "events" + (config.key ? "?key=" + encodeURIComponent(config.key) : "");

  // Events without an answer by id, as JSON. The oldest are first.
  const waiting = new Map();
  const flying = new Set();
  // Those whose time is not known yet.
  const early = [];
  let flyingBytes = 0;
  let failures = 0;
  let waitUntil = 0;
  let timer;
  let isAsking;
  let isStarted;
  let isPageDue = "pages" in config;
  // By how much the service's clock is ahead of this device's, in ms.
  let offset = number(attempt(() => session[OFFSET]));
  // When the page began by this device's clock. This moves if the clock is set, or was stopped.
  const timeOfOrigin = () => Date.now() - performance.now();
  let setAt = timeOfOrigin();
  const plays = new WeakMap();

  const api = {
    viewer_id: config.viewerId,
    // A play in another player begins. Call what it returns with the position in seconds whenever that changes.
    play(id) {
      const play = begin(id);
      return (position) => advance(play, position);
    },
    page(id) {
      add("page", id);
    },
    // A visitor who does not want to be counted, in no page of this origin.
    off(isOff = true) {
      attempt(() => (isOff ? (local[OFF] = 1) : local.removeItem(OFF)));
      if (!isOff) return;
      early.length = 0;
      attempt(load);
      for (const id of waiting.keys()) forget(id);
    },
  };
  window.vc = api;

  // --- whether this page counts

  function counts() {
    const host = location.hostname;
    return (
      !attempt(() => local[OFF]) &&
      ("local" in config || !/^$|^localhost$|\.localhost$|^127\.|^\[::1]$/.test(host)) &&
      (!config.hosts || config.hosts.split(/[ ,]+/).some((one) => one && ("." + host).endsWith("." + one)))
    );
  }

  // --- plays

  function begin(id) {
    add("view", id);
    return { id, playedMs: 0 };
  }

  // Counts the time in which a play really moved on: neither a seek nor a pause is such.
  function advance(play, position) {
    const now = performance.now();
    const moved = 1e3 * (position - play.position);
    const passed = now - play.now;
    play.position = position;
    play.now = now;
    if (moved > 0 && passed < STEP_MAX_MS) play.playedMs += Math.min(moved, passed);
    if (engagedMs > 0 && play.playedMs >= engagedMs && !play.isEngaged) {
      play.isEngaged = 1;
      add("engaged", play.id);
    }
  }

  function idOf(video) {
    const named = video.closest("[data-video-id]");
    if (named) return named.dataset.videoId;
    // An address such as blob: is another one each time.
    return /^http/.test(video.currentSrc) ? new URL(video.currentSrc).pathname.slice(-VIDEO_ID_LENGTH_MAX) : "";
  }

  // Media events do not bubble, but whoever listens on the way down hears those of all elements, also of later ones.
  function onMedia({ type, target: video }) {
    if (video.tagName != "VIDEO") return;
    let play = plays.get(video);
    if (type == "ended") {
      // Whoever plays it again begins a new play. A loop does not end.
      plays.delete(video);
    } else if (!video.paused && !video.seeking && video.readyState > 1) {
      const id = idOf(video);
      if (!play || play.id != id) {
        // Nobody has seen a frame in a hidden page.
        if (!id || document.hidden) return;
        plays.set(video, (play = begin(id)));
      }
      advance(play, video.currentTime);
    }
  }

  // A page that was opened in a hidden tab is not seen before that is shown.
  function countPage() {
    if (!isPageDue || document.hidden) return;
    isPageDue = 0;
    add("page", config.pages || location.pathname.slice(-VIDEO_ID_LENGTH_MAX));
  }

  // --- events

  function add(kind, id) {
    if (!counts()) return;
    if (Math.abs(timeOfOrigin() - setAt) > CLOCK_OFF_MAX_MS) offset = undefined;
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    bytes[6] = (bytes[6] & 15) | 64;
    bytes[8] = (bytes[8] & 63) | 128;
    early.push({
      event_id: [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join(""),
      video_id: ("" + id).slice(0, TEXT_LENGTH_MAX),
      kind,
      viewed_at: Date.now(),
      viewer_id: ("" + (api.viewer_id || "")).slice(0, TEXT_LENGTH_MAX) || undefined,
    });
    settle();
  }

  // Gives early events their time, stores them, and sends what waits. `happened` is an event of the page.
  function settle(happened) {
    if (!isStarted) return;
    let known = offset;
    if (known == null && early.length) {
      askTime();
      // This page may never come back. What the last session knew is better than nothing.
      if (happened && document.hidden) known = number(attempt(() => local[OFFSET])) || 0;
    }
    for (const one of known == null ? [] : early.splice(0)) {
      one.viewed_at += known;
      const text = JSON.stringify(one);
      hold(one.event_id, text);
      attempt(() => (local[EVENT + one.event_id] = text));
    }
    send();
  }

  async function askTime() {
    if (isAsking || isToWait()) return;
    isAsking = 1;
    try {
      const before = Date.now();
      const { now } = await (await request(base + "time")).json();
      // Half of the time of the way there and back.
      const found = Math.round(now - (before + Date.now()) / 2);
      if (isNaN(found)) throw 0;
      offset = found;
      setAt = timeOfOrigin();
      attempt(() => (session[OFFSET] = local[OFFSET] = offset));
    } catch {
      failed();
    }
    isAsking = 0;
    settle();
  }

  function hold(id, text) {
    waiting.set(id, text);
    if (waiting.size > STORED_MAX) forget(waiting.keys().next().value);
  }

  function forget(id) {
    waiting.delete(id);
    attempt(() => local.removeItem(EVENT + id));
  }

  // --- sending

  function request(url, body) {
    return fetch(url, {
      method: body ? "POST" : "GET",
      body,
      keepalive: !!body,
      credentials: "omit",
      cache: "no-store",
      signal: AbortSignal.timeout?.(ANSWER_MS),
    });
  }

  // Usually one body is on its way. While the page is hidden there may be more, since it may never come back.
  async function send() {
    if ((flying.size && !document.hidden) || !waiting.size || !counts() || isToWait()) return;
    const ids = [];
    const texts = [];
    let bytes = 64;
    for (const [id, text] of waiting) {
      const more = new Blob([text]).size + 1;
      if (flying.has(id) || flyingBytes + bytes + more > FLYING_BYTES_MAX) continue;
      bytes += more;
      ids.push(id);
      texts.push(text);
    }
    if (!ids.length) return;
    const sentAt = offset == null ? "" : `"sent_at":${Date.now() + offset},`;
    const body = `{${sentAt}"events":[${texts}]}`;
    flyingBytes += bytes;
    for (const id of ids) flying.add(id);
    try {
      await answered(await request(eventsUrl, body), ids);
    } catch {
      if (document.hidden) navigator.sendBeacon(eventsUrl, body);
      failed();
    }
    flyingBytes -= bytes;
    for (const id of ids) flying.delete(id);
    send();
  }

  // 202 and 400 say what became of each event. After any other answer all are sent again.
  async function answered(answer, ids) {
    const { status } = answer;
    if (status != 202 && status != 400) return failed(1e3 * answer.headers.get("Retry-After"));
    const result = await answer.json();
    if (Math.abs(result.clock_off_ms) > CLOCK_OFF_MAX_MS) {
      offset = undefined;
      attempt(() => session.removeItem(OFFSET));
    }
    const refused = new Map(result.rejected.map((one) => [one.index, /again/.test(one.remedy)]));
    let isDone = 1;
    ids.forEach((id, index) => {
      if (refused.get(index) ?? status == 400) isDone = 0;
      else forget(id);
    });
    if (isDone) failures = 0;
    else failed();
  }

  // The wait holds for all pages of the site.
  function failed(wait) {
    wait ||= 1e3 * Math.min(2 ** failures++, WAIT_UNTOLD_MAX_S) * Math.random();
    waitUntil = Date.now() + Math.min(wait, WAIT_MAX_MS) + 1e3 * Math.random();
    attempt(() => (local[WAIT] = waitUntil));
    isToWait();
  }

  // Comes back when the wait is over.
  function isToWait() {
    const wait = Math.max(waitUntil, number(attempt(() => local[WAIT])) || 0) - Date.now();
    // A longer one was noted by a clock that has been set back since.
    if (wait <= 0 || wait > 2 * WAIT_MAX_MS) return;
    clearTimeout(timer);
    timer = setTimeout(settle, wait);
    return 1;
  }

  // --- small things

  // Storage may be forbidden or full, and the script then does without.
  function attempt(work) {
    try {
      return work();
    } catch {}
  }

  function number(text) {
    return text == null || isNaN(text) ? undefined : +text;
  }

  // --- begin

  // Takes over what other pages have left.
  function load() {
    for (const key of Object.keys(local).filter((key) => key.startsWith(EVENT))) {
      const id = key.slice(EVENT.length);
      hold(id, local[key]);
      // Whatever else has written here must not spoil the body.
      if (!attempt(() => JSON.parse(local[key]))) forget(id);
    }
  }

  function start() {
    isStarted = 1;
    if (counts()) attempt(load);
    for (const type of ["playing", "timeupdate", "ended"]) document.addEventListener(type, onMedia, true);
    for (const type of ["visibilitychange", "pagehide", "pageshow", "online"]) addEventListener(type, onPage);
    onPage({});
  }

  function onPage(event) {
    // The page comes back from the cache of the browser's history.
    if (event.persisted && event.type == "pageshow") isPageDue = "pages" in config;
    countPage();
    settle(event.type);
  }

  if (document.prerendering) document.addEventListener("prerenderingchange", start, { once: true });
  else start();
})();
