import { LRUCache } from 'lru-cache';
import { NexusError } from './errors.ts';
import { compileSchema } from './schema/compile.ts';
import { outOfFuel } from './schema/fuel.ts';
import { findMisspeltKeywords, findSchemaFaults, type SchemaFault } from './schema/rules.ts';
import { type Check, enough, type Issues, maxIssues, type SchemaIssue, type State, top } from './schema/state.ts';
import { shown } from './schema/words.ts';

export type { SchemaFault, SchemaIssue };
export { findMisspeltKeywords, findSchemaFaults };
export type JsonSchema = Record<string, unknown>;

export interface SchemaValidator {
  /**
   * What does not fit, at most five; empty when the value fits. A value that it takes too long to check does not fit: a check takes a
   * bounded number of steps, whatever the schema and the value are. Throws `config_invalid` for a schema that is not taken.
   */
  check(schema: JsonSchema, value: unknown): readonly SchemaIssue[];
}

/** Texts of schemas whose compiled form is kept, in characters. */
const maxKeptChars = 4 * 1024 * 1024;
/** Some tens of milliseconds. */
const maxSteps = 3_000_000;
/** To say what does not fit, once that is known. */
const maxTellingSteps = 2_500_000;

/**
 * Validates against JSON Schema 2020-12, of which `format` is a note. A schema is compiled when it is first used and kept as long as
 * its object lives; schemas of equal text share the compiled form while it is among the last used (within {@link maxKeptChars}).
 */
export function createSchemaValidator(): SchemaValidator {
  const byObject = new WeakMap<JsonSchema, Check>();
  const byText = new LRUCache<string, Check>({ maxSize: maxKeptChars, sizeCalculation: (_check, text) => text.length });

  const find = (schema: JsonSchema): Check => {
    const text = jsonOf(schema);
    let check = text === null ? undefined : byText.get(text);
    const faults = check === undefined ? findSchemaFaults(schema) : [];
    if (faults.length > 0)
      throw new NexusError(
        'config_invalid',
        `the schema is not one that can be checked against: ${explainFaults(faults, '')}; correct it`,
        {
          details: { issues: faults },
        },
      );
    if (check === undefined) {
      check = compileSchema(schema);
      if (text !== null) byText.set(text, check);
    }
    byObject.set(schema, check);
    return check;
  };

  return {
    check(schema, value) {
      const check = byObject.get(schema) ?? find(schema);
      try {
        if (check(value, { left: maxSteps, depth: 0, issues: null }, null, null)) return [];
      } catch (error) {
        if (error !== outOfFuel) throw error;
        const expected = 'a smaller value: this one takes too many steps to be checked against its schema';
        return [{ path: '', expected, actual: shown(value) }];
      }
      return issuesOf(check, value);
    },
  };
}

function jsonOf(schema: JsonSchema): string | null {
  try {
    return JSON.stringify(schema);
  } catch {
    return null; // its faults say so
  }
}

/** Goes through it once more, for what to say. */
function issuesOf(check: Check, value: unknown): readonly SchemaIssue[] {
  const issues: Issues = { concrete: [], wrapping: [] };
  const state: State = { left: maxTellingSteps, depth: 0, issues };
  try {
    check(value, state, top, null);
  } catch (error) {
    if (error !== enough && error !== outOfFuel) throw error;
  }
  const told = issues.concrete.length > 0 ? issues.concrete : issues.wrapping;
  return told.length > 0 ? told.slice(0, maxIssues) : [{ path: '', expected: 'what the schema asks for', actual: shown(value) }];
}

/** Faults of a schema as one line, each with its place within `name`. */
export function explainFaults(faults: readonly SchemaFault[], name: string): string {
  const line = ({ path, message }: SchemaFault) => {
    const place = [name, path].filter((part) => part !== '').join('.');
    return place === '' ? message : `${place}: ${message}`;
  };
  return faults.slice(0, 3).map(line).join('; ') + (faults.length > 3 ? `; and ${faults.length - 3} more` : '');
}
