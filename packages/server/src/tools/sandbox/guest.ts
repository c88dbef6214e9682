/**
 * Runs inside the engine before the code. It is given two host functions that take texts only, keeps them to itself,
 * and turns what the code prints, gives back or throws into text there, so that getters, `toJSON` and the like of the
 * code run under the code's limits.
 */
export const guestPrelude = `((print, report) => {
  'use strict';
  const { parse, stringify } = JSON;
  const { defineProperty } = Object;
  const [TheMap, TheSet, TheError, toText] = [Map, Set, Error, String];
  const plain = (key, value) => {
    if (typeof value === 'bigint') return toText(value);
    if (value instanceof TheMap || value instanceof TheSet) return [...value];
    if (value instanceof TheError) return { name: value.name, message: value.message };
    return value;
  };
  const show = (value) => {
    if (typeof value === 'string') return value;
    try {
      if (value instanceof TheError) return toText(value.stack ? value.name + ': ' + value.message + '\\n' + value.stack : value);
      const text = stringify(value, plain);
      return text === undefined ? toText(value) : text;
    } catch {
      return '[' + typeof value + ']';
    }
  };
  const describe = (error) => {
    try {
      if (error instanceof TheError) return stringify({ name: toText(error.name), message: toText(error.message), stack: toText(error.stack) });
    } catch {}
    return stringify({ name: 'Thrown', message: show(error), stack: '' });
  };
  const log = (...values) => {
    let text = '';
    for (let index = 0; index < values.length; index++) text += (index > 0 ? ' ' : '') + show(values[index]);
    print(text);
  };
  globalThis.console = { log, info: log, warn: log, error: log, debug: log };
  globalThis.files = {};
  return {
    setInput(json) {
      globalThis.input = json === '' ? undefined : parse(json);
    },
    addFile(name, text) {
      defineProperty(globalThis.files, name, { value: text, enumerable: true });
    },
    async settle(promise, boxed) {
      try {
        const given = await promise;
        const text = stringify(boxed ? await given.value : given, plain);
        report('ok', text === undefined ? '' : text);
      } catch (error) {
        report('error', describe(error));
      }
    },
  };
})`;
