"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const LEVELS = 6; // of colour on each side
  const LAYERS = [
    { name: "Correct hint", unit: "nats", scale: "nats", of: (r, i) => r.right[i] },
    { name: "Wrong hints", unit: "nats", scale: "nats", of: (r, i) => r.wrong && r.wrong[i], needs: "wrong" },
    { name: "Contrast", unit: "nats", scale: "nats", of: (r, i) => r.contrast && r.contrast[i], needs: "contrast" },
    { name: "Advantage before", unit: "", scale: "advantage", of: (r) => r.advantage },
    { name: "After the method", unit: "", scale: "advantage", of: (r, i) => r.after[i] },
  ];
  let current, layer = 0, spans = [], starts = [], joined = "", chosen = -1, hits = [], hit = -1;

  // Half precision: a sign, five bits of exponent, ten of the fraction. DataView.getFloat16 is not in every browser.
  const half = (bits) => {
    const exponent = (bits >> 10) & 31, fraction = bits & 1023;
    if (exponent === 31) return NaN;
    return (bits >> 15 ? -1 : 1) * (exponent ? 2 ** (exponent - 25) * (1024 + fraction) : 2 ** -24 * fraction);
  };
  const bytesOf = (packed) => Uint8Array.from(atob(packed), (c) => c.charCodeAt(0));
  const decode = (packed) => {
    const bytes = bytesOf(packed), view = new DataView(bytes.buffer);
    return Float64Array.from({ length: bytes.length / 2 }, (_, i) => half(view.getUint16(2 * i, true)));
  };
  // A bit a token.
  const places = (packed) => {
    const bytes = bytesOf(packed);
    return new Set(Array.from({ length: 8 * bytes.length }, (_, i) => i).filter((i) => (bytes[i >> 3] >> (i & 7)) & 1));
  };
  const unpacked = (packed) => {
    const r = { ...packed, marked: packed.marked && places(packed.marked) };
    for (const name of ["student", "right", "wrong", "contrast", "after", "weights"]) r[name] = packed[name] && decode(packed[name]);
    return r;
  };
  // Small sizes matter: rlcsd selects tokens from 0.0008 nats on.
  const digits = (value) => (value === 0 || Math.abs(value) >= 0.1 ? value.toFixed(3) : value.toPrecision(3));
  const signed = (value) => (Number.isFinite(value) ? (value > 0 ? "+" : "") + digits(value).replaceAll("-", "\u2212") : "none");
  // As texts.visible: what is not seen, or turns round its neighbours, is spelt out.
  const UNSEEN = /[\0-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff\ufff9-\ufffb\ufffe\uffff]/g;
  const shown = (text) => text.replace(/\r\n/g, "\n").replace(UNSEEN, (c) => "\\u" + c.charCodeAt(0).toString(16).padStart(4, "0"));
  const visible = (text) => (text === "" ? "(part of the next character)" : shown(text).replace(/\n/g, "\u21b5"));

  // ---- what is shown
  const options = (select, values, label = String) =>
    select.replaceChildren(...[...values].map(([key, value]) => new Option(label(key), value)));
  const chooseRun = () => {
    const steps = new Map();
    data.rollouts.forEach((r, i) => { if (r.run === $("run").value && !steps.has(r.step)) steps.set(r.step, r.step); });
    options($("step"), steps);
    chooseStep();
  };
  const chooseStep = () => {
    const found = data.rollouts.map((r, i) => [r, i]).filter(([r]) => r.run === $("run").value && String(r.step) === $("step").value);
    options($("rollout"), found, (r) => `${r.name}, ${r.correct ? "correct" : "wrong"}, ${r.tokens.length} tokens`);
    show();
  };
  const show = () => {
    current = unpacked(data.rollouts[Number($("rollout").value)]);
    const r = current;
    $("facts").textContent = `The answer is ${r.correct ? "correct" : "wrong"}; reward ${r.reward}, advantage ${signed(r.advantage)}; ` +
      `${r.tokens.length} tokens` + (r.distilled ? "; distilled: after the method, a token has a divergence in nats, not an advantage" : "") +
      (r.marked ? `; ${r.marked.size} tokens marked` : "") + ".";
    const feedback = r.feedback ? `\n\nFeedback: ${r.feedback}` : "";
    $("problem").textContent = shown(`${r.problem}\n\nAnswer: ${r.answer}${feedback}`);
    const hint = ([solution, answer, feedback]) => shown(
      [solution, answer && `The correct final answer is: ${answer}`, feedback && `Feedback: ${feedback}`].filter(Boolean).join("\n\n"));
    $("hint").textContent = hint(r.hint);
    $("context").textContent = shown(r.context ?? "");
    $("whole-context").hidden = !r.context;
    $("wrong").textContent = r.wrongHints.map((each, k) => `--- ${k + 1} of ${r.wrongHints.length} ---\n${hint(each)}`).join("\n\n");
    $("wrong-hints").hidden = !r.wrongHints.length;
    // What was written of this very response stands above it; there is no other hint then.
    $("critique").textContent = shown(r.critique || "");
    $("critique-box").hidden = !r.critique;
    showPictures(r.pictures || []);
    $("correct-hint").hidden = !r.hint.some(Boolean);
    draw();
    if (LAYERS[layer].needs && !r[LAYERS[layer].needs]) layer = 0;
    colour();
    find();
    read(-1);
  };
  const showPictures = (pictures) => {
    const caption = document.createElement("figcaption");
    caption.textContent = pictures.length > 1 ? `The ${pictures.length} pictures of the problem` : "The picture of the problem";
    const shownOnes = pictures.map((address, i) => {
      if (!address) return Object.assign(document.createElement("p"), { textContent: `Picture ${i + 1} cannot be shown.` });
      const picture = new Image();
      picture.alt = pictures.length > 1 ? `Picture ${i + 1} of ${pictures.length}` : "The picture that the question is about";
      picture.addEventListener("load", () => picture.classList.toggle("small", picture.naturalWidth < 64));
      picture.src = address;
      return picture;
    });
    $("pictures").replaceChildren(...shownOnes, caption);
    $("pictures").hidden = !pictures.length;
  };
  // Blocks, so that a browser need not lay out what is far away; they end at line breaks where there are some.
  const draw = () => {
    const text = $("text"), blocks = [];
    let block = document.createElement("div"), place = 0;
    spans = []; starts = []; joined = current.tokens.join("");
    current.tokens.forEach((token, i) => {
      const span = document.createElement("span");
      span.textContent = shown(token);
      span.dir = "auto"; // by itself: letters that run from right to left leave the other tokens where they are
      starts.push(place);
      place += token.length;
      spans.push(span);
      block.append(span);
      const long = block.childNodes.length;
      if ((long >= 200 && token.endsWith("\n")) || long >= 1000) { blocks.push(block); block = document.createElement("div"); }
    });
    if (block.childNodes.length) blocks.push(block);
    text.replaceChildren(...blocks);
    for (const each of blocks) each.firstChild.dataset.first = each.firstChild === spans[0] ? 0 : spans.indexOf(each.firstChild);
    chosen = -1;
  };
  const indexOf = (span) => {
    const block = span.parentNode;
    return Number(block.firstChild.dataset.first) + Array.prototype.indexOf.call(block.childNodes, span);
  };

  // ---- colours
  const end = () => data.scales[layer === 4 && current.distilled ? "divergence" : LAYERS[layer].scale];
  // By the root of the size: small gaps are many, and matter too.
  const level = (value) => (Number.isFinite(value) ? Math.sign(value) * Math.round(LEVELS * Math.sqrt(Math.min(1, Math.abs(value) / end()))) : 0);
  const tint = (n) => (n > 0 ? `p${n}` : n < 0 ? `n${-n}` : "");
  const colour = () => {
    const of = LAYERS[layer].of, marked = current.marked;
    spans.forEach((span, i) => {
      // A line break is a token too, and often the one to be looked at.
      span.className = tint(level(of(current, i))) + (marked && marked.has(i) ? " m" : "") + (/^\s*\n\s*$/.test(current.tokens[i]) ? " b" : "");
    });
    hits.forEach((i) => spans[i].classList.add("h"));
    if (chosen >= 0) spans[chosen].classList.add("now");
    document.querySelectorAll("#layers button").forEach((button, n) => {
      const missing = LAYERS[n].needs && !current[LAYERS[n].needs];
      button.disabled = missing;
      button.title = missing ? "This method has no wrong hints" : `Key ${n + 1}`;
      button.setAttribute("aria-checked", n === layer);
      button.tabIndex = n === layer ? 0 : -1;
    });
    legend();
  };
  const legend = () => {
    const one = layer === 4 && current.distilled, unit = one || LAYERS[layer].unit ? " nats" : "";
    const shown = Array.from({ length: 2 * LEVELS + 1 }, (_, n) => n - LEVELS).filter((n) => !one || n >= 0);
    const swatches = shown.map((n) => { const box = document.createElement("i"); box.className = tint(n); return box; });
    const said = one ? ["0", `${end().toFixed(3)}${unit} and more`] : [`${signed(-end())}${unit} and less`, `${signed(end())}${unit} and more`];
    $("legend").replaceChildren(said[0], ...swatches, said[1]);
  };
  const pick = (n) => {
    if (n < 0 || n >= LAYERS.length || document.querySelectorAll("#layers button")[n].disabled) return;
    layer = n;
    colour();
  };

  // ---- numbers of one token
  const read = (i) => {
    if (chosen >= 0 && spans[chosen]) spans[chosen].classList.remove("now");
    chosen = i;
    const box = $("reading");
    if (i < 0) { box.textContent = "Point at a token, tap it, or use the arrow keys."; return; }
    spans[i].classList.add("now");
    const r = current, parts = [];
    const say = (name, text) => { const part = document.createElement("span"); part.textContent = `${name} ${text}`; parts.push(part); };
    const word = document.createElement("b");
    word.textContent = `\u201c${visible(r.tokens[i])}\u201d `;
    say(`token ${i + 1} of ${r.tokens.length}`, "");
    say("student", `${signed(r.student[i])} (p ${Math.exp(r.student[i]).toFixed(3)})`);
    say("correct hint", signed(r.right[i]));
    if (r.wrong) { say("wrong hints", signed(r.wrong[i])); say("contrast", signed(r.contrast[i])); }
    say("advantage", signed(r.advantage));
    say(r.distilled ? "divergence" : "after", signed(r.after[i]));
    if (r.weights) say("weight", r.weights[i].toFixed(3));
    if (r.marked && r.marked.has(i)) say("marked", "");
    box.replaceChildren(word, ...parts);
  };

  // ---- search
  const find = () => {
    const query = $("query").value.toLowerCase();
    hits.forEach((i) => spans[i] && spans[i].classList.remove("h"));
    hits = []; hit = -1;
    const first = [];
    if (query) {
      const lower = joined.toLowerCase(), text = lower.length === joined.length ? lower : joined;
      let token = 0;
      for (let at = text.indexOf(query); at >= 0; at = text.indexOf(query, at + query.length)) {
        while (token + 1 < starts.length && starts[token + 1] <= at) token++;
        first.push(token);
        for (let i = token; i < starts.length && starts[i] < at + query.length; i++) hits.push(i);
      }
      hits.forEach((i) => spans[i].classList.add("h"));
    }
    find.first = first;
    $("matches").textContent = query ? `${first.length} ${first.length === 1 ? "match" : "matches"}` : "";
    $("back").disabled = $("next").disabled = !first.length;
  };
  const go = (by) => {
    const first = find.first;
    if (!first.length) return;
    hit = hit < 0 && by < 0 ? first.length - 1 : (hit + by + first.length) % first.length;
    $("matches").textContent = `${hit + 1} of ${first.length}`;
    reveal(first[hit]);
  };
  const reveal = (i) => { read(i); spans[i].scrollIntoView({ block: "center" }); };

  // ---- events: a few on containers, none on tokens
  LAYERS.forEach((each, n) => {
    const button = document.createElement("button");
    button.type = "button";
    button.setAttribute("role", "radio");
    button.textContent = each.name;
    button.addEventListener("click", () => pick(n));
    $("layers").append(button);
  });
  $("layers").addEventListener("keydown", (event) => {
    const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!by) return;
    event.preventDefault();
    const buttons = [...document.querySelectorAll("#layers button")];
    let n = layer;
    do n = (n + by + LAYERS.length) % LAYERS.length; while (buttons[n].disabled);
    pick(n);
    buttons[n].focus();
  });
  const tokenOf = (event) => (event.target.tagName === "SPAN" && $("text").contains(event.target) ? indexOf(event.target) : -1);
  for (const kind of ["mouseover", "click"]) {
    $("text").addEventListener(kind, (event) => { const i = tokenOf(event); if (i >= 0 && i !== chosen) read(i); });
  }
  $("text").addEventListener("keydown", (event) => {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!by) return;
    event.preventDefault();
    const i = Math.min(spans.length - 1, Math.max(0, chosen + by));
    read(i);
    spans[i].scrollIntoView({ block: "nearest" });
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || /INPUT|SELECT|TEXTAREA/.test(event.target.tagName)) return;
    if (event.key >= "1" && event.key <= String(LAYERS.length)) pick(Number(event.key) - 1);
  });
  $("query").addEventListener("input", find);
  $("query").addEventListener("keydown", (event) => { if (event.key === "Enter") { event.preventDefault(); go(event.shiftKey ? -1 : 1); } });
  $("next").addEventListener("click", () => go(1));
  $("back").addEventListener("click", () => go(-1));
  $("run").addEventListener("change", chooseRun);
  $("step").addEventListener("change", chooseStep);
  $("rollout").addEventListener("change", show);

  options($("run"), new Map(data.rollouts.map((r) => [r.run, r.run])));
  chooseRun();
})();
