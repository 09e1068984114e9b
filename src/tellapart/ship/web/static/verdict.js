// What an answer means: the verdict, its reason and the possible classes, word for word as Prediction in
// Python says them. It knows no network and no page.

/**
 * The answer for one picture, as Prediction.to_json gives it.
 *
 * `probabilities` are in the order of `classes`; `novelty` is a number or null; `rule` is that of the exported
 * file: sure_from, target_error, strange_from, kept, possible_from, of which all but the first may be null.
 */
export function judge(path, classes, probabilities, novelty, rule) {
  const order = [...classes.keys()].sort((a, b) => probabilities[b] - probabilities[a]);
  const probability = probabilities[order[0]];
  const strange = novelty !== null && rule.strange_from !== null && novelty > rule.strange_from;
  const verdict = strange ? "none_of_these" : probability >= rule.sure_from ? "sure" : "not_sure";
  return {
    path,
    label: classes[order[0]],
    probability,
    probabilities: Object.fromEntries(classes.map((name, i) => [name, probabilities[i]])),
    verdict,
    reason: strange ? strangeness(novelty, rule) : sureness(probability, verdict, rule),
    possible: possible(classes, probabilities, order, rule),
    error: null,
  };
}

/** The answer for a picture that could not be used. */
export function refused(path, error) {
  const nothing = { label: null, probability: null, probabilities: null, verdict: null };
  return { path, ...nothing, reason: null, possible: null, error };
}

function strangeness(novelty, rule) {
  return (
    `unlike the training pictures: its novelty of ${fixed(novelty, 2)} is above ` +
    `${fixed(rule.strange_from, 2)}, and that of ${general(100 * (rule.kept || 0), 3)} % of known pictures is not`
  );
}

function sureness(probability, verdict, rule) {
  const side = verdict === "not_sure" ? "is below" : "reaches";
  const [own, bound] = [fixed(probability, 3), fixed(rule.sure_from, 3)];
  if (rule.target_error === null) return `${own} ${side} ${bound}, which promises nothing`;
  return `${own} ${side} the ${bound} that keeps errors below ${general(100 * rule.target_error, 6)} %`;
}

function possible(classes, probabilities, order, rule) {
  if (rule.possible_from === null) return null;
  const least = Math.min(rule.possible_from, probabilities[order[0]]);
  return order.filter((i) => probabilities[i] >= least).map((i) => classes[i]);
}

/** As Python's format(value, ".{digits}f"): a tie goes to the even digit, where toFixed goes up. */
export function fixed(value, digits) {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "nan" : value < 0 ? "-inf" : "inf";
  if (Math.abs(value) >= 1e21) return BigInt(value).toString() + (digits ? `.${"0".repeat(digits)}` : "");
  const [whole, parts] = Math.abs(value).toFixed(100).split(".");
  const tie = /^50*$/.test(parts.slice(digits));
  const even = Number(digits ? parts[digits - 1] : whole.at(-1)) % 2 === 0;
  if (!tie || !even) return value.toFixed(digits);
  return (value < 0 ? "-" : "") + (digits ? `${whole}.${parts.slice(0, digits)}` : whole);
}

/** As Python's format(value, ".{digits}g"): so many significant digits, no zeros at the end. */
export function general(value, digits) {
  if (!Number.isFinite(value) || value === 0) return value === 0 ? "0" : fixed(value, 0);
  const [mantissa, power] = value.toExponential(digits - 1).split("e").map(String);
  const exponent = Number(power);
  if (exponent >= -4 && exponent < digits) return bare(fixed(value, digits - 1 - exponent));
  const sign = exponent < 0 ? "-" : "+";
  return `${bare(mantissa)}e${sign}${String(Math.abs(exponent)).padStart(2, "0")}`;
}

function bare(text) {
  return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
}
