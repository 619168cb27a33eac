// What pages do beyond links and forms: they change in place, open a cell's statements beside the
// table, step through the days and follow the record. The server draws everything: nothing here
// makes markup out of text.

const main = document.getElementById("main");
const status = document.getElementById("status");
const inWords = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "long", year: "numeric", timeZone: "UTC" });
const LINE = /^\/countries\/([A-Za-z]{2,3})\/([a-z]+)$/;
const isLine = (url) => LINE.test(url.pathname);
const pageOf = (url) => url.pathname + url.search;

let shown = pageOf(location);
let wanted = 0;
let stream = null;
let arrived;
let dialog = null;

/** Fetches a page as a document: no text passes through our hands on its way to becoming markup. */
function fetchPage(url) {
    return new Promise((resolve, reject) => {
        const request = new XMLHttpRequest();
        request.open("GET", url);
        request.responseType = "document";
        request.setRequestHeader("Accept", "text/html");
        request.timeout = 20000;
        request.onload = () => (request.response && request.status < 500 ? resolve(request.response) : reject());
        request.onerror = request.ontimeout = reject;
        request.send();
    });
}

/** Shows what `url` answers in the place of this page; focus, scroll and opened details stay. */
async function show(url) {
    const turn = ++wanted;
    document.body.classList.add("busy");
    try {
        const page = await fetchPage(url);
        if (turn !== wanted) return;
        replaceBy(page);
        shown = pageOf(new URL(url, location));
        document.getElementById("trouble")?.remove();
    } catch {
        if (turn === wanted) tellTrouble(url);
    } finally {
        if (turn === wanted) document.body.classList.remove("busy");
    }
}

function replaceBy(page) {
    const before = document.activeElement;
    const focused = main.contains(before) && before.id;
    const typed = before instanceof HTMLInputElement && before.type === "text" ? before.value : null;
    const opened = [...main.querySelectorAll("details[open] > summary")].map((each) => each.textContent);
    main.replaceChildren(...document.adoptNode(page.getElementById("main")).childNodes);
    document.title = page.title;
    const record = page.getElementById("record");
    if (record) document.getElementById("record")?.replaceWith(document.adoptNode(record));
    for (const summary of main.querySelectorAll("details > summary")) {
        if (opened.includes(summary.textContent)) summary.parentElement.open = true;
    }
    enhance();
    if ((stream === null) !== (lastShown() === null)) follow();
    const again = focused && document.getElementById(focused);
    if (again) {
        if (typed !== null) again.value = typed;
        again.focus({ preventScroll: true });
    } else if (focused) {
        main.focus({ preventScroll: true });
    }
}

/** Goes to another state of this page: its address says which. */
async function go(url, { asStep = false } = {}) {
    history[asStep ? "replaceState" : "pushState"](null, "", url);
    await show(pageOf(url));
    const stand = document.querySelector("#lead .stand");
    const counts = [...document.querySelectorAll("#counts .count")].map((each) => each.innerText.replace(/\s+/g, " "));
    status.textContent = [stand?.querySelector("time")?.textContent, ...counts].filter(Boolean).join("; ");
    const target = url.hash && document.getElementById(url.hash.slice(1));
    if (target && target.getBoundingClientRect().top > innerHeight * 0.8) target.scrollIntoView();
}

function tellTrouble(url) {
    const note = document.createElement("p");
    note.id = "trouble";
    note.className = "note trouble";
    note.setAttribute("role", "alert");
    const again = document.createElement("button");
    again.type = "button";
    again.textContent = "Try again";
    again.addEventListener("click", () => show(url));
    note.append("The tracker cannot be reached. You still see what was loaded before. ", again);
    document.getElementById("trouble")?.remove();
    main.prepend(note);
}

/** Gives the page its slider, and says whether it follows the record. */
function enhance() {
    const slider = document.getElementById("slider");
    if (!slider) return;
    const days = slider.dataset.days.split(" ");
    const stop = slider.querySelector("input");
    const output = slider.querySelector("output");
    const day = document.getElementById("as_of").value;
    const tell = () => {
        const text = inWords.format(new Date(`${days[stop.value]}T00:00:00Z`));
        stop.setAttribute("aria-valuetext", `${text}, ${Number(stop.value) + 1} of ${days.length}`);
        output.textContent = text;
    };
    let settled;
    stop.max = days.length - 1;
    stop.value = days.indexOf(day);
    tell();
    stop.addEventListener("input", tell);
    stop.addEventListener("change", () => {
        clearTimeout(settled);
        settled = setTimeout(() => {
            const url = new URL(location);
            url.searchParams.set("as_of", days[stop.value]);
            url.hash = "";
            go(url, { asStep: true });
        }, 150);
    });
    slider.hidden = days.length < 2;
    tellLive();
}

