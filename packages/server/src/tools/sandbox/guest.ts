/**
 * Runs inside the engine before the code. It is given host functions that take texts only, keeps them to itself,
 * and turns what the code prints, gives back or throws into text there, so that getters, `toJSON` and the like of the
 * code run under the code's limits.
 */
export const guestPrelude = `((print, report, call) => {
  'use strict';
  const { parse, stringify } = JSON;
  const { create, defineProperty, freeze } = Object;
  const [TheMap, TheSet, TheError, TheSyntaxError, ThePromise, TheProxy, toText] = [Map, Set, Error, SyntaxError, Promise, Proxy, String];
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
  // Calls of tools that have no result yet, by number; without a prototype, so that nothing that code changes is asked.
  const open = create(null);
  let openCount = 0;
  let onNoneOpen = null;
  const failure = (code, message, details) => {
    const error = new TheError(message);
    defineProperty(error, 'code', { value: code, enumerable: true, writable: true, configurable: true });
    if (details !== undefined) defineProperty(error, 'details', { value: details, enumerable: true, writable: true, configurable: true });
    return error;
  };
  const tool = (name) => (input) =>
    new ThePromise((resolve, reject) => {
      const text = stringify(input === undefined ? {} : input);
      if (text === undefined) throw failure('tool_input_invalid', 'the arguments of ' + name + ' must be an object');
      const answer = call(name, text);
      if (typeof answer === 'string') throw failure('limit_exceeded', answer, { limit: 'calls' });
      open[answer] = { resolve, reject };
      openCount += 1;
    });
  // What the language itself asks of any object: tools of these names would be own properties.
  const ofObjects = { __proto__: null, then: 1, toJSON: 1, constructor: 1, prototype: 1, toString: 1, toLocaleString: 1, valueOf: 1 };
  for (const name of ['__proto__', 'hasOwnProperty', 'isPrototypeOf', 'propertyIsEnumerable']) defineProperty(ofObjects, name, { value: 1 });
  const isOfObjects = (name) => typeof name !== 'string' || name in ofObjects;
  const nameCharacters = create(null);
  for (const character of 'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-') nameCharacters[character] = 1;
  const noName = async () => {
    throw failure('tool_not_found', 'no tool has such a name; Object.keys(tools) has those that there are');
  };
  const unknownTool = (name) => {
    for (let index = 0; index < name.length; index++) if (index >= 64 || !(name[index] in nameCharacters)) return noName;
    return tool(name);
  };
  const valueOf = (text) => {
    try {
      return parse(text);
    } catch (error) {
      if (error instanceof TheSyntaxError) return text;
      throw error;
    }
  };
  const errorOf = (text) => {
    const { error } = parse(text);
    return failure(error.code, error.message, error.details);
  };
  return {
    setTools(names) {
      const tools = create(null);
      const all = parse(names);
      for (let index = 0; index < all.length; index++) defineProperty(tools, all[index], { value: tool(all[index]), enumerable: true });
      // A name that is none of them is a call, too: its answer says which there are.
      const found = new TheProxy(freeze(tools), {
        __proto__: null,
        get: (_, name) => (name in tools ? tools[name] : isOfObjects(name) ? undefined : unknownTool(name)),
      });
      defineProperty(globalThis, 'tools', { value: found, writable: true, configurable: true, enumerable: true });
    },
    endCall(id, isError, text) {
      const { resolve, reject } = open[id];
      delete open[id];
      openCount -= 1;
      try {
        if (isError) reject(errorOf(text));
        else resolve(valueOf(text));
      } catch (error) {
        reject(error);
      }
      if (openCount === 0 && onNoneOpen !== null) onNoneOpen();
    },
    setInput(json) {
      globalThis.input = json === '' ? undefined : parse(json);
    },
    addFile(name, text) {
      defineProperty(globalThis.files, name, { value: text, enumerable: true });
    },
    async settle(promise, boxed) {
      let kind = 'ok';
      let text;
      try {
        const given = await promise;
        text = stringify(boxed ? await given.value : given, plain);
      } catch (error) {
        kind = 'error';
        text = describe(error);
      }
      // A program has ended once the calls have that it began, awaited or not.
      while (openCount > 0)
        await new ThePromise((resolve) => {
          onNoneOpen = resolve;
        });
      report(kind, text === undefined ? '' : text);
    },
  };
})`;
