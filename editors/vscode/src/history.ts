// The instructions given before, the latest first. No editor in here.

const MOST = 30;

/** `history` with `instruction` in front, once. */
export function remembered(history: readonly string[], instruction: string): string[] {
  return [instruction, ...history.filter((each) => each !== instruction)].slice(0, MOST);
}

/** What the list offers while `typed` is in the box: that, then the earlier ones that have it in them. */
export function offered(history: readonly string[], typed: string): string[] {
  const text = typed.trim();
  if (text === '') return [...history];
  const matching = history.filter((each) => each !== text && each.toLowerCase().includes(text.toLowerCase()));
  return [text, ...matching];
}
