// One answer, as Prediction.to_json gives it, into an element. Text from data is set as text, never as markup.

const MOST_BARS = 6;
const WORDS = { sure: "Sure", not_sure: "Not sure", none_of_these: "None of these" };

/**
 * Replace what is in `place` by the answer: class, probability, verdict with its reason, and bars.
 *
 * The element gets the attributes data-label, data-probability (every digit) and data-verdict, for
 * programs. Making it a live region (role=status) is up to the page.
 */
export function showAnswer(place, answer) {
  const failed = answer.error !== null && answer.error !== undefined;
  const parts = failed ? refusal(answer) : answered(answer);
  place.replaceChildren(...parts);
  place.classList.add("answer");
  for (const name of ["label", "probability", "verdict"]) {
    if (failed || answer[name] === null || answer[name] === undefined) delete place.dataset[name];
    else place.dataset[name] = String(answer[name]);
  }
}

/** A share in [0, 1] as per cent; never 100 or 0 where it is not. */
export function percent(share) {
  if (share < 1 && share >= 0.9995) return "over 99.9 %";
  if (share > 0 && share < 0.0005) return "under 0.1 %";
  return `${(100 * share).toFixed(1)} %`;
}

function answered(answer) {
  const strange = answer.verdict === "none_of_these";
  const head = made("p", "answer-head");
  if (strange) head.append(made("span", "answer-like", "most like "));
  head.append(made("bdi", strange ? "answer-name answer-weak" : "answer-name", answer.label));
  head.append(" ", made("span", "answer-share", percent(answer.probability)));
  const parts = [...source(answer), verdict(answer), head];
  if (answer.reason) parts.push(made("p", "answer-reason", `${capital(answer.reason)}.`));
  parts.push(bars(answer));
  if (answer.possible && answer.possible.length > 1) parts.push(possible(answer.possible));
  return parts;
}

function refusal(answer) {
  const line = made("p", "answer-error");
  line.append("This picture cannot be used: ", made("bdi", "", String(answer.error)), ".");
  return [...source(answer), line];
}

function source(answer) {
  return answer.path ? [made("bdi", "answer-path", answer.path)] : [];
}

function verdict(answer) {
  const word = WORDS[answer.verdict];
  if (word === undefined) return made("p", "");
  const line = made("p", "answer-verdict", word);
  line.dataset.verdict = answer.verdict;
  return line;
}

function possible(names) {
  const line = made("p", "answer-possible", "It may be ");
  names.forEach((name, i) => {
    if (i > 0) line.append(i === names.length - 1 ? " or " : ", ");
    line.append(made("bdi", "", name));
  });
  line.append(": in 95 of 100 pictures of these classes the right one is named here.");
  return line;
}

/** The most probable classes, the most probable first; the others are one bar together. */
function bars(answer) {
  const every = Object.entries(answer.probabilities).sort((a, b) => b[1] - a[1]);
  const first = every.length > MOST_BARS ? every.slice(0, MOST_BARS - 1) : every;
  const list = made("ul", "answer-bars");
  for (const [name, share] of first) list.append(bar(made("bdi", "bar-name", name), share, name));
  const others = every.slice(first.length);
  if (others.length > 0) {
    const rest = others.reduce((sum, [, share]) => sum + share, 0);
    list.append(bar(made("span", "bar-name bar-others", `${others.length} others`), rest, null));
  }
  return list;
}

function bar(name, share, label) {
  const line = made("li", "bar");
  if (label !== null) {
    line.dataset.class = label;
    line.dataset.probability = String(share);
  }
  const track = made("span", "bar-track");
  track.append(made("span", "bar-fill"));
  track.firstChild.style.setProperty("--share", String(Math.min(Math.max(share, 0), 1)));
  track.setAttribute("aria-hidden", "true"); // the figure says it
  line.append(name, " ", track, " ", made("span", "bar-share", percent(share)));
  return line;
}

function capital(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function made(tag, classes, text) {
  const element = document.createElement(tag);
  if (classes) element.className = classes;
  if (text !== undefined) element.textContent = text;
  return element;
}