function tellLive() {
    const live = document.getElementById("live");
    if (live) live.hidden = stream?.readyState !== EventSource.OPEN;
}

// A line's statements, beside the page.

function makeDialog() {
    dialog = document.createElement("dialog");
    dialog.setAttribute("aria-labelledby", "line_title");
    const bar = document.createElement("div");
    const whole = document.createElement("a");
    const close = document.createElement("button");
    const content = document.createElement("div");
    bar.className = "bar";
    whole.textContent = "Open as a page";
    close.type = "button";
    close.textContent = "Close";
    close.addEventListener("click", () => dialog.close());
    content.className = "content";
    bar.append(whole, close);
    dialog.append(bar, content);
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
    dialog.addEventListener("close", () => {
        if (history.state?.line) history.back();
    });
    document.body.append(dialog);
}

async function openLine(url, { push = true } = {}) {
    let page;
    try {
        page = await fetchPage(pageOf(url));
    } catch {
        tellTrouble(shown);
        return;
    }
    const line = page.getElementById("line");
    if (!line) {
        location.assign(url);
        return;
    }
    if (!dialog) makeDialog();
    dialog.querySelector(".bar a").href = url;
    dialog.querySelector(".content").replaceChildren(document.adoptNode(line));
    const [, code, component] = LINE.exec(url.pathname);
    if (push) history.pushState({ line: pageOf(url) }, "", `#${code.toUpperCase()}.${component}`);
    if (!dialog.open) dialog.showModal();
    dialog.scrollTop = 0;
    dialog.querySelector("button").focus();
}

/** Opens the line that the address names behind `#`, if it does. */
function openNamed() {
    const cell = /^#[A-Z]{2}\.[a-z]+$/.test(location.hash) && document.getElementById(location.hash.slice(1));
    if (cell) openLine(new URL(cell.href), { push: false });
}

// Links, forms and the way back.

document.addEventListener("click", (event) => {
    const link = event.target.closest?.("a[href]");
    if (!link || event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey) return;
    const url = new URL(link.href.baseVal ?? link.href, location);
    if (url.origin !== location.origin || !main.contains(link)) return;
    if (link.classList.contains("open") && isLine(url)) {
        event.preventDefault();
        openLine(url);
    } else if (url.pathname === location.pathname && pageOf(url) !== pageOf(location)) {
        event.preventDefault();
        go(url);
    }
});

document.addEventListener("submit", (event) => {
    const url = new URL(event.target.action, location);
    if (url.pathname !== location.pathname || !main.contains(event.target)) return;
    event.preventDefault();
    url.search = new URLSearchParams(new FormData(event.target));
    go(url);
});

addEventListener("popstate", async () => {
    if (dialog?.open && !history.state?.line) dialog.close();
    if (pageOf(location) !== shown) await show(pageOf(location));
    if (history.state?.line && !dialog?.open) openLine(new URL(history.state.line, location), { push: false });
});

// The record, live. A hidden page holds no connection: a browser has few for one server.

/** Returns the last entry that the page shows, if it is to show what comes after it. */
function lastShown() {
    const lead = document.getElementById("lead");
    const follows = lead?.dataset.seq && !("pinned" in lead.dataset) && !document.hidden;
    return follows ? Number(lead.dataset.seq) : null;
}

function follow() {
    const last = lastShown();
    stream?.close();
    stream = null;
    if (last === null) return;
    stream = new EventSource(`/v1/changes/stream?after=${last}`);
    stream.addEventListener("open", tellLive);
    stream.addEventListener("change", () => {
        clearTimeout(arrived);
        arrived = setTimeout(refresh, 300);
    });
    stream.addEventListener("error", () => {
        tellLive();
        if (stream?.readyState === EventSource.CLOSED) setTimeout(follow, 10000);
    });
}

async function refresh() {
    const before = Number(document.getElementById("lead").dataset.seq);
    await show(pageOf(location));
    const after = Number(document.getElementById("lead")?.dataset.seq ?? before);
    if (after <= before) return;
    status.textContent = after - before === 1 ? `Entry ${after} was recorded.` : `${after - before} entries were recorded.`;
    [...document.querySelectorAll(".latest > li")].slice(0, after - before).forEach((each) => each.classList.add("fresh"));
}

document.addEventListener("visibilitychange", follow);
addEventListener("pagehide", () => stream?.close());
addEventListener("pageshow", (event) => event.persisted && follow());

enhance();
openNamed();
follow();
