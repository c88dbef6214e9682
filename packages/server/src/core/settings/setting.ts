import { z } from 'zod';
import { isAmbiguousAddress } from './address.ts';

/** What is known of a key besides its type and default. */
export interface AboutSetting {
  /** One line for the reference, in Markdown. */
  readonly description: string;
  /** The environment variable that sets it. */
  readonly environment?: string;
  /** The variable may be written in small letters too, as other programs have it; then that one counts. */
  readonly anyCase?: true;
  /** Its value, and all below it, is never shown. */
  readonly secret?: true;
  /** It is an address, which may hold credentials: it is shown without them, and no part of one that is not valid. */
  readonly address?: true;
  /** What counts when it is not given, where no value can say it. */
  readonly otherwise?: string;
}

const about = z.registry<AboutSetting>();

/** A key of the configuration. A module's slice is a record of these, and of strict objects that group them. */
export function setting<T extends z.ZodType>(schema: T, description: string, more: Omit<AboutSetting, 'description'> = {}): T {
  about.add(schema, { description, ...more });
  return schema;
}

/** Keys that belong together, each with a default of its own. */
export function group<T extends z.core.$ZodLooseShape>(shape: T) {
  return z.strictObject(shape).prefault({} as z.input<z.ZodObject<T, z.core.$strict>>); // with `{}` each key takes its default; the parse checks it
}

/** A time in whole milliseconds, up to a day. */
export function durationMs() {
  return z.int().min(0).max(86_400_000);
}

export function httpUrl() {
  return z
    .url({ protocol: /^https?$/, error: 'expected an http or https address' })
    .refine((url) => !isAmbiguousAddress(url), { error: 'expected an http or https address with %40 for each @ behind its host' });
}

/** A key as the schema of a configuration describes it. */
export interface Setting extends Partial<AboutSetting> {
  /** `runs.leaseMs`; items of a list as `providers.compatible[].name`. */
  readonly path: string;
  /** Without defaults and the like around it. */
  readonly schema: z.ZodType;
  readonly default: unknown;
}

/** Every key of a configuration, in the order of the schema. A list of objects is described by the list and by the keys of its items. */
export function settingsOf(schema: z.ZodType): readonly Setting[] {
  const known = described.get(schema);
  if (known !== undefined) return known;
  const settings = describe(schema, '');
  described.set(schema, settings);
  return settings;
}

/** A process asks several times of its one configuration. */
const described = new WeakMap<z.ZodType, readonly Setting[]>();

function describe(schema: z.ZodType, path: string): Setting[] {
  let inner = schema;
  let known = about.get(schema);
  let fallback: unknown;
  for (let next = unwrap(inner); next !== undefined; next = unwrap(inner)) {
    if (inner instanceof z.ZodDefault || inner instanceof z.ZodPrefault) fallback ??= inner.def.defaultValue;
    inner = next;
    known ??= about.get(inner);
  }
  const below = inner instanceof z.ZodObject ? describeShape(inner, path === '' ? '' : `${path}.`) : [];
  if (known === undefined && below.length > 0) return below;
  const items = inner instanceof z.ZodArray && inner.element instanceof z.ZodObject ? describeShape(inner.element, `${path}[].`) : [];
  const address = inner instanceof z.ZodURL ? { address: true as const } : {};
  return [{ path, schema: inner, default: fallback, ...address, ...known }, ...below, ...items];
}

function describeShape(object: z.ZodObject, prefix: string): Setting[] {
  return Object.entries(object.shape).flatMap(([key, value]) => (value instanceof z.ZodType ? describe(value, `${prefix}${key}`) : []));
}

function unwrap(schema: z.ZodType): z.ZodType | undefined {
  const inner: unknown =
    schema instanceof z.ZodOptional || schema instanceof z.ZodDefault || schema instanceof z.ZodPrefault
      ? schema.def.innerType
      : schema instanceof z.ZodPipe
        ? schema.def.in
        : undefined;
  return inner instanceof z.ZodType ? inner : undefined;
}
