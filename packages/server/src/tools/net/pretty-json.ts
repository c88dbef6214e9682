const maxIndent = 20;
/** What is shorter is read as it is. */
const shortChars = 120;

/**
 * JSON with a line for each value, each token as it was: numbers keep all their digits. What is short, has line ends already, or is no JSON, stays as it
 * is. Takes time proportional to the length; gives at most `maxChars` and a little.
 */
export function prettyJson(text: string, maxChars: number): string {
  if (text.length <= shortChars || text.trimEnd().includes('\n')) return text;
  try {
    JSON.parse(text);
  } catch {
    return text;
  }
  const parts: string[] = [];
  let chars = 0;
  let depth = 0;
  const add = (part: string) => {
    parts.push(part);
    chars += part.length;
  };
  const newLine = () => add(`\n${'  '.repeat(Math.min(depth, maxIndent))}`);
  for (let at = 0; at < text.length && chars <= maxChars; ) {
    const char = text.charAt(at);
    if (char === '"') {
      const end = endOfString(text, at);
      add(text.slice(at, end));
      at = end;
      continue;
    }
    at += 1;
    if (char === '{' || char === '[') {
      const close = /\S/g;
      close.lastIndex = at;
      const next = close.exec(text)?.index ?? at;
      if (text[next] === '}' || text[next] === ']') {
        add(char + text.charAt(next));
        at = next + 1;
        continue;
      }
      depth += 1;
      add(char);
      newLine();
    } else if (char === '}' || char === ']') {
      depth -= 1;
      newLine();
      add(char);
    } else if (char === ',') {
      add(char);
      newLine();
    } else if (char === ':') add(': ');
    else if (!/\s/.test(char)) add(char);
  }
  return parts.join('');
}

function endOfString(text: string, start: number): number {
  let at = start + 1;
  while (at < text.length && text[at] !== '"') at += text[at] === '\\' ? 2 : 1;
  return at + 1;
}
