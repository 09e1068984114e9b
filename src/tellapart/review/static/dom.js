// Elements of the page. Text from data is set as text, never as markup.

export const find = (id) => document.getElementById(id);
export const percent = (share, digits = 0) => `${(100 * share).toFixed(digits)} %`;
export const counted = (n, noun) => `${n.toLocaleString("en")} ${noun}${n === 1 ? "" : "s"}`;

/** Classes of the whole page: style.css shows what belongs to them. */
export function flag(flags) {
  for (const [name, on] of Object.entries(flags)) document.body.classList.toggle(name, on);
}

/** Texts into the parts of an element that have these class names. */
export function write(element, texts) {
  for (const [name, text] of Object.entries(texts)) {
    const part = element.querySelector(`.${name}`);
    if (part.textContent !== text) part.textContent = text;
  }
}

/** A child of the box for each value, from its template. Children that are there stay, and keep the focus. */
export function list(box, values, fill) {
  const template = box.querySelector("template").content.firstElementChild;
  while (box.children.length > values.length + 1) box.lastElementChild.remove();
  values.forEach((value, i) => fill(box.children[i + 1] ?? box.appendChild(template.cloneNode(true)), value));
}
