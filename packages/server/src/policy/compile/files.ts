/**
 * The one form in which paths of files are compared: small letters in composed form (NFC), so that a rule holds on systems that do not
 * tell `KEY.PEM` from `key.pem`, or `é` from `e` with an accent after it, and for a key that is written in capitals on those that do.
 */
export function filePath(path: string): string {
  return path.normalize('NFC').toLowerCase().normalize('NFC');
}

/** As the file tools take it, wildcards standing for any characters: relative, without `.`, `..`, empty names or a final `/`. */
export function plainPath(text: string): string {
  const names: string[] = [];
  for (const name of text.replaceAll('\\', '/').split('/')) {
    if (name === '..') names.pop();
    else if (name !== '' && name !== '.') names.push(name);
  }
  return names.join('/');
}
